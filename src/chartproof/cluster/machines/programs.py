"""Which program a container runs: an engine, the DCGM exporter, or one that nobody talks to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from chartproof.cluster.machines.engine_api import KvAddress, Terms
from chartproof.cluster.machines.engine_server import EngineServer, Settings
from chartproof.cluster.machines.gpus import DeviceMonitor, GpuRegistry, Use, counters_of, gpus_of
from chartproof.cluster.machines.groups import Groups, Place, Seat, Worker
from chartproof.cluster.machines.server import Server
from chartproof.cluster.speed import Speed
from chartproof.engine_options import option_table
from chartproof.errors import ClusterError
from chartproof.kv_transfer import NIXL, kv_transfer
from chartproof.plan.workload_plan import WorkloadPlan, human_integer, plan_workload
from chartproof.pool import INSTANCE_TYPE
from chartproof.release import Body, Document, PodTemplate, Release, dig
from chartproof.simulate.engine import EngineModel, engine_model
from chartproof.versions import Version, parse_version
from chartproof.workload import EngineContainer, ImageReference, engines_of, gpu_count, recognise_engine

#: Port and counters file of the DCGM exporter where its container says nothing.
_MONITOR_PORT = 9400
_COUNTERS = "/etc/dcgm-exporter/default-counters.csv"
#: An exporter whose image tag is none, e.g. a digest, is taken for this one.
_MONITOR_VERSION: Version = (4, 8, 3)
_LOOPBACK_NAME = "localhost"
_LOOPBACK = frozenset({"127.0.0.1", _LOOPBACK_NAME, "::1"})
#: Port of NIXL's side channel where none is given.
_NIXL_PORT = 5600
#: Where each engine listens if it is not told.
_DEFAULT_HOST = {"vllm": "0.0.0.0", "sglang": "127.0.0.1"}  # noqa: S104
_FALSE = frozenset({"0", "false", "no", "off"})
#: SGLang lets everything finish, however long it takes.
_UNBOUNDED = math.inf


@dataclass(frozen=True, slots=True)
class PodContext:
    """What is known around a pod.

    `release` has the pod's workload, its NodePools and the ConfigMaps that it mounts (also those of a DCGM exporter);
    `environment` the values of variables that come from references, as far as they are known.
    """

    speed: Speed
    node: Body
    release: Release
    gpus: GpuRegistry
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Where pods of a group find each other; without, every engine is alone.
    groups: Groups | None = None

    @property
    def node_name(self) -> str:
        """Name of the pod's node."""
        return str(dig(self.node, "metadata", "name", default=""))

    @property
    def node_labels(self) -> Mapping[str, str]:
        """Labels of the pod's node."""
        labels: Mapping[str, str] = dig(self.node, "metadata", "labels", default={})
        return labels


def is_monitor(container: Body) -> bool:
    """Whether a container runs the DCGM exporter."""
    return ImageReference.parse(str(container.get("image") or "")).repository.rpartition("/")[2] == "dcgm-exporter"


def server_for(pod: Body, container: Body, context: PodContext) -> Server | None:
    """The program of a container; None where nobody talks to it. Made within the event loop.

    Raises ClusterError where too little is known to play it, as a kubelet reports a container that cannot be made.
    """
    if is_monitor(container):
        return _monitor(pod, container, context)
    if recognise_engine(container) is None:
        return None
    place = Place.of(pod)
    engine = _engine_container(pod, container, context.release, place)
    if engine is None:
        return None
    seat = None
    if place is not None and context.groups is not None:
        seat = context.groups.seat(place, engine, str(dig(pod, "status", "podIP", default="")))
    if seat is not None and seat.index > 0:
        return _worker(pod, engine, context, seat)
    # A worker of a group computes for its leader; it serves no client.
    return None if engine.is_worker else _engine(pod, engine, context, seat)


# --- Engines ----------------------------------------------------------------------------------------------------------


def _engine_container(pod: Body, container: Body, release: Release, place: Place | None) -> EngineContainer | None:
    """The container as the release's workload has it, which knows of its group; else as the pod has it."""
    name = container.get("name")
    for each in engines_of(release):
        if each.container.get("name") != name or each.container.get("image") != container.get("image"):
            continue
        if place is None:
            return each
        if _is_of(each, place):
            # What its options refer to was added to the pod itself.
            return replace(each, pod=PodTemplate(each.pod.path, pod), container=container)
    engine = recognise_engine(container)
    document = Document({"apiVersion": "v1", "kind": "Pod", **pod})
    return EngineContainer(document, PodTemplate((), document.body), container, engine) if engine else None


def _is_of(engine: EngineContainer, place: Place) -> bool:
    """Whether a pod in this place is made from the template of an engine: leaders may have one of their own."""
    has_leader = engine.document.get("spec", "leaderWorkerTemplate", "leaderTemplate") is not None
    return not has_leader or ("leaderTemplate" in engine.pod.path) == (place.index == 0)


