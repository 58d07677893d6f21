"""Prompts and answers on separate replicas, behind the real router: what a lost replica costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.cluster.faults.watched import ENOUGH, Inject, injector

if TYPE_CHECKING:
    from tests.cluster.faults.rig import Rig, Served

pytestmark = pytest.mark.slow

REPLICAS = 2
HEARD_SECONDS = 5.0
"""Real seconds in which the router hears that a pod is not ready: kubelet, API server, its watch."""
ON_THEIR_WAY = 15
"""Requests at most that have been sent and are with the router or the other role when a replica is looked at."""


@pytest.fixture(scope="module")
def roles(rig: Rig) -> Served:
    """A model with two replicas of each role, under the load of one and a half for answers."""
    from tests.cluster.faults.rig import HERE, REPOSITORY  # noqa: PLC0415  (only where it is used)

    preset = REPOSITORY / "values" / "llama-3.3-70b-fp8-g7e-disaggregated.yaml"
    found = rig.serve("roles", HERE / "roles.yaml", preset=preset, replicas=REPLICAS, part="decode")
    # A little at first: what is held back while they load would be a queue for long.
    rig.load(found, 0.2)
    rig.until(lambda: (found.now.ready or 0) >= REPLICAS, "two replicas serve")
    rig.load(found, found.usual)
    rig.settled(found)
    return found


@pytest.fixture
def inject(rig: Rig, roles: Served) -> Inject:
    """A block in which a fault of the table is injected and mended; afterwards everything must be well by itself."""
    return injector(rig, roles)


@dataclass(frozen=True)
class Killed:
    """A replica that was killed: when it was looked at, the requests that it had then, and when it was gone."""

    looked: float
    requests: int
    gone: float


def _kill_one(rig: Rig, role: str) -> Killed:
    """Kill one of the replicas of a role."""
    rig.until(lambda: not any(each["waiting"] for each in rig.engines()), "nothing waits")
    looked = rig.now()
    hit = next(each for each in rig.engines() if f"-{role}-" in each["pod"] and each["loaded"])
    rig.control(f"pods/{rig.namespace}/{hit['pod']}/kill")
    return Killed(looked, hit["running"], rig.now())


def _lost(rig: Rig, roles: Served, since: float, killed: Killed) -> set[str]:
    """How requests were lost: those that were there, and those that came while the router had not heard of it."""
    lost = roles.lost(since)
    assert max((each.done or 0.0 for each in lost), default=0.0) <= killed.gone + rig.speed.simulated(HEARD_SECONDS)
    assert sum(each.sent < killed.looked for each in lost) <= killed.requests + ON_THEIR_WAY
    assert roles.served(since) >= ENOUGH
    return {each.outcome for each in lost}


def test_decode_replica_killed(rig: Rig, roles: Served, inject: Inject) -> None:
    with inject("decode-replica-killed") as fault:
        killed = _kill_one(rig, "decode")
        fault.lasts(60)
    outcomes = _lost(rig, roles, fault.since, killed)
    assert "aborted" in outcomes
    assert outcomes <= {"aborted", "http-500", "http-502"}


def test_prefill_replica_killed(rig: Rig, roles: Served, inject: Inject) -> None:
    with inject("prefill-replica-killed") as fault:
        killed = _kill_one(rig, "prefill")
        fault.lasts(60)
    assert _lost(rig, roles, fault.since, killed) <= {"http-500", "http-502"}
