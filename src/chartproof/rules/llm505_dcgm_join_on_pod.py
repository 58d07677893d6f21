"""LLM505."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._all_queries import queries_of
from chartproof.rules._gpu_metrics import joins_on_exporter_pod
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM505",
    name="dcgm-join-on-pod",
    severity=Severity.ERROR,
    kinds=("PrometheusRule", "VMRule", "ConfigMap", "GrafanaDashboard", "ScaledObject"),
)
def dcgm_join_on_pod(document: Document, context: Context) -> Iterator[Finding]:
    """GPU metrics are chosen or joined by `pod`, which is the exporter's own pod.

    What:
        A query selects or joins DCGM series by the label `pod` or `container` without the scrape
        honouring the exporter's labels: the pod that uses the GPU is then in `exported_pod`.

    Why it hurts:
        The selection is empty, or every GPU of a node counts for the exporter's pod: alerts never fire, and
        dashboards show the same value for every workload.

    Bad:
        `DCGM_FI_DEV_GPU_TEMP{pod=~"llama-.*"}`

    Good:
        `DCGM_FI_DEV_GPU_TEMP{exported_pod=~"llama-.*"}`

    References:
        https://github.com/NVIDIA/dcgm-exporter
        https://prometheus.io/docs/prometheus/latest/configuration/configuration/#scrape_config
    """
    for place, query, path in queries_of(document, context.release):
        for problem in joins_on_exporter_pod(query, context.release):
            yield context.finding(document, f"{place}: {problem.message}", path=path, hint=problem.hint)
