"""The life of a cluster: nothing but what was asked for, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chartproof.cluster import embedded, processes, state
from chartproof.errors import ClusterError, UsageError

pytestmark = pytest.mark.cluster

HERE = Path(__file__).parent
PROGRAMS = 7  # etcd, API server, controller manager, scheduler, kwok, controller of groups, cloud


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for place in state.places(tmp_path):
        embedded.down(place.name, state_dir=tmp_path)


def _left(state_dir: Path) -> list[str]:
    """What is there of any cluster: processes and files."""
    names = {each.name for each in state.places(state_dir)}
    running = [str(pid) for name in names for pid in processes.of_cluster(state.place(name, state_dir).directory)]
    files = [str(each.relative_to(state_dir)) for each in state_dir.rglob("*") if each.is_file()]
    return running + [each for each in files if each != "lock"]


def _until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def _listening(pid: int) -> set[str]:
    """Addresses a process listens on, as the kernel writes them."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        if match := re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink())):
            sockets.add(match[1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, status, *_, inode = line.split()[:10]
            if status == "0A" and inode in sockets:
                found.add(local.partition(":")[0])
    return found


def test_a_cluster_comes_and_goes_and_leaves_nothing(state_dir: Path) -> None:
    cluster = embedded.up("one", state_dir=state_dir)
    assert len(processes.of_cluster(cluster.place.directory)) == PROGRAMS
    [found] = embedded.status(state_dir)
    assert (found.name, found.running, found.server.startswith("https://127.0.0.1:")) == ("one", True, True)
    assert embedded.down("one", state_dir=state_dir)
    assert _left(state_dir) == []


def test_clusters_run_side_by_side(state_dir: Path) -> None:
    one = embedded.up("one", state_dir=state_dir)
    two = embedded.up("two", state_dir=state_dir)
    one.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}})
    assert two.api.find("v1", "Namespace", "mine") is None
    embedded.down("one", state_dir=state_dir)
    assert embedded.attach("two", state_dir=state_dir).api.get("/version")["gitVersion"].startswith("v1.36.")


def test_a_second_cluster_of_the_same_name_is_refused(state_dir: Path) -> None:
    first = embedded.up("one", state_dir=state_dir)
    with pytest.raises(UsageError, match="running already"):
        embedded.up("one", state_dir=state_dir)
    assert first.api.get("/version")  # and the first lives on


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's socket tables")
def test_nothing_listens_beyond_the_loopback_interface(state_dir: Path) -> None:
    cluster = embedded.up("one", state_dir=state_dir)
    addresses = {each for pid in processes.of_cluster(cluster.place.directory) for each in _listening(pid)}
    assert addresses == {"0100007F"}  # 127.0.0.1, and no wildcard or IPv6 address


def test_a_cluster_starts_without_any_network(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there: a download would fail
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    [node] = embedded.up("one", state_dir=state_dir).api.list("v1", "Node")
    assert node["metadata"]["name"] == "system-0"


def test_the_users_own_files_are_left_alone(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", cache)  # the programs are there
    with embedded.running(state_dir=state_dir):
        pass
    assert list(home.rglob("*")) == []


def test_an_error_inside_the_block_takes_the_cluster_down(state_dir: Path) -> None:
    with pytest.raises(ZeroDivisionError), embedded.running(state_dir=state_dir):
        _ = 1 / 0
    assert _left(state_dir) == []


def test_a_control_plane_that_cannot_start_is_cleaned_up_and_explained(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = state_dir / "kwokctl"
    broken.write_text("#!/bin/sh\nmkdir -p $KWOK_WORKDIR/clusters/one/logs; echo no such luck; exit 1\n")
    broken.chmod(0o755)
    programs = {**dict.fromkeys(("etcd", "kwok", "kubectl"), broken), "kwokctl": broken}
    programs |= dict.fromkeys(("kube-apiserver", "kube-controller-manager", "kube-scheduler"), broken)
    monkeypatch.setattr("chartproof.toolchain.ensure", lambda _names: programs)
    with pytest.raises(ClusterError, match="no such luck"):
        embedded.up("one", state_dir=state_dir)
    assert _left(state_dir) == ["kwokctl"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["starting", "running"])
def test_a_signal_takes_everything_down(state_dir: Path, number: signal.Signals, moment: str) -> None:
    command = [sys.executable, "-m", "chartproof", "smoke", "--state-dir", str(state_dir), "--timeout", "120"]
    # A pod that never gets a node keeps the command busy until the signal comes.
    command += ["--chart", str(HERE / "chart"), "--no-platform", str(HERE / "values" / "too-large.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:

        def has_come_so_far() -> bool:
            directories = [each.directory for each in state.places(state_dir)]
            if moment == "starting":
                return any(processes.of_cluster(each) for each in directories)
            return any("populate" in _pods(each / "kubeconfig.yaml") for each in directories)

        _until(has_come_so_far)
        process.send_signal(number)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number, output.decode()
    assert b"Traceback" not in output
    assert _left(state_dir) == []


def test_a_cluster_whose_process_was_killed_is_swept_by_the_next(state_dir: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from chartproof.cluster import running\n"
        "with running('one', state_dir=Path(sys.argv[1])):\n    print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(state_dir)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.kill()
    assert len(processes.of_cluster(state.place("one", state_dir).directory)) == PROGRAMS
    embedded.up("two", state_dir=state_dir)
    assert processes.of_cluster(state.place("one", state_dir).directory) == []
    assert [each.name for each in embedded.status(state_dir)] == ["two"]


def test_down_cleans_up_what_is_half_dead(state_dir: Path) -> None:
    cluster = embedded.up("one", state_dir=state_dir)
    os.kill(processes.of_cluster(cluster.place.directory)[0], signal.SIGKILL)
    assert embedded.down("one", state_dir=state_dir)
    assert _left(state_dir) == []


def _pods(kubeconfig: Path) -> str:
    from chartproof.cluster.api import Api  # noqa: PLC0415
    from chartproof.errors import ChartproofError  # noqa: PLC0415

    try:
        return " ".join(each["metadata"]["name"] for each in Api(kubeconfig).list("v1", "Pod"))
    except (OSError, ChartproofError):
        return ""
