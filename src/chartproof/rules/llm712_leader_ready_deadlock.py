"""LLM712."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._pods import parallel_gpus
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM712", name="leader-ready-deadlock", severity=Severity.ERROR, kinds=("LeaderWorkerSet",))
def leader_ready_deadlock(document: Document, context: Context) -> Iterator[Finding]:
    """Leader and workers of a group wait for each other.

    What:
        A LeaderWorkerSet with `startupPolicy: LeaderReady` whose leader needs its workers to become ready:
        its ranks span several nodes.

    Why it hurts:
        Workers are made when the leader is ready, and the leader is ready when the workers have joined:
        the group never starts.

    Bad:
        `startupPolicy: LeaderReady` with `--nnodes 2` or pipeline stages on the workers.

    Good:
        `startupPolicy: LeaderCreated`

    References:
        https://lws.sigs.k8s.io/docs/concepts/
    """
    if document.get("spec", "startupPolicy") != "LeaderReady":
        return
    for engine in engine_containers(document):
        leader = "leaderTemplate" in engine.pod.path or len(document.pod_templates) == 1
        spans = engine.option("--nnodes", "-n") is not None or (parallel_gpus(engine) or 1) > max(1, engine.gpus)
        if leader and engine.group_size > 1 and spans:
            yield context.finding(
                document,
                f"{engine} becomes ready with its workers only, which LeaderReady makes after it is ready",
                path="spec.startupPolicy",
                hint="write startupPolicy: LeaderCreated",
            )
