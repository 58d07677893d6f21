"""A played engine as a process of its own, as a container of kind runs it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chartproof.cluster.machines import engine_process

_MODEL = "Qwen/Qwen2.5-7B-Instruct"
_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "chartproof.cluster.machines.engine_process", *words]


@contextmanager
def started(port: int, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    words = command("vllm", "serve", _MODEL, "--port", str(port), "--max-model-len", "8192", *options)
    environment = {**os.environ, "CHARTPROOF_SPEED": "200", **variables}
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(port: int, path: str, body: object = None) -> tuple[int, str]:
    """Status and text; status 0 where nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except ConnectionRefusedError:
        return 0, ""
    finally:
        connection.close()


def wait_until_healthy(port: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while ask(port, "/health")[0] != 200:
        assert time.monotonic() < deadline, "the engine never got healthy"
        time.sleep(0.05)


def test_it_serves_once_loaded_and_ends_on_sigterm() -> None:
    port = free_port()
    with started(port) as process:
        wait_until_healthy(port)
        assert json.loads(ask(port, "/v1/models")[1])["data"][0]["id"] == _MODEL
        status, text = ask(port, "/v1/completions", {"model": _MODEL, "prompt": "one two", "max_tokens": 5})
        assert status == 200
        assert json.loads(text)["usage"]["completion_tokens"] == 5
        assert f'vllm:num_requests_running{{model_name="{_MODEL}",engine="0"}} 0' in ask(port, "/metrics")[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(_SECONDS) == 0


def test_nothing_listens_while_it_loads() -> None:
    port = free_port()
    with started(port, CHARTPROOF_SPEED="1") as process:
        time.sleep(1)
        assert process.poll() is None
        assert ask(port, "/health")[0] == 0


@pytest.mark.slow
def test_requests_that_run_are_finished_before_it_ends() -> None:
    port = free_port()
    with started(port, "--shutdown-timeout", "600", CHARTPROOF_SPEED="20") as process:
        wait_until_healthy(port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        body = {"model": _MODEL, "prompt": "one two", "max_tokens": 400, "stream": True}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        first = answer.readline()
        process.send_signal(signal.SIGTERM)
        rest = answer.read().decode()
        connection.close()
        assert first.startswith(b"data: ")
        assert rest.rstrip().endswith("data: [DONE]")
        assert process.wait(_SECONDS) == 0


@pytest.mark.parametrize(
    ("words", "variables", "says"),
    [
        (("sleep", "1"), {}, "`sleep 1` starts no engine"),
        (("vllm", "serve", _MODEL), {"CHARTPROOF_INSTANCE_TYPE": "x9.huge"}, "x9.huge is no instance type"),
        (("vllm", "serve", _MODEL), {"CHARTPROOF_SPEED": "fast"}, "'fast' is no number"),
        (("vllm", "serve", "nobody/knows"), {}, "nothing is known of the model 'nobody/knows'"),
    ],
)
def test_what_cannot_be_played_is_said(
    words: tuple[str, ...], variables: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engine_process.main(words, variables) == 1
    assert says in capsys.readouterr().err


def test_the_process_ends_with_what_cannot_be_played() -> None:
    result = subprocess.run(command("sleep", "1"), capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert result.returncode == 1
    assert "starts no engine" in result.stderr
