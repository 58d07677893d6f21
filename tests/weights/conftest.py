"""The weights script as the chart renders it, run for real against servers on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from chartproof import helm
from tests.presets import CHART
from tests.weights.servers import BUCKET, FILES, RunContainer, Script, Store, content, manifest_of


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(moto: str) -> Iterator[Store]:
    client = boto3.client(
        "s3",
        endpoint_url=moto,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",  # noqa: S106
    )
    client.create_bucket(Bucket=BUCKET)
    yield Store(moto, client)
    listing = client.list_objects_v2(Bucket=BUCKET)
    for each in listing.get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=each["Key"])
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def staged(store: Store) -> Store:
    """A bucket with a model and its manifest."""
    files = {name: content(name) for name in FILES}
    for name, body in files.items():
        store.put(name, body)
    store.put("weights-manifest.json", manifest_of(files))
    return store


@pytest.fixture
def script(tmp_path: Path) -> Iterator[RunContainer]:
    """Take the script and a container's words from a rendered release: by kind of document and container name."""
    made: list[Script] = []

    def prepare(values: Mapping[str, Any], container: str, *, kind: str = "Deployment", **environment: str) -> Script:
        file = tmp_path / f"values-{len(made)}.yaml"
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        release = helm.render(helm.Rendering(CHART, "weights", "model", (file,)))
        (source,) = [
            each.body["data"]["weights.py"]
            for each in release.of_kind("ConfigMap")
            if "weights.py" in each.body.get("data", {})
        ]
        path = tmp_path / f"weights-{len(made)}.py"
        path.write_text(source, encoding="utf-8")
        pod = next(each.pod_template for each in release.of_kind(kind) if each.pod_template)
        (found,) = [each for each in (*pod.containers(init=True), *pod.containers()) if each["name"] == container]
        root = tmp_path / "weights"
        root.mkdir(exist_ok=True)
        words = tuple(
            word.replace("/weights/", f"{root}/", 1) if word.startswith("/weights/") else word for word in found["args"]
        )
        variables = {each["name"]: str(each.get("value", "")) for each in found["env"] if "value" in each}
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        made.append(
            Script(
                path,
                words,
                {
                    "PATH": os.environ["PATH"],
                    **variables,
                    "HOME": str(home),
                    "TMPDIR": str(home),
                    "AWS_ACCESS_KEY_ID": "key",
                    "AWS_SECRET_ACCESS_KEY": "secret",
                    "AWS_EC2_METADATA_DISABLED": "true",
                    **environment,
                },
                root,
            )
        )
        return made[-1]

    yield prepare
    for each in made:
        for process in each.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def credentials_needed(staged: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the store knows its users; until then it lets everybody in."""
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)


@pytest.fixture
def tiny_volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs to mount a small file system; the file size limit test covers a disk that fills up")
    yield place
    subprocess.run(["/bin/umount", str(place)], check=True)
