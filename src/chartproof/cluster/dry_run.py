"""Asks the API server whether it would take every document of a release, without keeping any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    namespaces of the release are made first, for real, because objects need them; so are the accounts of plain
    pods, which the server looks up, and which are taken away again.
    """
    cluster.api.forget_resources()
    for name in sorted({release.namespace_of(each) for each in release.documents}):
        cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    refusals = []
    with _accounts(cluster, release):
        for document in release.documents:
            try:
                cluster.api.apply(document.body, release.namespace, dry_run=True)
            except ApiError as error:
                if error.status == 0:
                    raise
                refusals.append(Refusal(document.identity, error.what))
    return refusals


@contextmanager
def _accounts(cluster: Cluster, release: Release) -> Iterator[None]:
    """The release's ServiceAccounts that its plain pods name, for the time of the block."""
    named = {(release.namespace_of(each), each.get("spec", "serviceAccountName")) for each in release.of_kind("Pod")}
    made = []
    for account in release.of_kind("ServiceAccount"):
        where = release.namespace_of(account)
        if (where, account.name) in named and not cluster.api.find("v1", "ServiceAccount", account.name, where):
            cluster.api.create(
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account.name}}, where
            )
            made.append((account.name, where))
    try:
        yield
    finally:
        for name, where in made:
            cluster.api.delete("v1", "ServiceAccount", name, where)
