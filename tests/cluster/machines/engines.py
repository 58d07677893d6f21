"""Engines to play in tests: a small model whose speed is easy to reckon with."""

from __future__ import annotations

from typing import Any

from chartproof.cluster.machines.engine_api import Terms
from chartproof.cluster.machines.engine_server import EngineServer, Settings
from chartproof.cluster.speed import Speed
from chartproof.simulate.engine import EngineModel
from chartproof.versions import Version

SPEED = Speed(15)
NAME = "llama"
MODEL = EngineModel(
    base=0.02,
    per_sequence=0.0001,
    per_kv_token=1e-8,
    per_prompt_token=1e-4,
    kv_tokens=100_000,
    max_sequences=64,
    step_tokens=2048,
)
LOAD_SECONDS = 60.0


def settings(engine: str = "vllm", version: Version = (0, 33, 0), **changes: Any) -> Settings:
    terms = Terms((NAME, "alias"), "s3://models/llama/", version, 8192)
    defaults: dict[str, Any] = {
        "engine": engine,
        "version": version,
        "terms": terms,
        "port": 8000,
        "model": MODEL,
        "gpu_memory_utilization": 0.9,
        "load_seconds": LOAD_SECONDS,
        "drain_seconds": 0.0 if engine == "vllm" else float("inf"),
    }
    return Settings(**{**defaults, **changes})


def engine(kind: str = "vllm", version: Version = (0, 33, 0), **changes: Any) -> EngineServer:
    return EngineServer(settings(kind, version, **changes), SPEED)


def completion(prompt_tokens: int = 100, answer_tokens: int = 50, **more: Any) -> dict[str, Any]:
    return {"model": NAME, "prompt": [1] * prompt_tokens, "max_tokens": answer_tokens, **more}


def chat(text: str = "How are you?", **more: Any) -> dict[str, Any]:
    return {"model": NAME, "messages": [{"role": "user", "content": text}], **more}


#: Options of a request whose answer streams and tells its length.
STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
