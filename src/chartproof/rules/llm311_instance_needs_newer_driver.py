"""LLM311."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.catalog import catalog
from chartproof.findings import Finding, Severity
from chartproof.pool import AWS_LABELS, INSTANCE_TYPE, NodeClass, pool_of
from chartproof.release import Document
from chartproof.rules._nodes import driver_of, gpu_families, gpu_operators
from chartproof.rules.registry import Context, rule

#: First images that carry a second, newer driver branch beside the default one. Sources: amazon-eks-ami
#: issue 2819 (September 2026), Bottlerocket 1.66.0 with its Kubernetes 1.37 variant.
_BOTH_BRANCHES_AL2023 = "20260901"
_BOTH_BRANCHES_BOTTLEROCKET = (1, 66, 0)


@rule(id="LLM311", name="instance-needs-newer-driver", severity=Severity.ERROR, kinds=("NodePool",))
def instance_needs_newer_driver(document: Document, context: Context) -> Iterator[Finding]:
    """A pool may pick an instance type whose GPU the node image's driver does not know.

    What:
        Requirements allow a type whose GPU needs a newer NVIDIA driver than images of the node class's family
        come with: the G7 family needs branch 595, Bottlerocket and AL2023 images have 580.

    Why it hurts:
        The node boots without a GPU, or in a loop. Karpenter replaces it by the same type, and the pod waits
        for ever. `instance-category In [g]` with `instance-generation Gt 4` is enough for it.

    Bad:
        `{key: karpenter.k8s.aws/instance-generation, operator: Gt, values: ["4"]}` alone

    Good:
        `{key: karpenter.k8s.aws/instance-family, operator: In, values: [g5, g6, g6e]}`

    References:
        https://github.com/bottlerocket-os/bottlerocket/issues/4889
        https://github.com/awslabs/amazon-eks-ami
    """
    pool = pool_of(document, context.release)
    if pool.auto_mode or not pool.gpu_only or not pool.on_known_cloud or gpu_operators(context.release):
        return
    families = sorted({pool.node_class.family} if pool.node_class else gpu_families(context.release))
    drivers = [driver for each in families if (driver := driver_of(each)) is not None]
    if not drivers or (pool.node_class is not None and _has_newer(pool.node_class)):
        return
    driver = min(drivers)
    gpus = catalog().gpus
    late = [each for each in pool.gpu_instances if gpus[each.gpu].driver > driver]
    if late:
        kinds = ", ".join(sorted({each.family for each in late}))
        yield context.finding(
            document,
            f"allows {kinds} (such as {late[0].name}), whose GPU needs driver {gpus[late[0].gpu].driver}; "
            f"{' and '.join(families)} images come with {driver}",
            path=pool.requirement_path(
                AWS_LABELS + "instance-family", AWS_LABELS + "instance-generation", INSTANCE_TYPE
            ),
            hint=f"exclude them: {AWS_LABELS}instance-family NotIn [{kinds}]",
        )


def _has_newer(node_class: NodeClass) -> bool:
    if node_class.family == "al2023":
        return node_class.version_text >= _BOTH_BRANCHES_AL2023
    return node_class.version is not None and node_class.version >= _BOTH_BRANCHES_BOTTLEROCKET
