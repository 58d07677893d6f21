"""Everything that must exist in the account before a release works, as one description that is also its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chartproof.aws import endpoints, identities, images, metrics, nodes, object_storage, quotas, volumes
from chartproof.aws.target import PLACEHOLDERS, Target, placeholders_in
from chartproof.references import prerequisites
from chartproof.release import Release, dig

Json = dict[str, Any]


def describe(release: Release, target: Target) -> Json:
    """The prerequisites of a release, complete: text and files are made from this."""
    found, unread = object_storage.accesses(release)
    made = identities.identities(release, found)
    pulled = images.images(release)
    claims = volumes.claims(release)
    described: Json = {
        "release": release.name,
        "namespace": release.namespace,
        "account": target.account,
        "cluster": target.cluster,
        "region": target.region,
        "identities": [identities.describe(each, target) for each in made],
        "buckets": identities.buckets(found, target),
        "endpoints": endpoints.endpoints(made, found, list(images.in_ecr(pulled)), claims, target),
        "egress": endpoints.egress(release, found, made),
        "internet": endpoints.internet(release, pulled),
        "images": images.describe(pulled, target),
        "nodes": nodes.describe(release, target),
        "quotas": quotas.describe(release, target),
        "storage": [volumes.describe(each, target) for each in claims],
        "metrics": metrics.describe(release, target),
        "secrets": [
            {"kind": each.kind, "namespace": each.namespace, "name": each.name, "keys": list(each.keys)}
            for each in prerequisites(release)
        ],
        "warnings": [
            *identities.warnings(found, made, target),
            *(f"{each.workload}: {each.address} is not said to the end, so no policy covers it" for each in unread),
            *images.warnings(pulled, target),
            *nodes.warnings(release),
            *volumes.warnings(claims),
        ],
    }
    described["placeholders"] = [
        {"placeholder": each, "find": PLACEHOLDERS[each]} for each in placeholders_in(described)
    ]
    return described


def files(described: Any) -> dict[str, Json]:
    """Policies and manifests by file name, as the commands of the description call them.

    `files` of each part of the description says the name of each file and where in the part its content is.
    """
    return dict(_files(described))


def _files(part: Any) -> Iterator[tuple[str, Json]]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "files":
                yield from ((name, dig(part, *place.split("."))) for name, place in value.items())
            else:
                yield from _files(value)
    elif isinstance(part, list):
        for each in part:
            yield from _files(each)
