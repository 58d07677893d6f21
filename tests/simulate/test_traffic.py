from __future__ import annotations

import dataclasses
import re
import statistics
import tracemalloc
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartproof.errors import InputError, UsageError
from chartproof.simulate.trace_files import open_trace
from chartproof.simulate.traffic import Rate, Request, Trace, synthetic


def made(text: str, **changes: float) -> Trace:
    trace = synthetic(text, prompt_tokens=1000, answer_tokens=200)
    return dataclasses.replace(trace, **changes)  # type: ignore[arg-type]


def written(path: Path, text: str, name: str = "trace.csv") -> Path:
    file = path / name
    file.write_text(text, encoding="utf-8")
    return file


AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2221420,0,0
"""


def test_azure_timestamps_of_seven_digits_are_read(tmp_path: Path) -> None:
    trace = open_trace(written(tmp_path, AZURE))
    found = list(trace.requests())
    assert [round(each.time, 4) for each in found] == [0, 4.3146, 4.5416]
    assert found[0][1:3] == (374, 44)
    assert found[2][1:3] == (1, 1), "no prompt is empty for an engine"
    assert trace.start == datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC)


def test_azure_timestamps_with_an_offset_are_read(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n"
    assert list(open_trace(written(tmp_path, text)).requests()) == [Request(0, 2162, 5)]


def test_mooncake_lines_are_milliseconds(tmp_path: Path) -> None:
    text = (
        '{"timestamp": 1000, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n'
        '{"timestamp": 4000, "input_length": 7322, "output_length": 490, "hash_ids": [0]}\n'
    )
    found = list(open_trace(written(tmp_path, text, "trace.jsonl")).requests())
    assert found == [Request(0, 6758, 500, (0, 1)), Request(3, 7322, 490, (0,))]


def test_failures_of_burstgpt_are_left_out(tmp_path: Path) -> None:
    text = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n"
        "45,ChatGPT,1087,0,1087,Conversation log\n"
        "118,GPT-4,417,276,693,API log\n"
    )
    assert [each.time for each in open_trace(written(tmp_path, text)).requests()] == [0, 113]


def test_counts_become_rates_of_their_interval(tmp_path: Path) -> None:
    text = "t_s,requests,in_mean,out_mean\n0,20,100,10\n10,0,,\n20,5,300,30\n"
    rates = list(open_trace(written(tmp_path, text)).rates())
    assert [each.per_second for each in rates] == [2, 0, 0.5]
    assert [each.seconds for each in rates] == [10, 10, 10]
    assert rates[2].prompt_tokens == 300


def test_our_own_rates_are_not_taken_for_requests(tmp_path: Path) -> None:
    text = "seconds,requestsPerSecond,promptTokens,answerTokens,variation\n0,2,100,10,3\n60,0.5,300,30,\n"
    found = list(open_trace(written(tmp_path, text)).rates())
    assert found[0] == Rate(0, 60, 2, 100, 10, 3)
    assert found[1] == Rate(60, 60, 0.5, 300, 30, 1)


def test_rates_without_lengths_ask_for_them(tmp_path: Path) -> None:
    path = written(tmp_path, "t_s,req_per_min_mid,in_tokens_per_min\n0,60,60000\n600,30,30000\n")
    with pytest.raises(InputError, match="does not say how long answers are"):
        list(open_trace(path).rates())
    rates = list(open_trace(path, answer_tokens=23).rates())
    assert (rates[0].per_second, rates[0].prompt_tokens, rates[0].answer_tokens) == (1, 1000, 23)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("seconds,promptTokens,answerTokens\n", "a header and no rows"),
        ("time,size\n1,2\n", r"trace.csv:1: no trace has these columns: time, size"),
        ("seconds,promptTokens,answerTokens\n1,5,5\n0.5,5,5\n", r"trace.csv:3: goes back in time"),
        ("seconds,promptTokens,answerTokens\n1,-5,5\n", r"trace.csv:2: promptTokens is -5; it cannot be negative"),
        ("seconds,promptTokens,answerTokens\n1,5\n", r"trace.csv:2: 2 columns where the header has 3"),
        ("seconds,promptTokens,answerTokens\n1,five,5\n", r"trace.csv:2: promptTokens is 'five', not a number"),
        ("seconds,promptTokens,answerTokens\nnan,5,5\n", r"trace.csv:2: seconds is nan, not a finite number"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nsoon,5,5\n", r"TIMESTAMP is 'soon', not a time"),
        ("t_s,rps,in_mean,out_mean\n0,1,5,5\n", "needs two rows"),
        ("t_s,rps,in_mean,out_mean\n0,1,5,5\n0,1,5,5\n", r"trace.csv:3: goes back in time"),
        ('{"timestamp": 1}\n', "is not a JSON object with timestamp, input_length, output_length"),
        (
            '{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": [0, -1]}\n',
            r"trace.csv:1: hash_ids is \[0, -1\], not a list of whole numbers",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        list(open_trace(written(tmp_path, text)).requests())
    assert "trace.csv" in (refused.value.where or "")
    assert refused.value.how, "it says what to do"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seconds,promptTokens,answerTokens\n" + b"1,5,5\n" * 5000 + b"\xff\xfe,5,5\n", "is not text in UTF-8"),
        (b'{"timestamp": 1, "input_length": 5, "output_length": 5}\n' * 5000 + b"\xff\n", "is not text in UTF-8"),
        (b"seconds,promptTokens,answerTokens\n1,5,5\n2," + b"5" * 200_000 + b",5\n", "is not a CSV file: field larger"),
        (b"\x1f\x8b\x08\x00\xff\xff", "is not text in UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_wherever_it_comes(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        list(open_trace(path).requests())
    assert refused.value.how


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        open_trace(tmp_path / "none.csv")


@pytest.mark.slow
def test_a_long_trace_streams_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w", encoding="utf-8") as stream:
        stream.write("seconds,promptTokens,answerTokens\n")
        stream.writelines(f"{i},100,10\n" for i in range(200_000))
    trace = open_trace(path)
    tracemalloc.start()
    count = sum(1 for _ in trace.requests())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 200_000
    assert peak < 1_000_000


@pytest.mark.parametrize("variation", [0.5, 1.0, 3.0])
def test_gaps_have_the_variation_that_is_asked_for(variation: float) -> None:
    times = [each.time for each in made(f"constant,hours=6,rate=2,variation={variation}").requests()]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert statistics.mean(gaps) == pytest.approx(0.5, rel=0.05)
    assert statistics.stdev(gaps) / statistics.mean(gaps) == pytest.approx(variation, rel=0.07)


def test_drawn_lengths_have_the_means_of_the_trace() -> None:
    found = list(made("constant,hours=6,rate=2").requests())
    assert statistics.mean(each.prompt_tokens for each in found) == pytest.approx(1000, rel=0.05)
    assert statistics.mean(each.answer_tokens for each in found) == pytest.approx(200, rel=0.05)


@pytest.mark.parametrize(("name", "mean"), [("diurnal", 1.0), ("burst", 1.0), ("office-hours", 2.4 * 9.6 / 24)])
def test_synthetic_days_have_the_mean_they_say(name: str, mean: float) -> None:
    count = sum(1 for _ in made(name).requests())
    assert count == pytest.approx(86400 * mean, rel=0.02)


@pytest.mark.slow
def test_nothing_is_asked_outside_office_hours() -> None:
    hours = {int(each.time // 3600) for each in made("office-hours,hours=168").requests()}
    assert hours == {day * 24 + hour for day in range(5) for hour in range(8, 18)}


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.1, 4), seed=st.integers(0, 5))
def test_scaling_keeps_order_and_shape(scale: float, seed: int) -> None:
    base = [Request(float(i), 10, 10) for i in range(2000)]
    trace = Trace("t", open_requests=lambda: iter(base), scale=scale, seed=seed)
    times = [each.time for each in trace.requests()]
    assert times == sorted(times)
    assert len(times) == pytest.approx(2000 * scale, abs=6 * (2000 * 0.25) ** 0.5)
    assert sum(each.per_second * each.seconds for each in trace.rates()) == pytest.approx(2000 * scale)


def test_the_same_seed_draws_the_same_requests() -> None:
    assert list(made("burst,hours=2", seed=3).requests()) == list(made("burst,hours=2", seed=3).requests())
    assert list(made("burst,hours=2", seed=3).requests()) != list(made("burst,hours=2", seed=4).requests())


@pytest.mark.parametrize("text", ["sawtooth", "diurnal,days=3", "diurnal,rate=-1", "diurnal,rate=fast"])
def test_unknown_synthetic_traces_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        made(text)


def daily(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "days.csv"
    path.write_text("\n".join(["kind,index,requests,total_tokens", *rows]) + "\n", encoding="utf-8")
    return path


def test_daily_counts_take_the_shape_of_the_hours(tmp_path: Path) -> None:
    hours = [f"hour_mean,{hour},{3 if hour == 12 else 1}," for hour in range(24)]
    path = daily(tmp_path, "day,0,2600,1300000", "day,1,0,", *hours)
    found = list(open_trace(path, answer_tokens=100).rates())
    assert len(found) == 48
    assert sum(each.per_second * each.seconds for each in found) == pytest.approx(2600)
    assert found[12].per_second == pytest.approx(3 * found[0].per_second)
    assert (found[12].time, found[12].prompt_tokens, found[12].answer_tokens) == (43200, 400, 100)
    assert all(each.per_second == 0 for each in found[24:])


def test_daily_counts_without_hours_are_even(tmp_path: Path) -> None:
    found = list(open_trace(daily(tmp_path, "day,0,2400,"), prompt_tokens=50, answer_tokens=10).rates())
    assert {round(each.per_second * 3600) for each in found} == {100}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["day,0,5,50", "day,2,5,50"], "days.csv:3: day 2 does not follow"),
        (["day,0,-5,50"], "cannot be negative"),
        (["week,0,5,50"], "kind is 'week'"),
        (["hour_mean,0,5,"], "has no day"),
        (["day,0,5,50", "hour_mean,0,5,"], "has means of 1 hours"),
        (["day,0,5,"], "with --answer-tokens and that of prompts"),
    ],
)
def test_daily_counts_that_cannot_be_right_are_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        list(open_trace(daily(tmp_path, *rows)).rates())
