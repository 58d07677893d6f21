"""LLM226."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import plan_of, requests_per_replica, view
from chartproof.rules.registry import Context, rule

#: A plan of the KV cache assumes typical requests; shorter ones fit more.
_TOLERANCE = 3.0


@rule(id="LLM226", name="target-above-capacity", severity=Severity.WARNING, kinds=("ScaledObject",))
def target_above_capacity(document: Document, context: Context) -> Iterator[Finding]:
    """The autoscaler aims at more requests per replica than a replica can run.

    What:
        The target per replica, in running requests, is above `--max-num-seqs` of the engine, or well above what
        its KV cache holds of typical requests.

    Why it hurts:
        Running requests never reach the target: the count stops at what a replica holds, and the workload stays
        at its size while requests wait.

    Bad:
        `--max-num-seqs=16` with `threshold: "25"` on running requests.

    Good:
        A target of 80 % of what a replica runs at once, here 12.

    References:
        https://docs.vllm.ai/en/latest/configuration/engine_args/
        https://github.com/defilantech/LLMKube/issues/482
    """
    scaler = view(document, context)
    aim = requests_per_replica(scaler)
    if aim is None or not scaler.engines:
        return
    target, path = aim
    engine = scaler.engines[0]
    most = engine.integer("--max-num-seqs", "--max-running-requests", default=0)
    plan = plan_of(scaler, context.release)
    held = plan.concurrency if plan is not None else None
    if most and target > most:
        what, capacity = f"the engine's limit of {most} sequences", most
    elif held and target > _TOLERANCE * held:
        what, capacity = f"the {held} typical requests that its KV cache holds", held
    else:
        return
    yield context.finding(
        document,
        f"aims at {target:g} running requests per replica, above {what}",
        path=path,
        hint=f"aim at {max(1, int(0.8 * capacity))} or less",
    )
