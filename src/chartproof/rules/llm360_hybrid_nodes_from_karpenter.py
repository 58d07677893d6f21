"""LLM360."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import COMPUTE_TYPE, HYBRID


@rule(id="LLM360", name="hybrid-nodes-from-karpenter", severity=Severity.ERROR, kinds=("NodePool",))
def hybrid_nodes_from_karpenter(document: Document, context: Context) -> Iterator[Finding]:
    """A NodePool that is to make EKS hybrid nodes.

    What:
        A NodePool gives its nodes the label `eks.amazonaws.com/compute-type: hybrid`, or requires it.

    Why it hurts:
        Karpenter launches EC2 instances; hybrid nodes are machines of a site that join by themselves. Pods that
        are meant for the site would run in the cloud, without its data, its network and its Cilium: the VPC CNI
        leaves nodes with this label alone, so their pods get no network.

    Bad:
        `labels: {eks.amazonaws.com/compute-type: hybrid}` in the template of a NodePool

    Good:
        no NodePool for them; pods select the label, machines join with nodeadm

    References:
        https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-overview.html
        https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-cni.html
    """
    pool = pool_of(document, context.release)
    requirement = pool.requirements.get(COMPUTE_TYPE)
    if requirement is not None and requirement.only == HYBRID:
        labelled = COMPUTE_TYPE in pool.labels
        yield context.finding(
            document,
            f"{'labels' if labelled else 'requires of'} its nodes {COMPUTE_TYPE}={HYBRID}, and Karpenter makes no such",
            path="spec.template.metadata.labels" if labelled else pool.requirement_path(COMPUTE_TYPE),
            hint="remove it: hybrid nodes join by themselves",
        )
