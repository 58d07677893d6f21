"""From one replica to ten in one decision of the real HPA, with the chart's default behavior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chartproof.cluster import Cluster

pytestmark = pytest.mark.slow

REPLICAS = 10


def test_one_to_ten_in_one_decision(
    live_cluster: Cluster, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    from tests.cluster.faults.rig import HERE, PLATFORM, Rig  # noqa: PLC0415  (only where it is used)

    with Rig(live_cluster, tmp_path) as rig:
        rig.install("platform", "platform", PLATFORM)
        served = rig.serve("model", HERE.parent / "values" / "one-decision.yaml")
        # Next to nothing: what is held back while the first replica loads comes to it at once, and shall not ask for
        # more.
        rig.load(served, 0.05)
        rig.until(lambda: (served.now.ready or 0) >= 1, "the first replica serves")

        def one_suffices() -> bool:
            metric = rig.metric(served)
            is_one = served.now.replicas == served.now.current == served.now.ready == 1
            return is_one and metric is not None and metric <= served.sizing.target

        rig.until(one_suffices, "there is one replica, and it suffices")
        # No scrape shall show a part of the burst, nor one that was under way when it was forbidden: the signal is
        # given when the first one succeeds again.
        with rig.broken("*/metrics", "refuse"):
            rig.until(lambda: not rig.is_scraped(), "no scrape succeeds")
            sent = served.clients.sent("burst")
            requests = served.sizing.burst(REPLICAS, served.sizing.short)
            rig.burst(served, requests)
            rig.until(lambda: served.clients.sent("burst") == sent + requests, "the burst is sent")
            rig.until(lambda: served.running_and_waiting() >= requests, "the burst has arrived")
            signal = rig.now()
        rig.until(lambda: served.now.replicas == REPLICAS, "there are ten replicas")
        decisions = [each for each in served.decisions(signal) if each.grows]
        assert [(each.before, each.after, each.controller) for each in decisions] == [(1, REPLICAS, "hpa")]
        record_property("simulated seconds from signal to decision", round(decisions[0].second - signal, 1))
        record_property("metric at the decision", decisions[0].metric)
        # A machine that is still being launched when its claim goes would come nevertheless, and stay.
        rig.until(lambda: len(rig.nodes()) >= REPLICAS, "there are ten nodes")
