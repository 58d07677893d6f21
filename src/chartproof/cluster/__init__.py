"""A real Kubernetes control plane on this machine, with GPU nodes that are only simulated.

    with cluster.running() as running:
        refusals = cluster.dry_run(running, release)

etcd, API server, controller manager and scheduler are the real programs; kwok plays the kubelets,
and a process of ours plays Karpenter and the storage driver. With `running(live=Live())` KEDA,
Prometheus and Karpenter are real too, and pods take their time.
"""

from __future__ import annotations

from chartproof.cluster.dry_run import Refusal, dry_run
from chartproof.cluster.embedded import Cluster, Status, attach, down, running, status, up
from chartproof.cluster.live import Live, LiveSettings

__all__ = [
    "Cluster",
    "Live",
    "LiveSettings",
    "Refusal",
    "Status",
    "attach",
    "down",
    "dry_run",
    "running",
    "status",
    "up",
]
