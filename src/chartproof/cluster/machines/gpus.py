"""The GPUs of the nodes: which program uses which, and the DCGM exporter that tells of them.

Labels, pages and names are those of dcgm-exporter (`internal/pkg/rendermetrics`, `transformation/kubernetes.go`,
`collector/{gpu,exp}collector.go`, `server/server.go` at d5e5f51, 2026-05-12); the counters are those of the file
that the container is given. The code of the last XID error is the value of `DCGM_FI_DEV_XID_ERRORS` and its label
`err_code`, so that each code is a series of its own, which is there while it is the last one.

Values follow the engines: busy time, and memory as vLLM takes it. Power limits are those of NVIDIA's data sheets;
the other figures (idle power, temperatures, clocks, ratios of the chip's units) are estimates.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import yarl
from aiohttp import web

from chartproof.catalog import Catalog, Gpu, catalog
from chartproof.cluster.machines.exposition import CONTENT_TYPE, Family, labels, render
from chartproof.cluster.machines.server import EXIT_DONE, EXIT_KILLED, cut
from chartproof.cluster.speed import Speed
from chartproof.pool import INSTANCE_TYPE
from chartproof.versions import Version

#: Watts of a GPU under full load.
POWER_LIMIT_WATTS: Mapping[str, float] = {
    "t4": 70,
    "t4g": 70,
    "a10g": 300,
    "l4": 72,
    "l40s": 350,
    "v100": 300,
    "a100": 400,
    "h100": 700,
    "h200": 700,
    "b200": 1000,
    "b300": 1400,
    "rtx-pro-server-6000": 600,
    "rtx-pro-4500": 200,
}
#: Stacked memory has a temperature sensor and NVLink beside it, graphics memory has neither.
STACKED_MEMORY = frozenset({"v100", "a100", "h100", "h200", "b200", "b300"})
#: Power of an idle GPU, and of one that decodes without a pause, as shares of the limit.
IDLE_SHARE, BUSY_SHARE = 0.2, 0.85
#: Degrees of a GPU without load, and how many more it has at its power limit.
IDLE_CELSIUS, LOAD_CELSIUS = 32.0, 42.0
#: Exporter release from which its node label is `hostname`; `Hostname` before.
LOWER_CASE_SINCE: Version = (4, 8, 3)
#: Seconds until DCGM has found the GPUs and the exporter listens.
START_SECONDS = 5.0
#: Window of DCGM_EXP_XID_ERRORS_COUNT.
XID_WINDOW_SECONDS = 300.0

#: XID codes and NVIDIA's words for them (docs.nvidia.com/deploy/xid-errors).
XID_WORDS: Mapping[int, str] = {
    0: "No Error",
    13: "Graphics Engine Exception",
    31: "GPU memory page fault",
    43: "GPU stopped processing",
    48: "Double Bit ECC Error",
    63: "ECC page retirement or row remapping recording event",
    64: "ECC page retirement or row remapper recording failure",
    74: "NVLINK Error",
    79: "GPU has fallen off the bus",
    94: "Contained ECC error",
    95: "Uncontained ECC error",
}

_AWS_LABELS = "karpenter.k8s.aws/"


@dataclass(frozen=True, slots=True)
class Use:
    """Who uses a GPU. `busy` counts simulated seconds of work, `memory` is the share of its usable memory taken now."""

    namespace: str
    pod: str
    container: str
    busy: Callable[[], float]
    memory: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """A GPU since the reading before: `active` is the share of the time in which it worked."""

    active: float
    used_mebibytes: float
    free_mebibytes: float
    reserved_mebibytes: float
    watts: float
    celsius: float
    millijoules: float


@dataclass(eq=False, slots=True)
class Device:
    """One GPU of a node, from its boot to its end."""

    node: str
    index: int
    gpu: Gpu
    identifier: str
    use: Use | None = None
    #: Code of the last XID error, and all of them with their simulated times.
    last_xid: int = 0
    xids: list[tuple[float, int]] = field(default_factory=list)
    #: Degrees that somebody wants to see instead of the played ones.
    celsius: float | None = None
    _past_busy: float = 0.0
    _read_busy: float = 0.0
    _read_at: float = 0.0
    _millijoules: float = 0.0
    _last: Reading | None = None

    def give_up(self) -> None:
        """Its user ended."""
        if self.use is not None:
            self._past_busy += self.use.busy()
            self.use = None

    def read(self, now: float) -> Reading:
        """Measure; `now` in simulated seconds."""
        busy = self._past_busy + (self.use.busy() if self.use else 0.0)
        seconds = now - self._read_at
        if self._last is not None and seconds <= 0:
            return self._last
        active = min(1.0, max(0.0, (busy - self._read_busy) / seconds)) if seconds > 0 else 0.0
        self._read_busy, self._read_at = busy, now
        limit = POWER_LIMIT_WATTS[self.gpu.name]
        watts = limit * (IDLE_SHARE + (BUSY_SHARE - IDLE_SHARE) * active)
        self._millijoules += watts * seconds * 1000
        usable = self.gpu.memory_mebibytes * self.gpu.usable_share
        used = usable * (self.use.memory() if self.use else 0.0)
        self._last = Reading(
            active=active,
            used_mebibytes=used,
            free_mebibytes=usable - used,
            reserved_mebibytes=self.gpu.memory_mebibytes - usable,
            watts=watts,
            celsius=self.celsius if self.celsius is not None else IDLE_CELSIUS + LOAD_CELSIUS * watts / limit,
            millijoules=self._millijoules,
        )
        return self._last


class GpuRegistry:
    """The GPUs of all nodes, by what the nodes' labels say. Made within the event loop; its clock is the loop's."""

    def __init__(self, speed: Speed, facts: Catalog | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._speed = speed
        self._facts = facts or catalog()
        self._nodes: dict[str, tuple[Device, ...]] = {}

    def now(self) -> float:
        """Simulated seconds since the registry was made."""
        return self._speed.simulated(self._loop.time() - self._origin)

    def devices(self, node: str, node_labels: Mapping[str, str]) -> tuple[Device, ...]:
        """The GPUs of a node, none where its labels name no GPU that the catalog knows."""
        if node not in self._nodes:
            gpu, count = gpus_of(node_labels, self._facts)
            self._nodes[node] = tuple(self._device(node, index, gpu) for index in range(count)) if gpu else ()
        return self._nodes[node]

    def _device(self, node: str, index: int, gpu: Gpu) -> Device:
        device = Device(node, index, gpu, f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{index}.{node}')}")
        device.read(self.now())
        return device

    def occupy(self, node: str, node_labels: Mapping[str, str], count: int, use: Use) -> Callable[[], None]:
        """Give a program its GPUs, the first that are free; what to call when it has ended."""
        free = [each for each in self.devices(node, node_labels) if each.use is None][:count]
        for device in free:
            device.use = use

        def give_up() -> None:
            for device in free:
                if device.use is use:
                    device.give_up()

        return give_up

    def forget(self, node: str) -> None:
        """The node is gone."""
        self._nodes.pop(node, None)

    def report_xid(self, node: str, code: int, *, index: int = 0) -> None:
        """The driver logs an XID error. Raises KeyError or IndexError for a GPU that is not known."""
        device = self._nodes[node][index]
        device.last_xid = code
        device.xids.append((self.now(), code))

    def set_temperature(self, node: str, celsius: float | None, *, index: int = 0) -> None:
        """The GPU has this temperature from now on; None: that of its load. Raises as `report_xid` does."""
        self._nodes[node][index].celsius = celsius


def gpus_of(node_labels: Mapping[str, str], facts: Catalog) -> tuple[Gpu | None, int]:
    """The GPU of a node, in its memory size, and how many there are."""
    instance = facts.instances.get(node_labels.get(INSTANCE_TYPE, ""))
    if instance is not None and instance.gpu in facts.gpus:
        return facts.gpus[instance.gpu].with_memory(instance.gpu_memory_mebibytes), instance.gpu_count
    gpu = facts.gpus.get(node_labels.get(f"{_AWS_LABELS}instance-gpu-name", ""))
    if gpu is None:
        return None, 0
    memory = int(node_labels.get(f"{_AWS_LABELS}instance-gpu-memory", gpu.memory_mebibytes))
    return gpu.with_memory(memory), int(node_labels.get(f"{_AWS_LABELS}instance-gpu-count", "1"))


@dataclass(frozen=True, slots=True)
class Counter:
    """A line of the exporter's counters file: field, Prometheus' type (or `label`), help."""

    field: str
    type: str
    help: str


def counters_of(text: str) -> list[Counter]:
    """The counters of a file; comments and empty lines are skipped. Raises ValueError at a line of another shape."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = [part.strip() for part in line.split(",", 2)]
        if len(parts) != 3:  # noqa: PLR2004  (field, type, help)
            raise ValueError(f"line {number}: {line!r} is not `field, type, help`")
        found.append(Counter(*parts))
    return found


