"""Keys of teams, asked of the real LiteLLM with the configuration that the chart renders."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chartproof import toolchain
from chartproof.cluster.ports import free_ports
from tests import presets
from tests.operations.servers import Told, telling

pytestmark = pytest.mark.slow

START_SECONDS = 240
TEAMS = """
gateway:
  teams:
    search: {existingSecret: search}
    chat: {existingSecret: chat}
"""
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "llama-3.1-8b",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}


@dataclass(frozen=True)
class Gateway:
    """The process. `keys` by team, the master's under its own name."""

    url: str
    keys: dict[str, str]

    def ask(self, path: str, key: str | None, body: dict[str, Any] | None = None) -> tuple[int, str]:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def chat(self, key: str | None) -> int:
        message = {"role": "user", "content": "Is anybody there?"}
        return self.ask("/v1/chat/completions", key, {"model": "llama-3.1-8b", "messages": [message]})[0]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    where = tmp_path_factory.mktemp("teams")
    release = presets.render("llama-3.1-8b-g6e-gateway", TEAMS)
    (data,) = [each.body["data"] for each in release.of_kind("ConfigMap") if "config.yaml" in each.body["data"]]
    (deployment,) = [each for each in release.of_kind("Deployment") if each.name.endswith("-gateway")]
    (container,) = deployment.get("spec", "template", "spec", "containers")
    (port,) = free_ports(1)
    keys, environment = {}, {"PATH": "/usr/bin:/bin"}
    for each in container["env"]:
        if "value" in each:
            environment[each["name"]] = each["value"]
            continue
        name = each["valueFrom"]["secretKeyRef"]["name"]
        keys[name] = environment[each["name"]] = f"sk-{name}-key"
    with telling(Told({"/v1/chat/completions": (200, ANSWER)})) as engine:
        for name, text in data.items():
            own = text.replace("http://llama-3-1-8b-g6e-gateway-llm-inference.llm.svc", engine.url)
            (where / name).write_text(own, encoding="utf-8")
        log = (where / "log").open("w")
        command = [str(toolchain.resolve("litellm")), "--config", str(where / "config.yaml")]
        process = subprocess.Popen(
            [*command, "--port", str(port), "--host", "127.0.0.1"], env=environment, stdout=log, stderr=log
        )
        made = Gateway(f"http://127.0.0.1:{port}", keys)
        try:
            _wait(made, process, where / "log")
            yield made
        finally:
            process.terminate()
            process.wait(30)
            log.close()


def _wait(gateway: Gateway, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if gateway.ask("/health/readiness", None)[0] == 200:
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"LiteLLM does not start:\n{log.read_text()[-3000:]}")


def test_teams_and_the_master_may_ask_and_nobody_else(gateway: Gateway) -> None:
    asked = {name: gateway.chat(key) for name, key in gateway.keys.items()}
    assert asked == {"gateway-keys": 200, "search": 200, "chat": 200}
    assert gateway.chat("sk-wrong") == 401
    assert gateway.chat(None) == 401


def test_a_team_may_not_administer(gateway: Gateway) -> None:
    for path in ("/model/info", "/config/yaml", "/global/spend", "/v2/model/info"):
        assert gateway.ask(path, gateway.keys["search"])[0] == 403, path
    assert gateway.ask("/model/info", gateway.keys["gateway-keys"])[0] == 200


def test_tokens_are_counted_by_team_and_no_key_is_told(gateway: Gateway) -> None:
    for _ in range(2):
        assert gateway.chat(gateway.keys["search"]) == 200
    deadline = time.monotonic() + 30
    while True:
        lines = gateway.ask("/metrics/", None)[1].splitlines()
        counted = [each for each in lines if each.startswith("litellm_input_tokens_metric_total{")]
        search = [each for each in counted if 'team="search"' in each and 'model_id="llama-3.1-8b.own"' in each]
        if search and float(search[0].rpartition(" ")[2]) >= 14:
            break
        assert time.monotonic() < deadline, counted
        time.sleep(0.5)
    assert not [each for each in lines for key in gateway.keys.values() if key in each]
