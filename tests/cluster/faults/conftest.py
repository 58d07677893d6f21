"""One release under constant load for all faults: they come one after another, and it must recover each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chartproof.cluster import Cluster
    from tests.cluster.faults.rig import Rig, Served


@pytest.fixture(scope="module")
def rig(live_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The live cluster with the platform installed."""
    from tests.cluster.faults.rig import PLATFORM, Rig  # noqa: PLC0415  (only where it is used)

    with Rig(live_cluster, tmp_path_factory.mktemp("faults")) as made:
        made.install("platform", "platform", PLATFORM)
        yield made


@pytest.fixture(scope="module")
def served(rig: Rig) -> Served:
    """A model that was woken from zero and serves a constant load with three replicas."""
    from tests.cluster.faults.rig import HERE  # noqa: PLC0415

    found = rig.serve("model", HERE / "values.yaml")
    # A little at first: what is held back while the first replica loads would ask for many.
    rig.load(found, 0.2)
    rig.until(lambda: (found.now.ready or 0) >= 1, "the first replica serves")
    rig.load(found, found.usual)
    rig.settled(found)
    return found


@pytest.fixture(scope="module")
def neighbour(rig: Rig) -> Served:
    """A second model in the same namespace, which nobody asks."""
    from tests.cluster.faults.rig import HERE  # noqa: PLC0415

    return rig.serve("neighbour", HERE / "neighbour.yaml")
