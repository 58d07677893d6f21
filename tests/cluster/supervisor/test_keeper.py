from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from chartproof.cluster import embedded, processes, state, supervisor
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.state import Place
from chartproof.cluster.supervisor.keeper import BackOff, adopted
from chartproof.errors import UsageError

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


def test_a_process_that_keeps_ending_waits_longer_each_time() -> None:
    back_off, waits = BackOff(first=1, longest=5, forgiven=60), []
    for _ in range(5):
        back_off = back_off.after(lived=0.5)
        waits.append(back_off.seconds)
    assert waits == [1, 2, 4, 5, 5]


def test_a_long_life_is_forgiven() -> None:
    back_off = BackOff(first=1, longest=5, forgiven=60).after(0).after(0)
    assert (back_off.seconds, back_off.after(60).seconds) == (2, 1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = state.place("one", tmp_path)
    (made.directory / "bin").mkdir(parents=True)
    made.logs.mkdir()
    yield made
    processes.end(made.directory)


def _link(place: Place, name: str, program: str = "/bin/sleep") -> str:
    link = place.directory / "bin" / name
    link.symlink_to(program)
    return str(link)


def _supervise(place: Place, *specs: ProcessSpec) -> None:
    supervisor.write_list(place.directory, specs)
    with (place.logs / "supervisor.log").open("ab") as log:
        command = [sys.executable, "-m", "chartproof.cluster.supervisor", str(place.directory)]
        subprocess.run(command, check=True, stdout=log, stderr=log)


def _status(place: Place, name: str) -> supervisor.ProcessStatus:
    found = [each for each in supervisor.status(place.directory) if each.name == name]
    return found[0] if found else supervisor.ProcessStatus(name)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_what_ends_is_started_again_and_counted(place: Place) -> None:
    script = "echo born with $GREETING >> lives; exit 7"
    command = (_link(place, "shell", "/bin/sh"), "-c", script)
    _supervise(place, ProcessSpec("shell", command, {"GREETING": "hello"}))
    _until(lambda: _status(place, "shell").restarts >= 2)
    # It ran in the cluster's directory and got its environment.
    assert (place.directory / "lives").read_text().splitlines()[:3] == ["born with hello"] * 3
    assert _status(place, "shell").last_exit == 7


def test_a_killed_process_comes_back_and_what_it_said_is_logged(place: Place) -> None:
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    command = (_link(place, "talker", sys.executable), "-c", program)
    _supervise(place, ProcessSpec("talker", command))
    said = place.logs / "talker.log"
    _until(lambda: said.exists() and said.read_text().endswith("\n"))
    before = _status(place, "talker")
    os.kill(before.pid, signal.SIGKILL)
    _until(lambda: _status(place, "talker").healthy and _status(place, "talker").restarts == 1)
    after = _status(place, "talker")
    assert (before.restarts, after.last_exit, after.pid != before.pid) == (0, -9, True)
    _until(lambda: said.read_text().split() == [str(before.pid), str(after.pid)])


def test_a_process_is_killed_held_down_and_released(place: Place) -> None:
    _supervise(place, ProcessSpec("sleeper", (_link(place, "sleeper"), "600")))
    _until(lambda: _status(place, "sleeper").healthy)
    first = _status(place, "sleeper").pid
    supervisor.kill(place, "sleeper")
    assert first not in processes.of_cluster(place.directory)
    _until(lambda: _status(place, "sleeper").healthy)
    second = _status(place, "sleeper").pid
    supervisor.hold(place, "sleeper")
    assert _status(place, "sleeper").held
    assert not any("sleeper" in each for each in _programs(place))
    supervisor.release(place, "sleeper")
    _until(lambda: _status(place, "sleeper").healthy)
    assert not _status(place, "sleeper").held
    assert len({first, second, _status(place, "sleeper").pid}) == 3


def test_only_what_is_kept_can_be_disturbed(place: Place) -> None:
    with pytest.raises(UsageError, match="no live loop runs"):
        supervisor.kill(place, "sleeper")
    _supervise(place, ProcessSpec("sleeper", (_link(place, "sleeper"), "600")))
    _until(lambda: _status(place, "sleeper").healthy)
    with pytest.raises(UsageError, match="name one of: sleeper"):
        supervisor.hold(place, "sleper")


def test_a_program_that_cannot_be_started_does_not_stop_the_others(place: Place) -> None:
    missing = ProcessSpec("missing", (str(place.directory / "bin" / "missing"),))
    _supervise(place, missing, ProcessSpec("sleeper", (_link(place, "sleeper"), "600")))
    _until(lambda: _status(place, "sleeper").healthy)
    _until(lambda: "missing does not start" in (place.logs / "supervisor.log").read_text())
    assert not _status(place, "missing").healthy


@needs_proc
def test_the_running_control_plane_is_taken_over(place: Place) -> None:
    command = [_link(place, "etcd"), "600"]
    with subprocess.Popen(command, cwd=place.directory, env={"COLOUR": "green"}) as running:
        _until(lambda: len(adopted(place.directory)) == 1)
        [(spec, pid)] = adopted(place.directory)
        assert (spec.name, spec.command, spec.environment, pid) == (
            *("etcd", tuple(command), {"COLOUR": "green"}),
            running.pid,
        )
        _supervise(place)
        _until(lambda: _status(place, "etcd").healthy)
        assert _status(place, "etcd").pid == running.pid
        running.kill()
    _until(lambda: _status(place, "etcd").restarts == 1)
    pid = _status(place, "etcd").pid
    assert b"COLOUR=green" in Path(f"/proc/{pid}/environ").read_bytes()
    assert Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:2] == command


