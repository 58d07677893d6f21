"""Pytest fixtures of chartproof, loaded wherever it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # imported when first asked for: every pytest run on the machine loads this file
    from chartproof.cluster import Cluster


@pytest.fixture(scope="session")
def embedded_cluster() -> Iterator[Cluster]:
    """A Kubernetes API server with the CRDs of KEDA, Karpenter and prometheus-operator.

    Started once per session (and per pytest-xdist worker), on free ports of the loopback interface,
    and ended with it. GPU nodes appear as pods ask for them.
    """
    from chartproof import cluster

    with cluster.running() as running:
        yield running
