"""One live cluster for every test that asks for it: they share it, so they run one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chartproof.cluster import Cluster


@pytest.fixture(scope="session")
def live_cluster() -> Iterator[Cluster]:
    """A cluster with the live loop at the default speed. Tests use namespaces of their own and leave nothing behind."""
    from chartproof import cluster  # noqa: PLC0415  (only where it is used)

    with cluster.running(live=cluster.Live()) as running:
        yield running


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the live cluster, and keep them on one worker."""
    for item in items:
        if "live_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.xdist_group("live"))