def _engine(pod: Body, engine: EngineContainer, context: PodContext, seat: Seat | None) -> EngineServer:
    def occupy(server: EngineServer) -> Callable[[], None]:
        return _occupy(pod, engine, context, lambda: server)

    settings = engine_settings(engine, context, address=str(dig(pod, "status", "podIP", default="")))
    return EngineServer(settings, context.speed, occupy=occupy, seat=seat)


def _worker(pod: Body, engine: EngineContainer, context: PodContext, seat: Seat) -> Worker:
    """A process whose GPUs do what those of its leader do."""

    def occupy(worker: Worker) -> Callable[[], None]:
        def leader() -> EngineServer | None:
            found = seat.group.leader if seat.group.has(worker) else None
            return found if isinstance(found, EngineServer) else None

        return _occupy(pod, engine, context, leader)

    return Worker(seat, context.speed, occupy)


def _occupy(
    pod: Body, engine: EngineContainer, context: PodContext, server: Callable[[], EngineServer | None]
) -> Callable[[], None]:
    """Give a container its GPUs, which work as `server` does; what to call when it has ended."""
    use = Use(
        namespace=str(dig(pod, "metadata", "namespace", default="")),
        pod=str(dig(pod, "metadata", "name", default="")),
        container=str(engine.container.get("name")),
        busy=lambda: found.busy_seconds if (found := server()) else 0.0,
        memory=lambda: found.memory_share if (found := server()) else 0.0,
    )
    return context.gpus.occupy(context.node_name, context.node_labels, gpu_count(engine.container), use)


def engine_settings(engine: EngineContainer, context: PodContext, *, address: str = "") -> Settings:
    """What to play in the pod with this address. Raises ClusterError where model, GPU or speed are not known."""
    name, table = engine.engine, option_table(engine.engine)
    version = engine.version or table.newest
    plan = plan_workload(engine, context.release)
    if plan is None:
        raise ClusterError(
            f"nothing is known of the model {engine.model!r}",
            where=str(engine),
            how="name it by the annotation chartproof.io/model, or its size by chartproof.io/weights-gigabytes",
        )
    model, utilization, fits = _model(plan, engine, context)
    wanted = human_integer(engine.option("--max-model-len", "--context-length"))
    context_tokens = wanted or plan.model.context or model.kv_tokens
    told = "--max-model-len" if name == "vllm" else "--context-length"
    failure = "" if fits or not wanted else f"{told} {wanted} needs more KV cache than the GPU has"
    keys = _keys(engine, context)
    return Settings(
        engine=name,
        version=version,
        terms=Terms(
            names=tuple((engine.option("--served-model-name") or engine.model).split()) or (engine.model,),
            root=engine.model,
            version=version,
            context_tokens=min(context_tokens, model.kv_tokens),
            kv_address=_kv_address(engine, address),
        ),
        port=engine.port,
        reachable=(engine.option("--host") or _DEFAULT_HOST[name]) not in _LOOPBACK,
        model=model,
        gpu_memory_utilization=utilization,
        load_seconds=plan.cold_start_on(
            plan.facts.instances.get(context.node_labels.get(INSTANCE_TYPE, ""))
        ).in_container_seconds,
        drain_seconds=_drain_seconds(engine, version),
        request_limit=_limit(engine),
        key_needed=keys is not None,
        api_keys=keys or (),
        prefix_caching=all(
            engine.option(each) is None
            for each in ("--no-enable-prefix-caching", "--disable-prefix-caching", "--disable-radix-cache")
        ),
        log_stats=engine.option("--disable-log-stats") is None,
        metrics=name == "vllm" or engine.option("--enable-metrics") is not None,
        health_generates=str(engine.environment.get("SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION", "1")).lower()
        not in _FALSE,
        failure=failure,
    )


def _model(plan: WorkloadPlan, engine: EngineContainer, context: PodContext) -> tuple[EngineModel, float, bool]:
    """Speed and size on the node's GPU, the share of its memory that is taken, and whether a longest request fits."""
    gpu, _ = gpus_of(context.node_labels, plan.facts)
    if gpu is None:
        raise ClusterError(
            f"node {context.node_name} has no GPU that the catalog knows",
            where=str(engine),
            how=f"give the node the label {INSTANCE_TYPE} of an instance type with GPUs",
        )
    instance = context.node_labels.get(INSTANCE_TYPE)
    # A slice of the GPU is all the memory that there is for an engine which asks for one.
    memory = next((each.gpu_memory_mebibytes for each in plan.candidates if each.name == instance), None)
    gpu = gpu.with_memory(memory or gpu.memory_mebibytes)
    model = engine_model(plan, gpu.name, gpu.memory_mebibytes)
    fit = next((each for each in plan.fits if each.gpu == gpu.name), None)
    if model is None or fit is None:
        raise ClusterError(
            f"nothing is known of how fast {plan.model.id} ({plan.precision}) is on {gpu.product}",
            where=str(engine),
            how="use a model whose shape the catalog has, on an instance type that the pod and its NodePools allow",
        )
    return model, fit.budget_bytes / (gpu.usable_bytes * fit.gpus), fit.fits


