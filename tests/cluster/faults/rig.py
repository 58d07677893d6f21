"""A served model under constant load on the live cluster, watched without a pause while parts of it are broken.

Everything that is waited for is a condition with a deadline; what must not happen is looked for in what was recorded
between two moments. Seconds are simulated unless they are called real.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import yaml

from chartproof import helm, kubernetes_yaml, toolchain
from chartproof.cluster import Cluster, supervisor
from chartproof.cluster.api import ApiError
from chartproof.cluster.machines.watch import Client
from chartproof.cluster.placement import CAPACITY_TYPE, NODE_POOL
from chartproof.cluster.scenario.clients import StreamingClients
from chartproof.cluster.scenario.recorder import COMPOSITE, Clock, Recorder
from chartproof.cluster.scenario.runner import names_of, rolled_out
from chartproof.cluster.scenario.sizing import Sizing, sizings_of
from chartproof.cluster.scenario.surroundings import Embedded
from chartproof.cluster.scenario.timeline import Asked, Decision, Sample
from chartproof.cluster.smoke import provide
from chartproof.languages.quantity import parse_quantity
from chartproof.load.client import Target
from chartproof.release import Release, dig
from chartproof.workload import GPU_RESOURCE

Body = dict[str, Any]
Found = TypeVar("Found")

REPOSITORY = Path(__file__).parents[3]
CHART = REPOSITORY / "charts" / "llm-inference"
PRESET = REPOSITORY / "values" / "llama-3.1-8b-g6e-serverless.yaml"
PLATFORM = REPOSITORY / "values" / "platform-eks.yaml"
HERE = Path(__file__).parent

NAMESPACE = "faults"
REPLICAS = 3
SPARE = 0.5
"""By how much less than so many replicas' worth a load is that asks for them."""
PATIENCE_SECONDS = 90.0
"""Real seconds that a condition is waited for."""
_PAUSE_SECONDS = 0.1


class Served:
    """One model: its release, its clients, and what was recorded of it."""

    def __init__(
        self, name: str, sizing: Sizing, recorder: Recorder, clients: StreamingClients, replicas: int = REPLICAS
    ) -> None:
        """`replicas` is what its usual load asks for."""
        self.name = name
        self.replicas = replicas
        self.sizing = sizing
        self.recorder = recorder
        self.clients = clients

    @property
    def now(self) -> Sample:
        """The last sample."""
        return self.recorder.samples[-1]

    @property
    def usual(self) -> float:
        """Its usual load, in replicas' worth."""
        return self.replicas - SPARE

    @property
    def workload(self) -> str:
        """Name of its Deployment, or LeaderWorkerSet, and of its ScaledObject."""
        return self.sizing.autoscaler.target_name

    def samples(self, since: float) -> list[Sample]:
        """Samples that were taken later than this second."""
        return [each for each in self.recorder.samples if each.second > since]

    def decisions(self, since: float) -> list[Decision]:
        """Changes of its replicas after this second."""
        return [each for each in self.recorder.decisions if each.second > since]

    def lost(self, since: float) -> list[Asked]:
        """Requests that were under way after this second and were not answered completely."""
        return [
            each for each in self.clients.asked() if each.done is not None and each.done > since and not each.served
        ]

    def served(self, since: float) -> int:
        """Requests that were answered completely after this second."""
        return sum(each.served and each.done is not None and each.done > since for each in self.clients.asked())

    def running_and_waiting(self) -> float:
        """Requests that its engines had at the last sample."""
        return (self.now.running or 0) + (self.now.waiting or 0)


