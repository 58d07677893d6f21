"""LLM613."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._selection import together
from chartproof.rules._weights import environment_names, has_unseen_environment, script_of
from chartproof.rules.registry import Context, rule

_KEYS = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    }
)
_UNSIGNED = frozenset({"RUNAI_STREAMER_S3_UNSIGNED", "AWS_NO_SIGN_REQUEST", "AWS_EC2_METADATA_DISABLED"})
_ROLE = "eks.amazonaws.com/role-arn"
_S3 = re.compile(r"\bs3://")


@rule(
    id="LLM613",
    name="s3-without-credentials",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod", "Job", "CronJob"),
)
def s3_without_credentials(document: Document, context: Context) -> Iterator[Finding]:
    """A container reads from S3 with nothing to sign its requests.

    What:
        A container names an `s3://` address, has no AWS keys, and its pod runs under the namespace's default
        ServiceAccount, or under another one than that of the release with a role
        (`eks.amazonaws.com/role-arn`). A Pod Identity association of a named ServiceAccount cannot be seen in
        manifests, so that one is not reported.

    Why it hurts:
        Karpenter's nodes keep pods from the instance's own role (metadata hop limit 1): the download ends with
        "unable to locate credentials".

    Bad:
        `vllm serve s3://bucket/model` without `serviceAccountName`

    Good:
        `serviceAccountName: llm` with a Pod Identity association or IRSA

    References:
        https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html
        https://karpenter.sh/docs/concepts/nodeclasses/#specmetadataoptions
    """
    for pod in document.pod_templates:
        readers = [
            (container, init)
            for init in (True, False)
            for container in pod.containers(init=init)
            if _S3.search(script_of(container)) and not _signs_otherwise(container)
        ]
        account = str(pod.spec.get("serviceAccountName") or pod.spec.get("serviceAccount") or "default")
        known = [
            each for each in context.release.of_kind("ServiceAccount") if together(context.release, document, each)
        ]
        with_role = [each.name for each in known if each.annotations.get(_ROLE)]
        if not readers or account in with_role or pod.spec.get("hostNetwork"):
            continue
        if account != "default" and not with_role:
            continue
        container, init = readers[0]
        other = f", while {with_role[0]!r} has a role" if with_role else ""
        yield context.finding(
            document,
            f"container {container.get('name')!r} reads S3 as ServiceAccount {account!r}, without credentials{other}",
            path=pod.container_path(container, init=init),
            hint=f"set serviceAccountName: {with_role[0]}"
            if with_role
            else "name a ServiceAccount with Pod Identity or IRSA",
        )


def _signs_otherwise(container: Mapping[str, object]) -> bool:
    names = environment_names(container)
    return bool(
        names & (_KEYS | _UNSIGNED) or has_unseen_environment(container) or "--no-sign-request" in script_of(container)
    )
