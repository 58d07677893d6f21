"""Quantities are read as the API server reads them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from chartproof.languages.quantity import QuantityError, bytes_of, format_bytes, parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", Decimal(1)),
        (4, Decimal(4)),
        ("500m", Decimal("0.5")),
        ("16Gi", Decimal(16 * 1024**3)),
        ("20G", Decimal(20_000_000_000)),
        ("1.5Gi", Decimal(1610612736)),
        ("1e3", Decimal(1000)),
        ("12E", Decimal(12) * Decimal(1000) ** 6),
        (".5", Decimal("0.5")),
    ],
)
def test_a_quantity_is_the_number_it_stands_for(text: object, number: Decimal) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "16GB", "16 Gi", "Gi", "1gi", None, True, "--1"])
def test_what_the_api_server_refuses_is_refused(text: object) -> None:
    with pytest.raises(QuantityError):
        parse_quantity(text)


def test_unreadable_sizes_are_unknown_rather_than_zero() -> None:
    assert bytes_of(None) is None
    assert bytes_of("2Gi") == 2 * 1024**3


def test_bytes_are_printed_in_the_largest_unit() -> None:
    assert format_bytes(1536 * 1024**2) == "1.5Gi"
    assert format_bytes(64 * 1024**2) == "64Mi"
