"""LLM146."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM146", name="engine-without-model", severity=Severity.ERROR, kinds=SERVING)
def engine_without_model(document: Document, context: Context) -> Iterator[Finding]:
    """The engine is not told which model to serve.

    What:
        Neither a positional model nor `--model` (`--model-path`) nor `--config`; also where
        `--served-model-name`, which takes several names, swallows the model that follows it.

    Why it hurts:
        vLLM then serves its small default model under the wrong name; SGLang stops.

    Bad:
        `command: [vllm, serve]`, `args: [--served-model-name, chat, Qwen/Qwen3-8B]`

    Good:
        `args: [Qwen/Qwen3-8B, --served-model-name, chat]`

    References:
        https://docs.vllm.ai/en/latest/cli/serve.html
    """
    for engine in engine_containers(document):
        if engine.model or engine.option("--config") is not None or engine.is_worker:
            continue
        served = (engine.option("--served-model-name") or "").split()
        swallowed = f"; --served-model-name takes {served[-1]!r} as a further name" if len(served) > 1 else ""
        yield context.finding(
            document,
            f"{engine} is told no model{swallowed}",
            path=f"{engine.path}.args",
            hint="name the model as the first argument",
        )
