"""The templates read single lines of two catalog files: each entry must be one line that parses alone."""

from __future__ import annotations

import re

import yaml

from chartproof.catalog import catalog
from chartproof.resources import directory


def test_every_instance_type_is_one_line() -> None:
    text = (directory("catalog") / "instances.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^  [\w.-]+: .*$", text, re.MULTILINE)
    alone = {name: facts for line in lines for name, facts in yaml.safe_load(line).items()}
    assert alone == yaml.safe_load(text)["instances"]


def test_slices_of_a_gpu_fit_it_and_belong_to_a_size_that_some_instance_has() -> None:
    sizes = {(each.gpu, each.gpu_memory_mebibytes) for each in catalog().instances.values()}
    for gpu in catalog().gpus.values():
        for memory, profile, count in gpu.slices:
            assert (gpu.name, memory) in sizes, f"{gpu.name} of {memory} MiB"
            compute, gigabytes = re.fullmatch(r"([1-7])g\.(\d+)gb", profile).groups()  # type: ignore[union-attr]
            assert int(compute) * count <= 7
            # Profiles are named by whole GB, rounded up: 7 of 18 are 126 of 141.
            assert count * int(gigabytes) <= memory / 1024 * 1.02


def test_every_profile_is_one_line_that_names_its_precision() -> None:
    text = (directory("catalog") / "profiles.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^  - \{.*precision: .*,.*$", text, re.MULTILINE)
    assert [yaml.safe_load(line.lstrip(" -")) for line in lines] == yaml.safe_load(text)["profiles"]
