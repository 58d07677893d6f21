"""What an autoscaler of ours lives through, for the golden files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SYNC_MILLISECONDS = 15_000
TARGET_MILLI = 25_000

#: The chart's defaults.
OUR_SCALE_UP = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Percent", "value": 900, "periodSeconds": 15},
        {"type": "Pods", "value": 9, "periodSeconds": 15},
    ],
}
OUR_SCALE_DOWN = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
}
OURS = {"scaleUp": OUR_SCALE_UP, "scaleDown": OUR_SCALE_DOWN}
AT_ONCE = {"stabilizationWindowSeconds": 0}
EAGER = {"scaleUp": OUR_SCALE_UP, "scaleDown": AT_ONCE}

#: What KEDA hands over for a formula that divides by zero.
GO_INTEGER_OF_NAN = -(2**63)


@dataclass(frozen=True, slots=True)
class Case:
    """A trace and why it is worth keeping."""

    why: str
    trace: Mapping[str, Any]


Load = float | None


def _ticks(loads: Iterable[Load | Sequence[Load]], more: Mapping[int, Mapping[str, int]]) -> list[dict[str, Any]]:
    found = []
    for index, load in enumerate(loads):
        loads_of_tick = load if isinstance(load, Sequence) else [load]
        values = [None if each is None else round(each * 1000) for each in loads_of_tick]
        found.append({"milliseconds": SYNC_MILLISECONDS * (index + 1), "values": values, **more.get(index, {})})
    return found


def _case(
    why: str,
    loads: Iterable[Load | Sequence[Load]],
    *,
    behavior: Mapping[str, Any] | None = OURS,
    bounds: tuple[int, int] = (1, 100),
    replicas: int = 1,
    average: Sequence[bool] = (True,),
    more: Mapping[int, Mapping[str, int]] | None = None,
) -> Case:
    """`more` has further keys of ticks by their place."""
    trace = {
        "minReplicas": bounds[0],
        "maxReplicas": bounds[1],
        "behavior": behavior,
        "replicas": replicas,
        "metrics": [{"targetMilli": TARGET_MILLI, "average": each} for each in average],
        "ticks": _ticks(loads, more or {}),
    }
    return Case(why, trace)


def _rules(direction: str, *policies: tuple[str, int, int], window: int = 0, **more: Any) -> dict[str, Any]:
    written = [{"type": kind, "value": value, "periodSeconds": period} for kind, value, period in policies]
    return {direction: {"stabilizationWindowSeconds": window, "policies": written, **more}}


#: A quarter of an hour up and down, in requests, that no bound stops at eight replicas.
_WAVE = [20, 60, 130, 190, 200, 180, 150, 110, 60, 30, 20, 10, 5, 20, 90, 170] * 4

CASES: Mapping[str, Case] = {
    "one-to-ten": _case("The chart's behavior takes one replica to ten in a single pass.", [250, 250, 250]),
    "two-to-twenty": _case("Two become twenty in a single pass.", [2500, 2500, 2500], replicas=2),
    "one-to-the-maximum": _case("A surge ends at the maximum.", [9000] * 3, bounds=(1, 16)),
    "default-behavior-to-sixteen": _case(
        "Without a behavior a pass doubles the replicas, or reaches four.", [400] * 6, behavior=None
    ),
    "default-behavior-wave": _case(
        "Without a behavior, scaling down waits for five minutes and then has no limit.", _WAVE, behavior=None
    ),
    "empty-behavior-to-sixteen": _case(
        "An empty behavior is filled by the API server: four more, or double.", [400] * 6, behavior={}
    ),
    "empty-behavior-wave": _case("The window of an empty behavior is the controller's flag.", _WAVE, behavior={}),
    "tolerance-edges": _case(
        "Ratios of exactly 0.9 and 1.1 hold, a thousandth beyond does not.",
        [110, 110.001, 90, 89.999, 4 * 25, 27.5, 27.501, 22.5, 22.499],
        behavior=EAGER,
        replicas=4,
        more={index: {"replicas": 4} for index in range(5)} | {index: {"replicas": 1} for index in range(5, 9)},
    ),
    "tolerance-of-the-behavior": _case(
        "A tolerance as the controller's float: 0.009 is a little more than that.",
        [25.225, 25.226, 25 * 0.991, 24.774, 20, 19.999],
        behavior={"scaleUp": {**OUR_SCALE_UP, "tolerance": "0.009"}, "scaleDown": {**AT_ONCE, "tolerance": "200m"}},
        more={index: {"replicas": 1} for index in range(6)},
        bounds=(1, 5),
    ),
    "scale-down-window": _case("Five minutes of lower proposals before the first replica goes.", [100, *[20] * 40]),
    "scale-up-window": _case(
        "A minute of higher proposals before the first replica comes.",
        [20, 100, 100, 60, 100, 100, 100, 100, 100, 100, 20, 20],
        behavior={**_rules("scaleUp", ("Percent", 900, 15), window=60), "scaleDown": AT_ONCE},
    ),
    "both-windows": _case(
        "Between the windows the count stays within what both have seen.",
        [20, 100, 60, 150, 30, 200, 45, 120, 20, 20, 20, 20, 20, 20, 20, 20],
        behavior={**_rules("scaleUp", ("Pods", 4, 15), window=45), **_rules("scaleDown", ("Pods", 2, 15), window=90)},
        replicas=3,
    ),
    "pods-per-period": _case(
        "A policy counts from the start of its period.",
        [1000] * 8 + [20] * 16,
        behavior={**_rules("scaleUp", ("Pods", 2, 45)), **_rules("scaleDown", ("Pods", 1, 60))},
    ),
    "percent-per-period": _case(
        "Percent rounds up on the way up and down on the way down.",
        [1000] * 12 + [20] * 16,
        behavior={**_rules("scaleUp", ("Percent", 30, 30)), **_rules("scaleDown", ("Percent", 30, 30))},
        replicas=3,
    ),
    "smallest-change": _case(
        "Min takes the policy that changes least.",
        [1000] * 6 + [20] * 8,
        behavior={
            **_rules("scaleUp", ("Percent", 900, 15), ("Pods", 2, 30), selectPolicy="Min"),
            **_rules("scaleDown", ("Percent", 50, 15), ("Pods", 3, 30), selectPolicy="Min"),
        },
        replicas=2,
    ),
    "scale-down-disabled": _case(
        "Disabled never lets go.",
        [200, 20, 20, 20],
        behavior={"scaleUp": OUR_SCALE_UP, **_rules("scaleDown", ("Pods", 1, 15), selectPolicy="Disabled")},
    ),
    "scale-up-disabled": _case(
        "Disabled never grows, but a count below the minimum is raised.",
        [200, 200, 20, 200],
        behavior={**_rules("scaleUp", ("Pods", 1, 15), selectPolicy="Disabled"), "scaleDown": AT_ONCE},
        bounds=(2, 9),
        replicas=4,
        more={3: {"replicas": 1}},
    ),
    "one-of-two-metrics-fails": _case(
        "While a metric fails the other may raise the count, never lower it.",
        [[50, 20], [None, 100], [None, 10], [200, None], [10, None], [None, None], [10, 10], [10, 10]],
        behavior=EAGER,
        average=(True, True),
    ),
    "metrics-fail-within-a-window": _case(
        "Passes without a proposal leave no trace in the window.", [100, *[None] * 24, *[20] * 4], replicas=4
    ),
    "keda-wakes-the-target": _case(
        "KEDA writes one replica into an autoscaler that rests at zero; its pod exists a pass later.",
        [0, 0, 250, 250, 250, 250, 0, 0],
        replicas=0,
        more={2: {"replicas": 1, "statusReplicas": 0}, 3: {"statusReplicas": 10}},
    ),
    "keda-scales-to-zero": _case(
        "KEDA takes every replica at once; what the autoscaler remembers outlives the rest.",
        [200, 200, 30, 30, 0, 0, 0, 0, 30, 30, 30, 30],
        more={4: {"replicas": 0}, 8: {"replicas": 1}},
    ),
    "surge-of-a-rollout": _case(
        "With a surge pod more than asked for exist, and within the tolerance they are the proposal.",
        [100, 125, 125, 125, 100, 100],
        replicas=4,
        more={1: {"statusReplicas": 5}, 2: {"statusReplicas": 6}},
    ),
    "value-metric-and-slow-pods": _case(
        "A metric of type Value multiplies by pods that are ready, so loading ones hold growth back.",
        [50, 50, 50, 50, 12, 12],
        behavior=EAGER,
        average=(False,),
        replicas=2,
        more={0: {"readyPods": 2}, 1: {"readyPods": 1}, 2: {"readyPods": 0}, 3: {"statusReplicas": 0}},
    ),
    "someone-else-writes": _case(
        "Counts outside the bounds are corrected without a look at the metrics.",
        [200, None, 200, None, 200, 200],
        bounds=(2, 12),
        replicas=40,
        more={1: {"replicas": 1}, 3: {"replicas": 30}, 5: {"replicas": 3}},
    ),
    "negative-formula": _case(
        "A sum below zero is taken for an overflow: the count grows to the maximum.",
        [50, -0.001, GO_INTEGER_OF_NAN / 1000, 50, -50],
        behavior=EAGER,
        bounds=(1, 30),
        replicas=2,
    ),
    "negative-value-metric": _case(
        "Of type Value, what is below zero asks for none, and the minimum remains.",
        [50, -50, GO_INTEGER_OF_NAN / 1000],
        behavior=EAGER,
        bounds=(1, 30),
        average=(False,),
        replicas=2,
    ),
    "enormous-value": _case(
        "A proposal is cut to 32 bits, the count to the maximum.", [9.0e15, 20, 9.0e15], behavior=EAGER, bounds=(1, 50)
    ),
    "chart-wave": _case("The chart's behavior under load that comes and goes.", _WAVE),
}
