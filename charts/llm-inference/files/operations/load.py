# ruff: noqa: INP001 - a script of its own, not part of a package
"""Ask a model at a steady rate, then all at once, and tell how it did.

Reads what to do from the JSON file that is its only argument (templates/operations/_operations.tpl writes it) and
needs nothing but Python 3.10. Requests are sent when their time has come, whether or not earlier ones are answered, as
clients do; every prompt begins differently, so that no cache answers it.

Each phase's result is a line of JSON on stdout, and so is the last one, of all. Meanwhile, and `lingerSeconds` longer,
the same is served as metrics for Prometheus on `metricsPort`. The exit code is 0, or 1 where more requests failed than
`mostFailedPercent`, or 2 for a file that cannot be read.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import sys
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""Seconds of the histograms."""
SEED = 20260101
STACK_BYTES = 512 * 1024
"""Of each request's thread: many of them wait at once."""
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "then", "sleeps", "in", "summer")


@dataclass(frozen=True)
class Done:
    """One request. `outcome` is `answered` or why it failed; times in seconds from its start."""

    outcome: str
    end: float
    first: float | None = None
    prompt_tokens: int = 0
    answer_tokens: int = 0


@dataclass
class Phase:
    """What became of the requests of one phase so far."""

    name: str
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    running: int = 0
    done: list[Done] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def result(self) -> dict[str, Any]:
        """What is told of it."""
        with self.lock:
            done = list(self.done)
        answered = [each for each in done if each.outcome == "answered"]
        failed = Counter(each.outcome for each in done if each.outcome != "answered")
        span = max(self.seconds, 1e-9)
        firsts = [each.first for each in answered if each.first is not None]
        # Of streams only: the time after the first token, by the tokens that came in it.
        between = [
            1000 * (each.end - each.first) / (each.answer_tokens - 1)
            for each in answered
            if each.first is not None and each.answer_tokens > 1
        ]
        return {
            "phase": self.name,
            "seconds": round(self.seconds, 3),
            "requests": len(done),
            "answered": len(answered),
            "failed": dict(sorted(failed.items())),
            "requestsPerSecond": round(len(answered) / span, 3),
            "promptTokensPerSecond": round(sum(each.prompt_tokens for each in answered) / span, 1),
            "answerTokensPerSecond": round(sum(each.answer_tokens for each in answered) / span, 1),
            "timeToFirstTokenSeconds": quantiles(firsts),
            "endToEndSeconds": quantiles([each.end for each in answered]),
            "interTokenMilliseconds": quantiles(between),
        }


