"""The pinned programs start, say the version that is pinned, and have the options the harness sets."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from chartproof import toolchain
from chartproof.cluster.machines.real_containers import is_router
from chartproof.toolchain import pins
from chartproof.toolchain.locate import Origin, probe
from tests import presets

pytestmark = pytest.mark.slow  # built on first use

PROBED = [name for name in pins.usual() if pins.program(name).probe]


@pytest.mark.parametrize("name", PROBED)
def test_a_built_program_says_the_version_that_is_pinned(name: str) -> None:
    path = toolchain.resolve(name)
    if toolchain.find(name).origin is not Origin.CACHE:
        pytest.skip(f"{path} was not built here")
    version, answer = probe(pins.program(name), path)
    assert version is not None, answer
    assert version == pins.parse_version(pins.modules()[pins.program(name).module].version)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("keda-operator", ["--metrics-service-bind-address", "--cert-dir", "--health-probe-bind-address"]),
        ("keda-adapter", ["--metrics-service-address", "--secure-port", "--client-ca-file"]),
        ("keda-admission-webhooks", ["--cert-dir", "--metrics-bind-address", "--health-probe-bind-address"]),
        ("karpenter", ["-instance-types-file-path", "-metrics-port", "-disable-leader-election"]),
    ],
)
def test_programs_that_cannot_say_their_version_are_those_they_are_named_for(name: str, options: list[str]) -> None:
    command = [str(toolchain.resolve(name)), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    told = result.stdout + result.stderr
    assert [each for each in options if not re.search(rf"\s{each}\s", told)] == []


def test_prometheus_discovers_targets_in_kubernetes_and_in_no_cloud(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(discovery: str) -> subprocess.CompletedProcess[str]:
        config = tmp_path_factory.mktemp("prometheus") / "prometheus.yml"
        config.write_text(f"scrape_configs: [{{job_name: engines, {discovery}}}]\n", encoding="utf-8")
        command = [str(toolchain.resolve("promtool")), "check", "config", "--syntax-only", str(config)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    if toolchain.find("promtool").origin is not Origin.CACHE:
        pytest.skip("promtool was not built here")
    assert check("kubernetes_sd_configs: [{role: pod}]").returncode == 0
    assert check("http_sd_configs: [{url: 'http://localhost:1/'}]").returncode == 0
    assert check("static_configs: [{targets: ['localhost:1']}]").returncode == 0
    refused = check("ec2_sd_configs: [{region: us-east-1}]")
    assert refused.returncode == 1
    assert "ec2_sd_configs not found" in refused.stderr


def test_litellm_is_the_locked_one_and_asks_nobody_for_it() -> None:
    # Its proxy refuses: whatever it asked for at start would be told.
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    environment = {"PATH": os.defpath, "HOME": "/nonexistent", "LITELLM_LOCAL_MODEL_COST_MAP": "True", **nowhere}
    command = [str(toolchain.resolve("litellm")), "--version"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.split()[-1] == pins.modules()["litellm"].version
    assert result.stderr == ""


def test_the_router_has_the_words_that_the_chart_tells_it() -> None:
    if sys.platform != "linux":
        pytest.skip("vllm-router is published for Linux only")
    release = presets.render("llama-3.3-70b-fp8-g7e-disaggregated")
    (told,) = (
        container["args"]
        for document in release.of_kind("Deployment")
        for container in document.pod_templates[0].containers()
        if is_router(container)
    )
    result = subprocess.run(
        [str(toolchain.resolve("vllm-router")), "--help"], capture_output=True, text=True, check=True, timeout=120
    )
    known = {*re.findall(r"--[a-z-]+", result.stdout)}
    assert {each for each in told if each.startswith("--")} <= known
