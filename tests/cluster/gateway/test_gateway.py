"""The real LiteLLM in front of a model on the live cluster: nothing is lost from zero, in a rollout, or while it hangs.

Counted by the clients. Lost is a request without a complete answer from any target; one whose answer had begun when its
replica hung ends with an error that the client sees.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chartproof.cluster.scenario.runner import rolled_out
from tests.cluster.gateway.clients import Asked, Clients
from tests.cluster.gateway.provider import MODEL, Provider

if TYPE_CHECKING:
    from pathlib import Path

    from chartproof.cluster import Cluster
    from tests.cluster.faults.rig import Rig

pytestmark = pytest.mark.slow

NAME, NAMESPACE = "model", "gateway"
SERVED = "llama-3.1-8b"
OWN, ELSEWHERE = f"{SERVED}.own", f"{SERVED}.elsewhere"
REQUESTS = 200
RATE = 5.0
"""Requests in a real second."""
TOKENS = 8
LONG = 20_000
"""Tokens of an answer that is under way for long."""
SETTLED = 20
"""Answers in a row from one target that show where requests go."""
START_SECONDS = 240.0
"""Real seconds for LiteLLM to start, twice, on a slow machine."""


class Bench:
    """The release, its clients and the provider, with a few questions about them."""

    def __init__(self, rig: Rig, clients: Clients, provider: Provider, loop: asyncio.AbstractEventLoop) -> None:
        self.rig, self.clients, self.provider, self._loop = rig, clients, provider, loop

    @contextmanager
    def load(self) -> Iterator[Callable[[], list[Asked]]]:
        """Send requests during a block; the block is given what asks for those sent until now."""
        first = len(self.clients.asked)
        stop = asyncio.Event()
        future = asyncio.run_coroutine_threadsafe(self.clients.send(RATE, stop), self._loop)
        try:
            yield lambda: self.clients.asked[first:]
        finally:
            self._loop.call_soon_threadsafe(stop.set)
            future.result(300)

    def until(self, holds: Callable[[], object], what: str, seconds: float = 120.0) -> None:
        """Wait until something is so."""
        self.rig.until(holds, lambda: f"{what}: {self.tell()}", seconds)

    def tell(self) -> str:
        """What became of the last requests, for failures."""
        return str([(each.target, each.end, each.error) for each in self.clients.asked[-5:]])

    def last_from(self, target: str, since: Callable[[], list[Asked]]) -> bool:
        """Whether the last answers of a load all came from this target."""
        done = [each for each in since() if each.over][-SETTLED:]
        return len(done) == SETTLED and all(each.complete and each.target == target for each in done)

    def replicas(self) -> int:
        """That are wanted of the model."""
        return int(self._deployment["spec"]["replicas"])

    def is_rolled_out(self, replicas: int) -> bool:
        """Whether so many replicas are wanted, and all that exist are of the newest generation and serve."""
        found = self._deployment
        return found["spec"]["replicas"] == replicas and rolled_out(found, after=0)

    def running(self) -> dict[str, int]:
        """Requests under way in the model's engines, by pod."""
        return {each["pod"]: each["running"] for each in self.rig.engines() if each["namespace"] == NAMESPACE}

    @property
    def _deployment(self) -> dict[str, Any]:
        """The engine's Deployment, as it is now."""
        (found,) = (
            each
            for each in self.rig.cluster.api.list("apps/v1", "Deployment", NAMESPACE)
            if not each["metadata"]["name"].endswith("-gateway")
        )
        return found

    def pods(self) -> list[str]:
        """The model's pods that are ready and stay."""
        return [
            each["metadata"]["name"]
            for each in self.rig.cluster.api.list("v1", "Pod", NAMESPACE)
            if "-gateway-" not in each["metadata"]["name"]
            and "deletionTimestamp" not in each["metadata"]
            and _is_ready(each)
        ]


def _is_ready(pod: dict[str, object]) -> bool:
    status = pod["status"]
    assert isinstance(status, dict)
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ()))


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, daemon=True)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


