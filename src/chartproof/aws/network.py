"""What a NetworkPolicy's egress must let through so that pods reach the AWS services that they use."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.release import Document, PodTemplate, Release, dig
from chartproof.rules._policies import allows_port, peers, policies_on, restricts, rules_of

_DNS, _HTTP, _HTTPS = 53, 80, 443
#: Where the Pod Identity Agent of a node listens. Source: EKS user guide, "Set up the Amazon EKS Pod Identity Agent".
AGENT = "169.254.170.23"
#: An address of S3 is public; any will do to tell a policy that admits the internet from one that does not.
_PUBLIC = "52.216.0.1"


@dataclass(frozen=True, slots=True)
class Gap:
    """Traffic that a workload's policies keep from an AWS service; `ranges` are what they admit instead."""

    workload: str
    policies: tuple[str, ...]
    needs: str
    ranges: tuple[str, ...]


def gaps(release: Release, document: Document, pod: PodTemplate, *, identity: str) -> Iterator[Gap]:
    """Gaps of a pod that uses S3 with an identity: `podIdentity`, `irsa`, or another word for neither."""
    policies = [each for each in policies_on(release, document, pod) if restricts(each, "Egress")]
    if not policies:
        return
    rules = rules_of(policies, "Egress")
    names = tuple(each.name for each in policies)
    if not any(allows_port(each, _DNS, protocol="UDP") for each in rules):
        yield Gap(document.identity, names, "DNS on port 53, without which no endpoint has an address", ())
    if not _reaches(rules, _HTTPS, _PUBLIC):
        services = "S3 and STS" if identity == "irsa" else "S3"
        needs = f"{services} on TCP 443 (S3's addresses are public, also behind a gateway endpoint)"
        yield Gap(document.identity, names, needs, _ranges(rules, _HTTPS))
    if identity == "podIdentity" and not _reaches(rules, _HTTP, AGENT):
        yield Gap(document.identity, names, f"the Pod Identity Agent on TCP 80 of {AGENT}", _ranges(rules, _HTTP))


def _reaches(rules: list[Mapping[str, Any]], port: int, address: str) -> bool:
    for rule in rules:
        if not allows_port(rule, port):
            continue
        found = peers(rule, "Egress")
        if not found or any(_admits(each.get("ipBlock"), address) for each in found):
            return True
    return False


def _admits(block: Any, address: str) -> bool:
    try:
        wanted = ipaddress.ip_address(address)
        return wanted in ipaddress.ip_network(str(dig(block, "cidr", default="")), strict=False) and not any(
            wanted in ipaddress.ip_network(str(each), strict=False) for each in dig(block, "except", default=[])
        )
    except ValueError:
        return False


def _ranges(rules: list[Mapping[str, Any]], port: int) -> tuple[str, ...]:
    """Address ranges that the rules admit on a port."""
    return tuple(
        dict.fromkeys(
            str(dig(peer, "ipBlock", "cidr"))
            for rule in rules
            if allows_port(rule, port)
            for peer in peers(rule, "Egress")
            if dig(peer, "ipBlock", "cidr")
        )
    )
