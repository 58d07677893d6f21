"""Fixtures of the whole suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chartproof.cluster import Cluster


@pytest.fixture(scope="module")
def kube_config(embedded_cluster: Cluster) -> str:
    """Put the embedded cluster behind the fixtures of pytest-helm-charts, such as `kube_cluster`."""
    return str(embedded_cluster.kubeconfig)
