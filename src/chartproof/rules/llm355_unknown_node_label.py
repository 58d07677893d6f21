"""LLM355."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import AWS_LABELS, CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, ZONE, pool_of
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import label_path, pod_requirements

#: Labels of Karpenter and its AWS provider 1.14. Source: pkg/apis/v1/labels.go of both.
_AWS = frozenset(
    AWS_LABELS + name
    for name in (
        "capacity-reservation-id",
        "capacity-reservation-interruptible",
        "capacity-reservation-type",
        "ec2nodeclass",
        "instance-accelerator-count",
        "instance-accelerator-manufacturer",
        "instance-accelerator-name",
        "instance-capability-flex",
        "instance-category",
        "instance-cpu",
        "instance-cpu-manufacturer",
        "instance-cpu-sustained-clock-speed-mhz",
        "instance-ebs-bandwidth",
        "instance-encryption-in-transit-supported",
        "instance-family",
        "instance-generation",
        "instance-gpu-count",
        "instance-gpu-manufacturer",
        "instance-gpu-memory",
        "instance-gpu-name",
        "instance-hypervisor",
        "instance-local-nvme",
        "instance-memory",
        "instance-network-bandwidth",
        "instance-size",
        "instance-tenancy",
        "placement-group-id",
        "placement-group-partition",
    )
)
#: How alike a key must be to a known one to be meant for it: kubelets may put labels of their own into
#: Kubernetes' domains, nobody into Karpenter's.
_ALIKE = 0.6
_VERY_ALIKE = 0.9
_CORE = frozenset({NODE_POOL, CAPACITY_TYPE, "karpenter.sh/initialized", "karpenter.sh/registered"})
_KUBERNETES = {
    "topology.kubernetes.io/": frozenset({ZONE, "topology.kubernetes.io/region"}),
    "node.kubernetes.io/": frozenset(
        {
            INSTANCE_TYPE,
            "node.kubernetes.io/windows-build",
            "node.kubernetes.io/exclude-from-external-load-balancers",
            "node.kubernetes.io/lifecycle",
        }
    ),
}


@rule(
    id="LLM355",
    name="unknown-node-label",
    severity=Severity.ERROR,
    kinds=("NodePool", "Deployment", "StatefulSet", "ReplicaSet", "DaemonSet", "Pod", "LeaderWorkerSet", "Job"),
)
def unknown_node_label(document: Document, context: Context) -> Iterator[Finding]:
    """A label of Karpenter's or Kubernetes' own domains that no node has.

    What:
        A requirement, node selector or affinity uses a key of `karpenter.sh`, `karpenter.k8s.aws`,
        `topology.kubernetes.io` or `node.kubernetes.io` that does not exist: misspelled, or of a version long
        gone (`karpenter.sh/provisioner-name`).

    Why it hurts:
        In a NodePool the API server refuses Karpenter's; on a pod everything is accepted and it stays Pending
        for ever.

    Bad:
        `karpenter.sh/provisioner-name: gpu`

    Good:
        `karpenter.sh/nodepool: gpu`

    References:
        https://karpenter.sh/docs/concepts/scheduling/#labels
        https://kubernetes.io/docs/reference/labels-annotations-taints/
    """
    if document.kind == "NodePool":
        pool = pool_of(document, context.release)
        keys = [str(dig(each, "key", default="")) for each in dig(pool.template, "requirements", default=[]) or []]
        places = [(key, f"{pool.path}[{i}].key") for i, key in enumerate(keys)]
    else:
        places = [
            (key, label_path(pod, key))
            for pod in document.pod_templates
            for alternative in pod_requirements(pod)
            for key in alternative
        ]
    for key, path in places:
        known, closed = _domain(key)
        similar = difflib.get_close_matches(key, known, n=1, cutoff=_ALIKE if closed else _VERY_ALIKE)
        if key not in known and (closed or similar):
            replacement = "karpenter.sh/nodepool" if key == "karpenter.sh/provisioner-name" else "".join(similar)
            yield context.finding(
                document,
                f"no node has the label {key}",
                path=path,
                hint=f"write {replacement}" if replacement else "see Karpenter's list of labels",
            )


def _domain(key: str) -> tuple[frozenset[str], bool]:
    """The known labels of the key's domain, and whether nobody else may put labels there."""
    if key.startswith(AWS_LABELS):
        return _AWS, True
    if key.startswith("karpenter.sh/"):
        return _CORE, True
    return next((known for domain, known in _KUBERNETES.items() if key.startswith(domain)), frozenset()), False