#: What a counter is worth; None: the GPU has no such thing, and its series is left out.
_VALUES: Mapping[str, Callable[[Device, Reading], float | None]] = {
    "DCGM_FI_DEV_SM_CLOCK": lambda _, reading: 1500 if reading.active else 300,
    "DCGM_FI_DEV_MEM_CLOCK": lambda _, reading: 6000 if reading.active else 400,
    "DCGM_FI_DEV_GPU_TEMP": lambda _, reading: round(reading.celsius),
    "DCGM_FI_DEV_MEMORY_TEMP": lambda device, reading: (
        round(reading.celsius) + 5 if device.gpu.name in STACKED_MEMORY else None
    ),
    "DCGM_FI_DEV_POWER_USAGE": lambda _, reading: round(reading.watts, 3),
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": lambda device, _: POWER_LIMIT_WATTS[device.gpu.name],
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": lambda device, _: POWER_LIMIT_WATTS[device.gpu.name],
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": lambda _, reading: math.floor(reading.millijoules),
    "DCGM_FI_DEV_FB_FREE": lambda _, reading: math.floor(reading.free_mebibytes),
    "DCGM_FI_DEV_FB_USED": lambda _, reading: math.ceil(reading.used_mebibytes),
    "DCGM_FI_DEV_FB_RESERVED": lambda _, reading: math.floor(reading.reserved_mebibytes),
    "DCGM_FI_DEV_FB_TOTAL": lambda device, _: device.gpu.memory_mebibytes,
    "DCGM_FI_DEV_GPU_UTIL": lambda _, reading: round(100 * reading.active),
    "DCGM_FI_DEV_MEM_COPY_UTIL": lambda _, reading: round(70 * reading.active),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": lambda _, reading: round(reading.active, 6),
    "DCGM_FI_PROF_SM_ACTIVE": lambda _, reading: round(0.8 * reading.active, 6),
    "DCGM_FI_PROF_SM_OCCUPANCY": lambda _, reading: round(0.2 * reading.active, 6),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": lambda _, reading: round(0.25 * reading.active, 6),
    "DCGM_FI_PROF_DRAM_ACTIVE": lambda _, reading: round(0.7 * reading.active, 6),
    "DCGM_FI_PROF_PCIE_TX_BYTES": lambda _, reading: round(20e6 * reading.active),
    "DCGM_FI_PROF_PCIE_RX_BYTES": lambda _, reading: round(60e6 * reading.active),
    "DCGM_FI_DEV_XID_ERRORS": lambda device, _: device.last_xid,
    "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": lambda device, _: 0 if device.gpu.name in STACKED_MEMORY else None,
}
#: Counters of what does not happen to a played GPU.
_NOTHING = frozenset(
    {"DCGM_FI_DEV_POWER_VIOLATION", "DCGM_FI_DEV_THERMAL_VIOLATION", "DCGM_FI_DEV_SYNC_BOOST_VIOLATION"}
    | {"DCGM_FI_DEV_BOARD_LIMIT_VIOLATION", "DCGM_FI_DEV_LOW_UTIL_VIOLATION", "DCGM_FI_DEV_RELIABILITY_VIOLATION"}
    | {"DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL"}
    | {"DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", "DCGM_FI_DEV_RETIRED_SBE", "DCGM_FI_DEV_RETIRED_DBE"}
    | {"DCGM_FI_DEV_RETIRED_PENDING", "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS"}
    | {"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "DCGM_FI_DEV_ROW_REMAP_FAILURE", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER"}
    | {"DCGM_FI_DEV_ENC_UTIL", "DCGM_FI_DEV_DEC_UTIL", "DCGM_FI_DEV_VGPU_LICENSE_STATUS"}
)
_XID_COUNT = "DCGM_EXP_XID_ERRORS_COUNT"
_DRIVER = "DCGM_FI_DRIVER_VERSION"


