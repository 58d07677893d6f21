"""LLM701."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._shutdown import LEAST_TEARDOWN_SECONDS, shutdown_of
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM701", name="grace-period-too-short", severity=Severity.ERROR, kinds=SERVING)
def grace_period_too_short(document: Document, context: Context) -> Iterator[Finding]:
    """The pod is killed before its requests can end.

    What:
        `terminationGracePeriodSeconds` (30 by default) is less than the preStop pause plus the engine's
        drain (`--shutdown-timeout`) plus 5 seconds of teardown.

    Why it hurts:
        SIGKILL ends all streams in the middle, at every scale-down, update and node replacement, while
        the settings look as if requests were drained.

    Bad:
        preStop `sleep 10`, `--shutdown-timeout 90`, and a grace period of 30 s.

    Good:
        `terminationGracePeriodSeconds: 115`: 10 + 90 + 15.

    References:
        https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
        https://github.com/vllm-project/vllm/pull/43208
    """
    for engine in engine_containers(document):
        stop = shutdown_of(engine)
        if stop.grace < stop.needed:
            yield context.finding(
                document,
                f"{engine}: grace period {stop.grace} s is not above preStop {stop.pre_stop:g} s + drain "
                f"{stop.drain} s + {LEAST_TEARDOWN_SECONDS} s of teardown",
                path=engine.pod.path_of("spec", "terminationGracePeriodSeconds"),
                hint=f"write terminationGracePeriodSeconds: {stop.planned}",
            )
