from __future__ import annotations

from chartproof.simulate.clock import Clock, Priority


def test_events_happen_by_time_then_priority_then_order_of_planning() -> None:
    clock = Clock()
    seen: list[str] = []
    clock.at(2, lambda: seen.append("control"), Priority.CONTROL)
    clock.at(2, lambda: seen.append("first"))
    clock.at(2, lambda: seen.append("second"))
    clock.at(1, lambda: seen.append("early"), Priority.CONTROL)
    clock.at(2, lambda: seen.append("measure"), Priority.MEASURE)
    clock.run_until(2)
    assert seen == ["early", "first", "second", "measure", "control"]


def test_repeated_events_keep_their_phase() -> None:
    clock = Clock()
    seen: list[float] = []
    clock.every(15, 4, lambda: seen.append(clock.now), Priority.CONTROL)
    clock.run_until(40)
    assert seen == [4, 19, 34]
    assert clock.now == 40
    assert clock.next_time == 49


def test_what_is_planned_for_the_past_happens_now() -> None:
    clock = Clock()
    clock.run_until(10)
    seen: list[float] = []
    clock.at(3, lambda: seen.append(clock.now))
    clock.run_until(10)
    assert seen == [10]
