"""LLM125."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers


@rule(id="LLM125", name="shell-without-exec", severity=Severity.ERROR, kinds=SERVING)
def shell_without_exec(document: Document, context: Context) -> Iterator[Finding]:
    """A shell stands between Kubernetes and the engine, and swallows the signal to stop.

    What:
        The engine is started by `sh -c` without `exec`, in a pipeline, or in the background. Warning
        where bash runs it as its last command: some versions of bash then replace themselves.

    Why it hurts:
        SIGTERM goes to the shell, which does not pass it on. The engine never drains: after the grace
        period it is killed with all its requests, at every scale-down.

    Bad:
        `command: [sh, -c, "vllm serve Qwen/Qwen3-8B"]`

    Good:
        `command: [vllm, serve]`, or `command: [sh, -c, "exec vllm serve Qwen/Qwen3-8B"]`

    References:
        https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
        https://www.gnu.org/software/bash/manual/bash.html#Signals
    """
    for engine in engine_containers(document):
        problem, severity = _problem(engine)
        if problem:
            finding = context.finding(
                document,
                f"{engine}: {problem}, so SIGTERM does not reach {engine.engine}",
                path=f"{engine.path}.command",
                hint="start the engine by command and args, or put exec before it",
            )
            yield replace(finding, severity=severity)


def _problem(engine: EngineContainer) -> tuple[str, Severity]:
    launch = engine.launch
    if not launch.shell:
        return "", Severity.NOTE
    after = launch.commands[launch.position].after
    before = launch.commands[launch.position].before
    if "|" in (after.strip(), before.strip()):
        return "it runs in a pipeline", Severity.ERROR
    if after.strip() == "&":
        return "it runs in the background of the shell", Severity.ERROR
    if launch.replaces_shell:
        return "", Severity.NOTE
    last = launch.position == len(launch.commands) - 1
    if launch.shell == "bash" and last:
        return "bash starts it without exec", Severity.WARNING
    return f"{launch.shell} starts it without exec", Severity.ERROR