@needs_proc
@pytest.mark.parametrize(
    ("program", "option", "url"),
    [
        ("etcd", "--listen-client-urls=http://127.0.0.1:2379", "http://127.0.0.1:2379/health"),
        ("kube-apiserver", "--secure-port=6443", "https://127.0.0.1:6443/livez"),
        ("kwok-controller", "--server-address=127.0.0.1:10247", "http://127.0.0.1:10247/healthz"),
    ],
)
def test_the_health_of_the_control_plane_is_found_in_its_options(
    place: Place, program: str, option: str, url: str
) -> None:
    command = [_link(place, program, sys.executable), "-c", "import time; time.sleep(600)", option]
    with subprocess.Popen(command) as running:
        try:
            _until(lambda: len(adopted(place.directory)) == 1)
            [(spec, _)] = adopted(place.directory)
        finally:
            running.kill()
    assert spec.health == url


@contextmanager
def _answering(answer: list[int]) -> Iterator[str]:
    """A server of this test that answers with the last of these status codes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer[-1])
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  (the base's name)
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/readyz"
        server.shutdown()
        thread.join()


def test_health_is_what_the_process_says(place: Place) -> None:
    answer = [503]
    with _answering(answer) as url:
        _supervise(place, ProcessSpec("sleeper", (_link(place, "sleeper"), "600"), health=url))
        _until(lambda: _status(place, "sleeper").pid > 0)
        assert not _status(place, "sleeper").healthy
        answer.append(200)
        _until(lambda: _status(place, "sleeper").healthy)
        answer.append(500)
        _until(lambda: not _status(place, "sleeper").healthy)
    # What is not well is left alone: only what ended is started again.
    assert _status(place, "sleeper").restarts == 0


def test_ending_a_cluster_ends_its_supervisor_before_it_can_start_anything(place: Place) -> None:
    _supervise(place, *(ProcessSpec(each, (_link(place, each), "600")) for each in ("one", "two", "three")))
    _until(lambda: all(_status(place, each).healthy for each in ("one", "two", "three")))
    processes.end(place.directory)
    assert processes.of_cluster(place.directory) == []
    assert {each.restarts for each in supervisor.status(place.directory)} == {0}


def test_a_supervisor_that_ended_is_not_taken_at_its_last_word(place: Place) -> None:
    _supervise(place, *(ProcessSpec(each, (_link(place, each), "600")) for each in ("one", "two")))
    _until(lambda: all(_status(place, each).healthy for each in ("one", "two")))
    [found] = embedded.status(place.root)
    assert (found.supervised, [each.healthy for each in found.processes]) == (True, [True, True])
    for pid in (*processes.supervisors(place.directory), _status(place, "one").pid):
        os.kill(pid, signal.SIGKILL)
    _until(lambda: not processes.supervisors(place.directory))
    _until(lambda: len(processes.of_cluster(place.directory)) == 1)
    [found] = embedded.status(place.root)
    assert (found.supervised, [each.healthy for each in found.processes]) == (False, [False, True])


def _programs(place: Place) -> list[str]:
    return [Path(f"/proc/{pid}/cmdline").read_text() for pid in processes.of_cluster(place.directory)]
