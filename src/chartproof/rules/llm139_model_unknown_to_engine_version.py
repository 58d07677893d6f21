"""LLM139."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.engine_options import option_table
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._models import model_of
from chartproof.rules.registry import Context, rule
from chartproof.versions import Version, format_version
from chartproof.workload import engine_containers

#: First vLLM release whose model registry has an architecture (`model_executor/models/registry.py`).
_SINCE: dict[str, Version] = {
    "Qwen3ForCausalLM": (0, 8, 4),
    "Qwen3MoeForCausalLM": (0, 8, 4),
    "GptOssForCausalLM": (0, 10, 1),
    "DeepseekV3ForCausalLM": (0, 6, 6),
}


@rule(id="LLM139", name="model-unknown-to-engine-version", severity=Severity.ERROR, kinds=SERVING)
def model_unknown_to_engine_version(document: Document, context: Context) -> Iterator[Finding]:
    """The engine's version is older than its support for the model.

    What:
        The catalog knows the model's architecture, and the pinned vLLM release does not have it yet.

    Why it hurts:
        "Model architectures [...] are not supported for now": the pod crashes as soon as it has read the
        model's config.

    Bad:
        `openai/gpt-oss-20b` on vLLM 0.9.2

    Good:
        vLLM 0.10.1 or newer.

    References:
        https://docs.vllm.ai/en/latest/models/supported_models.html
    """
    for engine in engine_containers(document):
        model = model_of(engine)
        since = _SINCE.get(model.architecture) if model else None
        if model is None or since is None or engine.engine != "vllm" or engine.version is None:
            continue
        if engine.version < since:
            yield context.finding(
                document,
                f"{engine}: {model.id} ({model.architecture}) needs vLLM {format_version(since)}, the image is "
                f"{format_version(engine.version)}",
                path=f"{engine.path}.image",
                hint=f"use a newer image; {format_version(option_table('vllm').newest)} is known to have it",
            )
