"""Keeps the processes of a live cluster running: starts them, looks after their health, starts again what ended.

    python -m chartproof.cluster.supervisor DIRECTORY

It starts what `<directory>/processes.json` lists and takes over the control plane that kwokctl started, whose command
lines and environments it reads from /proc. How it stands is in `<directory>/supervisor.json`, for `cluster status`.
All durations here are real seconds: processes start as fast as they can, whatever the speed of simulated time.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import os
import signal
import ssl
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from chartproof.cluster import processes
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.state import Place
from chartproof.errors import ClusterError, UsageError

log = logging.getLogger(__name__)

_LIST, _STATE, _HELD = "processes.json", "supervisor.json", "held"
_POLL_SECONDS = 0.1
_UNHEALTHY_SECONDS, _HEALTHY_SECONDS = 0.2, 1.0
"""Pauses between health checks: of what is not well (yet), and of what is."""
_ANSWER_SECONDS = 3
_LOG_BYTES = 20_000_000
"""A log that has grown beyond this is begun anew when its process is."""
_KILL_SECONDS = 10


@dataclass(frozen=True, slots=True)
class BackOff:
    """Seconds until a process that ended is started again: `first`, then twice as long each time up to `longest`.

    Forgotten after a life of at least `forgiven` seconds.
    """

    first: float = 0.1
    longest: float = 5.0
    forgiven: float = 20.0
    seconds: float = 0.0

    def after(self, lived: float) -> BackOff:
        """The back-off after a life of so many seconds; its `seconds` are what to wait now."""
        before = 0.0 if lived >= self.forgiven else self.seconds
        seconds = min(2 * before, self.longest) or self.first
        return BackOff(self.first, self.longest, self.forgiven, seconds)


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """How one process stands."""

    name: str
    pid: int = 0
    """0 while it does not run."""
    healthy: bool = False
    restarts: int = 0
    since: str = ""
    """Time of its last start (ISO 8601)."""
    last_exit: int | None = None
    """Exit code of its previous life, negative for a signal; None where it has had none, or not as our child."""
    held: bool = False
    """Kept down on purpose, see `hold`."""


def write_list(directory: Path, specs: Iterable[ProcessSpec]) -> None:
    """Write down what the supervisor of this cluster shall run."""
    _write(directory / _LIST, json.dumps([asdict(each) for each in specs], indent=2))


def read_list(directory: Path) -> list[ProcessSpec]:
    """What the supervisor of this cluster shall run."""
    rows = json.loads((directory / _LIST).read_text(encoding="utf-8"))
    return [ProcessSpec(**{**row, "command": tuple(row["command"])}) for row in rows]


def status(directory: Path) -> list[ProcessStatus]:
    """How the processes stand, in the order of their start; empty where no supervisor runs or ran."""
    try:
        rows = json.loads((directory / _STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [ProcessStatus(**row) for row in rows]


def kill(place: Place, name: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Kill one process of a live cluster and wait for its end; the supervisor starts it again.

    Raises UsageError for a name that it does not keep, ClusterError where it does not end.
    """
    pid = _status_of(place, name).pid
    if pid not in processes.of_cluster(place.directory):
        return  # between two lives
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    deadline = time.monotonic() + _KILL_SECONDS
    while pid in processes.of_cluster(place.directory):
        if time.monotonic() > deadline:
            raise ClusterError(f"{name} (process {pid}) does not end", where=str(place.directory))
        time.sleep(_POLL_SECONDS)


def hold(place: Place, name: str) -> None:
    """Kill one process of a live cluster and keep it down until `release`."""
    _status_of(place, name)
    marker = place.directory / _HELD / name
    marker.parent.mkdir(exist_ok=True)
    marker.touch()
    deadline = time.monotonic() + _KILL_SECONDS
    # Again and again: it may just have been started, before the supervisor saw the marker.
    while not _status_of(place, name).held:
        kill(place, name)
        if time.monotonic() > deadline:
            raise ClusterError(f"the supervisor does not hold {name}", where=str(place.directory))
        time.sleep(_POLL_SECONDS)


