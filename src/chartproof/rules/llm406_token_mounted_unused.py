"""LLM406."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._selection import together
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(
    id="LLM406",
    name="token-mounted-unused",
    severity=Severity.NOTE,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def token_mounted_unused(document: Document, context: Context) -> Iterator[Finding]:
    """A Kubernetes API token is mounted into an engine that does not use it.

    What:
        An engine's pod (alone with its init containers) mounts the token of its ServiceAccount, and no
        RoleBinding of the release gives the account anything.

    Why it hurts:
        Code that breaks out of the model server can speak to the API. Credentials of IRSA and Pod Identity are
        projected separately and stay.

    Bad:
        no `automountServiceAccountToken`

    Good:
        `automountServiceAccountToken: false`

    References:
        https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/
    """
    for engine in engine_containers(document):
        name = str(engine.pod.spec.get("serviceAccountName") or "default")
        account = context.release.find("ServiceAccount", name)
        mounted = engine.pod.spec.get("automountServiceAccountToken")
        if mounted is None and account is not None and together(context.release, document, account):
            mounted = account.get("automountServiceAccountToken")
        bound = any(
            dig(subject, "name") == name
            for binding in context.release.of_kind("RoleBinding", "ClusterRoleBinding")
            for subject in binding.get("subjects", default=[]) or []
        )
        if mounted is not False and not bound and len(engine.pod.containers()) == 1:
            yield context.finding(
                document,
                f"mounts the token of ServiceAccount {name!r}, which nothing in the pod needs",
                path=engine.pod.path_of("spec", "automountServiceAccountToken"),
                hint="add automountServiceAccountToken: false",
            )
