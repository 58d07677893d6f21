"""The option tables answer as the engines' own parsers would."""

from __future__ import annotations

import pytest

from chartproof.catalog import catalog
from chartproof.engine_options import Verdict, option_table


@pytest.mark.parametrize(
    ("name", "version", "verdict"),
    [
        ("--max-model-len", (0, 33, 0), Verdict.KNOWN),
        ("-tp", (0, 33, 0), Verdict.KNOWN),
        ("-O3", (0, 33, 0), Verdict.KNOWN),
        ("--kv-transfer-config.kv_role", (0, 33, 0), Verdict.KNOWN),
        ("--no-enable-prefix-caching", (0, 20, 0), Verdict.KNOWN),
        ("--max-model-le", (0, 33, 0), Verdict.ABBREVIATED),
        ("--max-modle-len", (0, 33, 0), Verdict.UNKNOWN),
        ("--max-modle-len", None, Verdict.UNKNOWN),
        ("--completely-made-up", (0, 33, 0), Verdict.UNKNOWN),
        ("--completely-made-up", (0, 40, 0), Verdict.UNDECIDED),
        ("--swap-space", (0, 17, 1), Verdict.KNOWN),
        ("--swap-space", (0, 33, 0), Verdict.REMOVED),
        ("--swap-space", None, Verdict.UNDECIDED),
        ("--shutdown-timeout", (0, 17, 1), Verdict.TOO_NEW),
        ("--shutdown-timeout", (0, 18, 0), Verdict.UNDECIDED),
        ("--shutdown-timeout", (0, 18, 1), Verdict.KNOWN),
        ("--disable-prefix-caching", (0, 32, 0), Verdict.TOO_NEW),
        ("--disable-prefix-caching", (0, 33, 0), Verdict.KNOWN),
        ("--disable-log-requests", (0, 16, 0), Verdict.KNOWN),
        ("--disable-log-requests", (0, 32, 0), Verdict.REMOVED),
        ("--disable-log-requests", (0, 33, 0), Verdict.KNOWN),
        ("--help", (0, 33, 0), Verdict.KNOWN),
    ],
)
def test_vllm_options_by_version(name: str, version: tuple[int, int, int] | None, verdict: Verdict) -> None:
    assert option_table("vllm").look_up(name, version).verdict is verdict


@pytest.mark.parametrize(
    ("name", "version", "verdict"),
    [
        ("--tp", (0, 5, 23), Verdict.KNOWN),
        ("--mem-fraction-statik", (0, 5, 0), Verdict.UNKNOWN),
        ("--completely-made-up", (0, 5, 23), Verdict.UNKNOWN),
        ("--completely-made-up", (0, 4, 6), Verdict.UNDECIDED),
    ],
)
def test_sglang_options_are_judged_only_as_far_as_the_table_reaches(
    name: str, version: tuple[int, int, int], verdict: Verdict
) -> None:
    assert option_table("sglang").look_up(name, version).verdict is verdict


def test_a_typing_mistake_is_answered_with_the_option_that_was_meant() -> None:
    assert option_table("vllm").look_up("--gpu-memory-utilisation", (0, 33, 0)).suggestion == "--gpu-memory-utilization"


def test_a_refused_negation_is_answered_with_the_spelling_that_every_version_takes() -> None:
    lookup = option_table("vllm").look_up("--disable-prefix-caching", (0, 30, 0))
    assert lookup.suggestion == "--no-enable-prefix-caching"


def test_booleans_are_told_from_options_with_values() -> None:
    table = option_table("vllm")
    assert table.arity("--enable-chunked-prefill") == 0
    assert table.arity("--max-num-seqs") == 1
    assert table.arity("--served-model-name") == "+"
    assert table.arity("--never-heard-of") is None


def test_both_tables_cover_the_newest_engines_of_the_catalog() -> None:
    newest = str(catalog().engines["vllm"]["newest"])
    assert ".".join(str(part) for part in option_table("vllm").newest) == newest
    assert len(option_table("vllm").options) > 300
    assert len(option_table("sglang").options) > 500


def test_an_engine_without_a_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        option_table("tgi")
