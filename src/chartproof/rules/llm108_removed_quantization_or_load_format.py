"""LLM108."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.engine_options import LegalValues, option_table
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.versions import Version, format_version
from chartproof.workload import EngineContainer, engine_containers

_SPELLINGS = {"--quantization": ("--quantization", "-q"), "--load-format": ("--load-format",)}


@rule(id="LLM108", name="removed-quantization-or-load-format", severity=Severity.ERROR, kinds=SERVING)
def removed_quantization_or_load_format(document: Document, context: Context) -> Iterator[Finding]:
    """A quantization method or load format does not exist in the engine's version.

    What:
        `--quantization` or `--load-format` of vLLM has a value that the image's version removed,
        deprecated, or never had. The argument parser lets any value through, because plugins may add
        some; the engine checks later.

    Why it hurts:
        The pod crashes after it was scheduled, pulled and started, minutes into every attempt.

    Bad:
        `--quantization bitsandbytes` on vLLM 0.33; `--load-format runai-streamer`.

    Good:
        No `--quantization` (it is read from the checkpoint); `--load-format runai_streamer`.

    References:
        https://docs.vllm.ai/en/latest/features/quantization/
        https://docs.vllm.ai/en/latest/models/extensions/runai_model_streamer.html
    """
    for engine in engine_containers(document):
        for name, values in option_table(engine.engine).values.items():
            value = engine.option(*_SPELLINGS[name])
            if not value or "$" in value:
                continue
            problem = _problem(values, value, engine)
            if problem:
                yield context.finding(
                    document,
                    f"{engine}: {name} {value} {problem}",
                    path=f"{engine.path}.args",
                    hint=_hint(name, values, value),
                )


def _problem(values: LegalValues, value: str, engine: EngineContainer) -> str:
    version: Version | None = engine.version
    removed = values.removed.get(value)
    if removed is not None:
        if version is None or version <= removed.last_seen:
            return ""
        return f"is gone from vLLM {format_version(version)} (last seen in {format_version(removed.last_seen)})"
    if value in values.deprecated and engine.option("--allow-deprecated-quantization") is None:
        newest = option_table("vllm").newest
        return "is deprecated: the engine refuses it" if version is not None and version >= newest else ""
    if value not in values.legal:
        return "is no value that vLLM knows"
    return ""


def _hint(name: str, values: LegalValues, value: str) -> str:
    removed = values.removed.get(value)
    if removed is not None and removed.instead:
        return f"use {removed.instead}"
    if name == "--quantization":
        return "leave the option out: the method is read from the checkpoint"
    return f"use one of {', '.join(sorted(values.legal))}"
