"""Recordings of the embedded cluster, and our controllers after them.

    chartproof smoke values/PRESET.yaml --scenario NAME --out DIR
    python -m tests.simulate.recordings DIR/PRESET-NAME/timeline.json ...

writes `recordings/*.json`: what the HPA and KEDA saw and when, and what the replicas did. The real controllers ran
several times as fast; seconds are simulated ones.

A replay is given the metric, KEDA's word whether it is active, and when the controllers looked. The replicas are its
own: a difference stays and grows.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chartproof.autoscaler import autoscalers
from chartproof.cluster.scenario.timeline import Timeline
from chartproof.simulate.hpa import SYNC_SECONDS, Hpa, Metric
from chartproof.simulate.keda import Keda, hpa_spec
from chartproof.toolchain import pins
from tests import presets
from tests.simulate.keda_objects import formula, prometheus, scaled_object

GOLDENS = Path(__file__).parent / "recordings"
Step = tuple[float, str, int, int]
"""Second, controller, replicas before and after."""
SAMPLE_SECONDS = 7.5
"""Between samples: half a real second at 15 times the speed."""


def recording_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a replay needs of a `timeline.json`."""
    timeline = Timeline.from_json(body["timeline"])
    setting = timeline.setting
    (scaler,) = autoscalers(presets.render(setting.preset))
    active: list[tuple[float, bool]] = []
    for each in timeline.samples:
        if each.active is not None and (not active or active[-1][1] != each.active):
            active.append((round(each.second, 1), each.active))
    spec = scaler.document.get("spec")
    # The query is of no use to a replay, and KEDA counts in whole real seconds.
    spec = {
        **spec,
        "triggers": [{**each, "metadata": {"query": "x", "threshold": "1"}} for each in spec["triggers"]],
        "cooldownPeriod": _played(body["altered"], "cooldownPeriod", setting.speed) or spec.get("cooldownPeriod", 300),
    }
    return {
        "preset": setting.preset,
        "scenario": setting.scenario,
        "speed": setting.speed,
        "programs": {name: pins.modules()[name].version for name in ("kubernetes", "keda")},
        "spec": spec,
        "seconds": round(timeline.seconds, 1),
        "first": timeline.samples[0].replicas,
        "active": active,
        "passes": [(round(each.second, 1), each.before, each.metric) for each in timeline.passes],
        "steps": [(round(each.second, 1), each.controller, each.before, each.after) for each in timeline.decisions],
    }


def _played(altered: Sequence[str], key: str, speed: float) -> float | None:
    """The simulated seconds that a duration had while it was played."""
    for each in altered:
        found = re.search(rf"^ScaledObject/\S+ spec\.{key}: \d+ -> (\d+)$", each)
        if found:
            return int(found[1]) * speed
    return None


def described(recording: Mapping[str, Any]) -> str:
    """The golden file, a row per line."""
    rows = {"active", "passes", "steps"}
    head = json.dumps({key: value for key, value in recording.items() if key not in rows}, indent=1)
    parts = [head.removesuffix("\n}")]
    for key in sorted(rows):
        lines = ",\n".join(f"  {json.dumps(each)}" for each in recording[key])
        parts.append(f' "{key}": [\n{lines}\n ]')
    return ",\n".join(parts) + "\n}\n"


# --- Replay -------------------------------------------------------------------------------------------------------


def looks(recording: Mapping[str, Any]) -> Iterator[tuple[float, float | None]]:
    """When the HPA looked, and the metric it saw. Where nothing changed its status tells of no pass: they are evenly
    spread over the pause, nearest to the period.
    """
    passes: list[tuple[float, int, float | None]] = [tuple(each) for each in recording["passes"] if each[1]]
    ends = [*(each[0] for each in passes[1:]), recording["seconds"] + SYNC_SECONDS]
    for (second, _, metric), end in zip(passes, ends, strict=True):
        count = max(1, round((end - second) / SYNC_SECONDS))
        yield from ((second + index * (end - second) / count, metric) for index in range(count))


def _polls(recording: Mapping[str, Any], period: float) -> Iterator[float]:
    """KEDA's polls, by the phase of the first step that it made."""
    phase = next((second for second, author, *_ in recording["steps"] if author == "keda"), 0.0) % period
    yield from (phase + index * period for index in range(math.ceil(recording["seconds"] / period)))


def replay(recording: Mapping[str, Any]) -> list[Step]:
    """What our controllers do to the replicas."""
    scaler = scaled_object(**recording["spec"])
    active: list[tuple[float, bool]] = recording["active"]
    awake = {
        **recording["spec"],
        "advanced": formula("active", "1"),
        "triggers": [prometheus("active")],
    }
    keda = Keda(scaled_object(**awake), [lambda now: _activity(active, now)], start=datetime.fromtimestamp(0, UTC))
    hpa = Hpa(hpa_spec(scaler))
    modifiers = scaler.modifiers
    target = round(1000 * ((modifiers.target if modifiers else scaler.triggers[0].threshold) or 1))
    moments: list[tuple[float, str, float | None]] = [
        *((second, "keda", None) for second in _polls(recording, scaler.polling_seconds)),
        *((second, "hpa", metric) for second, metric in looks(recording)),
    ]
    replicas = recording["first"]
    found: list[Step] = []
    for second, author, metric in sorted(moments, key=lambda each: each[:2]):
        if author == "keda":
            after = keda.poll(second, replicas, replicas).replicas
        else:
            milli = None if metric is None else round(metric * 1000)
            after = hpa.reconcile(
                second,
                spec_replicas=replicas,
                status_replicas=replicas,
                ready_pods=replicas,
                metrics=[Metric(milli, target)],
            ).replicas
        if after != replicas:
            found.append((round(second, 1), author, replicas, after))
        replicas = after
    return found


def _activity(active: Sequence[tuple[float, bool]], now: float) -> float:
    """1 where KEDA called itself active at the first sample after `now`, else 0."""
    return float([is_active for second, is_active in active if second <= now + SAMPLE_SECONDS][-1:] == [True])


def main() -> None:
    """Write the golden files of the timelines that are named."""
    GOLDENS.mkdir(exist_ok=True)
    for name in sys.argv[1:]:
        recording = recording_of(json.loads(Path(name).read_text(encoding="utf-8")))
        place = GOLDENS / f"{recording['preset']}-{recording['scenario']}.json"
        place.write_text(described(recording), encoding="utf-8")


if __name__ == "__main__":
    main()
