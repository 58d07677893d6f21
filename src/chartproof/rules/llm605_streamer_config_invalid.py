"""LLM605."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._weights import BUCKET
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

_OPTION = "--model-loader-extra-config"
_KEYS: Mapping[str, tuple[type, int]] = {"distributed": (bool, 0), "concurrency": (int, 1), "memory_limit": (int, -1)}


@rule(
    id="LLM605",
    name="streamer-config-invalid",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def streamer_config_invalid(document: Document, context: Context) -> Iterator[Finding]:
    """The Run:ai streamer gets a configuration that it refuses.

    What:
        `--model-loader-extra-config` beside the streamer is no JSON object, has a key other than `distributed`,
        `concurrency` and `memory_limit` (`pattern` too for sharded checkpoints), or a value of another type: a
        quoted number, a concurrency of 0.

    Why it hurts:
        vLLM stops with a ValueError; before 0.26 it ignored the setting silently, so that streaming was slow or
        took all memory.

    Bad:
        `--model-loader-extra-config '{"concurrency": "32", "memory": 4}'`

    Good:
        `--model-loader-extra-config '{"concurrency": 32, "memory_limit": 4294967296}'`

    References:
        https://docs.vllm.ai/en/latest/models/extensions/runai_model_streamer/
    """
    for engine in engine_containers(document):
        load_format = engine.option("--load-format") or ("runai_streamer" if BUCKET.match(engine.model) else "")
        if engine.engine != "vllm" or not load_format.startswith("runai_streamer"):
            continue
        for problem in _problems(engine, load_format):
            yield context.finding(
                document,
                f"{_OPTION}: {problem}",
                path=engine.path,
                hint='write for example {"concurrency": 32, "memory_limit": 4294967296}',
            )


def _problems(engine: EngineContainer, load_format: str) -> Iterator[str]:
    try:
        given = _given(engine)
    except ValueError as problem:
        yield str(problem)
        return
    for key, value in given.items():
        if key == "pattern" and load_format == "runai_streamer_sharded":
            continue
        if key not in _KEYS:
            yield f"the streamer knows no key {key!r}, only {', '.join(_KEYS)}"
            continue
        wanted, least = _KEYS[key]
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            yield f"{key} is {value!r}, must be {'true or false' if wanted is bool else 'a number without quotes'}"
        elif wanted is int and isinstance(value, int) and value < least:
            yield f"{key} is {value}, must be at least {least}"


def _given(engine: EngineContainer) -> dict[str, object]:
    """The configuration as JSON and as dotted options together; raises ValueError where it is no JSON object."""
    given: dict[str, object] = {}
    text = engine.option(_OPTION)
    if text:
        loaded = _json(text)
        if not isinstance(loaded, dict):
            raise ValueError(f"{text!r} is no JSON object")
        given |= loaded
    for option in engine.options:
        if option.name.replace("_", "-").startswith(_OPTION + "."):
            given[option.name[len(_OPTION) + 1 :]] = _json(option.value or "")
    return given


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        raise ValueError(f"{text!r} is no JSON ({problem.msg})") from problem
