from __future__ import annotations

from pathlib import Path

from chartproof.cluster import live_loop, state
from chartproof.cluster.addons import keda
from chartproof.cluster.live import LiveSettings
from chartproof.cluster.speed import Speed


def _arguments(tmp_path: Path, component: str, factor: float) -> dict[str, str]:
    settings = live_loop.control_plane_settings(state.place("one", tmp_path), Speed(factor))
    return dict(settings.arguments[component])


def test_at_factor_one_controllers_have_kubernetes_own_values(tmp_path: Path) -> None:
    controllers = _arguments(tmp_path, "kube-controller-manager", 1)
    assert controllers["horizontal-pod-autoscaler-sync-period"] == "15000ms"
    assert controllers["horizontal-pod-autoscaler-downscale-stabilization"] == "300000ms"
    assert controllers["node-eviction-rate"] == "0.1"
    assert _arguments(tmp_path, "kube-apiserver", 1)["default-unreachable-toleration-seconds"] == "300"


def test_faster_time_shortens_what_controllers_count(tmp_path: Path) -> None:
    controllers = _arguments(tmp_path, "kube-controller-manager", 15)
    assert controllers["horizontal-pod-autoscaler-sync-period"] == "1000ms"
    assert controllers["horizontal-pod-autoscaler-downscale-stabilization"] == "20000ms"
    assert controllers["node-eviction-rate"] == "1.5"
    assert _arguments(tmp_path, "kube-apiserver", 15)["default-unreachable-toleration-seconds"] == "20"


def test_whole_seconds_never_become_none(tmp_path: Path) -> None:
    settings = live_loop.control_plane_settings(state.place("one", tmp_path), Speed(1000))
    assert settings.scheduler["podMaxBackoffSeconds"] == 1
    assert settings.arguments["kube-apiserver"]["default-not-ready-toleration-seconds"] == "1"


def test_kwok_plays_nodes_and_no_pods(tmp_path: Path) -> None:
    settings = live_loop.control_plane_settings(state.place("one", tmp_path), Speed())
    assert [each["spec"]["resourceRef"]["kind"] for each in settings.stages] == ["Node"]


def test_namespaces_come_before_what_is_in_them(tmp_path: Path) -> None:
    place = state.place("one", tmp_path)
    (place.directory / "pki").mkdir(parents=True)
    (place.directory / "pki" / "ca.crt").write_text("authority")
    there = {"default", "kube-system"}
    for each in live_loop.objects(place, LiveSettings.choose()):
        if each["kind"] == "Namespace":
            there.add(each["metadata"]["name"])
        assert each["metadata"].get("namespace", "default") in there
    assert keda.NAMESPACE in there
