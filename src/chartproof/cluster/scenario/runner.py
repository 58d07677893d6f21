"""Runs one scenario against an installed release: phases, load and deeds, recorded and judged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from chartproof.cluster.api import Api
from chartproof.cluster.machines.watch import Client
from chartproof.cluster.objects import INSTANCE_TYPE
from chartproof.cluster.placement import CAPACITY_TYPE
from chartproof.cluster.scenario import hours, judge
from chartproof.cluster.scenario.clients import Clients
from chartproof.cluster.scenario.definition import Deed, Phase, Scenario, View, woken_by_requests
from chartproof.cluster.scenario.progress import Progress
from chartproof.cluster.scenario.recorder import Clock, Names, Recorder
from chartproof.cluster.scenario.result import Result
from chartproof.cluster.scenario.sizing import Sizing
from chartproof.cluster.scenario.surroundings import Surroundings
from chartproof.cluster.scenario.timeline import Setting, Timeline
from chartproof.errors import ClusterError
from chartproof.release import dig

Body = Mapping[str, Any]

_LEAST_PATIENCE_SECONDS = 90.0
"""Real seconds that every goal is waited for, however fast the time runs."""
_HOURS_SECONDS = 45.0
"""Real seconds, beyond a cold start, that office hours stay open."""
_ALL_DAY_SECONDS = 4 * 3600.0
_TRIGGERS = ("spec", "triggers")

ClientsMaker = Callable[[Clock], Clients]
Upgrade = Callable[[], str]
"""Changes the pods of the release; returns why it could not, empty where it could."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a scenario plays on: a release that is installed, and where."""

    preset: str
    sizing: Sizing
    surroundings: Surroundings
    api: Api
    clients: ClientsMaker
    upgrade: Upgrade
    altered: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The preset, and which workload of it."""
        return f"{self.preset}, {self.sizing.part}" if self.sizing.part else self.preset


@dataclass(slots=True)
class _State:
    """What deeds leave behind for goals."""

    generation: int = 0
    node: str = ""
    hours_end: datetime | None = None
    problems: list[str] = field(default_factory=list)


async def run(scenario: Scenario, stage: Stage, progress: Progress) -> Result:
    """Play every phase, until one does not reach its goal, and judge what was recorded."""
    clock = Clock(stage.surroundings.speed.factor)
    names = names_of(stage.sizing)
    setting = setting_of(scenario, stage)
    async with Client(stage.surroundings.kubeconfig) as client:
        recorder = Recorder(client, stage.surroundings, names, clock)
        async with recorder.running(), stage.clients(clock) as clients:
            play = _Play(scenario, stage, recorder, clients, progress)
            await play.all()
            progress.clear()
            asked = tuple(sorted(clients.asked(), key=lambda each: each.sent))
    timeline = Timeline(
        setting=setting,
        marks=tuple(recorder.marks),
        samples=tuple(recorder.samples),
        passes=recorder.passes,
        decisions=recorder.decisions,
        requests=asked,
        left=tuple(recorder.remarks),
    )
    checks = judge.ALWAYS if play.state.problems else scenario.checks
    found = [problem for check in checks for problem in check(timeline)]
    return Result(timeline, (*play.state.problems, *found), stage.altered)


def names_of(sizing: Sizing) -> Names:
    """What is to be followed of a release."""
    release, scaler, container = sizing.subject.release, sizing.autoscaler, sizing.plan.container
    series = sizing.plan.facts.engines.get(container.engine, {}).get("metrics", {})
    return Names(
        namespace=release.namespace_of(scaler.document),
        kind=scaler.target_kind,
        workload=scaler.target_name,
        scaler=scaler.document.name,
        model=container.served_model_name,
        **{key: str(series[key]) for key in ("running", "waiting") if key in series},
    )


def setting_of(scenario: Scenario, stage: Stage) -> Setting:
    """The facts that the judge goes by."""
    sizing = stage.sizing
    modifiers = sizing.autoscaler.modifiers
    return Setting(
        preset=stage.preset,
        scenario=scenario.name,
        workload=sizing.plan.container.document.identity,
        model=sizing.plan.container.served_model_name,
        speed=stage.surroundings.speed.factor,
        started=hours.now().isoformat(timespec="seconds"),
        minimum=sizing.minimum,
        maximum=sizing.maximum,
        target=sizing.target,
        formula=modifiers.formula if modifiers else "",
        peak=sizing.peak,
        reach=sizing.reach,
        part=sizing.part,
    )


class _Play:
    """One performance."""

    def __init__(
        self, scenario: Scenario, stage: Stage, recorder: Recorder, clients: Clients, progress: Progress
    ) -> None:
        self.state = _State()
        self._scenario = scenario
        self._stage = stage
        self._sizing = stage.sizing
        self._speed = stage.surroundings.speed
        self._recorder = recorder
        self._clients = clients
        self._progress = progress
        self._name = f"{stage.name} {scenario.name}"

    async def all(self) -> None:
        """Every phase in order; the rest is left out where one fails."""
        for phase in self._scenario.phases:
            self._recorder.begin(phase.name)
            self._progress.say(f"{self._name}: {phase.name}, {phase.what}")
            try:
                if phase.deed is not None:
                    await self._do(phase.deed)
                reached = await self._last(phase)
            except ClusterError as error:
                self.state.problems.append(f"{phase.name}: {error}")
                reached = False
            if not reached:
                break
        self._clients.rate(0.0, self._sizing.long, "")

    async def _last(self, phase: Phase) -> bool:
        """Keep the phase's load up until it is over; False where its goal was not reached in time."""
        sizing, lengths = self._sizing, phase.lengths(self._sizing)
        started, samples = time.monotonic(), len(self._recorder.samples)
        if burst := phase.burst(sizing):
            self._clients.burst(burst, lengths, phase.name)
        self._clients.rate(phase.rate(sizing), lengths, phase.name)
        least = self._speed.real(phase.seconds)
        most = least + max(self._speed.real(sizing.patience_seconds), _LEAST_PATIENCE_SECONDS)
        if phase.until is None:
            most = least
        while True:
            await self._next_sample()
            passed = time.monotonic() - started
            # The first sample of a phase may have been begun before it.
            fresh = len(self._recorder.samples) > samples + 1
            done = passed >= least and fresh
            if done and (phase.until is None or phase.until.holds(self._view(phase), sizing)):
                return True
            if passed > most and fresh and phase.until is not None:
                seconds = self._speed.simulated(passed)
                self.state.problems.append(
                    f"{phase.name}: {phase.until.what} did not come about within {seconds:.0f} s ({passed:.0f} real)"
                )
                return False

    async def _next_sample(self) -> None:
        self._recorder.sampled.clear()
        await self._recorder.sampled.wait()
        self._progress.show(self._name, self._recorder.samples[-1], sent=self._clients.sent(), lost=self._clients.lost)

    def _view(self, phase: Phase) -> View:
        state = self.state
        return View(
            sample=self._recorder.samples[-1],
            sent=self._clients.sent(phase.name),
            unanswered=self._clients.unanswered,
            rolled_out=rolled_out(self._recorder.workload, after=state.generation),
            node_gone=not any(dig(each, "status", "nodeName") == state.node for each in self._recorder.claim_bodies),
            hours_over=state.hours_end is None or hours.now() >= state.hours_end,
        )

    async def _do(self, deed: Deed) -> None:
        match deed:
            case Deed.UPGRADE:
                await self._upgrade()
            case Deed.SPOT_NOTICE:
                await self._notice()
            case Deed.WAKE:
                if not woken_by_requests(self._sizing) and not self._sizing.minimum:
                    await self._move_hours(hours.Window.open_for(_ALL_DAY_SECONDS, hours.now()), deed)
            case Deed.OPEN_HOURS:
                seconds = self._speed.real(self._sizing.subject.lead_seconds) + _HOURS_SECONDS
                window = hours.Window.open_for(seconds, hours.now())
                self.state.hours_end = window.end
                await self._move_hours(window, deed)
            case Deed.CLOSE_HOURS:
                self.state.hours_end = None
                await self._move_hours(hours.Window.elsewhere(hours.now()), deed)

    async def _upgrade(self) -> None:
        self.state.generation = int(dig(self._recorder.workload, "metadata", "generation", default=0))
        self._recorder.mark(Deed.UPGRADE)
        refusal = await asyncio.to_thread(self._stage.upgrade)
        if refusal:
            raise ClusterError(refusal, where=self._stage.preset)

    async def _notice(self) -> None:
        node, kind = self._spot_node()
        self.state.node = node
        self._recorder.mark(f"{Deed.SPOT_NOTICE}: {node} ({kind})")
        async with aiohttp.ClientSession(trust_env=False) as session:
            await self._stage.surroundings.spot_notice(session, node)

    def _spot_node(self) -> tuple[str, str]:
        """A spot node with a ready replica, and its instance type. Raises ClusterError where there is none."""
        busy = {each["spec"].get("nodeName") for each in self._recorder.pods.objects.values() if _is_ready(each)}
        for claim in self._recorder.claim_bodies:
            labels, node = claim["metadata"].get("labels") or {}, dig(claim, "status", "nodeName", default="")
            if node in busy and labels.get(CAPACITY_TYPE) == "spot":
                return node, labels.get(INSTANCE_TYPE, "")
        raise ClusterError("no ready replica is on a spot node", where=self._stage.preset)

    async def _move_hours(self, window: hours.Window, deed: Deed) -> None:
        scaler = self._sizing.autoscaler.document
        if not any(each.is_cron for each in self._sizing.autoscaler.triggers):
            return
        await asyncio.to_thread(move_hours, self._stage.api, scaler.name, names_of(self._sizing).namespace, window)
        self._recorder.mark(deed)


