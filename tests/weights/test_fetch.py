"""Init download from S3: what a replica does before its engine starts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.weights.servers import (
    FILES,
    REVISION,
    RunContainer,
    Script,
    Store,
    content,
    finished_large_parts,
    manifest_of,
    s3_values,
    wait_until,
)

#: Each starts a process or two and moves tens of megabytes.
pytestmark = pytest.mark.slow

EXPECTED = {name: content(name) for name in FILES}
LARGE = "model-00001-of-00002.safetensors"
ABSENT, DENIED, UNREACHABLE, DISK, CORRUPT, MANIFEST, TERMINATED = 10, 11, 12, 13, 14, 15, 143


@pytest.fixture
def download(script: RunContainer, staged: Store) -> Script:
    return script(s3_values(staged.endpoint), "download-weights")


def test_first_start_fetches_verifies_and_marks(download: Script) -> None:
    code, output = download.run()
    assert code == 0, output
    assert download.files() == EXPECTED
    mark = json.loads(download.mark.read_text())
    assert mark["revision"] == REVISION
    assert {each["path"] for each in mark["files"]} == set(FILES)
    assert not (download.directory / ".weights-partial").exists()
    assert REVISION in str(download.directory)


def test_second_start_transfers_nothing(download: Script, staged: Store) -> None:
    assert download.run()[0] == 0
    for name in FILES:
        staged.delete(name)
    code, output = download.run()
    assert (code, "is complete" in output) == (0, True), output


def test_second_start_does_without_the_store(download: Script) -> None:
    assert download.run()[0] == 0
    code, output = download.run(AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert (code, "warning" in output) == (0, True), output


def test_killed_midway_leaves_no_mark_and_resumes(download: Script) -> None:
    process = download.start("--concurrency", "1")
    wait_until(lambda: bool(finished_large_parts(download.directory)))
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    assert process.returncode == -signal.SIGKILL
    assert not download.mark.exists()
    assert finished_large_parts(download.directory)
    code, output = download.run()
    assert code == 0, output
    assert download.files() == EXPECTED


def test_resumed_download_asks_only_for_missing_parts(download: Script, staged: Store) -> None:
    """The kept parts are damaged on purpose: if they were fetched again, nothing would be noticed."""
    process = download.start("--concurrency", "1")
    wait_until(lambda: bool(finished_large_parts(download.directory)))
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    (journal,) = finished_large_parts(download.directory)
    with journal.with_suffix("").open("r+b") as partial:
        partial.write(b"damage")
    code, output = download.run()
    assert code == 0, output
    assert "has sha256" in output
    assert download.files() == EXPECTED


def test_sigterm_stops_with_its_own_code_and_the_next_run_resumes(download: Script) -> None:
    partials = download.directory / ".weights-partial"
    process = download.start("--concurrency", "1")
    wait_until(lambda: any(partials.glob("*.parts")))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == TERMINATED, output
    assert not download.mark.exists()
    assert download.run()[0] == 0
    assert download.files() == EXPECTED


@pytest.mark.parametrize("damage", ["same size", "truncated", "longer"])
def test_corrupt_file_is_fetched_again(download: Script, damage: str) -> None:
    assert download.run()[0] == 0
    path = download.directory / LARGE
    body = path.read_bytes()
    path.write_bytes({"same size": b"x" + body[1:], "truncated": body[:-1], "longer": body + b"x"}[damage])
    code, output = download.run()
    assert code == 0, output
    assert "fetching 1 of 4 files" in output
    assert download.files() == EXPECTED


def test_missing_file_is_fetched_again(download: Script) -> None:
    assert download.run()[0] == 0
    (download.directory / "config.json").unlink()
    code, output = download.run()
    assert (code, "fetching 1 of 4 files" in output) == (0, True), output
    assert download.files() == EXPECTED


def test_verified_files_are_not_read_again_after_a_kill(download: Script) -> None:
    """The journal of verified files is trusted by size and time, so a restart of a large model is quick."""
    assert download.run()[0] == 0
    download.mark.unlink()
    code, output = download.run()
    assert (code, "fetching 0 of 4 files" in output) == (0, True), output
    assert download.mark.exists()


def test_damaged_mark_is_not_believed(download: Script) -> None:
    assert download.run()[0] == 0
    download.mark.write_text('{"format": "weights-complete/1"}')
    (download.directory / "config.json").write_bytes(b"{}")
    assert download.run()[0] == 0
    assert download.files() == EXPECTED


def test_another_manifest_of_the_same_revision_is_followed(download: Script, staged: Store) -> None:
    assert download.run()[0] == 0
    changed = {**EXPECTED, "config.json": b'{"changed": true}'}
    staged.put("config.json", changed["config.json"])
    staged.put("weights-manifest.json", manifest_of(changed))
    code, output = download.run()
    assert code == 0, output
    assert (download.directory / "config.json").read_bytes() == changed["config.json"]


def refused(download: Script, code: int, *words: str, **environment: str) -> None:
    """The run ends with this code, says these words, shows no traceback and leaves no mark."""
    found, output = download.run(**environment)
    assert found == code, output
    assert "Traceback" not in output
    assert not download.mark.exists()
    for word in words:
        assert word in output


def test_bad_object_never_gets_a_mark(download: Script, staged: Store) -> None:
    staged.put(LARGE, content(LARGE, seed=1))
    refused(download, CORRUPT, LARGE, "also after 2 tries", "stage the weights again")


def test_truncated_object_never_gets_a_mark(download: Script, staged: Store) -> None:
    staged.put(LARGE, content(LARGE)[:-5])
    refused(download, CORRUPT, LARGE, "are expected")


def test_missing_object_is_named(download: Script, staged: Store) -> None:
    staged.delete("config.json")
    refused(download, ABSENT, "config.json", "not there")


def test_missing_manifest_says_how_to_make_one(download: Script, staged: Store) -> None:
    staged.delete("weights-manifest.json")
    refused(download, ABSENT, "weights-manifest.json", "stage-weights")


def test_missing_bucket_is_named(download: Script) -> None:
    words = tuple(word.replace("s3://weights/", "s3://elsewhere/") for word in download.words)
    code, output = download.run(words=words)
    assert (code, "elsewhere" in output) == (ABSENT, True), output


def test_wrong_credentials_are_told_from_other_failures(
    download: Script, staged: Store, credentials_needed: None
) -> None:
    wrong = {"AWS_ACCESS_KEY_ID": "wrong", "AWS_SECRET_ACCESS_KEY": "wrong"}
    refused(download, DENIED, "access refused", "s3:GetObject", **wrong)


def test_absent_credentials_say_where_to_set_them(download: Script, tmp_path: Path) -> None:
    nothing = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"), "AWS_CONFIG_FILE": str(tmp_path / "none")}
    del download.environment["AWS_ACCESS_KEY_ID"], download.environment["AWS_SECRET_ACCESS_KEY"]
    refused(download, DENIED, "no AWS credentials", "aws.identity", **nothing)


def test_endpoint_that_is_down_is_told(download: Script) -> None:
    refused(download, UNREACHABLE, "127.0.0.1:9", AWS_ENDPOINT_URL="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda raw: raw.replace(b'"size": 700', b'"size": 701'), "changed after staging"),
        (lambda raw: raw.replace(b'"config.json"', b'"../../config.json"'), "changed after staging"),
        (lambda raw: raw[:50], "no weights manifest"),
        (lambda raw: raw.replace(b"weights-manifest/1", b"weights-manifest/9"), "weights-manifest/9"),
        (lambda raw: raw.replace(REVISION.encode(), b"0" * 40), "is of revision 0000"),
    ],
)
def test_tampered_manifest_is_refused(download: Script, staged: Store, fault: object, words: str) -> None:
    assert callable(fault)
    raw = staged.get("weights-manifest.json")
    changed = fault(raw)
    assert changed != raw
    staged.put("weights-manifest.json", changed)
    refused(download, MANIFEST, words)


@pytest.mark.parametrize("path", ["../escape", "/etc/passwd", ".weights-complete.json", "a/../../escape"])
def test_manifest_that_leaves_the_directory_is_refused(download: Script, staged: Store, path: str) -> None:
    staged.put("weights-manifest.json", manifest_of({path: b"x"}))
    refused(download, MANIFEST, "invalid entry")
    assert not (download.root / "escape").exists()


def test_pinned_manifest_is_the_only_one_accepted(script: RunContainer, staged: Store) -> None:
    pinned = script(s3_values(staged.endpoint, manifestSha256="0" * 64), "download-weights")
    refused(pinned, MANIFEST, "is pinned")


def test_source_without_manifest_is_fetched_by_its_listing(script: RunContainer, staged: Store) -> None:
    staged.delete("weights-manifest.json")
    listed = script(s3_values(staged.endpoint, verifyManifest=False), "download-weights")
    code, output = listed.run()
    assert code == 0, output
    assert listed.files() == EXPECTED
    assert listed.mark.exists()


def test_full_disk_is_told_before_anything_is_fetched(download: Script, tiny_volume: Path) -> None:
    words = tuple(word.replace(str(download.root), str(tiny_volume)) for word in download.words)
    code, output = download.run(words=words)
    assert (code, "GB free" in output, "enlarge" in output) == (DISK, True, True), output
    assert not list(tiny_volume.rglob(".weights-complete.json"))


def test_disk_that_fills_up_meanwhile_ends_with_an_error(download: Script) -> None:
    """Somebody else takes the room after it was looked at: a limit on file sizes stands in for it."""
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    process = subprocess.run(
        [sys.executable, "-c", limited, str(download.path), *download.words],
        env=download.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert process.returncode == DISK, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    assert not download.mark.exists()


def test_unwritable_directory_is_told(download: Script) -> None:
    shutil.rmtree(download.root)
    download.root.write_text("a file where the volume should be")
    code, output = download.run()
    assert (code, "check the volume" in output) == (DISK, True), output


def test_wrong_usage_has_its_own_code(download: Script) -> None:
    for words in (["fetch"], ["fetch", "--source", "http://x", "--directory", "here", "--revision", "1"], ["gather"]):
        assert download.run(words=words)[0] == 2
