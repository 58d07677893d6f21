"""Init download from Hugging Face, against a hub on loopback."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.weights.hub import Hub, serve
from tests.weights.servers import FILES, REVISION, RunContainer, Script, content, finished_large_parts, wait_until

#: Each starts a process or two and moves tens of megabytes.
pytestmark = pytest.mark.slow

EXPECTED = {name: content(name) for name in FILES}
LARGE = "model-00001-of-00002.safetensors"


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(REVISION, {**EXPECTED, "README.md": b"# not wanted"})
    server = serve(hub)
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def download(script: RunContainer, hub: Hub) -> Script:
    source = {"type": "huggingface", "huggingface": {"endpoint": hub.address, "timeoutSeconds": 10}}
    return script({"weights": {"source": source, "retries": 2}}, "download-weights")


def test_first_start_fetches_what_is_wanted_and_verifies_it(download: Script) -> None:
    code, output = download.run()
    assert code == 0, output
    assert download.files() == EXPECTED
    assert not (download.directory / "README.md").exists()
    assert json.loads(download.mark.read_text())["revision"] == REVISION


def test_second_start_asks_nothing(download: Script, hub: Hub) -> None:
    assert download.run()[0] == 0
    hub.requests.clear()
    code, output = download.run()
    assert (code, hub.requests) == (0, []), output


def test_killed_midway_resumes_where_it_was(download: Script, hub: Hub) -> None:
    process = download.start("--concurrency", "1")
    wait_until(lambda: bool(finished_large_parts(download.directory)))
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    assert not download.mark.exists()
    hub.ranges.clear()
    code, output = download.run()
    assert code == 0, output
    assert download.files() == EXPECTED
    assert "bytes=0-16777215" not in hub.ranges, "the first part was there"
    assert any(each.startswith("bytes=33554432-") for each in hub.ranges)


@pytest.mark.parametrize("name", [LARGE, "config.json"])
def test_wrong_bytes_never_get_a_mark(download: Script, hub: Hub, name: str) -> None:
    hub.answers[name] = content(name, seed=1)
    code, output = download.run()
    assert (code, "also after 2 tries" in output) == (14, True), output
    assert not download.mark.exists()


@pytest.mark.parametrize("damage", ["corrupt", "missing"])
def test_damaged_file_is_fetched_again(download: Script, damage: str) -> None:
    assert download.run()[0] == 0
    path = download.directory / "config.json"
    path.write_bytes(b"{}") if damage == "corrupt" else path.unlink()
    code, output = download.run()
    assert (code, "fetching 1 of 4 files" in output) == (0, True), output
    assert download.files() == EXPECTED


@pytest.mark.parametrize(
    ("refusal", "code", "words"),
    [
        ((401, "GatedRepo"), 11, "huggingFaceToken"),
        ((401, "RepoNotFound"), 11, "no such repository"),
        ((403, ""), 11, "access refused"),
        ((404, "RevisionNotFound"), 10, "not there"),
        ((503, ""), 12, "503"),
    ],
)
def test_refusals_of_the_hub_are_told_apart(
    download: Script, hub: Hub, refusal: tuple[int, str], code: int, words: str
) -> None:
    hub.refusal = refusal
    found, output = download.run()
    assert (found, words in output, "Traceback" in output) == (code, True, False), output
    assert not download.mark.exists()


def test_hub_that_is_down_is_told(download: Script) -> None:
    code, output = download.run(HF_ENDPOINT="http://127.0.0.1:9")
    assert (code, "Traceback" in output) == (12, False), output
