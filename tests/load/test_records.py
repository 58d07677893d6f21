from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chartproof.errors import InputError
from chartproof.load.records import Record, RecordFile, percentiles, read_records, summarize


def record(index: int = 0, outcome: str = "ok", **more: Any) -> Record:
    given: dict[str, Any] = {
        "due": 1.0,
        "sent": 1.5,
        "first_token": 2.0,
        "done": 4.0,
        "prompt_tokens": 10,
        "answer_tokens": 20,
        "received_tokens": 20,
    }
    return Record(index=index, outcome=outcome, **(given | more))


@pytest.mark.parametrize(
    ("outcome", "lost"),
    [
        ("ok", False),
        ("stopped", False),
        ("refused", True),
        ("http-503", True),
        ("aborted", True),
        ("truncated", True),
        ("timeout", True),
    ],
)
def test_whatever_is_not_answered_is_lost_unless_we_ended_it(outcome: str, lost: bool) -> None:
    assert record(outcome=outcome).lost is lost
    assert summarize([record(outcome=outcome)]).lost == lost


def test_latencies_are_counted_from_sending() -> None:
    assert record().time_to_first_token == 0.5
    assert record().end_to_end == 2.5
    assert record(first_token=None).time_to_first_token is None


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records = [record(1), record(2, "refused", first_token=None, detail="no such host: \u00e9\u4e2d")]
    with RecordFile(path) as file:
        for each in records:
            file.write(each)
    assert read_records(path) == records
    line = json.loads(path.read_text().splitlines()[0])
    assert line["dueSeconds"] == 1.0
    assert line["firstTokenSeconds"] == 2.0


@pytest.mark.parametrize("text", ["nonsense\n", "[]\n", '{"index": 1}\n'])
def test_a_file_of_something_else_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(record().as_json()) + "\n" + text)
    with pytest.raises(InputError, match=r"records\.jsonl:2"):
        read_records(path)


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_records(tmp_path / "missing")
    with pytest.raises(InputError, match="cannot be written"):
        RecordFile(tmp_path / "missing" / "records.jsonl")


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles([]) == {}
    assert percentiles([3.0]) == {50: 3, 90: 3, 95: 3, 99: 3}
    assert percentiles([float(each) for each in range(1, 101)]) == {50: 50, 90: 90, 95: 95, 99: 99}
    assert percentiles([2.0, 1.0])[50] == 1


def test_a_summary_measures_those_that_were_answered() -> None:
    found = summarize(
        [
            record(0),
            record(1, first_token=3.5, done=9.5),
            record(2, "aborted", done=100.0, received_tokens=3, detail="reset"),
            record(3, "aborted", detail="another"),
            record(4, "stopped", first_token=None, received_tokens=0, sent=4.0),
        ]
    )
    assert found.requests == 5
    assert dict(found.outcomes) == {"ok": 2, "aborted": 2, "stopped": 1}
    assert dict(found.details) == {"aborted": "reset"}
    assert found.lost == 2
    assert found.received_tokens == 63
    assert found.first_token[50] == 0.5
    assert found.first_token[99] == 2.0
    assert found.end_to_end[99] == 8.0
    assert found.seconds == 100.0
    assert found.latest == 3.0


def test_a_summary_is_told_in_words_and_as_json() -> None:
    found = summarize([record(0), record(1, "refused", detail="no such host")])
    assert found.text().startswith(
        "2 requests in 4.0 s, 1 lost, 40 tokens received\n  ok: 1\n  refused: 1 (no such host)"
    )
    assert found.as_json()["ttftSeconds"] == {"p50": 0.5, "p90": 0.5, "p95": 0.5, "p99": 0.5}
    assert "could not keep up" not in found.text()
    assert "sent up to 5.0 s late" in summarize([record(sent=6.0)]).text()


def test_nothing_can_be_summed_up_too() -> None:
    found = summarize([])
    assert found.text() == "0 requests in 0.0 s, 0 lost, 0 tokens received\n"
    assert found.as_json()["endToEndSeconds"] == {}
