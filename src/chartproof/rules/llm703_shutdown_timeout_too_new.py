"""LLM703."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._shutdown import SHUTDOWN_TIMEOUT_SINCE
from chartproof.rules.registry import Context, rule
from chartproof.versions import format_version
from chartproof.workload import engine_containers


@rule(id="LLM703", name="shutdown-timeout-too-new", severity=Severity.ERROR, kinds=SERVING)
def shutdown_timeout_too_new(document: Document, context: Context) -> Iterator[Finding]:
    """`--shutdown-timeout` is given to an engine that does not have it.

    What:
        The option on vLLM before 0.18, or on SGLang.

    Why it hurts:
        Unknown option: the argument parser ends with exit code 2, CrashLoopBackOff. Older releases wait
        for open connections by themselves.

    Bad:
        `--shutdown-timeout 90` with `vllm/vllm-openai:v0.17.1`

    Good:
        The option left out there, or an image of 0.18 or newer.

    References:
        https://github.com/vllm-project/vllm/releases
    """
    for engine in engine_containers(document):
        if engine.option("--shutdown-timeout") is None:
            continue
        old = engine.version is not None and engine.version < SHUTDOWN_TIMEOUT_SINCE
        if engine.engine != "vllm" or old:
            shown = f"{engine.engine} {format_version(engine.version)}" if engine.version else engine.engine
            yield context.finding(
                document,
                f"{engine}: {shown} has no --shutdown-timeout (vLLM has it from "
                f"{format_version(SHUTDOWN_TIMEOUT_SINCE)} on)",
                path=f"{engine.path}.args",
                hint="leave it out, or use a newer image",
            )