@pytest.fixture(scope="module")
def bench(
    live_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, loop: asyncio.AbstractEventLoop
) -> Iterator[Bench]:
    """A model at zero behind two replicas of the real gateway."""
    from chartproof.references import PLACEHOLDER  # noqa: PLC0415  (only where it is used)
    from tests.cluster.faults.rig import PLATFORM, REPOSITORY, Rig  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("gateway")
    provider = Provider()
    port = asyncio.run_coroutine_threadsafe(provider.start(), loop).result(10)
    with Rig(live_cluster, directory) as rig:
        rig.install("platform", "platform", PLATFORM)
        here = REPOSITORY / "tests" / "cluster" / "gateway"
        preset = REPOSITORY / "values" / "llama-3.1-8b-g6e-gateway.yaml"
        rig.install(NAME, NAMESPACE, preset, here / "values.yaml", _targets(directory, port))
        gateway = next(
            each["metadata"]["name"]
            for each in live_cluster.api.list("v1", "Service", NAMESPACE)
            if each["metadata"]["name"].endswith("-gateway")
        )
        clients = Clients(
            f"http://{gateway}.{NAMESPACE}.svc/v1/chat/completions",
            f"http://127.0.0.1:{rig.live.network_port}",
            PLACEHOLDER,
            SERVED,
            TOKENS,
        )

        def ready() -> bool:
            found = live_cluster.api.find("apps/v1", "Deployment", gateway, NAMESPACE)
            return found is not None and found["status"].get("readyReplicas") == found["spec"]["replicas"]

        rig.until(ready, "LiteLLM has started", START_SECONDS)
        yield Bench(rig, clients, provider, loop)
    asyncio.run_coroutine_threadsafe(provider.stop(), loop).result(10)


def _targets(directory: Path, port: int) -> Path:
    """Values with the provider as the second target."""
    elsewhere = {"name": "elsewhere", "type": "openai", "tier": 2, "model": MODEL, "url": f"http://127.0.0.1:{port}/v1"}
    targets = [{"name": "own", "type": "own"}, elsewhere]
    path = directory / "targets.yaml"
    path.write_text(yaml.safe_dump({"gateway": {"models": {SERVED: {"targets": targets}}}}), encoding="utf-8")
    return path


def test_from_zero_others_answer_until_the_model_does(bench: Bench) -> None:
    assert bench.replicas() == 0
    with bench.load() as sent:
        bench.until(lambda: bench.replicas() > 0, "the gateway's requests wake the model")
        bench.until(lambda: bench.last_from(OWN, sent), "the model answers")
        bench.until(lambda: len(sent()) >= REQUESTS, "enough requests")
    asked = sent()
    assert [each for each in asked if not each.complete] == []
    assert {each.target for each in asked} == {OWN, ELSEWHERE}
    assert asked[0].target == ELSEWHERE
    assert bench.provider.answered >= sum(each.target == ELSEWHERE for each in asked)


def test_the_gateway_is_scraped(bench: Bench) -> None:
    query = 'sum by (requested_model) (litellm_deployment_successful_fallbacks_total{requested_model="llama-3.1-8b"})'
    bench.until(lambda: bench.rig.query(query), "Prometheus has the fallbacks")


def test_what_the_model_and_its_teams_cost_is_recorded(bench: Bench) -> None:
    release = f'namespace="{NAMESPACE}",model_name="{SERVED}"'
    with bench.load() as sent:
        bench.until(lambda: bench.last_from(OWN, sent), "the model answers")
        for series in (
            f"llm_replica_usd_per_hour{{{release}}}",
            f"llm_model_usd_per_hour{{{release}}}",
            f'llm_model_tokens_per_second{{{release},kind="generation"}}',
            f'llm_model_usd_per_million_tokens{{{release},kind="generation"}}',
            f"llm_team_usd_per_hour{{{release}}}",
        ):
            bench.until(partial(bench.rig.query, f"{series} > 0"), f"Prometheus has {series}")


def test_the_script_of_helm_test_finds_the_model_well(bench: Bench, tmp_path: Path) -> None:
    with bench.load() as sent, _api(bench.rig.cluster) as url:
        bench.until(lambda: bench.last_from(OWN, sent), "the model answers")
        code, lines = _checks(bench, tmp_path, url)
    assert lines[-1] == "6 of 6 checks hold"
    assert code == 0


