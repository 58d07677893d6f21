from __future__ import annotations

import pytest

from tests import presets
from tests.aws import goldens


@pytest.mark.parametrize("stem", presets.STEMS)
def test_a_preset_needs_what_its_golden_says(stem: str) -> None:
    path = goldens.path_of(stem)
    assert path.is_file(), f"write it with {goldens.COMMAND}"
    assert path.read_text(encoding="utf-8") == goldens.content(stem), f"if that is meant, run {goldens.COMMAND}"


def test_no_golden_is_left_of_a_preset_that_is_gone() -> None:
    assert {each.stem for each in goldens.DIRECTORY.glob("*.json")} == set(presets.STEMS)
