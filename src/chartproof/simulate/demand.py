"""How many replicas traffic needs, by the engine's own arithmetic.

A replica is full at the batch that the plan aims at: what the KV cache and the batch hold of requests of
these lengths, bounded by a decode step of STEP_MILLISECONDS, less the share kept free for a burst. Where
prompts take most of the time the batch says little, so the rate is bounded by the same share of the most
that a replica can finish. The need is the traffic's rate divided by that, rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chartproof.plan.fit import TARGET_SHARE
from chartproof.plan.workload_plan import STEP_MILLISECONDS
from chartproof.simulate.engine import EngineModel
from chartproof.simulate.traffic import Rate

#: Width of the windows that a need is averaged over, in seconds.
WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Need:
    """Replicas (as a fraction) that are needed for `seconds` from `time`, and the rate that asks for them."""

    time: float
    seconds: float
    replicas: float
    per_second: float

    @property
    def whole(self) -> int:
        """Whole replicas."""
        return math.ceil(self.replicas - 1e-9)


def replica_rate(model: EngineModel, prompt_tokens: float, answer_tokens: float) -> float:
    """Requests of these lengths that a replica at its target finishes per second."""
    batch = model.capacity(prompt_tokens, answer_tokens)
    context = prompt_tokens + answer_tokens / 2
    per_sequence = model.per_sequence + model.per_kv_token * context
    if per_sequence > 0:
        batch = min(batch, max(1, int((STEP_MILLISECONDS / 1000 - model.base) / per_sequence)))
    at_target = model.requests_per_second(max(1.0, batch * TARGET_SHARE), prompt_tokens, answer_tokens)
    return min(at_target, TARGET_SHARE * model.requests_per_second(batch, prompt_tokens, answer_tokens))


def needs(rates: Iterable[Rate], model: EngineModel) -> list[Need]:
    """The need in windows of WINDOW_SECONDS, or of the rates' own intervals where those are longer."""
    found: list[Need] = []
    start = seconds = requests = load = 0.0
    for rate in rates:
        if not seconds:
            start = rate.time
        seconds += rate.seconds
        requests += rate.per_second * rate.seconds
        if rate.per_second:
            load += rate.per_second * rate.seconds / replica_rate(model, rate.prompt_tokens, rate.answer_tokens)
        if seconds >= WINDOW_SECONDS - 1e-6:
            found.append(Need(start, seconds, load / seconds, requests / seconds))
            seconds = requests = load = 0.0
    if seconds:
        found.append(Need(start, seconds, load / seconds, requests / seconds))
    return found


def percentile(found: Sequence[Need], percent: float) -> int:
    """Whole replicas that suffice for this share of the windows; at least one."""
    ordered = sorted(each.whole for each in found)
    return max(1, ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]) if ordered else 1


def ahead(found: Sequence[Need], lead_seconds: float) -> list[tuple[float, int]]:
    """When to want how many replicas, so that each is ready when it is needed: the largest need in the lead."""
    plan: list[tuple[float, int]] = []
    last = -1
    for index, each in enumerate(found):
        wanted = each.whole
        for later in found[index + 1 :]:
            if later.time > each.time + each.seconds + lead_seconds:
                break
            wanted = max(wanted, later.whole)
        if wanted != last:
            plan.append((each.time, wanted))
            last = wanted
    return plan
