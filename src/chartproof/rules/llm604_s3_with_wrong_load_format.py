"""LLM604."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._weights import BUCKET
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

_STREAMING = frozenset({"runai_streamer", "runai_streamer_sharded"})
#: Since this vLLM version a bucket is streamed without being told.
_AUTOMATIC = (0, 11, 0)


@rule(
    id="LLM604",
    name="s3-with-wrong-load-format",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def s3_with_wrong_load_format(document: Document, context: Context) -> Iterator[Finding]:
    """A model in object storage is loaded by a format that cannot read from there.

    What:
        vLLM is given an `s3://`, `gs://` or `az://` model with a `--load-format` other than `runai_streamer` or
        `runai_streamer_sharded`; before 0.11 also without any.

    Why it hurts:
        vLLM refuses to start: only the streamer reads from buckets.

    Bad:
        `vllm serve s3://bucket/model --load-format safetensors`

    Good:
        `vllm serve s3://bucket/model --load-format runai_streamer`

    References:
        https://docs.vllm.ai/en/latest/models/extensions/runai_model_streamer/
    """
    for engine in engine_containers(document):
        told = engine.option("--load-format")
        if engine.engine != "vllm" or not BUCKET.match(engine.model) or told in _STREAMING:
            continue
        if (told or "auto") == "auto" and (engine.version is None or engine.version >= _AUTOMATIC):
            continue
        yield context.finding(
            document,
            f"load format {told or 'auto'!r} cannot read {engine.model}",
            path=engine.path,
            hint="write --load-format runai_streamer",
        )