def release(place: Place, name: str) -> None:
    """Let a process that was held start again."""
    _status_of(place, name)
    (place.directory / _HELD / name).unlink(missing_ok=True)


def _status_of(place: Place, name: str) -> ProcessStatus:
    known = status(place.directory)
    for each in known:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in known) or "none: no live loop runs"
    raise UsageError(f"there is no process {name!r}", where=str(place.directory), how=f"name one of: {names}")


# --- The process itself -----------------------------------------------------------------------------------------------


_HEALTH_OF_CONTROL_PLANE: Mapping[str, tuple[str, str, str]] = {
    "etcd": ("--listen-client-urls", "", "/health"),
    "kube-apiserver": ("--secure-port", "https://127.0.0.1:", "/livez"),
    "kube-controller-manager": ("--secure-port", "https://127.0.0.1:", "/healthz"),
    "kube-scheduler": ("--secure-port", "https://127.0.0.1:", "/healthz"),
    "kwok-controller": ("--server-address", "http://", "/healthz"),
}
"""By program: the option that says where it listens, what goes before its value in a URL, and the path."""


def adopted(directory: Path) -> list[tuple[ProcessSpec, int]]:
    """The running control plane as processes to keep, in the order of their start, with their ids.

    Needs /proc: elsewhere the control plane runs, but nobody restarts it.
    """
    found = []
    for pid in sorted(processes.of_cluster(directory)):
        base = Path(f"/proc/{pid}")
        try:
            command = (base / "cmdline").read_bytes().decode().rstrip("\0").split("\0")
            environment = (base / "environ").read_bytes().decode().rstrip("\0").split("\0")
        except OSError:
            continue
        program = Path(command[0])
        if program.parent == directory / "bin" and program.name in _HEALTH_OF_CONTROL_PLANE:
            variables = dict(each.split("=", 1) for each in environment if "=" in each)
            spec = ProcessSpec(program.name, tuple(command), variables, _health(program.name, command))
            found.append((spec, pid))
    return found


def _health(name: str, command: Sequence[str]) -> str:
    option, before, path = _HEALTH_OF_CONTROL_PLANE[name]
    for each in command:
        key, _, value = each.partition("=")
        if key == option:
            return f"{before}{value.split(',')[0]}{path}"
    return ""


@dataclass(slots=True)
class _Kept:
    """One process and what is known of it."""

    spec: ProcessSpec
    pid: int = 0
    healthy: bool = False
    restarts: int = -1
    since: datetime | None = None
    last_exit: int | None = None
    held: bool = False
    awake: asyncio.Event = field(default_factory=asyncio.Event)

    def status(self) -> ProcessStatus:
        since = self.since.isoformat() if self.since else ""
        restarts = max(self.restarts, 0)
        return ProcessStatus(self.spec.name, self.pid, self.healthy, restarts, since, self.last_exit, self.held)


