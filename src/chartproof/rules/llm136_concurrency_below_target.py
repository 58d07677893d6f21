"""LLM136."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.plan import plan_workload
from chartproof.release import Document, dig
from chartproof.rules._kinds import SERVING
from chartproof.rules._selection import autoscalers_of
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

#: The plan's overhead and request lengths are estimates: a target is only called wrong beyond this factor.
_UNCERTAINTY = 2
_IN_FLIGHT = ("num_requests_running", "num_running_reqs")


@rule(id="LLM136", name="concurrency-below-target", severity=Severity.WARNING, kinds=SERVING)
def concurrency_below_target(document: Document, context: Context) -> Iterator[Finding]:
    """A replica holds fewer requests at once than its autoscaler expects of it.

    What:
        The KV cache of the smallest allowed GPU holds less than half as many requests of 1280 tokens as
        the target of the ScaledObject, where the target counts running requests.

    Why it hurts:
        Running requests never reach the target; only the queue grows. Users wait before anything scales.

    Bad:
        A target of 200 requests for a model whose KV cache holds 12.

    Good:
        A target of about 80 % of what the KV cache holds, or more memory for it.

    References:
        https://docs.vllm.ai/en/latest/configuration/conserving_memory.html
        https://keda.sh/docs/latest/reference/scaledobject-spec/
    """
    for engine in engine_containers(document):
        plan = plan_workload(engine, context.release)
        if plan is None or plan.concurrency is None or not plan.smallest_fit or not plan.smallest_fit.fits:
            continue
        for scaler in autoscalers_of(context.release, document):
            target = _target(scaler)
            if target is not None and target > _UNCERTAINTY * plan.concurrency:
                yield context.finding(
                    document,
                    f"{engine} holds {plan.concurrency} requests of 1280 tokens on {plan.smallest_fit.gpu}, "
                    f"{scaler.identity} aims at {target:g} per replica",
                    path=f"{engine.path}.args",
                    hint=f"aim at {plan.target}, or give the KV cache more memory",
                )


def _target(scaler: Document) -> float | None:
    """Requests per replica that a ScaledObject aims at; None where it does not count running ones."""
    triggers = scaler.get("spec", "triggers", default=[]) or []
    counting = [
        each for each in triggers if any(name in str(dig(each, "metadata", "query", default="")) for name in _IN_FLIGHT)
    ]
    if not counting:
        return None
    composite = scaler.get("spec", "advanced", "scalingModifiers", "target")
    told = composite if composite is not None else dig(counting[0], "metadata", "threshold")
    try:
        return float(str(told))
    except ValueError:
        return None
