"""LLM716."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._selection import together
from chartproof.rules.registry import Context, rule


@rule(id="LLM716", name="group-service-name-taken", severity=Severity.ERROR, kinds=("LeaderWorkerSet",))
def group_service_name_taken(document: Document, context: Context) -> Iterator[Finding]:
    """A Service has the name of the one by which the pods of a group find their leader.

    What:
        A LeaderWorkerSet whose groups share a subdomain (`subdomainPolicy: Shared`, the default), and a Service of
        the same name that is not headless, or hides pods that are not ready.

    Why it hurts:
        LeaderWorkerSet gives pods their names by a headless Service that is named like itself, and makes none
        where there is one of that name. Then `LWS_LEADER_ADDRESS` leads nowhere: the workers wait for their
        leader, the leader for its workers, until the start is given up.

    Bad:
        A LeaderWorkerSet `deepseek`, and a Service `deepseek` for its clients.

    Good:
        `networkConfig: {subdomainPolicy: UniquePerReplica}`, which names Services by the group, or another name
        for the clients' Service.

    References:
        https://lws.sigs.k8s.io/docs/concepts/
        https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-hostname-and-subdomain-fields
    """
    size = document.get("spec", "leaderWorkerTemplate", "size", default=1)
    if size == 1 or document.get("spec", "networkConfig", "subdomainPolicy", default="Shared") != "Shared":
        return
    for service in context.release.of_kind("Service"):
        names_pods = service.get("spec", "clusterIP") == "None" and service.get("spec", "publishNotReadyAddresses")
        if service.name == document.name and together(context.release, document, service) and not names_pods:
            yield context.finding(
                document,
                f"{service.identity} has the name of the headless Service by which a group finds its leader",
                path="spec.networkConfig" if document.get("spec", "networkConfig") else "spec",
                hint="write networkConfig: {subdomainPolicy: UniquePerReplica}, or name that Service otherwise",
            )
