"""LLM407."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._policies import policies_on, restricts
from chartproof.rules._selection import together
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(
    id="LLM407",
    name="missing-network-policy",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def missing_network_policy(document: Document, context: Context) -> Iterator[Finding]:
    """No NetworkPolicy restricts who reaches the engine.

    What:
        No policy of the release governs ingress of an engine's pods. A warning where the release has policies
        for other pods, so that this one was forgotten; else a note.

    Why it hurts:
        Every pod of the cluster can use the GPUs, read the metrics and reach the internal ports that engines
        open between their processes without authentication.

    Bad:
        a release without NetworkPolicy

    Good:
        a policy with ingress from the gateway's and the scraper's namespace

    References:
        https://docs.vllm.ai/en/latest/usage/security/
        https://kubernetes.io/docs/concepts/services-networking/network-policies/
    """
    for engine in engine_containers(document):
        if any(restricts(each, "Ingress") for each in policies_on(context.release, document, engine.pod)):
            continue
        others = [
            each for each in context.release.of_kind("NetworkPolicy") if together(context.release, each, document)
        ]
        found = context.finding(
            document,
            f"no NetworkPolicy governs who reaches {engine}"
            + (f", although the release has {others[0].name!r}" if others else ""),
            hint="add one with ingress from the gateway's and the scraper's namespace",
        )
        yield found if others else replace(found, severity=Severity.NOTE)
