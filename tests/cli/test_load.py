from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web

from chartproof.load.records import read_records
from tests.cli.conftest import Run
from tests.load.engine import Engine, serving_beside


def test_a_load_without_a_loss_is_clean(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with serving_beside(Engine()) as engine:
        ran = run(
            "load", engine.url, "--model", "llama", "--rate", 5, "--duration", 4, "--evenly", "--speed", 40, "-o", path
        )
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.startswith("20 requests in ")
    assert [each.outcome for each in read_records(path)] == ["ok"] * 20
    assert engine.asked[0][2]["model"] == "llama"


def test_losses_are_findings_and_json_has_them(run: Run) -> None:
    with serving_beside(Engine(status=503)) as engine:
        words = ["--burst", "10@0.5,0@1,20@0.5", "--evenly", "--speed", 10, "--format", "json"]
        ran = run("load", engine.url, "--model", "llama", *words)
    found = json.loads(ran.stdout)
    assert ran.code == 1
    assert found["outcomes"] == {"http-503": 15}
    assert (found["requests"], found["lost"]) == (15, 15)


def test_a_trace_is_sent_as_far_as_it_is_wanted(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("seconds,promptTokens,answerTokens\n0,100,6\n1,7,8\n100,7,8\n")
    with serving_beside(Engine()) as engine:
        words = ["--trace", trace, "--duration", 50, "--context-tokens", 64, "--speed", 100]
        assert run("load", engine.url, "--model", "llama", *words).code == 0
    assert [(len(each[2]["prompt"]), each[2]["max_tokens"]) for each in engine.asked] == [(58, 6), (7, 8)]


def test_headers_and_the_key_are_sent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_KEY", "secret")
    with serving_beside(Engine()) as engine:
        words = ["--rate", 10, "--duration", 0.1, "--evenly", "--chat", "--honour-eos"]
        words += ["--header", "X-Namespace: llm", "--api-key-variable", "LLM_KEY"]
        run("load", engine.url, "--model", "llama", *words)
    path, headers, body = engine.asked[0]
    assert path == "/v1/chat/completions"
    assert (headers["X-Namespace"], headers["Authorization"]) == ("llm", "Bearer secret")
    assert "ignore_eos" not in body


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rate", "0"], "invalid"),
        (["--rate", "1", "--trace", "x"], "not allowed with"),
        ([], "required"),
        (["--burst", "5"], "no duration"),
        (["--burst", "5@1", "--duration", "9"], "--duration is for"),
        (["--rate", "1", "--scale", "2"], "--scale is for --trace"),
        (["--rate", "1", "--evenly", "--variation", "2"], "contradict"),
        (["--trace", "synthetic:constant", "--evenly"], "--rate and --burst"),
        (["--trace", "synthetic:nonsense"], "no synthetic trace"),
        (["--rate", "1", "--header", "nonsense"], "is no header"),
        (["--rate", "1", "--api-key-variable", "CHARTPROOF_NOT_SET"], "empty or missing"),
        (["--rate", "1", "--context-tokens", "0"], "invalid"),
    ],
)
def test_wrong_usage_is_said(run: Run, words: list[str], message: str) -> None:
    ran = run("load", "http://127.0.0.1:1", "--model", "llama", *words)
    assert ran.code == 2
    assert message in ran.stderr


def test_an_address_that_is_none_is_wrong_usage_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    ran = run("load", "nonsense", "--model", "llama", "--rate", 1, "-o", path)
    assert ran.code == 2
    assert "is no address" in ran.stderr
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_said_before_anything_is_sent(run: Run, tmp_path: Path) -> None:
    with serving_beside(Engine()) as engine:
        ran = run("load", engine.url, "--model", "llama", "--rate", 1, "-o", tmp_path / "missing" / "records.jsonl")
    assert ran.code == 3
    assert engine.asked == []


def test_a_missing_library_is_said_with_its_cure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    ran = run("load", "http://127.0.0.1:1", "--model", "llama", "--rate", 1)
    assert ran.code == 3
    assert "chartproof[live]" in ran.stderr


def test_an_interrupt_ends_it_with_a_summary_and_whole_records(tmp_path: Path) -> None:
    async def never(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    path = tmp_path / "records.jsonl"
    with serving_beside(Engine(answer=never)) as engine:
        words = ["load", engine.url, "--model", "llama", "--rate", "50", "--duration", "3600", "-o", str(path)]
        process = subprocess.Popen(
            [sys.executable, "-m", "chartproof", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while len(engine.asked) < 3:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "interrupted\n"
    assert "0 lost" in out
    assert {each.outcome for each in read_records(path)} == {"stopped"}
