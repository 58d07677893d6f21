"""Asks the API server whether it would take every document of a release, without keeping any."""

from __future__ import annotations

from dataclasses import dataclass

from chartproof.cluster.api import ApiError
from chartproof.cluster.embedded import Cluster
from chartproof.release import Release


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document that the API server does not take, and its reason."""

    object: str
    message: str

    def __str__(self) -> str:
        return f"{self.object}: {self.message}"


def dry_run(cluster: Cluster, release: Release) -> list[Refusal]:
    """Server-side apply of each document with `dryRun=All` and strict field validation.

    Real definitions decide, with their CEL rules and defaults; unknown fields are refused. The
    namespaces of the release are made first, for real, because objects need them.
    """
    cluster.api.forget_resources()
    for name in sorted({release.namespace_of(each) for each in release.documents}):
        cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    refusals = []
    for document in release.documents:
        try:
            cluster.api.apply(document.body, release.namespace, dry_run=True)
        except ApiError as error:
            if error.status == 0:
                raise
            refusals.append(Refusal(document.identity, error.what))
    return refusals
