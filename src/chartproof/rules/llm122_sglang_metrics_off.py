"""LLM122."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, Release
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers


@rule(id="LLM122", name="sglang-metrics-off", severity=Severity.ERROR, kinds=SERVING)
def sglang_metrics_off(document: Document, context: Context) -> Iterator[Finding]:
    """SGLang is monitored or scaled by metrics that it does not export.

    What:
        SGLang runs without `--enable-metrics`, and the release scrapes it (ServiceMonitor, PodMonitor,
        annotations) or scales on `sglang:` metrics.

    Why it hurts:
        `/metrics` answers 404: dashboards are empty and the autoscaler never sees a request.

    Bad:
        `python3 -m sglang.launch_server ... --host 0.0.0.0` beside a ServiceMonitor.

    Good:
        The same with `--enable-metrics`.

    References:
        https://docs.sglang.ai/references/production_metrics.html
    """
    for engine in engine_containers(document):
        if engine.engine != "sglang" or engine.option("--enable-metrics") is not None:
            continue
        if _watched(engine, context.release):
            yield context.finding(
                document,
                f"{engine} exports no metrics, and this release reads them",
                path=f"{engine.path}.args",
                hint="add --enable-metrics",
            )


def _watched(engine: EngineContainer, release: Release) -> bool:
    if any(release.of_kind("ServiceMonitor", "PodMonitor")):
        return True
    if str(engine.pod.annotations.get("prometheus.io/scrape", "")).lower() == "true":
        return True
    return any("sglang:" in str(each.body) for each in release.of_kind("ScaledObject", "PrometheusRule"))
