"""Prometheus and its operator, which writes Prometheus' configuration from monitors and rules of all namespaces.

The operator's own Prometheus pods run nothing: what it writes is brought to one real process by `config_reloader`,
and the network sends what asks for POD to that process. Programs that run beside the cluster, not in it, are static
targets; they carry the labels that the usual installation gives them: the kube-prometheus-stack chart, and the
ServiceMonitors of KEDA's, Karpenter's and ingress-nginx's charts. Of these only kube-state-metrics' honours labels: in
all other series `namespace` is the program's own and the one they tell of is `exported_namespace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from chartproof.cluster.live import LiveSettings
from chartproof.cluster.ports import LOOPBACK
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.speed import Speed
from chartproof.cluster.state import Place

Body = Mapping[str, Any]

NAMESPACE = "monitoring"
NAME = "k8s"
SERVICE = "prometheus-operated"
"""The operator's Service in front of Prometheus: http://prometheus-operated.monitoring.svc:9090."""
PORT = 9090
POD = (NAMESPACE, f"prometheus-{NAME}-0")
"""Namespace and name of the pod that stands for the real Prometheus: its address answers as that does."""
CONFIGURATION = f"prometheus-{NAME}"
"""The Secret with what the operator wrote."""
RULES = f"prometheus-name={NAME}"
"""Selects the ConfigMaps of rules that it wrote."""

DEFAULT_INTERVAL_SECONDS = 30.0
"""Between scrapes of a target, and between evaluations of a rule, that say nothing of it.
Source: the defaults of the Prometheus definition (prometheus-operator v0.85)."""
LOOKBACK_SECONDS = 300.0
"""How old a sample may be to count as present. Source: Prometheus, `--query.lookback-delta`."""

_DISCOVERY_SECONDS = 5.0
"""Between looks at newly discovered targets. Source: the hidden option of Prometheus 3, `cmd/prometheus/main.go`. What
comes before it has no option: discovery passes changes on after 0.1 s, or up to 5 s while there are many
(`discovery/manager.go`), at any speed."""
_FOR_GRACE_SECONDS, _OUTAGE_SECONDS, _RESEND_SECONDS = 600.0, 3600.0, 60.0
"""How Prometheus treats alerts after a restart, and repeats them. Source: `prometheus --help`, rules.alert.*."""

_ADDITIONAL = ("additional-scrape-configs", "prometheus-additional.yaml")


def objects(settings: LiveSettings, version: str, lws_token: Path) -> list[Body]:
    """Namespace, the Prometheus object of this version of Prometheus, and the targets that no monitor describes."""
    interval = duration(settings.pace.real(DEFAULT_INTERVAL_SECONDS))
    everything: dict[str, Any] = {}
    secret, key = _ADDITIONAL
    metadata = {"name": secret, "namespace": NAMESPACE}
    scrapes = yaml.safe_dump(scrape_configurations(settings, lws_token), sort_keys=False)
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {key: scrapes}},
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "Prometheus",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {
                "version": f"v{version}",
                "replicas": 1,
                "scrapeInterval": interval,
                # At high speed the usual 10 s would be less than a busy machine needs to answer.
                "scrapeTimeout": interval,
                "evaluationInterval": interval,
                **{
                    f"{kind}{selector}": everything
                    for kind in ("serviceMonitor", "podMonitor", "rule")
                    for selector in ("Selector", "NamespaceSelector")
                },
                "additionalScrapeConfigs": {"name": secret, "key": key},
                "resources": {"requests": {"cpu": "200m", "memory": "400Mi"}},
            },
        },
    ]


def scrape_configurations(settings: LiveSettings, lws_token: Path) -> list[dict[str, Any]]:
    """Targets beside the monitors': programs that run as processes, and pods that announce themselves."""
    ports = settings
    return [
        _program("kube-state-metrics", ports.kube_state_metrics_port, NAMESPACE, honor_labels=True),
        _program("keda-operator", ports.keda_metrics_port, "keda"),
        _program("keda-operator-metrics-apiserver", ports.keda_adapter_metrics_port, "keda"),
        _program("keda-admission-webhooks", ports.keda_webhooks_metrics_port, "keda"),
        _program("karpenter", ports.karpenter_metrics_port, "kube-system"),
        {
            **_program("lws-controller-manager-metrics-service", ports.lws_metrics_port, "lws-system"),
            # It signs its certificate itself, and answers only whom the API server knows.
            "scheme": "https",
            "tls_config": {"insecure_skip_verify": True},
            "authorization": {"credentials_file": str(lws_token)},
        },
        _program("ingress-nginx-controller-metrics", ports.front_door_port, "ingress-nginx"),
        _program("prometheus-operator", ports.prometheus_operator_port, NAMESPACE),
        _program(f"prometheus-{NAME}", ports.prometheus_port, NAMESPACE),
        _announced_pods(),
    ]


