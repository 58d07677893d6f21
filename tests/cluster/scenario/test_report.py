from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from chartproof.cluster.scenario import report
from chartproof.cluster.scenario.progress import Progress, state
from chartproof.cluster.scenario.result import Result
from chartproof.cluster.scenario.timeline import Asked, Timeline
from chartproof.errors import InputError
from chartproof.report.sparkline import sparkline
from tests.cluster.scenario.hand_made import REQUESTS, SAMPLES, sample, timeline

GOOD = Result(timeline(), (), ("ScaledObject/small spec.cooldownPeriod: 300 -> 20",))


#: Plots take seconds: one worker makes them once.
one_worker = pytest.mark.xdist_group("scenario report")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {each.name: each for each in report.write(GOOD, tmp_path_factory.mktemp("report"))}


def test_the_text_tells_verdict_times_and_money() -> None:
    text = report.text(GOOD)
    assert text.startswith("small: burst passed\n")
    assert "0:20:10 in 81 s: 15 times as fast" in text
    assert "50, none lost" in text
    assert "1 -> 4  hpa, metric 95  (240 s after the first request of 'burst', 16.0 real; ready 200 s later)" in text
    assert "$1.21 for at most 4 g6.xlarge" in text
    assert "alerts       LlmQueue" in text


def test_a_failed_one_says_what_is_wrong() -> None:
    lost = timeline(requests=(*REQUESTS, Asked(70.0, "burst", "503")))
    text = report.text(Result(lost, ("it broke",)))
    assert "small: burst FAILED" in text
    assert "51, 1 lost" in text
    assert "  problem: it broke" in text


@one_worker
def test_an_empty_recording_can_be_shown(tmp_path: Path) -> None:
    nothing = Result(Timeline(timeline().setting), ("nothing was recorded",))
    assert "first token  -" in report.text(nothing)
    assert report.write(nothing, tmp_path)


@one_worker
def test_files_are_written_and_whole(written: dict[str, Path]) -> None:
    assert set(written) == {"report.html", "timeline.json", "timeline.svg", "timeline.png"}
    assert written["timeline.png"].read_bytes().startswith(b"\x89PNG")
    assert ET.parse(written["timeline.svg"]).getroot().tag.endswith("svg")  # noqa: S314 - made by ourselves
    described = json.loads(written["timeline.json"].read_text(encoding="utf-8"))
    assert Timeline.from_json(described["timeline"]) == GOOD.timeline
    assert described["reactions"][1] == {
        "controller": "hpa",
        "from": 1,
        "to": 4,
        "metric": 95.0,
        "signalToDecisionSeconds": 240.0,
        "signalToDecisionRealSeconds": 16.0,
        "decisionToReadySeconds": 200.0,
    }
    assert (described["firstTokenSeconds"]["p50"], described["endToEndSeconds"]["p99"]) == (240.0, 260.0)


@one_worker
def test_the_page_needs_nothing_else(written: dict[str, Path]) -> None:
    class Links(HTMLParser):
        found: list[str] = []  # noqa: RUF012 - one parser

        def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
            if tag in {"script", "link", "img", "iframe"}:
                self.found.append(tag)

    text = written["report.html"].read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    assert links.found == []
    assert text.count("<svg") == 1
    assert "cooldownPeriod: 300 -&gt; 20" in text


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        report.write(GOOD, tmp_path / "file")


def test_progress_is_plain_lines_now_and_then_where_nobody_watches() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.say("begin")
    for each in SAMPLES:
        progress.show("small burst", each, sent=3, lost=0)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "begin"
    assert len(lines) == 2
    assert "\r" not in stream.getvalue()


def test_progress_is_one_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    progress = Progress(stream)
    for each in SAMPLES:
        progress.show("small burst", each, sent=3, lost=0)
    progress.say("end")
    assert stream.getvalue().count("\n") == 1
    assert max(len(part) for part in stream.getvalue().split("\r\033[K")) <= 60


def test_the_state_tells_what_is_not_known() -> None:
    line = state(sample(280.0, 1, 1, running=10.0, metric=95.0), sent=30, lost=2)
    assert "4:40 burst" in line
    assert "replicas 1/1" in line
    assert "metric 95" in line
    assert "sent 30 lost 2" in line


def test_bars_begin_at_zero() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.0, 4.0, 8.0]) == " ▄█"
    assert sparkline([-(2.0**63), 0.0, 8.0]) == "  █"
    assert len(sparkline([1.0] * 1000)) == 72
