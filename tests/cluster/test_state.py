from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chartproof.cluster import embedded, processes, state
from chartproof.errors import ClusterError, UsageError


@pytest.mark.parametrize("name", ["", "a b", "../escape", "UPPER", "-first", "last-", "x" * 33])
def test_a_name_that_could_leave_the_state_directory_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot name a cluster"):
        state.place(name, tmp_path)


def test_the_state_directory_follows_the_xdg_convention(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state.place("one").directory == tmp_path / "chartproof" / "clusters" / "one"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # to be ignored, says the convention
    assert state.root() == Path.home() / ".local" / "state" / "chartproof"


def test_an_unwritable_state_directory_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ClusterError, match="--state-dir"), state.starting(blocked / "below"):
        pass


def test_the_owner_of_a_cluster_is_remembered(tmp_path: Path) -> None:
    place = state.place("one", tmp_path)
    assert place.owner == state.Owner()
    place.claim(state.Owner(os.getpid()))
    assert not place.owner.is_gone


def test_a_cluster_whose_owner_ended_is_recognised(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    place = state.place("one", tmp_path)
    place.claim(state.Owner(ended.pid))
    assert place.owner.is_gone


def test_only_processes_that_run_from_the_directory_belong_to_a_cluster(tmp_path: Path) -> None:
    directory = tmp_path / "clusters" / "one"
    (directory / "bin").mkdir(parents=True)
    program = directory / "bin" / "etcd"
    program.symlink_to("/bin/sleep")
    with (
        subprocess.Popen([str(program), "60"]) as ours,
        subprocess.Popen(["/bin/sleep", "61"]) as stranger,
        subprocess.Popen(["/bin/sh", "-c", f"sleep 62; : {directory}/bin/etcd"]) as reader,
    ):
        try:
            assert processes.of_cluster(directory) == [ours.pid]
            processes.end(directory)
            assert ours.wait(5) == -9
            assert stranger.poll() is None
            assert reader.poll() is None
        finally:
            for each in (ours, stranger, reader):
                each.kill()


def test_ending_a_cluster_that_never_was_changes_nothing(tmp_path: Path) -> None:
    assert not embedded.down("one", state_dir=tmp_path)
    assert embedded.status(tmp_path) == []


def test_a_cluster_that_does_not_run_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="chartproof cluster up"):
        embedded.attach("one", state_dir=tmp_path)


def test_the_command_names_clusters_as_the_package_does() -> None:
    from chartproof.commands import cluster as command  # noqa: PLC0415  (private name of one module)

    assert command._DEFAULT_NAME == state.DEFAULT_NAME