def _kv_address(engine: EngineContainer, address: str) -> KvAddress | None:
    """Where other replicas are told to ask for the KV cache (vLLM `envs.py`); None without vLLM's NixlConnector."""
    transfer = kv_transfer(engine)
    if transfer is None or transfer.connector != NIXL:
        return None
    host = engine.environment.get("VLLM_NIXL_SIDE_CHANNEL_HOST", _LOOPBACK_NAME)
    port = human_integer(engine.environment.get("VLLM_NIXL_SIDE_CHANNEL_PORT")) or _NIXL_PORT
    # The chart's reference is the pod's address; a value that nobody knows is taken for it.
    return KvAddress(address if host is None else str(host), port, engine.tensor_parallel_size)


def _drain_seconds(engine: EngineContainer, version: Version) -> float:
    """Seconds for which SIGTERM lets requests go on; before 0.18 vLLM gives them up, whatever it is told."""
    if engine.engine == "vllm":
        known = option_table("vllm").options["--shutdown-timeout"].since
        return float(max(0, engine.integer("--shutdown-timeout", default=0))) if not known or version >= known else 0.0
    force = str(engine.environment.get("SGL_FORCE_SHUTDOWN") or "false").lower()
    return _UNBOUNDED if force in _FALSE else 0.0


def _limit(engine: EngineContainer) -> int | None:
    limit = engine.integer("--max-num-queued-reqs", "--max-queued-requests", default=-1)
    return limit if limit >= 0 else None


def _keys(engine: EngineContainer, context: PodContext) -> tuple[str, ...] | None:
    """The keys that open the API; none of them where they are not known; None where it is open."""
    told = engine.option("--api-key")
    if told:
        return tuple(told.split())
    if engine.engine != "vllm" or "VLLM_API_KEY" not in engine.environment:
        return None
    value = engine.environment["VLLM_API_KEY"]
    key = context.environment.get("VLLM_API_KEY", "") if value is None else str(value)
    # An empty key is none, as the engine sees it; one from a Secret that nobody read is there, but not known.
    return (key,) if key else (() if value is None else None)


# --- The DCGM exporter ------------------------------------------------------------------------------------------------


def _monitor(pod: Body, container: Body, context: PodContext) -> DeviceMonitor:
    tag = ImageReference.parse(str(container.get("image") or "")).tag
    version = parse_version(tag.partition("-")[2]) or _MONITOR_VERSION
    address = _told(container, ("-a", "--address"), "DCGM_EXPORTER_LISTEN") or f":{_MONITOR_PORT}"
    path = _told(container, ("-f", "--collectors"), "DCGM_EXPORTER_COLLECTORS") or _COUNTERS
    return DeviceMonitor(
        lambda: context.gpus.devices(context.node_name, context.node_labels),
        counters_of(_mounted(pod, container, context.release, path)),
        version,
        int(address.rpartition(":")[2]),
        context.speed,
        context.gpus.now,
    )


def _told(container: Body, options: tuple[str, ...], variable: str) -> str:
    """The value of an option, else of an environment variable, else empty."""
    words = [str(each) for key in ("command", "args") for each in container.get(key) or []]
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        name, _, value = word.partition("=")
        if name in options:
            return value or following
    environment = {each.get("name"): each.get("value") for each in container.get("env") or []}
    return str(environment.get(variable) or "")


def _mounted(pod: Body, container: Body, release: Release, path: str) -> str:
    """A file that a ConfigMap puts into the container. Raises ClusterError where there is none."""
    mounts = [
        each
        for each in container.get("volumeMounts") or []
        if path.startswith(f"{str(each.get('mountPath')).rstrip('/')}/") or path == each.get("mountPath")
    ]
    mount: Body = max(mounts, key=lambda each: len(str(each.get("mountPath"))), default={})
    volumes = {each.get("name"): each for each in dig(pod, "spec", "volumes", default=[])}
    name = dig(volumes, mount.get("name") or "", "configMap", "name", default="")
    document = release.find("ConfigMap", name) if name else None
    text = document.get("data", path.rpartition("/")[2]) if document else None
    if text is None:
        raise ClusterError(
            f"no ConfigMap has the counters file {path}",
            where=f"container {container.get('name')!r}",
            how="mount the counters from a ConfigMap; the file inside the image is not known here",
        )
    return str(text)
