"""Where images come from: pull-through caches of Amazon ECR that must exist, and registries that need the internet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chartproof.aws import policies
from chartproof.aws.facts import Registry, registries
from chartproof.aws.target import Target, file_name, word
from chartproof.release import Release
from chartproof.workload import ImageReference

Json = dict[str, Any]
_DOCKER_HUB = "docker.io"
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.(amazonaws\.com(\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)"
)
#: What ECR accepts as the prefix of a rule. Source: CreatePullThroughCacheRule of the Amazon ECR API reference.
_PREFIX = re.compile(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*")
_PREFIX_LENGTHS = range(2, 31)


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the release: its registry (`docker.io` where none is written) and its path there."""

    text: str
    registry: str
    path: str


@dataclass(frozen=True, slots=True)
class Cached:
    """An image in a private registry of Amazon ECR.

    `prefix` and `upstream` are set where it comes through a cache; else it is a repository of its own.
    """

    image: Image
    account: str
    region: str
    prefix: str
    upstream: Registry | None

    @property
    def problem(self) -> str:
        """Why this cannot be a cache, empty where it can or is none."""
        if self.upstream is None:
            return ""
        if not self.upstream.pull_through:
            return f"ECR has no pull-through cache for {self.upstream.name}: copy the image to a repository of its own"
        if len(self.prefix) not in _PREFIX_LENGTHS or not _PREFIX.fullmatch(self.prefix):
            return f"ECR refuses the prefix {self.prefix!r}: 2 to 30 lower-case letters, digits and single ._-"
        return ""


def images(release: Release) -> list[Image]:
    """The images of all containers, each once."""
    found: dict[str, Image] = {}
    for document in release.workloads:
        for pod in document.pod_templates:
            for container in (*pod.containers(init=True), *pod.containers()):
                text = str(container.get("image") or "")
                if text:
                    found.setdefault(text, _image(text))
    return list(found.values())


def _image(text: str) -> Image:
    repository = ImageReference.parse(text).repository
    head, slash, rest = repository.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        return Image(text, head, rest)
    return Image(text, _DOCKER_HUB, repository if slash else f"library/{repository}")


def in_ecr(found: Sequence[Image]) -> Iterator[Cached]:
    """The images that lie in private registries of Amazon ECR."""
    for image in found:
        match = _ECR.fullmatch(image.registry)
        if match:
            prefix, upstream = _upstream(image.path)
            yield Cached(image, match["account"], match["region"], prefix, upstream)


def _upstream(path: str) -> tuple[str, Registry | None]:
    """Prefix and registry of a cached image: known by the image behind the prefix, else by the prefix's usual name."""
    for registry in registries().values():
        for repository in registry.repositories:
            if path.endswith("/" + repository):
                return path.removesuffix("/" + repository), registry
    segments = path.split("/")
    # A prefix may have several parts (`cache/quay`); the longest that ends in a usual name is taken.
    for end in range(len(segments) - 1, 0, -1):
        for registry in registries().values():
            if segments[end - 1] in registry.prefixes:
                return "/".join(segments[:end]), registry
    return "", None


def outside(found: Sequence[Image]) -> dict[str, list[str]]:
    """Images by registry that are pulled from the internet."""
    grouped: dict[str, list[str]] = {}
    for image in found:
        if not _ECR.fullmatch(image.registry):
            grouped.setdefault(image.registry, []).append(image.text)
    return grouped


def describe(found: Sequence[Image], target: Target) -> Json:
    """Caches and repositories that must exist in ECR, and the registries that images are pulled from directly."""
    cached = list(in_ecr(found))
    grouped: dict[tuple[str, str, str], list[Cached]] = {}
    for each in cached:
        if each.upstream is not None and not each.problem:
            grouped.setdefault((each.account, each.region, each.prefix), []).append(each)
    return {
        "pullThroughCaches": [
            _cache(members, members[0].upstream, target) for members in grouped.values() if members[0].upstream
        ],
        "repositories": [each.image.text for each in cached if each.upstream is None or each.problem],
        "pulledDirectly": [_direct(registry, texts) for registry, texts in outside(found).items()],
    }


def _cache(members: Sequence[Cached], upstream: Registry, target: Target) -> Json:
    account, region, prefix = members[0].account, members[0].region, members[0].prefix
    rule = (
        f"aws ecr create-pull-through-cache-rule --region {region} --ecr-repository-prefix {word(prefix)}"
        f" --upstream-registry-url {upstream.upstream_url}"
    )
    commands = [rule]
    secret = f"ecr-pullthroughcache/{prefix}" if upstream.credential else None
    if secret:
        commands = [
            (
                f"aws secretsmanager create-secret --region {region} --name {word(secret)} --secret-string"
                ' \'{"username": "<UPSTREAM_USER>", "accessToken": "<UPSTREAM_ACCESS_TOKEN>"}\''
            ),
            (
                f"{rule} --credential-arn $(aws secretsmanager describe-secret --region {region}"
                f" --secret-id {word(secret)} --query ARN --output text)"
            ),
        ]
    return {
        "prefix": prefix,
        "account": account,
        "region": region,
        "upstream": upstream.name,
        "upstreamUrl": upstream.upstream_url,
        "credentialSecret": secret,
        "images": [each.image.text for each in members],
        "nodePolicy": policies.pull_through(target.partition, region, account, [prefix]),
        "files": {file_name("ecr", prefix, "node-role.json"): "nodePolicy"},
        "commands": commands,
    }


def _direct(registry: str, texts: Sequence[str]) -> Json:
    known = registries().get(registry)
    return {
        "registry": registry,
        "images": list(texts),
        "pullThroughPossible": known.pull_through if known else False,
        "credentialNeeded": bool(known and known.credential),
    }


def warnings(found: Sequence[Image], target: Target) -> list[str]:
    """What is wrong or risky about images in ECR."""
    cached = list(in_ecr(found))
    said = [f"{each.image.text}: {each.problem}" for each in cached if each.problem]
    for account, region in dict.fromkeys((each.account, each.region) for each in cached):
        if target.account.isdigit() and account != target.account:
            said.append(f"images come from the registry of account {account}: its policies must admit the nodes")
        if target.known_region and region != target.region:
            said.append(f"images come from {region}, the cluster is in {target.region}: pulls are slow and paid for")
    return said
