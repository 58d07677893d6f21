"""LLM111."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.versions import format_version
from chartproof.workload import EngineContainer, engine_containers

#: First vLLM image that is entered by `vllm serve`; older ones start the API server module.
_ENTRYPOINT_CHANGED = (0, 11, 1)


@rule(id="LLM111", name="args-without-command", severity=Severity.ERROR, kinds=SERVING)
def args_without_command(document: Document, context: Context) -> Iterator[Finding]:
    """Arguments are written for an entrypoint that the image may not have.

    What:
        A vLLM container has `args` and no `command`. Error: the arguments do not suit the entrypoint of
        the image's version, or the image is not vLLM's own and its entrypoint is unknown. Warning: they
        suit this version only.

    Why it hurts:
        vLLM's image was entered by `python3 -m vllm.entrypoints.openai.api_server` up to 0.11.0, which
        needs `--model`, and by `vllm serve` from 0.11.1 on, which takes the model as its first word. An
        upgrade, or a derived image, turns the same arguments into a crash.

    Bad:
        `args: [Qwen/Qwen3-8B, --max-model-len, "8192"]`

    Good:
        `command: [vllm, serve]` and the same `args`.

    References:
        https://github.com/vllm-project/vllm/blob/main/docker/Dockerfile
        https://docs.vllm.ai/en/latest/deployment/docker.html
    """
    for engine in engine_containers(document):
        if engine.engine != "vllm" or engine.container.get("command") or not engine.container.get("args"):
            continue
        problem = _problem(engine)
        finding = context.finding(
            document,
            f"{engine} has args without command; {problem or 'they suit the entrypoint of this image only'}",
            path=f"{engine.path}.command",
            hint="add command: [vllm, serve]",
        )
        yield finding if problem else replace(finding, severity=Severity.WARNING)


def _problem(engine: EngineContainer) -> str:
    words = engine.words
    if words and words[0] in {"serve", "vllm", "python3", "python"}:
        return f"{words[0]!r} becomes an argument of the image's own entrypoint"
    if engine.version is None:
        return "the entrypoint of this image is not known"
    shown = format_version(engine.version)
    if engine.version < _ENTRYPOINT_CHANGED and engine.option("--model") is None:
        return f"vLLM {shown} is entered by its API server module, which needs --model"
    return ""
