"""DCGM exporter, device plugin, and the place that NVIDIA's GPU Operator takes."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof import toolchain
from chartproof.catalog import catalog
from chartproof.errors import RenderError
from chartproof.release import Document, Release
from ci.generate import charts, values_comments
from tests.chart.conftest import Refusals, Render, Values, merged
from tests.chart.test_nodes import AL2023, POOLS
from tests.presets import CHART, ROOT, path_of

EXPORTER: Values = {"dcgm-exporter": {"enabled": True}}
PLUGIN: Values = {"device-plugin": {"enabled": True}}
OPERATOR: Values = {"gpu-operator": {"enabled": True}}
STAND_IN = Path(__file__).with_name("gpu-operator")
OVERLAY = ROOT / "values" / "overlays" / "gpu-operator.yaml"
OWN = ("dcgm-exporter", "device-plugin")
QUERIES = [*(CHART / "files" / "alerts").glob("*.yaml"), *(CHART / "files" / "dashboards").glob("*.yaml")]


def loaded(path: Path) -> Values:
    values: Values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values


def daemon_set(release: Release) -> Document:
    (found,) = release.of_kind("DaemonSet")
    return found


def pod_of(document: Document) -> Mapping[str, Any]:
    assert document.pod_template is not None
    return document.pod_template.spec


def lands_on(pod: Mapping[str, Any], labels: Mapping[str, str], taints: list[Mapping[str, str]]) -> bool:
    """Whether the scheduler would put a DaemonSet's pod on a node (terms are alternatives, as are tolerations)."""
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    selected = any(
        all(
            each["key"] in labels if each["operator"] == "Exists" else labels.get(each["key"]) in each["values"]
            for each in term["matchExpressions"]
        )
        for term in terms
    )
    tolerated = all(
        any(
            each.get("key") in {None, taint["key"]}
            and each.get("effect") in {None, taint["effect"]}
            and (each["operator"] == "Exists" or each.get("value") == taint["value"])
            for each in pod["tolerations"]
        )
        for taint in taints
    )
    return selected and tolerated


@pytest.mark.parametrize("values", [EXPORTER, merged(PLUGIN, AL2023)])
def test_gpu_agents_run_on_every_pool_whatever_its_taints_and_on_no_other_node(render: Render, values: Values) -> None:
    taints = {"nodes": {"taints": {"dedicated": {"value": "llm", "effect": "NoExecute"}}}}
    release = render(POOLS, taints, values)
    (pool,) = release.of_kind("NodePool")
    pod = pod_of(daemon_set(release))
    labels = pool.get("spec", "template", "metadata", "labels")
    node_taints = pool.get("spec", "template", "spec", "taints")
    assert len(node_taints) == 2
    assert lands_on(pod, labels, node_taints)
    assert not lands_on(pod, {"kubernetes.io/os": "linux", "karpenter.sh/nodepool": "general"}, [])
    # A pool that this chart did not make: Karpenter labels what EC2 says about the instance.
    assert lands_on(pod, {"karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia"}, node_taints)
    assert not lands_on(pod, {"karpenter.k8s.aws/instance-gpu-manufacturer": "amd"}, [])


@pytest.mark.parametrize("name", OWN)
def test_agents_fit_beside_the_engine_on_the_smallest_gpu_instance(render: Render, name: str) -> None:
    release = render(POOLS, AL2023, {name: {"enabled": True}})
    (container,) = pod_of(daemon_set(release))["containers"]
    requests = container["resources"]["requests"]
    assert "nvidia.com/gpu" not in requests
    (deployment,) = release.of_kind("Deployment")
    engine = pod_of(deployment)["containers"][0]["resources"]["requests"]
    smallest = catalog().instances["g6e.xlarge"]
    assert int(float(engine["cpu"]) * 1000) + int(requests["cpu"].removesuffix("m")) <= smallest.allocatable_millicpu


def test_exporter_serves_the_counters_of_its_config_map(render: Render) -> None:
    counter = "DCGM_FI_DEV_FAN_SPEED, gauge, Fan speed."
    release = render(EXPORTER, {"dcgm-exporter": {"extraCounters": [counter]}})
    document = daemon_set(release)
    pod = pod_of(document)
    (container,) = pod["containers"]
    directory, name = container["args"][1].rsplit("/", 1)
    (mount,) = [each for each in container["volumeMounts"] if each["mountPath"] == directory]
    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    counters = release.find("ConfigMap", volume["configMap"]["name"])
    assert counters is not None
    fields = {}
    for line in counters.get("data", name).splitlines():
        if line.strip() and not line.startswith("#"):
            field, kind, text = (part.strip() for part in line.split(","))
            assert kind in {"gauge", "counter", "label"}, line
            assert text, line
            assert field not in fields, f"{field} twice"
            fields[field] = kind
    assert fields["DCGM_FI_DEV_FAN_SPEED"] == "gauge"
    used = re.findall(r"\bDCGM_[A-Z0-9_]+", "".join(each.read_text("utf-8") for each in QUERIES))
    assert len(used) > 5
    assert set(used) <= fields.keys(), "alerts and dashboards read what is not exported"
    # Errors by code in a window; the gauge of the last code never goes back to 0. Reserved memory completes the sum.
    assert {"DCGM_EXP_XID_ERRORS_COUNT", "DCGM_FI_DEV_FB_RESERVED"} <= fields.keys()


