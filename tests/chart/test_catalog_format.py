"""The templates read single lines of two catalog files: each entry must be one line that parses alone."""

from __future__ import annotations

import re

import yaml

from chartproof.resources import directory


def test_every_instance_type_is_one_line() -> None:
    text = (directory("catalog") / "instances.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^  [\w.-]+: .*$", text, re.MULTILINE)
    alone = {name: facts for line in lines for name, facts in yaml.safe_load(line).items()}
    assert alone == yaml.safe_load(text)["instances"]


def test_every_profile_is_one_line_that_names_its_precision() -> None:
    text = (directory("catalog") / "profiles.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^  - \{.*precision: .*,.*$", text, re.MULTILINE)
    assert [yaml.safe_load(line.lstrip(" -")) for line in lines] == yaml.safe_load(text)["profiles"]
