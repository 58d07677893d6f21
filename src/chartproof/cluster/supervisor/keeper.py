"""Keeps the processes of a live cluster running: starts them, looks after their health, starts again what ended.

All durations here are real seconds: processes start as fast as they can, whatever the speed of simulated time.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import os
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from chartproof.cluster import processes
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.supervisor import state
from chartproof.cluster.supervisor.state import ProcessStatus

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_UNHEALTHY_SECONDS, _HEALTHY_SECONDS = 0.2, 1.0
"""Pauses between health checks: of what is not well (yet), and of what is."""
_ANSWER_SECONDS = 3
_LOG_BYTES = 20_000_000
"""A log that has grown beyond this is begun anew when its process is."""


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
        return replace(self, seconds=seconds)


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
                while state.held(self._directory, kept.spec.name):
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
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()

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
            state.save(self._directory, text)
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
