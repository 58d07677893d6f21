"""Recordings of KEDA's real operator, case by case, and our transcription of it after them.

    python -m tests.simulate.keda_recordings [CASE ...]

plays `keda_cases.yaml` on an embedded cluster: real operator, adapter and HPA, a stand-in for Prometheus that answers
what a case says. It writes `keda-recordings/*.json`: when KEDA asked and what it was told, what was done to the
replicas and by whom, and when the ScaledObject called itself active. Takes three minutes, on a machine with nothing
else to do: where KEDA itself is kept waiting, polls and pulls cannot be told apart, and a case is to be recorded again.

A replay gets the same answers at the same times and keeps its own replicas, so that a difference stays and grows.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from chartproof.autoscaler import Trigger
from chartproof.release import dig
from chartproof.simulate.hpa import Hpa
from chartproof.simulate.keda import Keda, ScalerError, cron_scaler, hpa_spec, trigger_value
from chartproof.toolchain import pins
from tests.simulate.keda_objects import cron, prometheus, scaled_object

if TYPE_CHECKING:
    from aiohttp import web

    from chartproof.cluster import Cluster
    from chartproof.cluster.machines.watch import Body, Change, Client

HERE = Path(__file__).parent
CASES = HERE / "keda_cases.yaml"
GOLDENS = HERE / "keda-recordings"
NAMESPACE = "recordings"
SECONDS = 150.0
"""Recorded of each case."""
SPEED = 1.03
"""Of the cluster, whose HPA then looks every 14.563 s: at least 0.18 s away from a poll, for ten passes after
both began together. Everything else is in real seconds.
"""
PASS_SECONDS = 15 / SPEED + 0.05
"""From one pass of the HPA to the next, with what it takes."""
LOOK_SECONDS = 0.1
"""Questions that are closer together belong to one look at the triggers: several triggers, or the second try that
follows on a failure.
"""
LATE_SECONDS = 0.2
"""A poll comes so near to its time."""
WRITE_SECONDS = 2.0
"""From a look to the write that follows on it is seen, at most; less than the shortest pause between two polls."""
Look = tuple[float, str, dict[str, Any]]
"""Second, `poll` or `pull`, answers by trigger."""


def cases() -> dict[str, dict[str, Any]]:
    """Every case with whole specs."""
    body = yaml.safe_load(CASES.read_text(encoding="utf-8"))
    return {name: {**each, "spec": _spec(name, each, body["defaults"])} for name, each in body["cases"].items()}


def _spec(name: str, case: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    triggers = [
        prometheus(trigger, query_of(name, trigger), threshold="10", **case.get("metadata", {}))
        for trigger in case["signals"]
    ]
    spec = {**defaults, **case.get("spec", {}), "triggers": triggers}
    if "formula" in case:
        spec["advanced"] = {"scalingModifiers": {"target": "10", **case["formula"]}}
    return spec


def query_of(case: str, trigger: str) -> str:
    """What a trigger asks; the stand-in for Prometheus knows it by this."""
    return f"{case}/{trigger}"


def answer_at(signal: Sequence[Sequence[Any]], second: float) -> Any:
    """What the signal says then."""
    return [value for begin, value in signal if begin <= max(0.0, second)][-1]


# --- Recording ----------------------------------------------------------------------------------------------------


@dataclass
class _Tape:
    """What is seen of one case."""

    case: Mapping[str, Any]
    spec: dict[str, Any]
    created: float = 0.0
    hpa_created: float | None = None
    questions: list[tuple[float, str, Any]] = field(default_factory=list)
    steps: list[tuple[float, str, int, int]] = field(default_factory=list)
    active: list[tuple[float, bool]] = field(default_factory=list)
    replicas: int = 0


class _Recorder:
    def __init__(self, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        # Whole seconds of the recording are whole seconds of the clock: KEDA keeps its last activity in those.
        self.base = math.floor(time.time())
        self.tapes = {
            name: _Tape(each, dict(each["spec"]), replicas=each.get("replicas", 0)) for name, each in wanted.items()
        }
        opens = (self.base + 20 + 5) // 60 + 1
        for tape in self.tapes.values():
            if tape.case.get("cron"):
                window = (f"{(opens + late) % 60} * * * *" for late in (0, 1))
                tape.spec["triggers"] = [*tape.spec["triggers"], cron("hours", *window)]

    @property
    def now(self) -> float:
        return time.time() - self.base

    async def answer(self, request: web.Request) -> web.Response:
        """Prometheus' instant query."""
        from aiohttp import web  # noqa: PLC0415  (of the extra `live`)

        name, _, trigger = request.query["query"].partition("/")
        tape = self.tapes[name]
        told = answer_at(tape.case["signals"][trigger], self.now - tape.created)
        tape.questions.append((round(self.now, 3), trigger, told))
        if told == "fail":
            return web.Response(status=500, text="down")
        count = {"empty": 0, "several": 2}.get(told, 1) if isinstance(told, str) else 1
        text = "NaN" if told == "nan" else "1" if told == "several" else str(told)
        result = [{"metric": {"n": str(index)}, "value": [time.time(), text]} for index in range(count)]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})

    def on_workload(self, _: Change, body: Body) -> None:
        """Who wrote the replicas."""
        tape = self.tapes.get(body["metadata"]["name"])
        after = int(dig(body, "spec", "replicas", default=0))
        if tape is None or after == tape.replicas:
            return
        authors = [
            str(each.get("manager"))
            for each in body["metadata"].get("managedFields", ())
            if "f:replicas" in dig(each, "fieldsV1", "f:spec", default={})
        ]
        author = "hpa" if any("controller-manager" in each for each in authors) else "keda"
        tape.steps.append((round(self.now, 3), author, tape.replicas, after))
        tape.replicas = after

    def on_scaled_object(self, _: Change, body: Body) -> None:
        """Whether it calls itself active."""
        tape = self.tapes.get(body["metadata"]["name"])
        for each in dig(body, "status", "conditions", default=()) or ():
            if tape is not None and each["type"] == "Active" and each["status"] in {"True", "False"}:
                active = each["status"] == "True"
                if not tape.active or tape.active[-1][1] != active:
                    tape.active.append((round(self.now, 3), active))

    def on_hpa(self, _: Change, body: Body) -> None:
        """When the HPA came."""
        tape = self.tapes.get(body["metadata"]["name"].removeprefix("keda-hpa-"))
        if tape is not None and tape.hpa_created is None:
            tape.hpa_created = round(self.now, 3)


