"""LLM410."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._pods import all_containers
from chartproof.rules._weights import environment_names
from chartproof.rules.registry import Context, rule

_KEYS = ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")
_ENDPOINTS = frozenset({"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL", "RUNAI_STREAMER_S3_ENDPOINT"})


@rule(
    id="LLM410",
    name="static-cloud-keys",
    severity=Severity.WARNING,
    kinds=(
        "Deployment",
        "StatefulSet",
        "ReplicaSet",
        "LeaderWorkerSet",
        "Pod",
        "Job",
        "CronJob",
        "TriggerAuthentication",
        "ClusterTriggerAuthentication",
    ),
)
def static_cloud_keys(document: Document, context: Context) -> Iterator[Finding]:
    """Static AWS keys instead of a role.

    What:
        A container that speaks to AWS gets AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY, or a KEDA
        TriggerAuthentication does. Stores with their own endpoint URL, which know no IAM, are left out.

    Why it hurts:
        Static keys do not expire, are copied, and stop working when somebody rotates them: then no replica can
        load its weights.

    Bad:
        `AWS_SECRET_ACCESS_KEY` from a Secret

    Good:
        a ServiceAccount with Pod Identity or `eks.amazonaws.com/role-arn`

    References:
        https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html
    """
    for pod in document.pod_templates:
        for container, path in all_containers(pod):
            names = environment_names(container)
            if names & set(_KEYS) and not names & _ENDPOINTS:
                yield context.finding(
                    document,
                    f"container {container.get('name')!r} has static AWS keys",
                    path=f"{path}.env",
                    hint="use EKS Pod Identity or IRSA",
                )
    for i, each in enumerate(document.get("spec", "secretTargetRef", default=[]) or []):
        if dig(each, "parameter") in {"awsAccessKeyID", "awsSecretAccessKey"}:
            yield context.finding(
                document,
                f"takes a static {each['parameter']}",
                path=f"spec.secretTargetRef[{i}]",
                hint="write podIdentity: {provider: aws}",
            )
