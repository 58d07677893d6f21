from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from chartproof import cli
from tests import presets

pytestmark = pytest.mark.slow

WORDS = ["--trace", "synthetic:burst,hours=1,rate=1", "--against", "static-peak,oracle", "--seed", "7"]


def simulate(directory: Path) -> dict[str, bytes]:
    preset = str(presets.path_of("llama-3.1-8b-g6e-serverless"))
    assert cli.main(["simulate", preset, *WORDS, "--out", str(directory)]) == 0
    return {each.name: each.read_bytes() for each in sorted(directory.iterdir())}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return simulate(tmp_path_factory.mktemp("first"))


def test_out_holds_the_result_the_plots_and_a_page(written: dict[str, bytes]) -> None:
    plots = {f"{name}.{ending}" for name in ("timeline", "latency", "cost") for ending in ("svg", "png")}
    assert set(written) == {"result.json", "report.html", *plots}
    assert [each["policy"] for each in json.loads(written["result.json"])["runs"]][1:] == ["static-peak", "oracle"]


def test_the_same_seed_writes_the_same_bytes_in_another_process(written: dict[str, bytes], tmp_path: Path) -> None:
    second = tmp_path / "second"
    preset = str(presets.path_of("llama-3.1-8b-g6e-serverless"))
    command = [sys.executable, "-m", "chartproof", "simulate", preset, *WORDS, "--out", str(second)]
    # Sets and dictionaries of names have another order there.
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "1"}, stdout=subprocess.DEVNULL)
    assert {each.name: each.read_bytes() for each in sorted(second.iterdir())} == written


def test_plots_are_whole_and_carry_no_date(written: dict[str, bytes]) -> None:
    for name in ("timeline.svg", "latency.svg", "cost.svg"):
        root = ET.fromstring(written[name])  # noqa: S314 - made by ourselves
        assert root.tag.endswith("svg")
        assert b"<dc:date>" not in written[name]
    assert written["timeline.png"].startswith(b"\x89PNG")


def test_the_page_needs_nothing_else(written: dict[str, bytes]) -> None:
    class Links(HTMLParser):
        found: list[str] = []  # noqa: RUF012 - one parser

        def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
            if tag in {"script", "link", "img", "iframe"}:
                self.found.append(tag)

    links = Links()
    text = written["report.html"].decode()
    links.feed(text)
    assert links.found == []
    assert text.count("<svg") == 3
    assert "Why it scaled" in text


def test_a_trace_without_requests_is_drawn_too(tmp_path: Path) -> None:
    trace = tmp_path / "quiet.csv"
    trace.write_text("seconds,requestsPerSecond,promptTokens,answerTokens\n0,0,9,9\n600,0,9,9\n", encoding="utf-8")
    preset = str(presets.path_of("llama-3.1-8b-g6e-serverless"))
    words = ["--trace", str(trace), "--against", "all", "--out", str(tmp_path / "out")]
    assert cli.main(["simulate", preset, *words]) == 0
    assert (tmp_path / "out" / "latency.svg").exists()


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    preset = str(presets.path_of("llama-3.1-8b-g6e-serverless"))
    assert cli.main(["simulate", preset, *WORDS[:2], "--out", str(tmp_path / "file" / "below")]) == 3
    assert "cannot be written" in capsys.readouterr().err
