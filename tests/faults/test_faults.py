"""A correct deployment of strangers is clean, and each of many faults in it is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof.findings import Finding, Severity
from chartproof.manifests import read_files
from chartproof.rules import check_release
from chartproof.schema import check_schemas

HERE = Path(__file__).parent
CORRECT = (HERE / "correct.yaml").read_text(encoding="utf-8")
FAULTS: list[dict[str, Any]] = yaml.safe_load((HERE / "faults.yaml").read_text(encoding="utf-8"))


def _findings(text: str, directory: Path) -> list[Finding]:
    file = directory / "deployment.yaml"
    file.write_text(text, encoding="utf-8")
    release = read_files([file], name="deployment", namespace="default")
    return [*check_schemas([release])["deployment"], *check_release(release)]


def test_the_correct_deployment_is_clean(tmp_path: Path) -> None:
    assert _findings(CORRECT, tmp_path) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each["fault"].replace(" ", "-"))
def test_fault_is_noticed(fault: dict[str, Any], tmp_path: Path) -> None:
    text = CORRECT
    for before, after in ((fault["from"], fault["to"]), tuple(fault.get("also", ("", "")))):
        assert before in text, "the fault no longer matches the deployment"
        text = text.replace(before, after, 1)
    noticed = {each.rule for each in _findings(text, tmp_path) if each.severity >= Severity.WARNING}
    assert fault["rule"] in noticed, f"noticed: {sorted(noticed)}"