def families(devices: Sequence[Device], counters: Iterable[Counter], version: Version, now: float) -> Iterator[Family]:
    """What an exporter of this version writes of these GPUs, in the order of its counters file.

    Fields that are not played are left out, and so is a field that none of the GPUs has.
    """
    counters = list(counters)
    readings = {device.index: device.read(now) for device in devices}
    more = {each.field for each in counters if each.type == "label"}
    for counter in counters:
        if counter.type == "label":
            continue
        samples = [
            (labels({**_labels(device, version), **extra, **_label_fields(device, more), **_workload(device)}), value)
            for device in devices
            for extra, value in _samples(counter.field, device, readings[device.index], now)
        ]
        if samples:
            yield Family(counter.field, counter.type, counter.help, samples)


def _samples(name: str, device: Device, reading: Reading, now: float) -> list[tuple[Mapping[str, str], float]]:
    if name == _XID_COUNT:
        window = {"window_size_in_ms": f"{XID_WINDOW_SECONDS * 1000:.0f}"}
        recent = [code for time, code in device.xids if time > now - XID_WINDOW_SECONDS]
        return [({**window, "xid": str(code)}, recent.count(code)) for code in sorted(set(recent))] or [(window, 0)]
    if name in _NOTHING:
        return [({}, 0)]
    value = _VALUES[name](device, reading) if name in _VALUES else None
    if value is None:
        return []
    if name == "DCGM_FI_DEV_XID_ERRORS":
        words = XID_WORDS.get(device.last_xid, "Unknown Error")
        return [({"err_code": str(device.last_xid), "err_msg": words}, value)]
    return [({}, value)]


