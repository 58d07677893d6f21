"""Containers of real programs as processes of this machine: what they are told, and how they live."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
import yarl

from chartproof.cluster.machines.passage import Passage
from chartproof.cluster.machines.probes import request_for
from chartproof.cluster.machines.real_containers import Given, RealContainers, is_router, kind_of
from chartproof.cluster.machines.real_program import RealProgram
from chartproof.errors import ClusterError
from chartproof.release import Document, Release

CONFIGURATION = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "llm-gateway", "namespace": "llm"},
    "data": {"config.yaml": "model_list: []\n"},
}
# Tells what it was given, and answers once asked on its port; on SIGTERM it ends as a server does.
PROGRAM = """#!{python}
import http.server, json, os, signal, sys
words = sys.argv[1:]
told = dict(zip(words[::2], words[1::2]))
file = open(told["--config"]).read() if "--config" in told else ""
text = json.dumps({{"words": told, "environment": dict(os.environ), "file": file}})
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.HTTPServer((told["--host"], int(told["--port"])), Handler).serve_forever()
"""


def _pod(**more: Any) -> dict[str, Any]:
    container = {
        "name": "gateway",
        "image": "ghcr.io/berriai/litellm:v1.106.2",
        "args": ["--config", "/etc/litellm/config.yaml", "--port", "4000"],
        "env": [
            {"name": "LITELLM_MASTER_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "master-key"}}},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the container's
        ],
        "volumeMounts": [
            {"name": "configuration", "mountPath": "/etc/litellm"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's
        ],
        **more,
    }
    volumes = [{"name": "configuration", "configMap": {"name": "llm-gateway"}}, {"name": "tmp", "emptyDir": {}}]
    return {
        "metadata": {"name": "llm-gateway-0", "namespace": "llm"},
        "spec": {"containers": [container], "volumes": volumes},
    }


def _cluster(directory: Path) -> Path:
    for each in ("bin", "logs"):
        (directory / each).mkdir()
    for name in ("litellm", "vllm-router"):
        program = directory / "bin" / name
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
    administrator = {
        "clusters": [{"name": "live", "cluster": {"server": "https://127.0.0.1:6443"}}],
        "users": [{"name": "administrator", "user": {"client-key": "/nowhere"}}],
    }
    (directory / "kubeconfig.yaml").write_text(yaml.safe_dump(administrator))
    return directory


def _program(directory: Path, passage: Passage, pod: dict[str, Any], *, key: str = "sk-1") -> RealProgram:
    release = Release("llm", (Document(CONFIGURATION),), "llm")
    given = Given(release, {"LITELLM_MASTER_KEY": key} if key else {}, token="pod's own")  # noqa: S106 - played
    (container,) = pod["spec"]["containers"]
    kind = kind_of(container)
    assert kind
    return RealContainers(directory, 1234, passage).program(pod, container, kind, given)


async def _asked(program: RealProgram, passage: Passage) -> dict[str, Any]:
    """What the program says, once its port is open."""
    port = next(iter(program._targets.values()))
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/") as answer:
                    return dict(json.loads(await answer.text()))
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("ghcr.io/berriai/litellm:v1.106.2", "litellm"),
        ("ghcr.io/berriai/litellm-database@sha256:0", "litellm"),
        ("docker.io/litellm:1", "litellm"),
        ("123.dkr.ecr.us-east-1.amazonaws.com/docker-hub/vllm/vllm-router:v0.1.17", "vllm-router"),
        ("vllm/vllm-openai:v0.12.0", None),
        ("vllm/vllm:v0.12.0", None),
        ("berriai/litellm/other:1", None),
        ("litellmproxy:1", None),
        ("", None),
    ],
)
def test_a_real_program_is_known_by_its_image(image: str, expected: str | None) -> None:
    container = {"name": "x", "image": image}
    kind = kind_of(container)
    assert (kind.program if kind else None) == expected
    assert is_router(container) is (expected == "vllm-router")


def _router_pod() -> dict[str, Any]:
    words = "--host 0.0.0.0 --port 8080 --prometheus-host=0.0.0.0 --prometheus-port 29000 --service-discovery-port 8000"
    pod = _pod(
        name="router", image="vllm/vllm-router:v0.1.17", command=["vllm-router"], args=words.split(), volumeMounts=[]
    )
    pod["metadata"]["name"] = "llm-router-0"
    return pod


def test_a_router_finds_the_server_with_the_rights_of_its_pod(tmp_path: Path) -> None:
    async def live() -> dict[str, Any]:
        passage = Passage()
        program = _program(_cluster(tmp_path), passage, _router_pod())
        assert program.ports == (8080, 29000)
        program.start()
        told = await _asked(program, passage)
        program.kill()
        await passage.close()
        return told

    told = asyncio.run(live())
    assert told["words"]["--host"] == told["words"]["--prometheus-host"] == "127.0.0.1"
    assert told["words"]["--service-discovery-port"] == "8000"
    assert len({told["words"]["--port"], told["words"]["--prometheus-port"], "8080", "29000"}) == 4
    environment = told["environment"]
    assert environment["HTTP_PROXY"] == "http://127.0.0.1:1234"
    assert not {"HTTPS_PROXY", "https_proxy"} & set(environment)
    file = Path(environment["KUBECONFIG"])
    assert file.stat().st_mode & 0o077 == 0
    access = yaml.safe_load(file.read_text())
    assert access["users"] == [{"name": "pod", "user": {"token": "pod's own"}}]
    assert access["clusters"][0]["cluster"] == {"server": "https://127.0.0.1:6443"}


def test_a_program_that_nobody_could_get_keeps_the_container_from_being_made(tmp_path: Path) -> None:
    async def live() -> None:
        directory = _cluster(tmp_path)
        (directory / "bin" / "vllm-router").unlink()
        with pytest.raises(
            ClusterError, match="vllm-router is not there\n  fix: chartproof toolchain build vllm-router"
        ):
            _program(directory, Passage(), _router_pod())

    asyncio.run(live())


def test_the_process_gets_what_the_container_has(tmp_path: Path) -> None:
    async def live() -> None:
        passage = Passage()
        program = _program(_cluster(tmp_path), passage, _pod())
        assert program.ports == (4000,)
        program.start()
        told = await _asked(program, passage)
        assert told["file"] == "model_list: []\n"
        assert told["words"]["--host"] == "127.0.0.1"
        assert told["words"]["--port"] != "4000"
        environment = told["environment"]
        assert environment["LITELLM_MASTER_KEY"] == "sk-1"
        assert environment["HTTP_PROXY"] == environment["https_proxy"] == "http://127.0.0.1:1234"
        assert environment["HOME"] == str(tmp_path / "pods" / "llm_llm-gateway-0" / "tmp")
        # Nothing of ours.
        assert not {"KUBECONFIG", "PYTHONPATH", "USER"} & set(environment)
        response = await program.handle(*_question(4000))
        assert response.status == 200
        program.terminate()
        assert await asyncio.wait_for(program.exit, 60) == 0
        assert program.exit_reason == "Completed"
        assert not program.listening
        refused = await program.handle(*_question(4000))
        assert refused.headers["X-Chartproof-Error"] == "refused"
        await passage.close()

    asyncio.run(live())
    assert (tmp_path / "pods" / "llm_llm-gateway-0" / "tmp").is_dir()


def _question(port: int) -> tuple[Any, yarl.URL]:
    from multidict import CIMultiDict, CIMultiDictProxy  # noqa: PLC0415

    url = yarl.URL(f"http://10.64.0.1:{port}/")
    return request_for(url, CIMultiDictProxy(CIMultiDict())), url


@pytest.mark.parametrize(("end", "code", "reason"), [("kill", 137, "Error"), ("crash", 137, "OOMKilled")])
def test_a_killed_process_is_gone(tmp_path: Path, end: str, code: int, reason: str) -> None:
    async def live() -> None:
        program = _program(_cluster(tmp_path), Passage(), _pod())
        program.start()
        process = program._process
        assert process
        program.hang()
        if end == "kill":
            program.kill()
        else:
            program.crash(code, reason)
        assert program.exit.result() == code
        assert program.exit_reason == reason
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
        # What comes late is harmless.
        program.terminate()
        program.unhang()

    asyncio.run(live())


def test_a_process_that_ends_by_itself_tells_its_code(tmp_path: Path) -> None:
    async def live() -> None:
        directory = _cluster(tmp_path)
        (directory / "bin" / "litellm").write_text("#!/bin/sh\necho no master key >&2\nexit 3\n")
        program = _program(directory, Passage(), _pod())
        program.start()
        assert await asyncio.wait_for(program.exit, 60) == 3
        assert program.exit_reason == "Error"
        assert (directory / "logs" / "pod-llm-gateway-0.log").read_text() == "no master key\n"

    asyncio.run(live())


def test_a_key_or_configuration_that_is_not_there_keeps_the_container_from_being_made(tmp_path: Path) -> None:
    async def live() -> None:
        directory = _cluster(tmp_path)
        with pytest.raises(ClusterError, match="secretKeyRef 'keys' with the key 'master-key' is not there"):
            _program(directory, Passage(), _pod(), key="")
        pod = _pod()
        pod["spec"]["volumes"][0]["configMap"]["name"] = "other"
        with pytest.raises(ClusterError, match="the ConfigMap 'other' is not there"):
            _program(directory, Passage(), pod)

    asyncio.run(live())
