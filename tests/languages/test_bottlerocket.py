from __future__ import annotations

import pytest

from chartproof.languages.bottlerocket import (
    BottlerocketError,
    Setting,
    dropped_by_karpenter,
    parse_user_data,
    setting_facts,
    similar_setting,
    size_problem,
    type_problem,
)

PARALLEL = ("container-runtime-plugins", "soci-snapshotter", "parallel-pull-unpack")


def only(text: str) -> Setting:
    (found,) = parse_user_data(text).settings
    return found


def test_settings_and_stray_tables_are_told_apart() -> None:
    data = parse_user_data('[container-runtime]\nx = 1\n[settings.container-runtime]\nsnapshotter = "soci"\n')
    assert data.strays == ("container-runtime",)
    assert data.get("container-runtime", "snapshotter") == "soci"
    assert data.has("container-runtime")
    assert not data.has("kubernetes")


def test_broken_toml_says_where() -> None:
    with pytest.raises(BottlerocketError, match="line 2"):
        parse_user_data('[settings.kubernetes]\nmax-pods = "110\n')


def test_names_chosen_by_the_author_match_their_pattern() -> None:
    found = only('[settings.bootstrap-commands.anything]\nmode = "always"\n')
    assert setting_facts(found.path) is not None
    assert type_problem(found) == ""


def test_free_tables_stay_whole() -> None:
    found = only('[settings.kubernetes.node-labels]\n"example.com/team" = "llm"\n')
    assert found.path == ("kubernetes", "node-labels")
    assert found.value == {"example.com/team": "llm"}


def test_percent_is_a_string_for_karpenter() -> None:
    integer = only("[settings.kubernetes]\nimage-gc-high-threshold-percent = 85\n")
    assert type_problem(integer) == "is an integer, must be a string"
    assert type_problem(only('[settings.kubernetes]\nimage-gc-high-threshold-percent = "85"\n')) == ""


def test_numbers_are_numbers_and_booleans_are_none() -> None:
    assert type_problem(Setting((*PARALLEL, "max-concurrent-unpacks-per-image"), "12")).endswith("must be an integer")
    parallel = (*PARALLEL, "discard-unpacked-layers")
    assert type_problem(Setting((*PARALLEL, "max-concurrent-unpacks"), value=True)).endswith("must be an integer")
    assert type_problem(Setting(parallel, "true")).endswith("must be a boolean")


def test_values_outside_the_list_are_named() -> None:
    assert "overlayfs, soci" in type_problem(Setting(("container-runtime", "snapshotter"), "stargz"))


@pytest.mark.parametrize("size", ["16mb", "1024", "3mib", "2gb", "unlimited", "0.5gb"])
def test_sizes_that_the_settings_model_takes(size: str) -> None:
    assert size_problem(Setting((*PARALLEL, "concurrent-download-chunk-size"), size)) == ""


@pytest.mark.parametrize("size", ["16 mb", "sixteen", "16 MiB", "16mbit"])
def test_sizes_that_it_refuses(size: str) -> None:
    assert size_problem(Setting((*PARALLEL, "concurrent-download-chunk-size"), size))


def test_karpenter_keeps_only_its_own_list_of_kubernetes_settings() -> None:
    assert dropped_by_karpenter(Setting(("kubernetes", "max-parallel-image-pulls"), 3))
    assert not dropped_by_karpenter(Setting(("kubernetes", "max-pods"), 110))
    assert not dropped_by_karpenter(Setting(("container-runtime", "snapshotter"), "soci"))


def test_a_typo_finds_the_setting_that_was_meant() -> None:
    assert similar_setting(("container-runtime", "snapshoter")) == "settings.container-runtime.snapshotter"