def _labels(device: Device, version: Version) -> Mapping[str, str]:
    return {
        "gpu": str(device.index),
        "UUID": device.identifier,
        "pci_bus_id": f"00000000:{0x1E + device.index:02X}:00.0",
        "device": f"nvidia{device.index}",
        "modelName": device.gpu.product,
        "hostname" if version >= LOWER_CASE_SINCE else "Hostname": device.node,
    }


def _label_fields(device: Device, wanted: Iterable[str]) -> Mapping[str, str]:
    return {_DRIVER: str(device.gpu.driver)} if _DRIVER in wanted else {}


def _workload(device: Device) -> Mapping[str, str]:
    """The container that uses the GPU; a free GPU's series have no such labels."""
    use = device.use
    return {"container": use.container, "namespace": use.namespace, "pod": use.pod} if use else {}


class DeviceMonitor:
    """A `Server` (see `server`) that plays the DCGM exporter of one node."""

    def __init__(
        self,
        devices: Callable[[], Sequence[Device]],
        counters: Sequence[Counter],
        version: Version,
        port: int,
        speed: Speed,
        now: Callable[[], float],
    ) -> None:
        self.ports: tuple[int, ...] = (port,)
        self.exit_reason = ""
        self._devices = devices
        self._counters = counters
        self._version = version
        self._speed = speed
        self._now = now
        self._listening = False
        self._hung = asyncio.Event()
        self._hung.set()

    def start(self) -> None:
        """Find the GPUs."""
        loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = loop.create_future()
        self._timer = loop.call_later(self._speed.real(START_SECONDS), self._listen)

    def _listen(self) -> None:
        self._listening = True

    async def handle(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        """Answer `/metrics` and `/health`."""
        await self._hung.wait()
        if not self._listening:
            return cut(request)
        if url.path == "/health":
            return web.Response(text="OK", headers={"X-Registry-Available": "true"})
        if url.path != "/metrics":
            return web.Response(
                text='<html><body><a href="./metrics">Metrics</a></body></html>', content_type="text/html"
            )
        page = render(families(self._devices(), self._counters, self._version, self._now()))
        return web.Response(body=page.encode(), headers={"Content-Type": CONTENT_TYPE})

    def terminate(self) -> None:
        """SIGTERM: it ends at once."""
        self._end(EXIT_DONE, "Completed")

    def kill(self) -> None:
        """SIGKILL."""
        self._end(EXIT_KILLED, "Error")

    def crash(self, code: int, reason: str) -> None:
        """End by itself."""
        self._end(code, reason)

    def hang(self) -> None:
        """DCGM does not answer, and so does nothing here."""
        self._hung.clear()

    def unhang(self) -> None:
        """Go on."""
        self._hung.set()

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return self._listening

    @property
    def exit(self) -> asyncio.Future[int]:
        """The exit code, when it ended."""
        return self._exit

    def _end(self, code: int, reason: str) -> None:
        if self._exit.done():
            return
        self._timer.cancel()
        self._listening = False
        self._hung.set()
        self.exit_reason = reason
        self._exit.set_result(code)
