"""LLM511."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.promql import PromqlError, parse
from chartproof.release import Document
from chartproof.rules._alerts import recorded_series
from chartproof.rules._dashboards import BrokenDashboard, dashboards_of
from chartproof.rules._gpu_metrics import missing_counters
from chartproof.rules._query_checks import broken_quantiles, engine_versions, unknown_labels, unknown_metrics
from chartproof.rules.registry import Context, rule
from chartproof.workload import engines_of


@rule(id="LLM511", name="dashboard-query-broken", severity=Severity.ERROR, kinds=("ConfigMap", "GrafanaDashboard"))
def dashboard_query_broken(document: Document, context: Context) -> Iterator[Finding]:
    """A query of a Grafana dashboard cannot show anything.

    What:
        A panel's or variable's PromQL does not parse, names a series, label or label value that does not exist
        in the engine version or the DCGM exporter, or takes a quantile without `rate` or `le`; or the dashboard
        is no JSON.

    Why it hurts:
        The panel stays empty, or shows a line that never moves. People believe it, in the middle of an
        incident.

    Bad:
        `vllm:gpu_cache_usage_perc{model_name="$model"}` with vLLM 0.12 or newer.

    Good:
        `vllm:kv_cache_usage_perc{model_name="$model"}`

    References:
        https://docs.vllm.ai/en/latest/usage/metrics/
        https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
    """
    release = context.release
    versions = engine_versions(engines_of(release))
    recorded = recorded_series(context.release)
    for each in dashboards_of(document):
        if isinstance(each, BrokenDashboard):
            yield context.finding(
                document,
                f"the dashboard is no JSON: {each.reason}",
                path=each.path,
                hint="export it again from Grafana",
            )
            continue
        try:
            query = parse(each.text)
        except PromqlError as error:
            yield context.finding(
                document,
                f"{each.place}: the query does not parse: {error}",
                path=each.path,
                hint="try it in Grafana's Explore",
            )
            continue
        for problem in (
            *unknown_metrics(query, versions, recorded),
            *missing_counters(query, release),
            *unknown_labels(query, release),
            *broken_quantiles(query),
        ):
            yield context.finding(document, f"{each.place}: {problem.message}", path=each.path, hint=problem.hint)