def quantiles(values: list[float]) -> dict[str, float] | None:
    """Median and tail; nothing of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    }


# --- Requests ---------------------------------------------------------------------------------------------------------


class BrokenAnswerError(Exception):
    """The answer is no answer; why, in a word or two that many requests share."""


def body_of(plan: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The request: its prompt is about as many tokens as words."""
    words = random.Random(SEED + number)  # noqa: S311
    prompt = " ".join([f"{words.getrandbits(64):x}", *(words.choice(WORDS) for _ in range(plan["promptTokens"]))])
    if plan["task"] == "embed":
        return {"model": plan["model"], "input": prompt}
    return {
        "model": plan["model"],
        "prompt": prompt,
        "max_tokens": plan["answerTokens"],
        # Answers of the length that was asked for, else the load would depend on what the model has to say.
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def connection(plan: Mapping[str, Any]) -> tuple[http.client.HTTPConnection, str]:
    """A connection to the model, and the path of its API."""
    url = urlsplit(plan["url"])
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    path = "/v1/embeddings" if plan["task"] == "embed" else "/v1/completions"
    return kind(url.hostname or "", url.port, timeout=plan["timeoutSeconds"]), url.path.rstrip("/") + path


def ask(plan: Mapping[str, Any], number: int) -> Done:
    """One request, whatever becomes of it."""
    started = time.monotonic()
    try:
        outcome, first, usage = "answered", *answer_of(plan, number)
    except BrokenAnswerError as error:
        return Done(str(error), time.monotonic() - started)
    except TimeoutError:
        return Done("timeout", time.monotonic() - started)
    except ConnectionRefusedError:
        return Done("refused", time.monotonic() - started)
    except (OSError, http.client.HTTPException, ValueError):
        return Done("broken off", time.monotonic() - started)
    tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    return Done(outcome, time.monotonic() - started, None if first is None else first - started, *tokens)


def answer_of(plan: Mapping[str, Any], number: int) -> tuple[float | None, Mapping[str, Any]]:
    """When the first token came (of a stream), and the tokens that are said to have been used."""
    headers = {"Content-Type": "application/json"}
    if os.environ.get("API_KEY"):
        headers["Authorization"] = f"Bearer {os.environ['API_KEY']}"
    link, path = connection(plan)
    try:
        link.request("POST", path, json.dumps(body_of(plan, number)).encode(), headers)
        answer = link.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise BrokenAnswerError(f"status {answer.status}")
        return vector_of(answer) if plan["task"] == "embed" else stream_of(answer)
    finally:
        link.close()


def vector_of(answer: http.client.HTTPResponse) -> tuple[None, Mapping[str, Any]]:
    """As `answer_of`, of an embedding."""
    found = json.loads(answer.read())
    if not found.get("data"):
        raise BrokenAnswerError("no content")
    return None, found.get("usage") or {}


def stream_of(answer: http.client.HTTPResponse) -> tuple[float, Mapping[str, Any]]:
    """As `answer_of`, of a stream."""
    first, usage = None, {}
    for event in events(answer):
        if "error" in event:
            raise BrokenAnswerError("error in the stream")
        if first is None and any(each.get("text") for each in event.get("choices") or ()):
            first = time.monotonic()
        usage = event.get("usage") or usage
    if first is None:
        raise BrokenAnswerError("no content")
    return first, usage


def events(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The events of a stream; raises BrokenAnswerError where it ends before it says so."""
    for line in answer:
        word = line.strip()
        if word == b"data: [DONE]":
            return
        if word.startswith(b"data:"):
            yield json.loads(word[5:])
    raise BrokenAnswerError("broken off")


# --- Phases -----------------------------------------------------------------------------------------------------------


def times_of(plan: Mapping[str, Any], phase: str) -> list[float]:
    """When the phase's requests are sent, in seconds from its start: by chance at a steady rate, or all at once."""
    if phase == "burst":
        return [0.0] * plan["burstRequests"]
    rate, seconds = plan["steadyRequestsPerSecond"], plan["steadySeconds"]
    if not rate:
        return []
    chance = random.Random(SEED)  # noqa: S311
    gaps = (chance.expovariate(rate) for _ in range(int(rate * seconds * 2) + 100))
    return [each for each in accumulate(gaps) if each < seconds]


def run(plan: Mapping[str, Any], phase: Phase, first_number: int) -> None:
    """Send a phase's requests and wait for all answers."""
    started = time.monotonic()
    threads = []

    def one(number: int) -> None:
        done = ask(plan, number)
        with phase.lock:
            phase.running -= 1
            phase.done.append(done)

    for index, due in enumerate(times_of(plan, phase.name)):
        time.sleep(max(0.0, started + due - time.monotonic()))
        with phase.lock:
            phase.running += 1
        threads.append(threading.Thread(target=one, args=[first_number + index]))
        threads[-1].start()
    for each in threads:
        each.join()
    phase.seconds = time.monotonic() - started


# --- Metrics ----------------------------------------------------------------------------------------------------------


def histogram(name: str, labels: str, values: list[float]) -> Iterator[str]:
    """Lines of a histogram."""
    counts = Counter(bisect_left(BUCKETS, each) for each in values)
    for index, bound in enumerate(BUCKETS):
        yield f'{name}_bucket{{{labels},le="{bound}"}} {sum(counts[each] for each in range(index + 1))}'
    yield f'{name}_bucket{{{labels},le="+Inf"}} {len(values)}'
    yield f"{name}_sum{{{labels}}} {sum(values):.6f}"
    yield f"{name}_count{{{labels}}} {len(values)}"


def metrics(plan: Mapping[str, Any], phases: list[Phase]) -> str:
    """What Prometheus reads."""
    families: dict[str, tuple[str, list[str]]] = {
        "llm_load_test_running_requests": ("gauge", []),
        "llm_load_test_requests_total": ("counter", []),
        "llm_load_test_tokens_total": ("counter", []),
        "llm_load_test_time_to_first_token_seconds": ("histogram", []),
        "llm_load_test_end_to_end_seconds": ("histogram", []),
    }
    for phase in phases:
        with phase.lock:
            done, running = list(phase.done), phase.running
        labels = f'model_name="{plan["model"]}",phase="{phase.name}"'
        answered = [each for each in done if each.outcome == "answered"]
        lines = {name: found for name, (_, found) in families.items()}
        lines["llm_load_test_running_requests"].append(f"llm_load_test_running_requests{{{labels}}} {running}")
        for outcome, count in sorted(Counter(each.outcome for each in done).items()):
            lines["llm_load_test_requests_total"].append(
                f'llm_load_test_requests_total{{{labels},outcome="{outcome}"}} {count}'
            )
        for kind, total in (
            ("prompt", sum(each.prompt_tokens for each in answered)),
            ("answer", sum(each.answer_tokens for each in answered)),
        ):
            lines["llm_load_test_tokens_total"].append(f'llm_load_test_tokens_total{{{labels},kind="{kind}"}} {total}')
        name = "llm_load_test_time_to_first_token_seconds"
        lines[name] += histogram(name, labels, [each.first for each in answered if each.first is not None])
        name = "llm_load_test_end_to_end_seconds"
        lines[name] += histogram(name, labels, [each.end for each in answered])
    return "".join(
        line + "\n" for name, (kind, lines) in families.items() for line in (f"# TYPE {name} {kind}", *lines)
    )


def serve(plan: Mapping[str, Any], phases: list[Phase]) -> None:
    """Serve the metrics until the process ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = metrics(plan, list(phases)).encode()
            self.send_response(http.HTTPStatus.OK)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nothing: the log is for results."""

    server = ThreadingHTTPServer(("", plan["metricsPort"]), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Run the plan of a file."""
    try:
        plan = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    except (IndexError, OSError, ValueError) as error:
        print(f"no plan of a load test: {error}", file=sys.stderr)
        return 2
    threading.stack_size(STACK_BYTES)
    phases: list[Phase] = []
    serve(plan, phases)
    for name in ("steady", "burst"):
        if not times_of(plan, name):
            continue
        phase = Phase(name)
        phases.append(phase)
        run(plan, phase, sum(len(each.done) for each in phases))
        print(json.dumps(phase.result()), flush=True)
    done = [each for phase in phases for each in phase.done]
    failed = sum(each.outcome != "answered" for each in done)
    percent = 100 * failed / len(done) if done else 0.0
    holds = percent <= plan["mostFailedPercent"]
    result = {"model": plan["model"], "requests": len(done), "failedPercent": round(percent, 3), "holds": holds}
    print(json.dumps(result), flush=True)
    # So that the last values are scraped.
    time.sleep(plan["lingerSeconds"])
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
