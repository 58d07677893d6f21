"""The gateway's container as a real process: what it is told, and how it lives."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl

from chartproof.cluster.machines.gateway import Gateways, is_gateway
from chartproof.cluster.machines.passage import Passage
from chartproof.cluster.machines.probes import request_for
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
text = json.dumps({{"words": told, "environment": dict(os.environ), "file": open(told["--config"]).read()}})
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
    program = directory / "bin" / "litellm"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    return directory


def _program(directory: Path, passage: Passage, pod: dict[str, Any], *, key: str = "sk-1") -> RealProgram:
    release = Release("llm", (Document(CONFIGURATION),), "llm")
    references = {"LITELLM_MASTER_KEY": key} if key else {}
    return Gateways(directory, 1234, passage).program(pod, pod["spec"]["containers"][0], release, references)


async def _asked(program: RealProgram, passage: Passage) -> dict[str, Any]:
    """What the program says, once its port is open."""
    ((_, port),) = program._targets.items()
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
        ("ghcr.io/berriai/litellm:v1.106.2", True),
        ("ghcr.io/berriai/litellm-database@sha256:0", True),
        ("docker.io/litellm:1", True),
        ("vllm/vllm-openai:v0.12.0", False),
        ("berriai/litellm/other:1", False),
        ("", False),
    ],
)
def test_a_gateway_is_known_by_its_image(image: str, *, expected: bool) -> None:
    assert is_gateway({"name": "x", "image": image}) is expected


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
