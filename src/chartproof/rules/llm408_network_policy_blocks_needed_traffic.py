"""LLM408."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from chartproof.findings import Finding, Severity
from chartproof.release import Document, PodTemplate, Release, dig
from chartproof.rules._policies import (
    admits_namespace,
    allows_port,
    peers,
    policies_on,
    port_names,
    restricts,
    rules_of,
)
from chartproof.rules._selection import autoscalers_of
from chartproof.rules._weights import BUCKET, TOOLS, environment_names, hub_repositories, hub_repository, script_of
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

_DNS = 53
_HTTPS = 443
#: Variables that point to a store of one's own, on a port of its own.
_ENDPOINT = re.compile(r"ENDPOINT")
#: `prometheus.monitoring.svc:9090`, or `prometheus.monitoring:9090` where no public domain is meant.
_IN_CLUSTER = re.compile(r"//(?P<service>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)(\.svc[.:/]|\.svc$|:\d+|/|$)")
_PUBLIC = frozenset({"com", "io", "org", "net", "dev", "internal", "local", "cloud"})


@rule(
    id="LLM408",
    name="network-policy-blocks-needed-traffic",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod", "Job"),
)
def network_policy_blocks_needed_traffic(document: Document, context: Context) -> Iterator[Finding]:
    """A NetworkPolicy blocks traffic that the engine needs.

    What:
        The policies on an engine's pods leave out the engine's own port (often the Service's port is named
        instead), the namespace of the Prometheus that the release's autoscaler asks, DNS, HTTPS to fetch
        weights, or, in a multi-node group, the pods of the group.

    Why it hurts:
        Clients time out, the autoscaler and all alerts go blind, or the pod never gets its weights. Policies
        deny without any message.

    Bad:
        `egress` with port 443 only: no name is resolved any more

    Good:
        also `{ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}`

    References:
        https://kubernetes.io/docs/concepts/services-networking/network-policies/
    """
    for engine in engine_containers(document):
        policies = policies_on(context.release, document, engine.pod)
        if any(restricts(each, "Ingress") for each in policies):
            yield from _ingress(engine, policies, context)
    for pod in document.pod_templates:
        policies = policies_on(context.release, document, pod)
        if any(restricts(each, "Egress") for each in policies):
            yield from _egress(document, pod, policies, context)


def _ingress(engine: EngineContainer, policies: list[Document], context: Context) -> Iterator[Finding]:
    release, names = context.release, port_names(engine.pod, engine.port)
    where = ", ".join(each.name for each in policies)
    rules = rules_of(policies, "Ingress")
    admitting = [each for each in rules if allows_port(each, engine.port, names=names)]
    if not admitting:
        yield context.finding(
            engine.document,
            f"NetworkPolicy {where} lets nobody in on port {engine.port}, where the engine listens",
            hint=f"allow port {engine.port}: policies speak of the pod's port, not the Service's",
        )
        return
    own = release.namespace_of(engine.document)
    for namespace in sorted(_scrapers(engine, release)):
        verdicts = [
            True if not peers(rule, "Ingress") else admits_namespace(peer, namespace, own)
            for rule in admitting
            for peer in peers(rule, "Ingress") or [{}]
        ]
        if all(verdict is False for verdict in verdicts):
            yield context.finding(
                engine.document,
                f"NetworkPolicy {where} keeps namespace {namespace!r} out, where the Prometheus of the autoscaler is",
                hint=f"admit namespaceSelector {{kubernetes.io/metadata.name: {namespace}}} on port {engine.port}",
            )
    size = engine.document.get("spec", "leaderWorkerTemplate", "size", default=1)
    if isinstance(size, int) and size > 1 and not any(_whole_group(each) for each in rules):
        yield context.finding(
            engine.document,
            f"NetworkPolicy {where} blocks the pods of a group from each other",
            hint="admit the group's own pods by podSelector, on all ports",
        )


def _whole_group(rule: Mapping[str, object]) -> bool:
    """Whether a rule lets pods of the same namespace in on all ports."""
    found = peers(rule, "Ingress")
    return not rule.get("ports") and (not found or any("podSelector" in each for each in found))


def _scrapers(engine: EngineContainer, release: Release) -> set[str]:
    """Namespaces of the Prometheus servers that scale the engine, where the server scrapes pods itself."""
    found = set()
    for scaler in autoscalers_of(release, engine.document):
        for trigger in scaler.get("spec", "triggers", default=[]) or []:
            match = _IN_CLUSTER.search(str(dig(trigger, "metadata", "serverAddress", default="")))
            if match and "prometheus" in match["service"] and match["namespace"] not in _PUBLIC:
                found.add(match["namespace"])
    return found


def _egress(document: Document, pod: PodTemplate, policies: list[Document], context: Context) -> Iterator[Finding]:
    where = ", ".join(each.name for each in policies)
    rules = rules_of(policies, "Egress")
    fetching = [each for each in (*pod.containers(init=True), *pod.containers()) if _fetches(each)]
    fetching += [
        each.container
        for each in engine_containers(document)
        if each.pod is pod and (hub_repository(each) or BUCKET.match(each.model))
    ]
    if (fetching or rules) and not any(allows_port(each, _DNS, protocol="UDP") for each in rules):
        yield context.finding(
            document,
            f"NetworkPolicy {where} blocks DNS: no name is resolved",
            hint="allow UDP and TCP port 53 to the cluster's DNS",
        )
    own_store = any(_ENDPOINT.search(name) for each in fetching for name in environment_names(each))
    if fetching and not own_store and not any(allows_port(each, _HTTPS) for each in rules):
        yield context.finding(
            document,
            f"NetworkPolicy {where} blocks HTTPS, over which container {fetching[0].get('name')!r} fetches weights",
            hint="allow TCP port 443 to where the weights are",
        )


def _fetches(container: Mapping[str, object]) -> bool:
    """Whether a container's own script reads from a bucket or a hub."""
    script = script_of(container)
    return bool(
        BUCKET.search(script) or hub_repositories(container) or any(mark.search(script) for mark in TOOLS.values())
    )
