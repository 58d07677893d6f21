"""LLM113."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._probes import load_time, probe
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM113", name="startup-budget-below-load-time", severity=Severity.ERROR, kinds=SERVING)
def startup_budget_below_load_time(document: Document, context: Context) -> Iterator[Finding]:
    """The startup probe gives up before the model can be loaded.

    What:
        `initialDelaySeconds + periodSeconds x failureThreshold` of the startup probe is less than the
        planned time between the container's start and its first answer: imports, reading weights,
        profiling, compilation, CUDA graphs. Where the model is unknown, less than any engine needs.

    Why it hurts:
        The kubelet kills the container while it loads, it starts over, and never gets further. The log
        ends with "KeyboardInterrupt: terminated", which sends people looking in the wrong place.

    Bad:
        `startupProbe: {periodSeconds: 10, failureThreshold: 6}` (60 s)

    Good:
        `startupProbe: {periodSeconds: 10, failureThreshold: 60}` (600 s)

    References:
        https://docs.vllm.ai/en/latest/deployment/k8s.html
        https://kubernetes.io/docs/concepts/workloads/pods/probes/
    """
    for engine in engine_containers(document):
        found = probe(engine, "startupProbe")
        if found is None or engine.is_worker:
            continue
        needed = load_time(engine, context.release)
        if found.budget < needed.seconds:
            yield context.finding(
                document,
                f"{engine}: the startup probe allows {found.budget} s ({found.failures} x {found.period} s), "
                f"below {needed}",
                path=found.path,
                hint=f"allow three times as long: periodSeconds {found.period}, "
                f"failureThreshold {round(3 * needed.seconds / found.period + 0.5)}",
            )
