"""LLM211."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import serves_a_model, shows_demand, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM211", name="nothing-wakes-from-zero", severity=Severity.ERROR, kinds=("ScaledObject",))
def nothing_wakes_from_zero(document: Document, context: Context) -> Iterator[Finding]:
    """Scale to zero with no signal that exists while there are no replicas.

    What:
        The minimum (KEDA's default is 0) or `idleReplicaCount` is 0 and every signal comes from the replicas
        themselves, or from cpu and memory: there is no cron, no gateway or ingress metric, no queue and no push
        scaler.

    Why it hurts:
        At zero replicas nobody exports the metrics. The result is empty, which counts as 0, so the workload is
        inactive for ever: the first scale to zero is the last.

    Bad:
        `minReplicaCount: 0` with only `sum(vllm:num_requests_waiting{...})`.

    Good:
        `minReplicaCount: 1`; or a trigger on the request rate of the gateway in front, which also counts
        refused requests.

    References:
        https://keda.sh/docs/latest/concepts/scaling-deployments/
        https://github.com/vllm-project/production-stack/blob/main/tutorials/20-keda-autoscaling.md
    """
    scaler = view(document, context)
    if not scaler.scales_to_zero or not serves_a_model(scaler) or not scaler.triggers:
        return
    # A push scaler activates past any formula.
    if any(each.type == "external-push" for each in scaler.triggers):
        return
    if any(each.is_cron or shows_demand(each) for each in scaler.effective_triggers):
        return
    signals = ", ".join(each.name or each.type for each in scaler.effective_triggers)
    stated = document.get("spec", "minReplicaCount") is not None or scaler.idle == 0
    yield context.finding(
        document,
        f"scales to zero{'' if stated else ' (minReplicaCount is 0 where it is not given)'}, but its only signals "
        f"({signals}) come from the replicas: nothing wakes it again",
        path="spec.idleReplicaCount" if scaler.idle == 0 else "spec.minReplicaCount",
        hint="write minReplicaCount: 1, or add a signal that exists at zero: the gateway's request rate, or a cron",
    )
