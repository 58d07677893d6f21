"""What a process of a cluster is; finds and ends them by the directory that their command line names."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chartproof.errors import ClusterError

_PROC = Path("/proc")
_SECONDS = 10
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process that the supervisor keeps running.

    `command` starts with a path below `<directory>/bin/` or is `python -m chartproof.cluster.... DIRECTORY`: that is
    how it is found again. `environment` is all that it gets besides PATH. `health` is a URL that answers 2xx while
    all is well (certificates are not checked); without one, it is well while it runs. `log` is its file's name
    without `.log`, where that is not the process's name.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    health: str = ""
    log: str = ""


def linked(directory: Path, programs: Mapping[str, Path]) -> dict[str, Path]:
    """The programs under names inside the cluster's directory, by which their processes are found again."""
    found = {}
    for name, path in programs.items():
        found[name] = directory / "bin" / name
        found[name].unlink(missing_ok=True)
        found[name].symlink_to(path)
    return found


def detach(spec: ProcessSpec, logs: Path) -> None:
    """Start a process that outlives us, and that nobody starts again."""
    with (logs / f"{spec.log or spec.name}.log").open("ab") as log:
        subprocess.run(
            # The shell leaves at once, so that init, and not the caller, reaps what goes on.
            ["/bin/sh", "-c", '"$@" &', "sh", *spec.command],
            env={"PATH": os.environ.get("PATH", os.defpath), **spec.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=True,
        )


def of_cluster(directory: Path) -> list[int]:
    """Ids of the processes that belong to the cluster in `directory`.

    Control plane programs run under names inside it (kwokctl links them there), and our own
    processes are told it as an argument of `chartproof.cluster`. Process ids written to files are
    not trusted: they may meanwhile be somebody else's.
    """
    programs = f"{directory}/bin/"
    found = []
    for pid, words in _command_lines():
        ours = str(directory) in words and any(each.startswith("chartproof.cluster.") for each in words)
        # A script comes after its interpreter and that one's option.
        linked = any(each.startswith(programs) for each in words[:3])
        if pid != os.getpid() and (linked or ours):
            found.append(pid)
    return found


def end(directory: Path) -> None:
    """End every process of the cluster at once; raises ClusterError where one survives.

    Killed rather than asked: its data is thrown away, and an API server that is asked waits for
    its clients. Repeated, because a program that starts another may do so meanwhile.
    """
    deadline = time.monotonic() + _SECONDS
    while running := of_cluster(directory):
        # The supervisor first: it would start again what it sees ending.
        first = supervisors(directory)
        for pid in sorted(running, key=lambda each: each not in first):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise ClusterError(
                f"processes {running} do not end",
                where=str(directory),
                how=f"kill {' '.join(map(str, running))}, then run `chartproof cluster down` again",
            )
        time.sleep(_PAUSE_SECONDS)


def supervisors(directory: Path) -> set[int]:
    """Ids of the processes that keep others running in the cluster in `directory`."""
    return {
        pid for pid, words in _command_lines() if "chartproof.cluster.supervisor" in words and str(directory) in words
    }


def is_running(pid: int) -> bool:
    """Whether a process of this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    if (_PROC / "self" / "cmdline").exists():
        for entry in _PROC.iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue  # ended meanwhile
                if line:  # empty for zombies: they run no more
                    yield int(entry.name), line.decode(errors="replace").rstrip("\0").split("\0")
        return
    listing = subprocess.run(["/bin/ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    for row in listing.stdout.splitlines():
        pid, _, command = row.strip().partition(" ")
        yield int(pid), command.split(" ")
