"""VPC endpoints, egress that does not cover them, and what only the internet has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chartproof.aws import images, network, object_storage
from chartproof.aws.identities import Identity
from chartproof.aws.object_storage import Access
from chartproof.aws.target import Target
from chartproof.aws.volumes import Claim
from chartproof.release import Release
from chartproof.rules._weights import hub_repository, script_of
from chartproof.workload import engines_of

Json = dict[str, Any]
_HUB = "huggingface.co"


def endpoints(
    made: Sequence[Identity],
    found: Sequence[Access],
    cached: Sequence[images.Cached],
    claims: Sequence[Claim],
    target: Target,
) -> list[Json]:
    """Endpoints that the release's traffic to AWS uses.

    They are needed where nodes have no way to the internet. S3's is worth having anywhere: it costs nothing, and
    weights and image layers do not pay for a NAT gateway.
    """
    wanted: dict[tuple[str, str], dict[str, None]] = {}

    def want(service: str, kind: str, why: str) -> None:
        wanted.setdefault((service, kind), {})[why] = None

    for access in found:
        want("s3", "Gateway", f"{access.workload} {'writes' if access.writes else 'reads'} {access.address}")
    for identity in made:
        if identity.mechanism == "irsa":
            want("sts", "Interface", f"pods of ServiceAccount {identity.name} exchange their token for credentials")
        else:
            want("eks-auth", "Interface", f"the Pod Identity Agent gets credentials of ServiceAccount {identity.name}")
    for each in cached:
        want("ecr.api", "Interface", f"nodes log in to the registry of {each.image.text}")
        want("ecr.dkr", "Interface", f"nodes pull {each.image.text}")
        want("s3", "Gateway", "ECR keeps the layers of images in S3")
    for claim in claims:
        if claim.driver is not None and claim.driver.endpoint:
            want(claim.driver.endpoint, "Interface", f"the driver of {claim.name} calls {claim.driver.title}")
    prefix = "cn.com.amazonaws" if target.partition == "aws-cn" else "com.amazonaws"
    return [
        {
            "service": f"{prefix}.{target.region}.{service}",
            "type": kind,
            "reasons": list(reasons),
            "commands": [_command(f"{prefix}.{target.region}.{service}", kind, target)],
        }
        for (service, kind), reasons in sorted(wanted.items())
    ]


def _command(service: str, kind: str, target: Target) -> str:
    command = (
        f"aws ec2 create-vpc-endpoint --region {target.region} --vpc-id <VPC_ID> --vpc-endpoint-type {kind}"
        f" --service-name {service}"
    )
    if kind == "Gateway":
        return f"{command} --route-table-ids <ROUTE_TABLE_IDS>"
    return f"{command} --subnet-ids <SUBNET_IDS> --security-group-ids <SECURITY_GROUP_IDS> --private-dns-enabled"


def egress(release: Release, found: Sequence[Access], made: Sequence[Identity]) -> list[Json]:
    """Traffic to S3 and to credentials that NetworkPolicies of the release keep back."""
    mechanisms = {(each.namespace, each.name): each.mechanism for each in made}
    workloads = {each.workload for each in found}
    gaps: dict[network.Gap, None] = {}
    for document in release.workloads:
        if document.identity in workloads:
            for pod in document.pod_templates:
                account = release.namespace_of(document), object_storage.service_account_of(pod)
                for gap in network.gaps(release, document, pod, identity=mechanisms.get(account, "")):
                    gaps[gap] = None
    return [
        {"workload": each.workload, "policies": list(each.policies), "blocks": each.needs, "admits": list(each.ranges)}
        for each in gaps
    ]


def internet(release: Release, found: Sequence[images.Image]) -> list[Json]:
    """What has no VPC endpoint: it takes a way to the internet, or another source."""
    needed: list[Json] = [
        {"host": registry, "reasons": [f"nodes pull {text}" for text in texts]}
        for registry, texts in images.outside(found).items()
    ]
    readers = {each.document.identity for each in engines_of(release) if hub_repository(each)}
    for document in release.workloads:
        for pod in document.pod_templates:
            for container in (*pod.containers(init=True), *pod.containers()):
                if "hf://" in script_of(container):
                    readers.add(document.identity)
    if readers:
        needed.append({"host": _HUB, "reasons": [f"{each} fetches weights" for each in sorted(readers)]})
    return needed
