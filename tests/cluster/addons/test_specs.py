"""How the programs are started, and what they find on the server."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof.cluster import live_loop, state
from chartproof.cluster.addons import certificates, keda, kube_state_metrics, lws, prometheus
from chartproof.cluster.live import LiveSettings
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.speed import Speed
from chartproof.cluster.state import Place
from chartproof.errors import ClusterError

PROGRAMS = {
    name: Path("/bin-of-cluster") / name
    for name in (
        *("keda-operator", "keda-adapter", "keda-admission-webhooks"),
        *("prometheus", "prometheus-operator", "kube-state-metrics", "lws-controller"),
    )
}
TOKEN = Path("/directory-of-cluster/lws/token")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = state.place("one", tmp_path)
    (made.directory / "pki").mkdir(parents=True)
    (made.directory / "pki" / "ca.crt").write_text("authority")
    return made


def _specs(place: Place, settings: LiveSettings) -> dict[str, ProcessSpec]:
    found = [
        *keda.processes(place, settings, PROGRAMS),
        *prometheus.processes(place, settings, PROGRAMS, "python"),
        kube_state_metrics.process(place, settings, PROGRAMS),
        lws.process(place, live_loop.groups_of(settings), PROGRAMS),
    ]
    return {each.name: each for each in found}


def test_every_port_is_another(place: Place) -> None:
    settings = LiveSettings.choose()
    settings.save(place.directory)
    assert LiveSettings.load(place.directory) == settings
    ports = [value for value in vars_of(settings).values() if isinstance(value, int)]
    assert len(ports) == len(set(ports)) == 21


def vars_of(settings: LiveSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__slots__}


def test_a_light_cluster_has_no_settings(place: Place) -> None:
    assert LiveSettings.find(place.directory) is None
    with pytest.raises(ClusterError, match="no live loop"):
        LiveSettings.load(place.directory)


def test_programs_are_told_to_listen_on_loopback_only(place: Place) -> None:
    specs = _specs(place, LiveSettings.choose())
    addresses = [each for spec in specs.values() for each in spec.command if re.search(r"(address|host)=", each)]
    assert len(addresses) == 11
    assert all("=127.0.0.1" in each for each in addresses)


def test_the_processes_need_nothing_of_the_callers_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("KUBECONFIG", "/somewhere/else")
    for spec in _specs(place, LiveSettings.choose()).values():
        assert "proxy.example" not in str(spec)
        assert "/somewhere/else" not in str(spec)


def test_keda_asks_the_pod_network_for_prometheus_and_itself_for_what_is_local(place: Place) -> None:
    settings = LiveSettings.choose()
    environment = _specs(place, settings)["keda-operator"].environment
    assert environment["HTTP_PROXY"] == f"http://127.0.0.1:{settings.network_port}"
    assert "127.0.0.1" in environment["NO_PROXY"].split(",")
    assert environment["WATCH_NAMESPACE"] == ""


def test_the_operators_limits_grow_with_the_speed(place: Place) -> None:
    command = _specs(place, LiveSettings.choose(Speed(3)))["keda-operator"].command
    assert "--kube-api-qps=60" in command
    assert "--kube-api-burst=90" in command


def test_programs_that_answer_the_api_server_use_the_certificate_of_the_administrator(place: Place) -> None:
    for name in ("admin.crt", "admin.key"):
        (place.directory / "pki" / name).write_text(name)
    certificates.copy_certificates(place.directory)
    certificates.copy_certificates(place.directory)  # again, as after a crash
    found = {each.name: each.read_text() for each in certificates.certificate_directory(place.directory).iterdir()}
    assert found == {"ca.crt": "authority", "tls.crt": "admin.crt", "tls.key": "admin.key"}


def test_the_controller_of_groups_listens_on_loopback_only_and_elects_no_leader(place: Place) -> None:
    ports = lws.Ports(webhooks=1, health=2, metrics=3)
    lws.prepare(place.directory, ports)
    found = yaml.safe_load(lws.configuration_file(place.directory).read_text())
    assert (found["webhook"]["host"], found["webhook"]["port"]) == ("127.0.0.1", 1)
    assert found["health"]["healthProbeBindAddress"] == "127.0.0.1:2"
    assert found["metrics"]["bindAddress"] == "127.0.0.1:3"
    assert found["leaderElection"]["leaderElect"] is False
    assert found["internalCertManagement"]["enable"] is False


def test_without_prometheus_the_controller_of_groups_shows_no_metrics_to_anybody(place: Place) -> None:
    ports = lws.Ports.choose()
    lws.prepare(place.directory, ports)
    assert yaml.safe_load(lws.configuration_file(place.directory).read_text())["metrics"]["bindAddress"] == "0"
    assert "ClusterRole" not in {each["kind"] for each in lws.objects(ports, place.directory)}


def test_webhooks_of_groups_see_no_other_pods_and_let_nothing_pass_unseen(place: Place) -> None:
    found = [
        hook
        for each in lws.objects(lws.Ports(webhooks=1, health=2), place.directory)
        for hook in each.get("webhooks", ())
    ]
    assert len(found) == 4
    for each in found:
        assert each["failurePolicy"] == "Fail"
        assert each["clientConfig"]["url"].startswith("https://127.0.0.1:1/")
        of_pods = each["rules"][0]["resources"] == ["pods"]
        assert (each.get("objectSelector") is not None) == of_pods


def test_the_api_server_finds_adapter_and_webhooks_and_trusts_only_our_authority(place: Place) -> None:
    settings = LiveSettings.choose()
    by_kind = {each["kind"]: each for each in keda.objects(settings, place.directory)}
    api, service = by_kind["APIService"]["spec"], by_kind["Service"]
    authority = base64.b64encode(b"authority").decode()
    assert (api["caBundle"], api["service"]["port"]) == (authority, settings.keda_adapter_port)
    assert "insecureSkipTLSVerify" not in api
    assert api["service"]["name"] == service["metadata"]["name"]
    assert (f"{service['metadata']['name']}.keda.svc",) == keda.CERTIFICATE_NAMES
    webhooks = by_kind["ValidatingWebhookConfiguration"]["webhooks"]
    assert all(each["name"].count(".") >= 2 for each in webhooks)  # the API server wants a full domain name
    urls = {each["clientConfig"]["url"] for each in webhooks}
    assert f"https://127.0.0.1:{settings.keda_webhooks_port}/validate-keda-sh-v1alpha1-scaledobject" in urls
    assert len(urls) == 6


def test_prometheus_selects_every_monitor_and_rule() -> None:
    objects = prometheus.objects(LiveSettings.choose(), "3.15.0", TOKEN)
    [spec] = [each["spec"] for each in objects if each["kind"] == "Prometheus"]
    for kind in ("serviceMonitor", "podMonitor", "rule"):
        assert spec[f"{kind}Selector"] == spec[f"{kind}NamespaceSelector"] == {}


@pytest.mark.parametrize(
    ("factor", "interval", "lookback"), [(1, "30s", "300s"), (15, "2s", "20s"), (7, "4286ms", "42857ms")]
)
def test_what_prometheus_counts_by_itself_follows_the_speed(
    place: Place, factor: float, interval: str, lookback: str
) -> None:
    settings = LiveSettings.choose(Speed(factor))
    [spec] = [each["spec"] for each in prometheus.objects(settings, "3.15.0", TOKEN) if each["kind"] == "Prometheus"]
    assert (spec["scrapeInterval"], spec["evaluationInterval"]) == (interval, interval)
    # Longer than its interval, the operator refuses it.
    assert spec["scrapeTimeout"] == interval
    assert f"--query.lookback-delta={lookback}" in _specs(place, settings)["prometheus"].command


def test_only_kube_state_metrics_speaks_for_other_namespaces() -> None:
    jobs = {each["job_name"]: each for each in prometheus.scrape_configurations(LiveSettings.choose(), TOKEN)}
    assert [name for name, each in jobs.items() if each.get("honor_labels")] == ["kube-state-metrics"]
    for each in jobs.values():
        for static in each.get("static_configs", ()):
            assert {"namespace", "pod", "service"} <= static["labels"].keys()


def test_the_controller_of_groups_is_asked_with_a_token() -> None:
    jobs = {each["job_name"]: each for each in prometheus.scrape_configurations(LiveSettings.choose(), TOKEN)}
    found = [each for each in jobs.values() if "authorization" in each]
    assert [each["authorization"]["credentials_file"] for each in found] == [str(TOKEN)]
    assert found[0]["scheme"] == "https"


def _relabelled(pod: dict[str, str]) -> dict[str, str] | None:
    """What Prometheus makes of a discovered pod by the rules for announced pods; None where it is dropped."""
    [job] = [
        each
        for each in prometheus.scrape_configurations(LiveSettings.choose(), TOKEN)
        if each["job_name"] == "kubernetes-pods"
    ]
    labels = dict(pod)
    for rule in job["relabel_configs"]:
        value = ";".join(labels.get(each, "") for each in rule["source_labels"])
        match = re.fullmatch(rule.get("regex", "(.*)"), value)
        if (rule["action"], match is None) in {("keep", True), ("drop", False)}:
            return None
        if rule["action"] == "replace" and match:
            template = rule.get("replacement", "$1").replace("$", "\\")
            labels[rule["target_label"]] = match.expand(template)
    return labels


def _pod(**annotations: str) -> dict[str, str]:
    named = {f"__meta_kubernetes_pod_annotation_prometheus_io_{key}": value for key, value in annotations.items()}
    return {
        "__address__": "10.64.0.7:8000",
        "__metrics_path__": "/metrics",
        "__meta_kubernetes_pod_ip": "10.64.0.7",
        "__meta_kubernetes_pod_phase": "Running",
        "__meta_kubernetes_namespace": "llm",
        "__meta_kubernetes_pod_name": "engine-0",
        **named,
    }


def test_pods_announce_themselves_with_annotations() -> None:
    found = _relabelled(_pod(scrape="true", port="9000", path="/stats"))
    assert found is not None
    assert (found["__address__"], found["__metrics_path__"]) == ("10.64.0.7:9000", "/stats")
    assert (found["namespace"], found["pod"]) == ("llm", "engine-0")


def test_pods_that_say_nothing_or_do_not_run_are_left_alone() -> None:
    assert _relabelled(_pod()) is None
    assert _relabelled({**_pod(scrape="true"), "__meta_kubernetes_pod_phase": "Pending"}) is None
