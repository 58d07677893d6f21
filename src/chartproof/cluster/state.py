"""Where clusters are kept, under which names, and who owns them."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from chartproof.cluster import processes
from chartproof.errors import ClusterError, UsageError

DEFAULT_NAME = "chartproof"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that a cluster lives for; 0 means it lives until `chartproof cluster down`."""

    pid: int = 0

    @property
    def is_gone(self) -> bool:
        """Whether the cluster outlived the process it was made for."""
        return self.pid != 0 and not processes.is_running(self.pid)


@dataclass(frozen=True, slots=True)
class Place:
    """The directory of one cluster: logs, keys, data, kubeconfig."""

    root: Path
    name: str

    @property
    def directory(self) -> Path:
        """Everything about this cluster; kwokctl decides the `clusters` part."""
        return self.root / "clusters" / self.name

    @property
    def kubeconfig(self) -> Path:
        """Administrator's access to the cluster."""
        return self.directory / "kubeconfig.yaml"

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.directory / "logs"

    @property
    def owner(self) -> Owner:
        """The process this cluster lives for."""
        try:
            return Owner(**json.loads(self._owner_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Owner()

    def claim(self, owner: Owner) -> None:
        """Write down whom the cluster lives for."""
        self._owner_file.write_text(json.dumps(asdict(owner)), encoding="utf-8")

    @property
    def _owner_file(self) -> Path:
        return self.root / f"{self.name}.owner.json"

    def forget(self) -> None:
        """Remove what is beside the directory."""
        self._owner_file.unlink(missing_ok=True)


def root(chosen: Path | None = None) -> Path:
    """The state directory: the chosen one, else `$XDG_STATE_HOME` or `~/.local/state`."""
    if chosen is not None:
        return chosen.resolve()
    configured = os.environ.get("XDG_STATE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".local" / "state"
    return base / "chartproof"


def place(name: str, state_dir: Path | None = None) -> Place:
    """The place of a cluster of this name; raises UsageError for a name that cannot be one."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a cluster",
            how="use at most 32 lower-case letters, digits and inner hyphens",
        )
    return Place(root(state_dir), name)


def places(state_dir: Path | None = None) -> list[Place]:
    """Every cluster that exists, running or not."""
    base = root(state_dir)
    directories = base / "clusters"
    if not directories.is_dir():
        return []
    return [Place(base, each.name) for each in sorted(directories.iterdir()) if each.is_dir()]


@contextmanager
def starting(base: Path) -> Iterator[None]:
    """Let one process at a time choose ports and start a cluster in this state directory."""
    try:
        base.mkdir(parents=True, exist_ok=True)
        lock = (base / "lock").open("w")
    except OSError as error:
        raise ClusterError(
            f"cannot write to the state directory: {error.strerror}",
            where=str(base),
            how="name another one with --state-dir",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
