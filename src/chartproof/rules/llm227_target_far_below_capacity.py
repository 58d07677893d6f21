"""LLM227."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import plan_of, requests_per_replica, view
from chartproof.rules.registry import Context, rule

_FAR_BELOW = 32


@rule(id="LLM227", name="target-far-below-capacity", severity=Severity.WARNING, kinds=("ScaledObject",))
def target_far_below_capacity(document: Document, context: Context) -> Iterator[Finding]:
    """The autoscaler adds replicas long before one is used.

    What:
        The target per replica, in running requests, is less than a thirtieth of what one replica runs at once by
        the plan of its KV cache and `--max-num-seqs`.

    Why it hurts:
        GPUs are bought many times over: an engine gets its throughput from large batches, and each replica
        holds a nearly empty one.

    Bad:
        `threshold: "1"` on running requests, for an engine that holds 100.

    Good:
        A target of 80 % of what a replica runs at once within the latency goal.

    References:
        https://docs.vllm.ai/en/latest/configuration/optimization/
    """
    scaler = view(document, context)
    aim = requests_per_replica(scaler)
    plan = plan_of(scaler, context.release)
    if aim is None or plan is None or plan.concurrency is None:
        return
    target, path = aim
    most = scaler.engines[0].integer("--max-num-seqs", "--max-running-requests", default=plan.concurrency)
    capacity = min(plan.concurrency, most)
    if target * _FAR_BELOW < capacity:
        yield context.finding(
            document,
            f"aims at {target:g} running requests per replica, which holds about {capacity}",
            path=path,
            hint=f"aim at up to {max(1, int(0.8 * capacity))}, as far as the latency goal allows",
        )
