"""Populate, check, clean and stage: the Jobs and checks of the other deliveries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof import cli
from tests.weights.hub import Hub, serve
from tests.weights.servers import (
    BUCKET,
    FILES,
    PREFIX,
    REVISION,
    RunContainer,
    Script,
    Store,
    content,
    manifest_of,
    s3_values,
    wait_until,
)

#: Each starts a process or two and moves tens of megabytes.
pytestmark = pytest.mark.slow

EXPECTED = {name: content(name) for name in FILES}
OTHER = "b" * 40


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(REVISION, dict(EXPECTED))
    server = serve(hub)
    yield hub
    server.shutdown()
    server.server_close()


def volume(endpoint: str, **populate: Any) -> dict[str, Any]:
    return (
        s3_values(endpoint, delivery="volume", volume={"populate": populate})
        if populate
        else s3_values(endpoint, delivery="volume")
    )


@pytest.fixture
def populate(script: RunContainer, staged: Store) -> Script:
    return script(volume(staged.endpoint), "populate-weights", kind="Job")


@pytest.fixture
def check(script: RunContainer, staged: Store) -> Script:
    return script(volume(staged.endpoint), "check-weights")


def test_populated_volume_passes_the_check(populate: Script, check: Script) -> None:
    assert populate.run()[0] == 0
    assert populate.files() == EXPECTED
    assert populate.directory == check.directory
    code, output = check.run()
    assert (code, "is complete" in output) == (0, True), output


def test_check_waits_for_the_job(populate: Script, check: Script) -> None:
    waiting = check.start()
    code, output = populate.run()
    assert code == 0, output
    output, _ = waiting.communicate(timeout=30)
    assert (waiting.returncode, "waiting up to" in output) == (0, True), output


def test_check_gives_up_in_time_and_says_who_should_have_filled_it(check: Script) -> None:
    code, output = check.run("--wait-seconds", "0.2")
    assert (code, "the Job that fills it" in output) == (10, True), output


def test_two_jobs_fill_one_directory_one_after_the_other(populate: Script) -> None:
    first = populate.start("--concurrency", "1")
    wait_until(lambda: any(populate.root.rglob("*.parts")))
    second = populate.start()
    output, _ = second.communicate(timeout=60)
    first_output, _ = first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), first_output + output
    assert "waiting for it" in output
    assert "fetching" not in output
    assert populate.files() == EXPECTED


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (lambda directory: (directory / "config.json").write_bytes(b"{}"), 14, "config.json has 2 bytes"),
        (lambda directory: (directory / "config.json").unlink(), 14, "config.json is missing"),
        (lambda directory: (directory / ".weights-complete.json").unlink(), 10, "no completion mark"),
        (lambda directory: (directory / ".weights-complete.json").write_text("{"), 10, "no completion mark"),
    ],
)
def test_damaged_volume_fails_the_check(populate: Script, check: Script, damage: object, code: int, words: str) -> None:
    assert populate.run()[0] == 0
    assert callable(damage)
    damage(populate.directory)
    found, output = check.run("--wait-seconds", "0")
    assert (found, words in output) == (code, True), output


def test_directory_of_another_revision_fails_the_check(populate: Script, check: Script) -> None:
    assert populate.run()[0] == 0
    words = tuple(OTHER if word == REVISION else word for word in check.words)
    code, output = check.run(words=words)
    assert (code, "holds revision" in output) == (15, True), output


def test_clean_up_removes_other_revisions_and_nothing_else(script: RunContainer, staged: Store) -> None:
    job = script(volume(staged.endpoint, cleanUpOtherRevisions=True), "populate-weights", kind="Job")
    beside = job.directory.parent
    old = beside / OTHER
    old.mkdir(parents=True)
    (old / ".weights-complete.json").write_text("{}")
    (old / "model.safetensors").write_bytes(b"old")
    (beside / "notes").mkdir()
    other_model = job.root / "other--model" / OTHER
    other_model.mkdir(parents=True)
    (other_model / ".weights-complete.json").write_text("{}")
    code, output = job.run()
    assert code == 0, output
    assert not old.exists()
    assert (beside / "notes").exists()
    assert other_model.exists()
    assert job.files() == EXPECTED


def test_clean_up_removes_nothing_while_this_revision_is_incomplete(populate: Script) -> None:
    old = populate.directory.parent / OTHER
    old.mkdir(parents=True)
    (old / ".weights-complete.json").write_text("{}")
    code, _ = populate.run(words=("clean", "--directory", str(populate.directory), "--revision", REVISION))
    assert (code, old.exists()) == (10, True)


@pytest.fixture
def stream(script: RunContainer, staged: Store) -> Script:
    return script(s3_values(staged.endpoint, delivery="stream"), "check-weights")


def test_streamed_bucket_passes_the_check(stream: Script) -> None:
    code, output = stream.run()
    assert (code, "4 objects" in output) == (0, True), output


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_damaged_bucket_fails_the_check(stream: Script, staged: Store, damage: str) -> None:
    staged.delete("config.json") if damage == "missing" else staged.put("config.json", b"{}")
    code, output = stream.run()
    assert (code, "config.json" in output, "Traceback" in output) == (14, True, False), output


@pytest.fixture
def stage(script: RunContainer, store: Store, hub: Hub) -> Script:
    values = s3_values(store.endpoint, stage={"enabled": True})
    values["weights"]["source"]["huggingface"] = {"endpoint": hub.address}
    return script(values, "stage-weights", kind="Job")


def test_staged_weights_are_what_a_replica_fetches(stage: Script, script: RunContainer, store: Store) -> None:
    code, output = stage.run()
    assert code == 0, output
    assert store.names() == {*FILES, "weights-manifest.json"}
    manifest = json.loads(store.get("weights-manifest.json"))
    assert (manifest["source"], manifest["revision"]) == ("hf://Qwen/Qwen2.5-7B-Instruct", REVISION)
    pinned = output.rsplit("weights.manifestSha256: ", maxsplit=1)[1].strip()
    download = script(s3_values(store.endpoint, manifestSha256=pinned), "download-weights")
    code, output = download.run()
    assert code == 0, output
    assert download.files() == EXPECTED


def test_staging_again_sends_nothing_again(stage: Script, store: Store) -> None:
    assert stage.run()[0] == 0
    store.delete("weights-manifest.json")
    code, output = stage.run()
    assert code == 0, output
    assert output.count("is already stored") == len(FILES)
    assert "weights-manifest.json" in store.names()


def test_manifest_is_written_last(stage: Script, store: Store, hub: Hub) -> None:
    hub.answers["tokenizer/tokenizer.json"] = b"wrong bytes"
    code, output = stage.run()
    assert code == 14, output
    assert "weights-manifest.json" not in store.names()


def test_prefix_of_another_revision_is_left_alone(stage: Script, store: Store) -> None:
    store.put("weights-manifest.json", manifest_of({"config.json": b"{}"}, revision=OTHER))
    code, output = stage.run()
    assert (code, "a prefix of its own" in output) == (15, True), output
    assert store.names() == {"weights-manifest.json"}


@pytest.fixture
def cloud(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.setenv(name, {"AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": "us-east-1"}.get(name, "any"))
    return store


def test_command_stages_a_directory_and_prints_the_values(
    cloud: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, body in EXPECTED.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(body)
    words = ["stage-weights", str(tmp_path / "model"), f"s3://{BUCKET}/{PREFIX}", "--revision", REVISION]
    code = cli.main([*words, "--endpoint-url", cloud.endpoint, "--region", "us-east-1"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert cloud.names() == {*FILES, "weights-manifest.json"}
    values = yaml.safe_load(printed.out)
    assert values["model"]["revision"] == REVISION
    assert values["weights"]["source"]["s3"]["uri"] == f"s3://{BUCKET}/{PREFIX}"
    assert len(values["weights"]["manifestSha256"]) == 64


@pytest.mark.parametrize(
    ("source", "target", "code", "words"),
    [
        ("/no/such/directory", "s3://b/p", 3, "there is no such directory"),
        ("{tmp}", "gs://b/p", 2, "stage writes to s3://"),
        ("{tmp}", "s3://b/p", 3, "no file matches"),
    ],
)
def test_command_tells_wrong_use_from_failure(
    cloud: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, target: str, code: int, words: str
) -> None:
    found = cli.main(
        ["stage-weights", source.format(tmp=tmp_path), target, "--revision", "1", "--endpoint-url", cloud.endpoint]
    )
    printed = capsys.readouterr()
    assert (found, words in printed.err, printed.out) == (code, True, ""), printed.err