def move_hours(api: Api, scaler: str, namespace: str, window: hours.Window) -> None:
    """Move the crons of a ScaledObject; an upgrade must then overrule the conflict, and moves them back."""
    version, kind = "keda.sh/v1alpha1", "ScaledObject"
    live = api.find(version, kind, scaler, namespace)
    if live is None:
        raise ClusterError("is not there any more", where=f"ScaledObject/{scaler}")
    triggers = hours.moved(dig(live, *_TRIGGERS, default=[]), window)
    api.patch(api.resource(version, kind).path(namespace, scaler), {"spec": {"triggers": triggers}})


def rolled_out(workload: Body | None, *, after: int) -> bool:
    """Whether every pod of a workload is of a generation later than `after`, and serves."""
    if workload is None:
        return False
    status, generation = workload.get("status") or {}, int(workload["metadata"].get("generation", 0))
    wanted = dig(workload, "spec", "replicas", default=1)
    return bool(
        generation > after
        and status.get("observedGeneration", 0) >= generation
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) == status.get("readyReplicas", 0) == wanted
    )


def _is_ready(pod: Body) -> bool:
    conditions = dig(pod, "status", "conditions", default=())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def pods_annotation(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """The key of a chart's values that annotates its engine's pods, such as `engine.podAnnotations`; empty for none."""
    for key, value in values.items():
        if key == "podAnnotations":
            return ".".join((*path, key))
        if isinstance(value, Mapping) and (found := pods_annotation(value, (*path, key))):
            return found
    return ""