def test_new_counters_restart_the_exporter(render: Render) -> None:
    more = {"dcgm-exporter": {"extraCounters": ["DCGM_FI_DEV_FAN_SPEED, gauge, Fan speed."]}}
    annotations = [daemon_set(render(EXPORTER, each)).pod_template for each in ({}, more)]
    assert all(each is not None for each in annotations)
    checksums = {each.annotations["checksum/counters"] for each in annotations if each}
    assert len(checksums) == 2


def test_exporter_is_no_more_privileged_than_its_counters_need(render: Render) -> None:
    (container,) = pod_of(daemon_set(render(EXPORTER)))["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_ADMIN"]}
    assert "privileged" not in container["securityContext"]
    plain: Values = {"dcgm-exporter": {"capabilities": []}}
    release = render(EXPORTER, plain)
    (container,) = pod_of(daemon_set(release))["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    counters = release.find("ConfigMap", "llm-dcgm-exporter")
    assert counters is not None
    assert "\nDCGM_FI_DEV_GPU_TEMP," in counters.get("data", "counters.csv")
    assert "\nDCGM_FI_PROF_" not in counters.get("data", "counters.csv")


def test_service_monitor_finds_the_exporter_and_names_its_node(render: Render) -> None:
    release = render(EXPORTER, {"dcgm-exporter": {"serviceMonitor": {"enabled": True, "labels": {"release": "mon"}}}})
    (monitor,) = release.of_kind("ServiceMonitor")
    service = release.find("Service", "llm-dcgm-exporter")
    assert service is not None
    assert monitor.get("spec", "selector", "matchLabels").items() <= service.labels.items()
    (endpoint,) = monitor.get("spec", "endpoints")
    (port,) = service.get("spec", "ports")
    assert endpoint["port"] == port["name"]
    assert monitor.labels["release"] == "mon"
    pods = daemon_set(release).pod_template
    assert pods is not None
    assert service.get("spec", "selector").items() <= pods.labels.items()
    assert [each["targetLabel"] for each in endpoint["relabelings"]] == ["node"]


def test_feature_discovery_comes_only_when_asked_for(render: Render) -> None:
    containers = pod_of(daemon_set(render(PLUGIN, AL2023)))["containers"]
    assert [each["name"] for each in containers] == ["device-plugin"]
    described = {"device-plugin": {"gpuFeatureDiscovery": {"enabled": True}}}
    containers = pod_of(daemon_set(render(PLUGIN, AL2023, described)))["containers"]
    assert [each["name"] for each in containers] == ["device-plugin", "gpu-feature-discovery"]


def test_a_shared_gpu_keeps_its_name_and_nobody_gets_two_shares(render: Render) -> None:
    share = {"engine": {"gpuMemoryUtilization": 0.45, "maxModelLen": 2048}}
    shared = {"device-plugin": {"timeSlicing": {"replicas": 2}}}
    configurations = []
    for values in ({}, shared):
        release = render(PLUGIN, AL2023, share, {"nodes": {"instanceTypes": ["g6e.xlarge"]}}, values)
        document = daemon_set(release)
        (container,) = pod_of(document)["containers"]
        (path,) = [each["value"] for each in container["env"] if each["name"] == "CONFIG_FILE"]
        directory, name = path.rsplit("/", 1)
        (mount,) = [each for each in container["volumeMounts"] if each["mountPath"] == directory]
        (volume,) = [each for each in pod_of(document)["volumes"] if each["name"] == mount["name"]]
        found = release.find("ConfigMap", volume["configMap"]["name"])
        assert found is not None
        assert document.pod_template is not None
        checksum = document.pod_template.annotations["checksum/config"]
        configurations.append((yaml.safe_load(found.get("data", name)), checksum))
    (plain, before), (sharing, after) = configurations
    assert plain == {"version": "v1", "flags": {"migStrategy": "none", "failOnInitError": True}}
    assert sharing["sharing"] == {
        "timeSlicing": {
            "renameByDefault": False,
            "failRequestsGreaterThanOne": True,
            "resources": [{"name": "nvidia.com/gpu", "replicas": 2}],
        }
    }
    assert before != after, "a new configuration must restart the plugin"


@pytest.mark.parametrize("name", OWN)
def test_images_are_pinned_and_a_digest_wins(render: Render, name: str) -> None:
    (container,) = pod_of(daemon_set(render(AL2023, {name: {"enabled": True}})))["containers"]
    assert container["image"].startswith("nvcr.io/nvidia/")
    assert any(character.isdigit() for character in container["image"].rpartition(":")[2])
    digest = {name: {"enabled": True, "image": {"repository": "mirror/image", "digest": "sha256:" + "0" * 64}}}
    (container,) = pod_of(daemon_set(render(AL2023, digest)))["containers"]
    assert container["image"] == "mirror/image@sha256:" + "0" * 64


@pytest.mark.parametrize("name", OWN)
def test_every_value_of_a_subchart_is_documented_and_in_its_schema(name: str) -> None:
    chart = CHART.relative_to(ROOT) / "charts" / name
    entries = values_comments.read(chart / "values.yaml")
    assert json.loads(charts.schema(chart, entries)) == json.loads((ROOT / chart / "values.schema.json").read_text())


@pytest.mark.parametrize("name", OWN)
def test_an_unknown_value_of_a_subchart_is_refused(render: Render, name: str) -> None:
    with pytest.raises(RenderError, match="toleration: unknown key; did you mean tolerations"):
        render(AL2023, {name: {"enabled": True, "toleration": []}})


@pytest.mark.parametrize("name", OWN)
def test_objects_stay_within_63_characters(render: Render, name: str) -> None:
    long = "a-very-long-release-name-that-is-still-allowed-by-hel"
    document = daemon_set(render(AL2023, {name: {"enabled": True}}, name=long))
    assert len(document.name) + len("-7d9c5b6f4b") <= 63


@pytest.mark.parametrize(
    ("rule", "key", "values"),
    [
        ("LLM334", "device-plugin.enabled", PLUGIN),
        (
            "LLM334",
            "device-plugin.enabled",
            merged(PLUGIN, {"nodes": {"provider": "autoMode"}}),
        ),
    ],
)
def test_device_plugin_is_refused_where_the_system_brings_one(
    refusals: Refusals, rule: str, key: str, values: Values
) -> None:
    (line,) = refusals(values)
    assert line.startswith(f"[{rule}] {key}: ")


def test_operator_without_its_chart_is_refused_with_the_command_that_fetches_it(refusals: Refusals) -> None:
    (line,) = refusals(OPERATOR, AL2023)
    assert line.startswith("[LLM017] gpu-operator.enabled: ")
    assert line.endswith("run: helm dependency build charts/llm-inference")


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart after `helm dependency build`, which here fetches the stand-in from a loopback repository."""
    directory = tmp_path_factory.mktemp("fetched")
    chart = directory / "llm-inference"
    shutil.copytree(CHART, chart)
    repository = directory / "repository"
    helm(directory, "package", str(STAND_IN), "--destination", str(repository))
    helm(directory, "repo", "index", str(repository))
    with serving(repository) as url:
        described = chart / "Chart.yaml"
        text = described.read_text(encoding="utf-8")
        (operator,) = [each for each in yaml.safe_load(text)["dependencies"] if each["name"] == "gpu-operator"]
        described.write_text(text.replace(operator["repository"], url), encoding="utf-8")
        helm(directory, "dependency", "build", str(chart))
    return chart


class serving:  # noqa: N801 - reads as `with serving(directory)`
    """A directory over HTTP on a free loopback port."""

    def __init__(self, directory: Path) -> None:
        handler = partial(QuietHandler, directory=str(directory))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a log line for each."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def helm(directory: Path, *arguments: str) -> str:
    """Run helm with its own caches, so that a test leaves the user's alone."""
    homes = {f"HELM_{each}_HOME": str(directory / "helm" / each.lower()) for each in ("CACHE", "CONFIG", "DATA")}
    done = subprocess.run(
        [toolchain.resolve("helm"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**homes, "HOME": str(directory), "NO_PROXY": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fetched_operator_takes_the_place_of_the_placeholder(render: Render, fetched: Path) -> None:
    release = render(OPERATOR, AL2023, chart=fetched)
    operator = release.find("ConfigMap", "llm-cluster-policy")
    assert operator is not None
    # The parent switches off what EKS images bring, and leaves the rest to NVIDIA's own values.
    assert operator.body["data"] == {"driver": "false", "toolkit": "false", "devicePlugin": "true"}
    assert render(AL2023, chart=fetched).find("ConfigMap", "llm-cluster-policy") is None


@pytest.mark.parametrize("stem", ["platform-hybrid", "platform-generic"])
def test_overlay_takes_the_operator_for_everything_that_gpus_need(render: Render, fetched: Path, stem: str) -> None:
    overlay = loaded(OVERLAY)
    release = render(loaded(path_of(stem)), overlay, chart=fetched, name="platform")
    assert not list(release.of_kind("DaemonSet")), "two plugins or exporters"
    shown = release.find("ConfigMap", "platform-operator-values")
    assert shown is not None
    values = json.loads(shown.get("data", "values"))
    for operand in ("driver", "toolkit", "devicePlugin", "gfd", "dcgmExporter"):
        assert values[operand]["enabled"] is True
    assert values["dcgmExporter"]["serviceMonitor"]["enabled"] is True
    assert values["driver"]["upgradePolicy"]["gpuPodDeletion"]["deleteEmptyDir"] is True
    tolerations = values["daemonsets"]["tolerations"]
    assert [each["key"] for each in tolerations] == ["nvidia.com/gpu"]
    assert values["node-feature-discovery"]["worker"]["tolerations"] == tolerations


def test_metrics_of_the_operator_are_those_that_alerts_and_dashboards_read(render: Render) -> None:
    exporter = loaded(OVERLAY)["gpu-operator"]["dcgmExporter"]
    counters = (CHART / "charts" / "dcgm-exporter" / "files" / "counters.csv").read_text("utf-8").splitlines()
    assert exporter["config"]["data"].splitlines() == [each for each in counters if each and not each.startswith("#")]
    (monitor,) = render(EXPORTER, {"dcgm-exporter": {"serviceMonitor": {"enabled": True}}}).of_kind("ServiceMonitor")
    (endpoint,) = monitor.get("spec", "endpoints")
    for key in ("interval", "honorLabels", "relabelings"):
        assert exporter["serviceMonitor"][key] == endpoint[key]


def test_overlay_says_what_to_run_where_the_operator_is_not_fetched(refusals: Refusals) -> None:
    (line,) = refusals(loaded(path_of("platform-hybrid")), loaded(OVERLAY))
    assert line.startswith("[LLM017] gpu-operator.enabled: ")


@pytest.mark.parametrize(
    ("rule", "key", "values"),
    [
        ("LLM332", "gpu-operator.enabled", {}),
        ("LLM352", "gpu-operator.enabled", merged(AL2023, {"nodes": {"provider": "autoMode"}})),
        ("LLM333", "gpu-operator.driver.enabled", merged(AL2023, {"gpu-operator": {"driver": {"enabled": True}}})),
        ("LLM333", "gpu-operator.toolkit.enabled", merged(AL2023, {"gpu-operator": {"toolkit": {"enabled": True}}})),
        ("LLM334", "device-plugin.enabled", merged(AL2023, PLUGIN)),
        ("LLM016", "dcgm-exporter.enabled", merged(AL2023, EXPORTER)),
        (
            "LLM335",
            "gpu-operator.daemonsets.tolerations",
            merged(AL2023, {"nodes": {"taints": {"dedicated": {"value": "llm", "effect": "NoSchedule"}}}}),
        ),
    ],
)
def test_operator_is_refused_beside_what_it_conflicts_with(
    refusals: Refusals, fetched: Path, rule: str, key: str, values: Values
) -> None:
    lines = refusals(OPERATOR, values, chart=fetched)
    assert [line for line in lines if line.startswith(f"[{rule}] {key}: ")], lines
    assert {line[1:7] for line in lines} == {rule}, lines


@pytest.mark.parametrize(
    "values",
    [
        {
            "nodes": {"provider": "existing"},
            "gpu-operator": {"driver": {"enabled": True}, "toolkit": {"enabled": True}},
        },
        merged(AL2023, PLUGIN, {"gpu-operator": {"devicePlugin": {"enabled": False}}}),
        merged(
            AL2023,
            {
                "nodes": {"taints": {"dedicated": {"value": "llm", "effect": "NoSchedule"}}},
                "gpu-operator": {"daemonsets": {"tolerations": [{"operator": "Exists"}]}},
            },
        ),
    ],
)
def test_operator_is_taken_where_it_belongs(refusals: Refusals, fetched: Path, values: Values) -> None:
    assert refusals(OPERATOR, values, chart=fetched) == []


def test_plain_helm_lints_renders_and_packages_without_a_dependency_step(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("nodes: {instanceTypes: [g6e.xlarge]}\n", encoding="utf-8")
    helm(tmp_path, "lint", str(CHART), "--values", str(values))
    assert "kind: Deployment" in helm(tmp_path, "template", "llm", str(CHART), "--values", str(values))
    helm(tmp_path, "package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("llm-inference-*.tgz")
    assert "kind: Deployment" in helm(tmp_path, "template", "llm", str(package), "--values", str(values))
