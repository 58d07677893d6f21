from __future__ import annotations

import json

from chartproof.cluster.scenario.timeline import Pass, Timeline
from tests.cluster.scenario.hand_made import timeline


def test_a_timeline_survives_json() -> None:
    made = timeline(passes=(Pass(300.0, "burst", 1, 4, 1, 95.0, {"AbleToScale": "SucceededRescale"}),), left=("late",))
    assert Timeline.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_it_knows_its_phases_and_losses() -> None:
    made = timeline()
    assert made.start_of("burst") == 60.0
    assert made.start_of("nothing") is None
    assert {each.phase for each in made.during("burst")} == {"burst"}
    assert made.lost == ()
    assert made.seconds == 1210.0
    assert Timeline(made.setting).seconds == 0.0
