"""LLM402."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._policies import allows_port, exposed_by, peers, policies_on, restricts, rules_of
from chartproof.rules._weights import environment_names, has_unseen_environment
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

_KEYS = frozenset({"VLLM_API_KEY", "SGLANG_API_KEY", "API_KEY"})


@rule(
    id="LLM402",
    name="open-port-without-key",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def open_port_without_key(document: Document, context: Context) -> Iterator[Finding]:
    """An engine without API key is open to more than its clients.

    What:
        No API key is set, and a Service of type LoadBalancer or NodePort, an Ingress or a route exposes the
        engine, or its NetworkPolicy admits every namespace (warnings). A note where no policy restricts the
        port inside the cluster.

    Why it hurts:
        Whoever reaches the port uses the GPUs for nothing, and sees metrics and model.

    Bad:
        `type: LoadBalancer` for an engine without key

    Good:
        `VLLM_API_KEY` from a Secret, or a gateway that authenticates in front

    References:
        https://docs.vllm.ai/en/latest/usage/security/
    """
    for engine in engine_containers(document):
        keyed = environment_names(engine.container) & _KEYS or engine.option("--api-key") is not None
        headless = engine.option("--headless") is not None
        if keyed or headless or has_unseen_environment(engine.container):
            continue
        exposures = list(exposed_by(context.release, engine))
        policies = [each for each in policies_on(context.release, document, engine.pod) if restricts(each, "Ingress")]
        everybody = [
            rule
            for rule in rules_of(policies, "Ingress")
            if allows_port(rule, engine.port) and _admits_everybody(peers(rule, "Ingress"))
        ]
        hint = "set VLLM_API_KEY from a Secret, or admit only the gateway's namespace"
        if exposures:
            message = f"port {engine.port} has no API key, and {exposures[0]} exposes it"
        elif everybody:
            message = f"port {engine.port} has no API key, and its NetworkPolicy admits every namespace"
        elif not policies:
            message = f"port {engine.port} has no API key and no NetworkPolicy: every pod of the cluster may use it"
        else:
            continue
        found = context.finding(document, message, path=engine.path, hint=hint)
        yield found if exposures or everybody else replace(found, severity=Severity.NOTE)


def _admits_everybody(found: list[Mapping[str, object]]) -> bool:
    return not found or any(each.get("namespaceSelector") == {} for each in found)
