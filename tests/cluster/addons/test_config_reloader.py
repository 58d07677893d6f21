from __future__ import annotations

import base64
import gzip
from pathlib import Path
from typing import Any

import yaml

from chartproof.cluster.addons import config_reloader, prometheus

KUBECONFIG, RULES = Path("/cluster/kubeconfig.yaml"), Path("/cluster/prometheus/rules")


def _adapted(configuration: dict[str, Any]) -> dict[str, Any]:
    return config_reloader.adapted(configuration, network="http://127.0.0.1:1234", kubeconfig=KUBECONFIG, rules=RULES)


def test_what_is_discovered_is_found_by_kubeconfig_and_scraped_through_the_network() -> None:
    job = {"job_name": "serviceMonitor/x", "kubernetes_sd_configs": [{"role": "endpointslice"}, {"role": "pod"}]}
    [scrape] = _adapted({"scrape_configs": [job]})["scrape_configs"]
    assert scrape["proxy_url"] == "http://127.0.0.1:1234"
    assert [each["kubeconfig_file"] for each in scrape["kubernetes_sd_configs"]] == [str(KUBECONFIG)] * 2


def test_programs_of_this_machine_are_scraped_directly() -> None:
    job = {"job_name": "keda-operator", "static_configs": [{"targets": ["127.0.0.1:9"]}]}
    assert _adapted({"scrape_configs": [job]})["scrape_configs"] == [job]


def test_the_proxy_is_not_asked_for_what_it_refuses_nor_put_before_another() -> None:
    discovery = [{"role": "pod"}]
    secure = {"job_name": "a", "scheme": "https", "kubernetes_sd_configs": discovery}
    proxied = {"job_name": "b", "proxy_url": "http://other:1", "kubernetes_sd_configs": discovery}
    first, second = _adapted({"scrape_configs": [secure, proxied]})["scrape_configs"]
    assert "proxy_url" not in first
    assert second["proxy_url"] == "http://other:1"


def test_rules_are_read_from_the_clusters_directory() -> None:
    files = ["/etc/prometheus/rules/prometheus-k8s-rulefiles-0/*.yaml"]
    assert _adapted({"rule_files": files})["rule_files"] == [f"{RULES}/prometheus-k8s-rulefiles-0/*.yaml"]


def test_the_operators_own_is_not_altered() -> None:
    original = {"scrape_configs": [{"job_name": "a", "kubernetes_sd_configs": [{"role": "pod"}]}]}
    before = yaml.safe_dump(original)
    _adapted(original)
    assert yaml.safe_dump(original) == before


def test_the_secret_is_unpacked_and_its_variables_filled() -> None:
    text = "global: {external_labels: {prometheus_replica: $(POD_NAME)}}"
    secret = {"data": {"prometheus.yaml.gz": base64.b64encode(gzip.compress(text.encode())).decode()}}
    found = config_reloader.unpacked(secret)
    assert found == {"global": {"external_labels": {"prometheus_replica": "prometheus-k8s-0"}}}
    assert config_reloader.unpacked({"data": {}}) == {}
    assert config_reloader.unpacked({}) == {}


def test_files_are_written_once_and_stale_rules_removed(tmp_path: Path) -> None:
    maps = [{"metadata": {"name": "rules-0"}, "data": {"a.yaml": "groups: []", "b.yaml": "groups: []\n"}}]
    rules = config_reloader.rule_files(maps)
    assert config_reloader.write(tmp_path, {"global": {}}, rules)
    assert not config_reloader.write(tmp_path, {"global": {}}, rules)
    root = prometheus.rules_directory(tmp_path)
    assert {str(each.relative_to(root)) for each in root.glob("*/*")} == {"rules-0/a.yaml", "rules-0/b.yaml"}
    assert config_reloader.write(tmp_path, {"global": {}}, {"rules-0/a.yaml": "groups: []"})
    assert [each.name for each in root.glob("*/*")] == ["a.yaml"]
    assert config_reloader.write(tmp_path, {"global": {"scrape_interval": "1s"}}, {"rules-0/a.yaml": "groups: []"})
    assert yaml.safe_load(prometheus.configuration_file(tmp_path).read_text()) == {"global": {"scrape_interval": "1s"}}
