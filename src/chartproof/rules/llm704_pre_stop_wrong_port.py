"""LLM704."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._pods import pre_stop
from chartproof.rules._probes import local_targets, other_ports
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM704", name="pre-stop-wrong-port", severity=Severity.ERROR, kinds=SERVING)
def pre_stop_wrong_port(document: Document, context: Context) -> Iterator[Finding]:
    """The preStop hook asks on a port where the engine does not listen.

    What:
        An HTTP preStop hook, or a `curl` in an exec hook, uses a port of its own pod that is neither the
        engine's nor declared by another container.

    Why it hurts:
        A hook that waits for the last request sees "connection refused" and ends at once (requests are
        cut off), or waits for ever (the whole grace period is lost at each scale-down).

    Bad:
        `curl localhost:8080/metrics` for an engine on port 8000.

    Good:
        The engine's own port.

    References:
        https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
    """
    for engine in engine_containers(document):
        for port, _, written in local_targets(pre_stop(engine.container), engine):
            if port != engine.port and port not in other_ports(engine):
                yield context.finding(
                    document,
                    f"{engine}: the preStop hook asks on port {written}, the engine listens on {engine.port}",
                    path=f"{engine.path}.lifecycle.preStop",
                    hint=f"use port {engine.port}",
                )
