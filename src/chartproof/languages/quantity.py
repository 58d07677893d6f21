"""Kubernetes resource quantities: `500m`, `16Gi`, `20G`, `1e3`.

Source: k8s.io/apimachinery `pkg/api/resource`: a decimal number with at most one suffix, binary
(`Ki` ... `Ei`), decimal (`n` ... `E`) or an exponent.
"""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?")
_FACTORS = {
    "": Decimal(1),
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    "m": Decimal("1e-3"),
    "u": Decimal("1e-6"),
    "n": Decimal("1e-9"),
}

GIBIBYTE = 1024**3


class QuantityError(ValueError):
    """A quantity that the API server would refuse."""


def parse_quantity(value: object) -> Decimal:
    """The number that a quantity stands for: bytes for memory and storage, cores for CPU.

    Takes what YAML makes of it, a string or a number. Raises QuantityError.
    """
    match = _QUANTITY.fullmatch(str(value).strip()) if isinstance(value, str | int | float) else None
    if match is None or isinstance(value, bool):
        raise QuantityError(f"{value!r} is not a quantity: write a number with a unit such as m, k, M, G, Mi or Gi")
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix not in _FACTORS:
        return number * Decimal(10) ** int(suffix[1:])
    return number * _FACTORS[suffix]


def bytes_of(value: object) -> int | None:
    """A memory or storage quantity in whole bytes; None where it is absent or unreadable."""
    try:
        return int(parse_quantity(value))
    except QuantityError:
        return None


def format_bytes(count: float) -> str:
    """Bytes as people write them in manifests: the largest binary unit that stays above one."""
    for power, unit in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if abs(count) >= 1024**power:
            return f"{count / 1024**power:.4g}{unit}"
    return f"{count:.0f}"