def _program(job: str, port: int, namespace: str, *, honor_labels: bool = False) -> dict[str, Any]:
    """A process of this machine, labelled as the pod it would be elsewhere."""
    labels = {"namespace": namespace, "service": job, "pod": f"{job}-0", "container": job, "endpoint": "metrics"}
    return {
        "job_name": job,
        "honor_labels": honor_labels,
        "static_configs": [{"targets": [f"{LOOPBACK}:{port}"], "labels": labels}],
    }


def _announced_pods() -> dict[str, Any]:
    """Pods by their annotations prometheus.io/scrape, port and path, as Prometheus' own example has it.

    Source: prometheus `documentation/examples/prometheus-kubernetes.yml`; labels as prometheus-community's chart names
    them, so that queries work for monitors and annotations alike.
    """
    annotation = "__meta_kubernetes_pod_annotation_prometheus_io"
    return {
        "job_name": "kubernetes-pods",
        "kubernetes_sd_configs": [{"role": "pod"}],
        "relabel_configs": [
            _rule("keep", f"{annotation}_scrape", regex="true"),
            _rule("drop", "__meta_kubernetes_pod_phase", regex="Pending|Succeeded|Failed"),
            _rule("replace", f"{annotation}_path", regex="(.+)", target_label="__metrics_path__"),
            _rule(
                *("replace", "__meta_kubernetes_pod_ip", f"{annotation}_port"),
                regex=r"(.+);(\d+)",
                replacement="$1:$2",
                target_label="__address__",
            ),
            _rule("replace", "__meta_kubernetes_namespace", target_label="namespace"),
            _rule("replace", "__meta_kubernetes_pod_name", target_label="pod"),
            _rule("replace", "__meta_kubernetes_pod_node_name", target_label="node"),
        ],
    }


def _rule(action: str, *sources: str, **other: str) -> dict[str, Any]:
    return {"action": action, "source_labels": list(sources), **other}


def configuration_file(directory: Path) -> Path:
    """What the real Prometheus reads, below the cluster's directory."""
    return directory / "prometheus" / "prometheus.yaml"


def rules_directory(directory: Path) -> Path:
    """Where its rules are."""
    return directory / "prometheus" / "rules"


def prepare(directory: Path, speed: Speed) -> None:
    """Give Prometheus an empty configuration to start with, until the operator has written one."""
    rules_directory(directory).mkdir(parents=True, exist_ok=True)
    interval = duration(speed.real(DEFAULT_INTERVAL_SECONDS))
    empty = {"global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}}
    configuration_file(directory).write_text(yaml.safe_dump(empty), encoding="utf-8")


def processes(place: Place, settings: LiveSettings, programs: Mapping[str, Path], python: str) -> list[ProcessSpec]:
    """Prometheus, its operator, and what takes the one's configuration to the other."""
    durations = {
        "query.lookback-delta": LOOKBACK_SECONDS,
        "scrape.discovery-reload-interval": _DISCOVERY_SECONDS,
        "rules.alert.for-grace-period": _FOR_GRACE_SECONDS,
        "rules.alert.for-outage-tolerance": _OUTAGE_SECONDS,
        "rules.alert.resend-delay": _RESEND_SECONDS,
    }
    return [
        ProcessSpec(
            "prometheus",
            (
                str(programs["prometheus"]),
                f"--config.file={configuration_file(place.directory)}",
                f"--storage.tsdb.path={place.directory / 'prometheus' / 'data'}",
                f"--web.listen-address={LOOPBACK}:{settings.prometheus_port}",
                "--web.enable-lifecycle",
                *(f"--{name}={duration(settings.pace.real(seconds))}" for name, seconds in durations.items()),
            ),
            health=f"http://{LOOPBACK}:{settings.prometheus_port}/-/ready",
        ),
        ProcessSpec(
            "prometheus-operator",
            (
                str(programs["prometheus-operator"]),
                f"--web.listen-address={LOOPBACK}:{settings.prometheus_operator_port}",
            ),
            {"KUBECONFIG": str(place.kubeconfig)},
            health=f"http://{LOOPBACK}:{settings.prometheus_operator_port}/healthz",
        ),
        ProcessSpec(
            "config-reloader",
            (python, "-m", "chartproof.cluster.addons.config_reloader", str(place.directory)),
            health=f"http://{LOOPBACK}:{settings.config_reloader_port}/healthz",
        ),
    ]


def duration(seconds: float) -> str:
    """Seconds as Prometheus and its operator write them; at least a millisecond."""
    milliseconds = max(1, round(seconds * 1000))
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
