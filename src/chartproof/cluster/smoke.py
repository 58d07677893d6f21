"""Installs presets on the embedded cluster as a user would, looks, upgrades, uninstalls, looks again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chartproof import helm
from chartproof.cluster import observe
from chartproof.cluster.api import Api
from chartproof.cluster.embedded import Cluster
from chartproof.cluster.helm_client import HelmClient
from chartproof.cluster.observe import PodPlace
from chartproof.cluster.standing_nodes import standing_nodes
from chartproof.references import prerequisites
from chartproof.release import Release, dig

Body = Mapping[str, Any]
Tell = Callable[[str], None]

_PAUSE_SECONDS = 0.25
_KEDA_MOST_REPLICAS = 100
_NODE = "Node "
"""Before the name of a node among what was provided."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done, and how long it took."""

    name: str
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What became of one preset.

    `provided` is what the harness supplied in the user's place, `kept` what an uninstall leaves on
    purpose, `problems` everything that was not as it should be (empty: passed).
    """

    preset: str
    release: str
    steps: list[Step] = field(default_factory=list)
    places: list[PodPlace] = field(default_factory=list)
    provided: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def rendering(chart: Path, preset: Path) -> helm.Rendering:
    """How a preset is rendered for the smoke test: a release and a namespace of its own name."""
    name = helm.release_name(preset.stem)
    return helm.Rendering(chart, preset.stem, name, (preset,), namespace=name)


class Smoke:
    """Releases of one chart on one cluster."""

    def __init__(self, cluster: Cluster, chart: Path, *, tell: Tell, timeout_seconds: int) -> None:
        """`timeout_seconds` bounds each step: an installation, a rollout, an uninstallation."""
        self._cluster = cluster
        self._api = cluster.api
        self._chart = chart
        self._helm = HelmClient(chart, cluster.environment())
        self._tell = tell
        self._timeout = timeout_seconds

    @contextmanager
    def platform(self, preset: Path) -> Iterator[Outcome]:
        """Install the platform for the duration of the block, then uninstall it.

        Its Services are not asked for endpoints: they belong to pods of GPU nodes, and no model
        has asked for any yet. `model` asks them.
        """
        outcome = self._outcome(preset)
        try:
            if self._install(preset, outcome):
                objects = [each for each in self._objects(outcome) if each["kind"] != "Service"]
                self._settle(outcome, objects, "ready")
            yield outcome
        finally:
            self._uninstall(outcome)

    def model(self, preset: Path, platform: Outcome | None = None) -> Outcome:
        """Take one preset through its whole life."""
        outcome = self._outcome(preset)
        if self._install(preset, outcome):
            objects = self._objects(outcome)
            self._wake(outcome, objects)
            if self._settle(outcome, objects, "ready"):
                outcome.places = observe.places(self._api, outcome.release)
                self._look(outcome, platform)
                self._grow(outcome, objects)
                self._upgrade(preset, outcome, objects)
        self._uninstall(outcome)
        return outcome

    def nodes(self) -> list[str]:
        """Names of the cluster's nodes."""
        return [each["metadata"]["name"] for each in self._api.list("v1", "Node")]

    def _outcome(self, preset: Path) -> Outcome:
        return Outcome(preset.stem, helm.release_name(preset.stem))

    def _install(self, preset: Path, outcome: Outcome) -> bool:
        """`helm install --wait`, after supplying what the release needs from elsewhere."""
        outcome.provided += provide(self._api, helm.render(rendering(self._chart, preset)))
        words = ("--wait", "--wait-for-jobs", "--timeout", f"{self._timeout}s")
        with self._step(outcome, "helm install"):
            refusal = self._helm.install(outcome.release, preset, *words)
        return self._succeeded(outcome, "install", refusal)

    def _upgrade(self, preset: Path, outcome: Outcome, objects: Sequence[Body]) -> None:
        """Upgrade to the same values: it must succeed, and replace or rescale nothing."""
        before = self._running(outcome)
        with self._step(outcome, "helm upgrade"):
            refusal = self._helm.upgrade(outcome.release, preset, "--wait", "--timeout", f"{self._timeout}s")
        upgraded = self._succeeded(outcome, "upgrade", refusal)
        if not upgraded or not self._settle(outcome, objects, "ready after the upgrade"):
            return
        after = self._running(outcome)
        if before != after:
            outcome.problems.append(
                f"an upgrade to the same values replaced pods: {sorted(before)} became {sorted(after)}"
            )

    def _uninstall(self, outcome: Outcome) -> None:
        """`helm uninstall --wait`, after which nothing of the release may be left."""
        with self._step(outcome, "helm uninstall"):
            refusal = self._helm.uninstall(outcome.release, "--wait", "--timeout", f"{self._timeout}s")
        if not self._succeeded(outcome, "uninstall", refusal):
            return
        take_back(self._api, outcome.provided)
        name = outcome.release
        with self._step(outcome, "gone"):
            deadline = time.monotonic() + self._timeout
            left, outcome.kept = observe.leftovers(self._api, name, name)
            while left and time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
                left, outcome.kept = observe.leftovers(self._api, name, name)
        outcome.problems += [f"{each} is left after the uninstall" for each in left]

    def _wake(self, outcome: Outcome, objects: Sequence[Body]) -> None:
        """Scale what rests at zero to one replica, as its autoscaler would on the first request."""
        for each in objects:
            if each["kind"] not in {"Deployment", "StatefulSet", "LeaderWorkerSet"}:
                continue
            name = each["metadata"]["name"]
            path = self._api.resource(each["apiVersion"], each["kind"]).path(outcome.release, name)
            if dig(self._api.get(f"{path}/scale"), "spec", "replicas", default=0) == 0:
                with self._step(outcome, f"scale {name} from 0 to 1"):
                    self._api.patch(f"{path}/scale", {"spec": {"replicas": 1}})

    def _grow(self, outcome: Outcome, objects: Sequence[Body]) -> None:
        """Add a replica to what is autoscaled: an upgrade must not take it away again."""
        for each in objects:
            if each["kind"] != "ScaledObject":
                continue
            reference = each["spec"]["scaleTargetRef"]
            version, kind = reference.get("apiVersion", "apps/v1"), reference.get("kind", "Deployment")
            path = self._api.resource(version, kind).path(outcome.release, reference["name"])
            replicas = dig(self._api.get(f"{path}/scale"), "spec", "replicas", default=0)
            if replicas < each["spec"].get("maxReplicaCount", _KEDA_MOST_REPLICAS):
                self._api.patch(f"{path}/scale", {"spec": {"replicas": replicas + 1}})
                self._settle(outcome, objects, f"scale {reference['name']} from {replicas} to {replicas + 1}")

    def _settle(self, outcome: Outcome, objects: Sequence[Body], what: str) -> bool:
        """Wait until all is well with the objects; note what is not when the time is over."""
        with self._step(outcome, what):
            deadline = time.monotonic() + self._timeout
            while problems := observe.problems(self._api, objects, outcome.release):
                if time.monotonic() > deadline:
                    break
                time.sleep(_PAUSE_SECONDS)
        outcome.problems += problems
        if problems:
            outcome.problems += self._reasons(outcome)
        return not problems

    def _look(self, outcome: Outcome, platform: Outcome | None) -> None:
        """What only shows while the model runs: its GPUs, and the platform's pods on its nodes."""
        pools = {each["metadata"]["name"] for each in self._objects(outcome) if each["kind"] == "NodePool"}
        for each in outcome.places:
            if each.gpus and pools and each.pool not in pools:
                outcome.problems.append(
                    f"Pod/{each.pod} runs in pool {each.pool or 'none'}, the release brings {sorted(pools)}"
                )
        if platform is not None and not platform.problems:
            services = [each for each in self._objects(platform) if each["kind"] == "Service"]
            with self._step(outcome, "platform on the new nodes"):
                deadline = time.monotonic() + self._timeout
                while problems := (
                    observe.uncovered_gpu_nodes(self._api) + observe.problems(self._api, services, platform.release)
                ):
                    if time.monotonic() > deadline:
                        break
                    time.sleep(_PAUSE_SECONDS)
            outcome.problems += problems

    def _objects(self, outcome: Outcome) -> list[dict[str, Any]]:
        """What Helm installed, as it sent it."""
        return self._helm.objects(outcome.release)

    def _running(self, outcome: Outcome) -> set[str]:
        """Pods of the release that serve, and not those of Jobs."""
        return {
            each["metadata"]["name"]
            for each in self._api.list("v1", "Pod", outcome.release)
            if dig(each, "status", "phase") == "Running"
        }

    def _succeeded(self, outcome: Outcome, action: str, refusal: str) -> bool:
        if refusal:
            outcome.problems.append(f"helm {action} failed: {refusal}")
            outcome.problems += self._reasons(outcome)
        return not refusal

    def _reasons(self, outcome: Outcome) -> list[str]:
        """What scheduler, controllers and our own cloud say about why something does not come about."""
        said = observe.pending(self._api, outcome.release) + observe.failures(self._api, outcome.release)
        log = (self._cluster.place.logs / "cloud.log").read_text(encoding="utf-8").strip()
        return [*said, f"the simulated cloud complains: {log.splitlines()[-1]}"] if log else said

    @contextmanager
    def _step(self, outcome: Outcome, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - started
            outcome.steps.append(Step(name, round(seconds, 2)))
            self._tell(f"{outcome.preset}: {name}, {seconds:.1f} s")


def provide(api: Api, release: Release) -> list[str]:
    """Create the release's namespace and what its pods take for granted; returns the latter in words."""
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": release.namespace}})
    found = prerequisites(release)
    for each in found:
        api.create(each.body())
    nodes = standing_nodes(release, api.list("karpenter.sh/v1", "NodePool"))
    for node in nodes:
        api.create(node)
    return [*map(str, found), *(f"{_NODE}{node['metadata']['name']}" for node in nodes)]


def take_back(api: Api, provided: Iterable[str]) -> None:
    """Remove the nodes among what was provided, with their pods: the next release finds none that is not for it."""
    for name in (each.removeprefix(_NODE) for each in provided if each.startswith(_NODE)):
        api.delete("v1", "Node", name)
        for pod in api.list("v1", "Pod", fieldSelector=f"spec.nodeName={name}"):
            api.delete("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["namespace"], at_once=True)
