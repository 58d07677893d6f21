"""LLM715."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._pods import pre_stop, pre_stop_seconds, waits_for_requests
from chartproof.rules._selection import services_of
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(
    id="LLM715",
    name="missing-pre-stop",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "LeaderWorkerSet"),
)
def missing_pre_stop(document: Document, context: Context) -> Iterator[Finding]:
    """A stopping engine still gets new requests.

    What:
        An engine behind a Service has no preStop hook, or one that does not wait.

    Why it hurts:
        SIGTERM and the removal from the Service's endpoints start at the same moment, and load balancers
        follow seconds later. Requests that arrive in between are refused; readiness does not help, because
        it does not change on SIGTERM.

    Bad:
        No `lifecycle`.

    Good:
        `lifecycle: {preStop: {sleep: {seconds: 10}}}`

    References:
        https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
        https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
    """
    if not services_of(context.release, document):
        return
    for engine in engine_containers(document):
        hook = pre_stop(engine.container)
        waits = pre_stop_seconds(engine.container) > 0 or waits_for_requests(engine.container)
        if engine.is_worker or waits or ("sleep" not in hook and hook):
            continue  # a hook of another kind may wait in ways that cannot be seen
        problem = "a preStop hook that does not wait" if hook else "no preStop hook"
        yield context.finding(
            document,
            f"{engine} has {problem}: requests that arrive while endpoints are removed are refused",
            path=f"{engine.path}.lifecycle.preStop",
            hint="add a preStop sleep of 10 seconds, and count it in the grace period",
        )
