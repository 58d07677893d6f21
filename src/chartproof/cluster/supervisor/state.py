"""What a supervisor shall run, how it stands, and how to disturb it: for whoever is not the supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from chartproof.cluster import processes
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.state import Place
from chartproof.errors import ClusterError, UsageError

_LIST, _STATE, _HELD = "processes.json", "supervisor.json", "held"
_PAUSE_SECONDS = 0.05
_KILL_SECONDS = 10


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
    write(directory / _LIST, json.dumps([asdict(each) for each in specs], indent=2))


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

    From then on `status` tells nothing of the life that ended: whoever waits for a healthy process gets the next one.
    Raises UsageError for a name that it does not keep, ClusterError where it does not end or nobody notices.
    """
    pid = _status_of(place, name).pid
    if not pid:
        return  # between two lives
    with contextlib.suppress(ProcessLookupError):
        # The id may be another's by now, if the life ended and the supervisor has not said so yet.
        if pid in processes.of_cluster(place.directory):
            os.kill(pid, number)
    deadline = time.monotonic() + _KILL_SECONDS
    while pid in processes.of_cluster(place.directory) or _status_of(place, name).pid == pid:
        if time.monotonic() > deadline:
            raise ClusterError(f"{name} (process {pid}) does not end", where=str(place.directory))
        time.sleep(_PAUSE_SECONDS)


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
        time.sleep(_PAUSE_SECONDS)


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


def held(directory: Path, name: str) -> bool:
    """Whether a process is to be kept down."""
    return (directory / _HELD / name).exists()


def save(directory: Path, text: str) -> None:
    """Tell how the processes stand."""
    write(directory / _STATE, text)


def write(path: Path, text: str) -> None:
    """Replace a file at once: readers see the old text or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)