@contextmanager
def _api(cluster: Cluster) -> Iterator[str]:
    """The API server without encryption, as kubectl hands it on."""
    from chartproof import toolchain  # noqa: PLC0415  (only where it is used)
    from chartproof.cluster.ports import LOOPBACK, free_ports  # noqa: PLC0415

    (port,) = free_ports(1)
    command = [str(toolchain.resolve("kubectl")), "proxy", f"--port={port}", f"--address={LOOPBACK}"]
    with subprocess.Popen(command, env=cluster.environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # It says so once it listens.
        process.stdout.readline()
        try:
            yield f"http://{LOOPBACK}:{port}"
        finally:
            process.terminate()


def _checks(bench: Bench, where: Path, api: str) -> tuple[int, list[str]]:
    """Run what `helm test` runs, with the pods' network as proxy and what the release's ConfigMap says."""
    (data,) = (
        each["data"]
        for each in bench.rig.cluster.api.list("v1", "ConfigMap", NAMESPACE)
        if "check.py" in each.get("data", {})
    )
    for name in ("check.py", "check.json"):
        (where / name).write_text(data[name], encoding="utf-8")
    environment = {
        "PATH": "/usr/bin",
        "KUBERNETES_URL": api,
        "http_proxy": f"http://127.0.0.1:{bench.rig.live.network_port}",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, "-B", str(where / "check.py"), str(where / "check.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    return done.returncode, [*done.stderr.splitlines(), *done.stdout.splitlines()]


def test_a_rollout_of_the_model_loses_nothing(bench: Bench) -> None:
    rig = bench.rig
    with bench.load() as sent:
        bench.until(lambda: bench.last_from(OWN, sent), "the model answers")
        before = set(bench.pods())
        rig.change("upgrade", NAME, NAMESPACE, "--set-string", "engine.podAnnotations.changed=yes", "--force-conflicts")
        bench.until(lambda: bench.pods() and not before & set(bench.pods()), "other pods serve")
        bench.until(lambda: len(sent()) >= REQUESTS, "enough requests")
        bench.until(lambda: bench.last_from(OWN, sent), "the model answers")
    assert [each for each in sent() if not each.complete] == []


def test_what_a_hung_replica_has_not_begun_is_answered_by_others(bench: Bench, loop: asyncio.AbstractEventLoop) -> None:
    # Exactly two: the hung one shall not go because one too many was started.
    two = "autoscaling.minReplicas=2,autoscaling.maxReplicas=2"
    bench.rig.change("upgrade", NAME, NAMESPACE, "--set", two, "--force-conflicts")
    # The upgrade takes the annotation of the last test away: none of the replicas that it replaces shall be hung.
    bench.until(lambda: bench.is_rolled_out(2), "two replicas serve, and no other is there")
    bench.until(lambda: not any(bench.running().values()), "no request is left")
    begun = Asked(0.0)
    answer = asyncio.run_coroutine_threadsafe(bench.clients.one(begun, LONG), loop)
    bench.until(lambda: begun.began and any(bench.running().values()), "a long answer begins")
    (hung,) = (pod for pod, running in bench.running().items() if running)
    bench.rig.control(f"pods/{NAMESPACE}/{hung}/hang")
    try:
        with bench.load() as sent:
            bench.until(answer.done, "the answer that had begun ends")
            bench.until(lambda: {each.target for each in sent() if each.complete} == {OWN, ELSEWHERE}, "both answer")
            bench.until(lambda: len(sent()) >= REQUESTS, "enough requests")
    finally:
        bench.rig.change("upgrade", NAME, NAMESPACE, "--force-conflicts")
        bench.rig.control(f"pods/{NAMESPACE}/{hung}/unhang")
    assert [each for each in sent() if not each.complete] == []
    # It is not repeated, and does not look whole.
    assert (begun.target, begun.end) == (OWN, "")
    assert "error" in begun.error.lower()


def test_after_quiet_the_model_is_back_at_zero(bench: Bench) -> None:
    bench.until(lambda: bench.replicas() == 0, "nobody asks")
    bench.until(lambda: not bench.pods(), "no pod is left")
