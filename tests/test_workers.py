"""How tests are spread over processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GROUPED = """
import pytest

@pytest.mark.parametrize("number", range(12))
@pytest.mark.xdist_group("together")
def test_grouped(number):
    pass

@pytest.mark.parametrize("number", range(12))
def test_single(number):
    pass
"""


@pytest.mark.slow
def test_a_group_stays_on_one_worker(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_collection_modifyitems\n")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    (tmp_path / "test_groups.py").write_text(GROUPED)
    words = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-v", str(tmp_path)]
    shown = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    grouped = set(re.findall(r"\[(gw\d)\].*test_grouped", shown))
    single = set(re.findall(r"\[(gw\d)\].*test_single", shown))
    assert len(grouped) == 1
    assert len(single) == 2