def _workload(name: str, replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                # No such node: the pods wait, and count for the HPA nevertheless.
                "spec": {"nodeSelector": {"there": "is-none"}, "containers": [{"name": "main", "image": "none"}]},
            },
        },
    }


async def record(cluster: Cluster, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Play cases, all at once; a recording each."""
    from chartproof.cluster.machines.watch import Client, Watch  # noqa: PLC0415  (of the extra `live`)

    recorder = _Recorder(wanted)
    async with Client(cluster.kubeconfig) as client, _served(recorder) as address:
        await client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": NAMESPACE}})
        inside = {"fieldSelector": f"metadata.namespace={NAMESPACE}"}
        workloads = Watch(client, "apps/v1", "deployments", **inside)
        for name, tape in recorder.tapes.items():
            path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
            await client.request("POST", path, body=_workload(name, tape.replicas))
        watches = {
            workloads: recorder.on_workload,
            Watch(client, "keda.sh/v1alpha1", "scaledobjects", **inside): recorder.on_scaled_object,
            Watch(client, "autoscaling/v2", "horizontalpodautoscalers", **inside): recorder.on_hpa,
        }
        for watch, listener in watches.items():
            watch.on_change(listener)
        tasks = [asyncio.create_task(each.run()) for each in watches]
        try:
            while any(  # noqa: ASYNC110  (a moment before the recording)
                dig(workloads.objects.get((NAMESPACE, name), {}), "status", "replicas", default=0) != tape.replicas
                for name, tape in recorder.tapes.items()
            ):
                await asyncio.sleep(0.2)
            for name, tape in recorder.tapes.items():
                await _create(client, recorder, name, tape, address)
            await asyncio.sleep(SECONDS)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return {name: _recording(recorder, tape) for name, tape in recorder.tapes.items()}


async def _create(client: Client, recorder: _Recorder, name: str, tape: _Tape, address: str) -> None:
    triggers = [
        {**each, "metadata": {**each["metadata"], "serverAddress": address}} if each["type"] == "prometheus" else each
        for each in tape.spec["triggers"]
    ]
    body = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {**tape.spec, "scaleTargetRef": {"name": name}, "triggers": triggers},
    }
    tape.created = round(recorder.now, 3)
    await client.request("POST", f"/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects", body=body)


@asynccontextmanager
async def _served(recorder: _Recorder) -> AsyncIterator[str]:
    from aiohttp import web  # noqa: PLC0415  (of the extra `live`)

    from chartproof.cluster.ports import LOOPBACK, free_ports  # noqa: PLC0415

    application = web.Application()
    application.router.add_get("/api/v1/query", recorder.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, LOOPBACK, port).start()
    try:
        yield f"http://{LOOPBACK}:{port}"
    finally:
        await runner.cleanup()


def _recording(recorder: _Recorder, tape: _Tape) -> dict[str, Any]:
    return {
        "programs": {name: pins.modules()[name].version for name in ("kubernetes", "keda")},
        "start": datetime.fromtimestamp(recorder.base, UTC).isoformat(),
        "created": tape.created,
        "hpaCreated": tape.hpa_created,
        "replicas": tape.case.get("replicas", 0),
        "spec": tape.spec,
        "questions": sorted(tape.questions),
        "steps": tape.steps,
        "active": tape.active,
    }


def looks(questions: Sequence[tuple[float, str, Any]], period: float) -> list[Look]:
    """Questions put together, and told apart by their time: polls are `period` after one another, from the first on."""
    found: list[tuple[float, dict[str, Any]]] = []
    for second, trigger, told in questions:
        if not found or second - found[-1][0] > LOOK_SECONDS:
            found.append((second, {}))
        found[-1][1][trigger] = told
    first = found[0][0] if found else 0.0
    result: list[Look] = []
    for second, answers in found:
        late = (second - first) % period
        result.append((second, "poll" if min(late, period - late) <= LATE_SECONDS else "pull", answers))
    return result


def with_silent_passes(found: Sequence[Look], hpa_created: float) -> Iterator[Look]:
    """Also the passes of the HPA that ask for nothing, since its target is at zero or below its minimum."""
    due = hpa_created + PASS_SECONDS
    for each in found:
        while due < each[0]:
            yield due, "silent", {}
            due += PASS_SECONDS
        if each[1] == "pull":
            due = each[0] + PASS_SECONDS
        yield each


def described(recording: Mapping[str, Any]) -> str:
    """The golden file, a row per line."""
    rows = ("questions", "steps", "active")
    head = json.dumps({key: value for key, value in recording.items() if key not in rows}, indent=1)
    parts = [head.removesuffix("\n}")]
    for key in rows:
        lines = ",\n".join(f"  {json.dumps(each)}" for each in recording[key])
        parts.append(f' "{key}": [\n{lines}\n ]')
    return ",\n".join(parts) + "\n}\n"


# --- Replay -------------------------------------------------------------------------------------------------------


@dataclass
class Replay:
    """What our controllers do."""

    steps: list[tuple[float, str, int, int]] = field(default_factory=list)
    active: list[tuple[float, bool]] = field(default_factory=list)


def replay(recording: Mapping[str, Any]) -> Replay:
    """Our KEDA and HPA, asked at the recorded times and told the recorded answers."""
    scaler = scaled_object(**recording["spec"])
    told: dict[str, Any] = {}
    start = datetime.fromisoformat(recording["start"])
    readers = [_reader(each, told, start) for each in scaler.triggers]
    keda = Keda(scaler, readers, start=start, created=math.floor(recording["created"]))
    found = Replay()
    replicas = recording["replicas"]
    spec = hpa_spec(scaler)
    hpa = Hpa(spec)
    seen = looks(recording["questions"], scaler.polling_seconds)
    for second, kind, answers in sorted(with_silent_passes(seen, recording["hpaCreated"]), key=lambda each: each[0]):
        if kind == "silent" and replicas >= spec.min_replicas:
            continue
        told.update(answers)
        before = replicas
        if kind == "poll":
            poll = keda.poll(second, replicas, 0)
            replicas = poll.replicas
            if not found.active or found.active[-1][1] != poll.active:
                found.active.append((second, poll.active))
        else:
            metrics = keda.metrics(second, replicas, 0) if kind == "pull" else []
            replicas = hpa.reconcile(
                second, spec_replicas=replicas, status_replicas=replicas, ready_pods=0, metrics=metrics
            ).replicas
        if replicas != before:
            found.steps.append((second, "keda" if kind == "poll" else "hpa", before, replicas))
    return found


def _reader(trigger: Trigger, told: Mapping[str, Any], start: datetime) -> Callable[[float], float]:
    if trigger.is_cron:
        return cron_scaler(trigger, start, trigger.label)

    def read(_: float) -> float:
        answer = told[trigger.name]
        if answer == "fail":
            raise ScalerError("HTTP status 500")
        values = {"empty": [], "several": [1.0, 1.0], "nan": [math.nan]}.get(answer, [answer])
        return trigger_value([({}, each) for each in values], null_is_zero=trigger.ignores_null_values)

    return read


def main() -> None:
    """Record, and write the golden files."""
    from chartproof import cluster  # noqa: PLC0415  (only where it is used)

    every = cases()
    wanted = {name: every[name] for name in sys.argv[1:] or every}
    with cluster.running(live=cluster.Live(speed=SPEED)) as running:
        found = asyncio.run(record(running, wanted))
    GOLDENS.mkdir(exist_ok=True)
    for name, each in found.items():
        (GOLDENS / f"{name}.json").write_text(described(each), encoding="utf-8")


if __name__ == "__main__":
    main()