class Supervisor:
    """Keeps the processes of one cluster."""

    def __init__(
        self, directory: Path, specs: Iterable[ProcessSpec], running: Iterable[tuple[ProcessSpec, int]] = ()
    ) -> None:
        """`running` are processes that somebody else started, with their ids."""
        self._directory = directory
        self._back_off = BackOff()
        now = datetime.now(UTC)
        self._kept = [_Kept(spec, pid, since=now, restarts=0) for spec, pid in running]
        self._kept += [_Kept(spec) for spec in specs]
        self._tls = _identity(directory)
        self._written = ""

    async def run(self) -> None:
        """Keep everything running until cancelled."""
        (self._directory / "logs").mkdir(exist_ok=True)
        async with asyncio.TaskGroup() as group:
            for each in self._kept:
                group.create_task(self._keep(each))
                group.create_task(self._look_after(each))

    async def _keep(self, kept: _Kept) -> None:
        back_off = self._back_off
        while True:
            begun = time.monotonic()
            if kept.pid:
                await _end_of(kept.pid)
            else:
                while self._is_held(kept):
                    kept.held = True
                    self._save()
                    await asyncio.sleep(_POLL_SECONDS)
                begun = time.monotonic()
                kept.last_exit = await self._live(kept)
            lived = time.monotonic() - begun
            kept.pid, kept.healthy = 0, False
            back_off = back_off.after(lived)
            log.warning("%s ended (%s) after %.1f s", kept.spec.name, kept.last_exit, lived)
            self._save()
            await asyncio.sleep(back_off.seconds)

    def _is_held(self, kept: _Kept) -> bool:
        return (self._directory / _HELD / kept.spec.name).exists()

    async def _live(self, kept: _Kept) -> int | None:
        """One life of a process, from its start to its exit code; None where it could not be started."""
        spec = kept.spec
        path = self._directory / "logs" / f"{spec.log or spec.name}.log"
        mode = "wb" if path.exists() and path.stat().st_size > _LOG_BYTES else "ab"
        with path.open(mode) as file:
            try:
                process = await asyncio.create_subprocess_exec(
                    *spec.command,
                    cwd=self._directory,
                    env={"PATH": os.environ.get("PATH", os.defpath), **spec.environment},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    # Ctrl-C in the terminal is for the command that started the cluster.
                    start_new_session=True,
                )
            except OSError as error:
                log.error("%s does not start: %s", spec.name, error)  # noqa: TRY400  (the reason is all there is)
                return None
        kept.pid, kept.since, kept.held = process.pid, datetime.now(UTC), False
        kept.restarts += 1
        kept.awake.set()
        self._save()
        return await process.wait()

    async def _look_after(self, kept: _Kept) -> None:
        """Ask the process how it is, again and again."""
        while True:
            pid = kept.pid
            healthy = bool(pid) and (
                not kept.spec.health or await asyncio.to_thread(is_healthy, kept.spec.health, self._tls)
            )
            # It may have ended, or begun a new life, while it was asked.
            healthy = healthy and kept.pid == pid
            if healthy != kept.healthy:
                kept.healthy = healthy
                self._save()
            kept.awake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(kept.awake.wait(), _HEALTHY_SECONDS if healthy else _UNHEALTHY_SECONDS)

    def _save(self) -> None:
        text = json.dumps([asdict(each.status()) for each in self._kept], indent=2)
        if text != self._written:
            _write(self._directory / _STATE, text)
            self._written = text


def is_healthy(url: str, tls: ssl.SSLContext) -> bool:
    """Whether a process says by HTTP that it is well."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port
    connection = (
        http.client.HTTPSConnection(host, port, timeout=_ANSWER_SECONDS, context=tls)
        if secure
        else http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
    )
    with contextlib.closing(connection):
        try:
            connection.request("GET", parts.path or "/")
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            return False
        return http.client.OK <= response.status < http.client.MULTIPLE_CHOICES


def _identity(directory: Path) -> ssl.SSLContext:
    """The administrator's certificate, for health checks; what others present there is not checked."""
    context = ssl.create_default_context()
    context.check_hostname = False
    # Some of the programs sign certificates of their own at each start. Nothing is told them that matters.
    context.verify_mode = ssl.CERT_NONE
    certificate = directory / "pki" / "admin.crt"
    if certificate.exists():
        context.load_cert_chain(certificate, directory / "pki" / "admin.key")
    return context


async def _end_of(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    if not hasattr(os, "pidfd_open"):
        while processes.is_running(pid):  # noqa: ASYNC110  (a process of another parent tells nobody)
            await asyncio.sleep(_POLL_SECONDS)
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        # Readable once the process has ended.
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _write(path: Path, text: str) -> None:
    """Replace a file at once: readers see the old text or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def main(directory: Path) -> None:
    """Keep the cluster in `directory` running until killed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(Supervisor(directory, read_list(directory), adopted(directory)).run())


if __name__ == "__main__":
    if os.fork():
        # The parent leaves at once, so that init, and not the caller, reaps what goes on here.
        os._exit(0)
    os.setsid()
    main(Path(sys.argv[1]))
