"""LLM307."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.catalog import catalog
from chartproof.findings import Finding, Severity
from chartproof.pool import Pool, is_type_label, pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import describe


@rule(id="LLM307", name="requirements-match-no-instance", severity=Severity.ERROR, kinds=("NodePool",))
def requirements_match_no_instance(document: Document, context: Context) -> Iterator[Finding]:
    """The requirements of a node pool match no instance type.

    What:
        Two requirements (or a requirement and a template label) leave no value for a label, or a GPU pool's
        requirements together match no GPU instance type of EC2. Typical: a GPU's product name instead of
        Karpenter's (`NVIDIA-L4` for `l4`), `instance-gpu-memory Gt 24000` with a GPU of 22888 MiB, a size that
        the family lacks.

    Why it hurts:
        The NodePool reports Ready and never launches anything.

    Bad:
        `{key: karpenter.k8s.aws/instance-gpu-name, operator: In, values: [NVIDIA-A10G]}`

    Good:
        `{key: karpenter.k8s.aws/instance-gpu-name, operator: In, values: [a10g]}`

    References:
        https://karpenter.sh/docs/reference/instance-types/
        https://karpenter.sh/docs/concepts/nodepools/#spectemplatespecrequirements
    """
    pool = pool_of(document, context.release)
    contradictions = [key for key, requirement in pool.requirements.items() if requirement.empty]
    for key in contradictions:
        yield context.finding(
            document,
            f"what is required of {key} contradicts itself: no value is left",
            path=pool.requirement_path(key),
            hint="keep one of the contradicting requirements",
        )
    if contradictions or not pool.on_known_cloud or not pool.gpu_only or pool.instances or pool.names_unknown_types:
        return
    culprit = _culprit(pool)
    yield context.finding(
        document,
        "its requirements match none of EC2's GPU instance types" + (f": {culprit[1]}" if culprit else ""),
        path=pool.requirement_path(culprit[0]) if culprit else pool.path,
        hint="compare with Karpenter's instance types reference",
    )


def _culprit(pool: Pool) -> tuple[str, str] | None:
    """A label for which no type that meets the other requirements has an allowed value."""
    typed = {key: requirement for key, requirement in pool.requirements.items() if is_type_label(key)}
    for key, requirement in typed.items():
        others = [
            each
            for each in catalog().gpu_instances()
            if all(other.allows(each.labels.get(name)) for name, other in typed.items() if name != key)
        ]
        if others:
            values = sorted({each.labels[key] for each in others if each.labels.get(key)})
            known = f"types that meet the rest have {', '.join(values[:6])}" if values else "no GPU type has the label"
            return key, f"{key} is to be {describe(requirement)}, {known}"
    return None
