"""Puts presets on a live cluster, plays scenarios with them, takes them away again, and looks what is left."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chartproof import helm, kubernetes_yaml
from chartproof.cluster import observe
from chartproof.cluster.api import Api
from chartproof.cluster.helm_client import HelmClient
from chartproof.cluster.placement import NODE_POOL
from chartproof.cluster.scenario import runner
from chartproof.cluster.scenario.clients import StreamingClients
from chartproof.cluster.scenario.definition import SCENARIOS
from chartproof.cluster.scenario.progress import Progress
from chartproof.cluster.scenario.result import Result
from chartproof.cluster.scenario.runner import ClientsMaker, pods_annotation
from chartproof.cluster.scenario.sizing import Sizing, sizings_of
from chartproof.cluster.scenario.surroundings import Surroundings
from chartproof.cluster.smoke import provide, rendering, take_back
from chartproof.cluster.speed import Speed
from chartproof.load.client import Target
from chartproof.references import PLACEHOLDER
from chartproof.release import Release

_PAUSE_SECONDS = 0.25
_GONE_SECONDS = 120.0
"""Real seconds beyond the longest drain that an uninstalled release may take to be gone."""


@dataclass(slots=True)
class Played:
    """What became of one preset: a result for each scenario, why others were skipped, and what else was wrong."""

    preset: str
    results: list[Result] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    provided: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems and all(each.passed for each in self.results)

    def describe(self) -> dict[str, Any]:
        """As JSON, without the timelines."""
        return {
            "preset": self.preset,
            "passed": self.passed,
            "problems": self.problems,
            "scenarios": [each.summary() for each in self.results],
            "skipped": self.skipped,
            "provided": self.provided,
            "kept": self.kept,
            "altered": self.altered,
        }


def streaming_clients(surroundings: Surroundings, sizing: Sizing) -> ClientsMaker:
    """Clients that send real requests to the front door."""
    key = {"Authorization": f"Bearer {PLACEHOLDER}"}
    target = Target(surroundings.front_door, sizing.plan.container.served_model_name, headers=key)
    return lambda clock: StreamingClients(target, surroundings.speed, clock.start)


class Theatre:
    """Presets of one chart on one live cluster."""

    def __init__(
        self,
        surroundings: Surroundings,
        chart: Path,
        *,
        progress: Progress,
        clients: Callable[[Surroundings, Sizing], ClientsMaker] = streaming_clients,
    ) -> None:
        self._surroundings = surroundings
        self._api = Api(surroundings.kubeconfig)
        self._chart = chart
        self._clients = clients
        self._progress = progress
        self._speed = surroundings.speed

    @contextmanager
    def platform(self, preset: Path) -> Iterator[Played]:
        """Install the platform for the duration of the block."""
        played = Played(preset.stem)
        with self._taken_away(preset, played, 0.0):
            self._install(preset, helm.render(rendering(self._chart, preset)), played)
            yield played

    def play(self, preset: Path, sizings: Sequence[Sizing], names: Sequence[str]) -> Played:
        """Install a preset, play scenarios with each of its workloads one after another, uninstall it."""
        played = Played(preset.stem)
        wanted: list[tuple[Sizing, str]] = []
        for sizing in sizings:
            for name in names:
                if why := SCENARIOS[name].excluded(sizing):
                    what = f"{name} of {sizing.part}" if sizing.part else name
                    played.skipped[what] = why
                    self._progress.say(f"{preset.stem}: {what} is not for it: {why}")
                else:
                    wanted.append((sizing, name))
        if not wanted:
            return played
        with self._taken_away(preset, played, max(each.shutdown.grace for each in sizings)):
            if self._install(preset, sizings[0].subject.release, played):
                for sizing, name in wanted:
                    self._play_one(preset, sizing, name, played)
        return played

    def _play_one(self, preset: Path, sizing: Sizing, name: str, played: Played) -> None:
        stage = runner.Stage(
            preset=preset.stem,
            sizing=sizing,
            surroundings=self._surroundings,
            api=self._api,
            clients=self._clients(self._surroundings, sizing),
            upgrade=lambda: self._change_pods(preset),
            altered=tuple(played.altered),
        )
        played.results.append(asyncio.run(runner.run(SCENARIOS[name], stage, self._progress)))
        verdict = "passed" if played.results[-1].passed else "FAILED"
        self._progress.say(f"{stage.name}: {name} {verdict}")

    @contextmanager
    def _taken_away(self, preset: Path, played: Played, grace_seconds: float) -> Iterator[None]:
        """Uninstall a preset at the end of a block, also after an error; after Ctrl-C the whole cluster goes."""
        try:
            yield
        except Exception:
            self._progress.clear()
            self._uninstall(preset, played, grace_seconds)
            raise
        self._uninstall(preset, played, grace_seconds)

    def _install(self, preset: Path, release: Release, played: Played) -> bool:
        started = time.monotonic()
        played.provided += provide(self._api, release)
        refusal, played.altered = self._helm("install", preset)
        if refusal:
            played.problems.append(f"helm install failed: {refusal}")
        scaled = f", {len(played.altered)} durations and rates scaled" if played.altered else ""
        self._progress.say(f"{preset.stem}: helm install, {time.monotonic() - started:.1f} s{scaled}")
        return not refusal

    def _change_pods(self, preset: Path) -> str:
        """An upgrade to the same values with one annotation more on the pods."""
        values = kubernetes_yaml.load((self._chart / "values.yaml").read_text(encoding="utf-8"))
        key = pods_annotation(values if isinstance(values, dict) else {})
        if not key:
            return "the chart has no values that annotate its pods (podAnnotations), so that no upgrade can change them"
        # What moved hours is overruled: they are moved again when the scenario ends.
        return self._helm("upgrade", preset, "--set-string", f"{key}.changed={time.time():.0f}", "--force-conflicts")[0]

    def _helm(self, action: str, preset: Path, *words: str) -> tuple[str, list[str]]:
        name = helm.release_name(preset.stem)
        with tempfile.TemporaryDirectory(prefix="chartproof-") as directory:
            changes = Path(directory) / "changes"
            client = HelmClient(
                self._chart,
                self._surroundings.environment(),
                lambda: self._surroundings.helm_options(changes),
            )
            change = client.install if action == "install" else client.upgrade
            refusal = change(name, preset, *words)
            return refusal, self._surroundings.read_changes(changes)

    def _uninstall(self, preset: Path, played: Played, grace_seconds: float) -> None:
        """Uninstall, and wait until pods, nodes and claims of the release are gone."""
        started = time.monotonic()
        name = helm.release_name(preset.stem)
        patience = self._speed.real(grace_seconds) + _GONE_SECONDS
        client = HelmClient(self._chart, self._surroundings.environment())
        pools = self._pools(name)
        if refusal := client.uninstall(name, "--wait", "--timeout", f"{patience:.0f}s"):
            played.problems.append(f"helm uninstall failed: {refusal}")
            return
        take_back(self._api, played.provided)
        deadline = time.monotonic() + patience
        while left := self._left(name, pools, played):
            if time.monotonic() > deadline:
                played.problems += [f"{each} is left after the uninstall" for each in left]
                break
            time.sleep(_PAUSE_SECONDS)
        self._progress.say(f"{preset.stem}: uninstalled and gone, {time.monotonic() - started:.1f} s")

    def _pools(self, release: str) -> set[str]:
        """NodePools of a release."""
        annotation = "meta.helm.sh/release-name"
        return {
            each["metadata"]["name"]
            for each in self._api.list("karpenter.sh/v1", "NodePool")
            if (each["metadata"].get("annotations") or {}).get(annotation) == release
        }

    def _left(self, name: str, pools: set[str], played: Played) -> list[str]:
        left, played.kept = observe.leftovers(self._api, name, name)
        for version, kind in (("karpenter.sh/v1", "NodeClaim"), ("v1", "Node")):
            left += [
                f"{kind}/{each['metadata']['name']}"
                for each in self._api.list(version, kind)
                if (each["metadata"].get("labels") or {}).get(NODE_POOL) in pools
            ]
        return left


def prepared(preset: Path, chart: Path, speed: Speed) -> list[Sizing]:
    """What scenarios need to know of a preset's workloads, rendered before a cluster is started for it.

    Raises RenderError and InputError for a preset that cannot be rendered, or that no load can be made for.
    """
    return sizings_of(helm.render(rendering(chart, preset)), speed)