@dataclass
class _Loop:
    """An event loop in a thread."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread

    @classmethod
    def start(cls) -> Self:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="faults", daemon=True)
        thread.start()
        return cls(loop, thread)

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        """Run it there and wait."""
        future: Future[Found] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(PATIENCE_SECONDS)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Rig:
    """The cluster, the platform and the models on it; use it as a context manager."""

    namespace = NAMESPACE

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        assert cluster.live
        self.cluster = cluster
        self.live = cluster.live
        self.surroundings = Embedded(cluster)
        self.speed = self.live.pace
        self.clock = Clock(self.speed.factor)
        self._directory = directory
        self._helm = toolchain.resolve("helm")
        self._loop = _Loop.start()
        self._open = AsyncExitStack()
        self._client: Client | None = None
        self._releases: list[tuple[str, str]] = []
        self._opener = build_opener(ProxyHandler({}))

    def __enter__(self) -> Self:
        self._client = self._loop.run(self._open.enter_async_context(Client(self.cluster.kubeconfig)))
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._loop.run(self._open.aclose())
            for name, namespace in reversed(self._releases):
                self._call("uninstall", name, "--namespace", namespace, "--wait", "--timeout", "60s")
            self._clear({namespace for _, namespace in self._releases})
        finally:
            self._loop.stop()

    def _clear(self, namespaces: set[str]) -> None:
        """Leave nothing of the releases on the cluster."""
        api = self.cluster.api
        for each in namespaces:
            api.delete("v1", "Namespace", each)
        self.until(
            lambda: not namespaces & {each["metadata"]["name"] for each in api.list("v1", "Namespace")},
            "the namespaces are gone",
        )

        def are_gone() -> bool:
            claims = api.list("karpenter.sh/v1", "NodeClaim")
            claimed = {dig(each, "status", "nodeName") for each in claims}
            nodes = [each["metadata"]["name"] for each in self.nodes()]
            for each in nodes:
                # Karpenter's kwok provider brings a machine after its delay, although its claim has gone meanwhile.
                if each not in claimed:
                    api.delete("v1", "Node", each)
            return not nodes

        self.until(are_gone, "the nodes are gone")

    # --- Releases -----------------------------------------------------------------------------------------------------

    def install(self, name: str, namespace: str, preset: Path, *overlays: Path) -> Release:
        """Install a preset with its durations scaled, and return what it renders to."""
        values = self._values(name, preset, overlays)
        release = helm.render(helm.Rendering(CHART, preset.stem, name, (values,), namespace=namespace))
        provide(self.cluster.api, release)
        self._releases.append((name, namespace))
        self._change("install", name, namespace, values)
        return release

    def serve(
        self, name: str, *overlays: Path, preset: Path = PRESET, replicas: int = REPLICAS, part: str = ""
    ) -> Served:
        """Install a model and follow it, or the part of it that has this name."""
        sizings = sizings_of(self.install(name, NAMESPACE, preset, *overlays), self.speed)
        sizing = next(each for each in sizings if each.part == part)
        return self._loop.run(self._follow(name, sizing, replicas))

    def upgrade(self, served: Served, *words: str) -> None:
        """Change a model's release."""
        values = self._directory / f"{served.name}.yaml"
        self._change("upgrade", served.name, NAMESPACE, values, *words)

    def change(self, action: str, name: str, namespace: str, *words: str) -> None:
        """Change a release that was installed, to its own values and what the words say."""
        self._change(action, name, namespace, self._directory / f"{name}.yaml", *words)

    async def _follow(self, name: str, sizing: Sizing, replicas: int) -> Served:
        assert self._client
        recorder = Recorder(self._client, self.surroundings, names_of(sizing), self.clock)
        target = Target(self.surroundings.front_door, sizing.plan.container.served_model_name)
        await self._open.enter_async_context(recorder.running())
        clients = StreamingClients(target, self.speed, self.clock.start)
        await self._open.enter_async_context(clients)
        recorder.sampled.clear()
        await recorder.sampled.wait()
        return Served(name, sizing, recorder, clients, replicas)

    def _values(self, name: str, preset: Path, overlays: Sequence[Path]) -> Path:
        """One file of a preset and what is laid over it."""
        found: Body = {}
        for each in (preset, *overlays):
            found = _merged(found, kubernetes_yaml.load(each.read_text(encoding="utf-8")))
        path = self._directory / f"{name}.yaml"
        path.write_text(yaml.safe_dump(found), encoding="utf-8")
        return path

    def _change(self, action: str, name: str, namespace: str, values: Path, *words: str) -> None:
        changes = self._directory / "changes"
        options = self.surroundings.helm_options(changes)
        result = self._call(
            action, name, str(CHART), "--values", str(values), "--namespace", namespace, *words, *options
        )
        assert result.returncode == 0, result.stderr

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._helm), *words],
            env=dict(self.surroundings.environment()),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    # --- Load ---------------------------------------------------------------------------------------------------------

    def load(self, served: Served, replicas: float) -> None:
        """From now on send what keeps so many replicas at their target; 0 stops."""
        sizing = served.sizing
        rate = sizing.rate(replicas, sizing.short)
        self._loop.loop.call_soon_threadsafe(served.clients.rate, rate, sizing.short, "load")

    def burst(self, served: Served, requests: int) -> None:
        """Send so many requests at once."""
        self._loop.loop.call_soon_threadsafe(served.clients.burst, requests, served.sizing.short, "burst")

    # --- Waiting ------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the rig was made."""
        return self.clock.now()

    def until(
        self, holds: Callable[[], Found], what: str | Callable[[], str], real_seconds: float = PATIENCE_SECONDS
    ) -> Found:
        """Wait until something is so and return it; fails with `what` when it takes too long."""
        deadline = time.monotonic() + real_seconds
        while not (found := holds()):
            if time.monotonic() > deadline:
                said = what if isinstance(what, str) else what()
                raise AssertionError(f"{said}: not within {real_seconds:g} real seconds")
            time.sleep(_PAUSE_SECONDS)
        return found

    def at_least(self, served: Served, replicas: int) -> None:
        """Raise or lower the fewest replicas of a model's ScaledObject."""
        resource = self.cluster.api.resource("keda.sh/v1alpha1", "ScaledObject")
        path = resource.path(NAMESPACE, served.sizing.autoscaler.document.name)
        self.cluster.api.patch(path, {"spec": {"minReplicaCount": replicas}})

    def settled(self, served: Served) -> None:
        """Wait until at least as many replicas serve as the load asks for, and the autoscaler sees."""

        def is_settled() -> bool:
            each = served.now
            wanted, *have = each.replicas or 0, each.current, each.ready
            steady = wanted >= served.replicas and have == [wanted, wanted]
            return steady and each.active is True and self.scaling_is_active(served)

        self.until(is_settled, lambda: f"{served.name} settled: {self.tell(served)}")

    def tell(self, served: Served) -> str:
        """The state of a model in a few words, for failures."""
        each = served.now
        return (
            f"{each.replicas} wanted, {each.current} existing, {each.ready} ready, active {each.active}, {each.alerts}"
        )

    def watch(self, served: Served, since: float, seconds: float) -> list[Sample]:
        """Samples from `since` on, for so long."""
        self.until(
            lambda: served.now.second >= since + seconds,
            f"{seconds:g} s of samples",
            self.speed.real(seconds) + PATIENCE_SECONDS,
        )
        return served.samples(since)

    # --- What there is ------------------------------------------------------------------------------------------------

    def pods(self, served: Served) -> list[Body]:
        """Pods of a model that are not on their way out."""
        return [
            dict(each)
            for each in served.recorder.pods.objects.values()
            if each["metadata"]["name"].startswith(f"{served.workload}-")
            and "deletionTimestamp" not in each["metadata"]
        ]

    def ready_pods(self, served: Served) -> list[Body]:
        """Those that serve."""
        return [each for each in self.pods(served) if _condition(each, "Ready") == "True"]

    def pod(self, served: Served, name: str) -> Body:
        """One of them; empty where it is not there any more."""
        return next((each for each in self.pods(served) if each["metadata"]["name"] == name), {})

    def pod_names(self, served: Served) -> set[str]:
        """All that exist, also those on their way out."""
        return {name for _, name in served.recorder.pods.objects}

    def restarts(self, pod: Mapping[str, Any]) -> int:
        """Of its containers."""
        return sum(each["restartCount"] for each in dig(pod, "status", "containerStatuses", default=()))

    def waiting(self, served: Served) -> list[Body]:
        """Those that have no node."""
        return [each for each in self.pods(served) if not dig(each, "spec", "nodeName")]

    def loading(self, served: Served) -> set[str]:
        """Pods whose engine runs and has not loaded the model."""
        names = {each["metadata"]["name"] for each in self.pods(served)}
        return {each["pod"] for each in self.engines() if not each["loaded"]} & names

    def nodes(self) -> list[Body]:
        """Nodes of Karpenter's."""
        return self.cluster.api.list("v1", "Node", labelSelector=NODE_POOL)

    def engines(self) -> list[Body]:
        """Every engine of the cluster, as the played machines know it."""
        with self._opener.open(f"http://127.0.0.1:{self.live.control_port}/state", timeout=10) as answer:
            return list(json.load(answer)["engines"])

    def rolled_out(self, served: Served, after: int) -> bool:
        """Whether every pod is of a later generation than `after`."""
        return rolled_out(served.recorder.workload, after=after)

    def generation(self, served: Served) -> int:
        """Of the workload."""
        return int(dig(served.recorder.workload, "metadata", "generation", default=0))

    def scaling_is_active(self, served: Served) -> bool:
        """Whether the HPA could compute its metric the last time."""
        try:
            found = self.cluster.api.find(
                "autoscaling/v2", "HorizontalPodAutoscaler", f"keda-hpa-{served.workload}", NAMESPACE
            )
        except ApiError:
            return False
        return found is not None and _condition(found, "ScalingActive") == "True"

    def metric(self, served: Served) -> float | None:
        """What the formula comes to, by way of API server, adapter, operator and Prometheus; None where one fails."""
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/{COMPOSITE}"
        try:
            found = self.cluster.api.get(path, labelSelector=f"scaledobject.keda.sh/name={served.workload}")
        except ApiError:
            return None
        return float(parse_quantity(found["items"][0]["value"]))

    def alerts(self) -> dict[str, str]:
        """State (pending, firing) of the real Prometheus' alerts by name; empty where it does not answer."""
        found: dict[str, str] = {}
        for each in self._prometheus("alerts").get("alerts", ()):
            name, state = each["labels"]["alertname"], each["state"]
            found[name] = "firing" if "firing" in {state, found.get(name)} else state
        return found

    def query(self, query: str) -> list[Body]:
        """What the real Prometheus answers, asked directly."""
        return list(self._prometheus(f"query?query={quote(query)}").get("result", ()))

    def is_scraped(self) -> bool:
        """Whether the last scrape of any pod of the models succeeded."""
        return bool(self.query(f'up{{namespace="{NAMESPACE}"}} == 1'))

    def _prometheus(self, path: str) -> Body:
        try:
            with self._opener.open(f"{self.surroundings.prometheus}/api/v1/{path}", timeout=5) as answer:
                return dict(json.load(answer)["data"])
        except (URLError, OSError):
            return {}

    # --- Faults -------------------------------------------------------------------------------------------------------

    def control(self, path: str, **body: str) -> None:
        """Ask the played machines for a fault."""
        request = Request(
            f"http://127.0.0.1:{self.live.control_port}/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        try:
            self._opener.open(request, timeout=30).close()
        except HTTPError as error:
            raise AssertionError(f"{path}: {error.read().decode()}") from error

    @contextmanager
    def broken(self, host: str, mode: str) -> Iterator[None]:
        """Break hosts of the pod network for the duration of a block."""
        self.control("network/break", host=host, mode=mode)
        try:
            yield
        finally:
            self.control("network/mend", host=host)

    @contextmanager
    def held(self, *processes: str) -> Iterator[None]:
        """Keep processes down for the duration of a block."""
        try:
            for each in processes:
                supervisor.hold(self.cluster.place, each)
            yield
        finally:
            for each in processes:
                supervisor.release(self.cluster.place, each)

    def kill(self, process: str) -> None:
        """Kill a process and wait until the supervisor has it back."""
        before = self._restarts(process)
        supervisor.kill(self.cluster.place, process)
        self.until(
            lambda: self._restarts(process) > before and self._is_healthy(process), f"{process} is started again"
        )

    def _restarts(self, process: str) -> int:
        return next(each.restarts for each in supervisor.status(self.cluster.place.directory) if each.name == process)

    def _is_healthy(self, process: str) -> bool:
        return any(each.name == process and each.healthy for each in supervisor.status(self.cluster.place.directory))

    @contextmanager
    def without_gpus(self, *pools: str) -> Iterator[None]:
        """Nodes that these pools bring during the block register without their GPUs."""
        try:
            for each in pools:
                self.control(f"nodepools/{each}/withhold-gpus")
            yield
        finally:
            for each in pools:
                self.control(f"nodepools/{each}/return-gpus")

    def spot_node(self, served: Served) -> str:
        """A spot node with a ready replica."""
        busy = {each["spec"]["nodeName"] for each in self.ready_pods(served)}
        for claim in served.recorder.claim_bodies:
            node = dig(claim, "status", "nodeName", default="")
            if node in busy and dig(claim, "metadata", "labels", CAPACITY_TYPE) == "spot":
                return str(node)
        raise AssertionError("no ready replica is on a spot node")

    def nodes_without_gpu(self) -> list[str]:
        """Names of Karpenter's nodes that offer none."""
        return [
            each["metadata"]["name"] for each in self.nodes() if GPU_RESOURCE not in dig(each, "status", "allocatable")
        ]

    def give_up(self, node: str) -> None:
        """Delete a node's claim, as its alert says."""
        for each in self.cluster.api.list("karpenter.sh/v1", "NodeClaim"):
            if dig(each, "status", "nodeName") == node and "deletionTimestamp" not in each["metadata"]:
                self.cluster.api.delete("karpenter.sh/v1", "NodeClaim", each["metadata"]["name"])


def _condition(body: Mapping[str, Any], kind: str) -> str:
    for each in dig(body, "status", "conditions", default=()):
        if each["type"] == kind:
            return str(each["status"])
    return ""


def _merged(below: Body, above: Mapping[str, Any]) -> Body:
    found = dict(below)
    for key, value in above.items():
        known = found.get(key)
        found[key] = _merged(known, value) if isinstance(value, Mapping) and isinstance(known, dict) else value
    return found
