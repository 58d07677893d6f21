"""LLM502."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._alerts import KINDS, recorded_series, rules_of
from chartproof.rules._gpu_metrics import missing_counters
from chartproof.rules._query_checks import engine_versions, unknown_metrics
from chartproof.rules.registry import Context, rule
from chartproof.workload import engines_of


@rule(id="LLM502", name="alert-metric-unknown", severity=Severity.ERROR, kinds=KINDS)
def alert_metric_unknown(document: Document, context: Context) -> Iterator[Finding]:
    """An alert uses a metric that the engine version or the DCGM exporter does not export.

    What:
        The expression of an alert or recording rule names a series of vLLM, SGLang or DCGM that does not exist
        in the version of this release, or that is missing from the counters file of its DCGM exporter.

    Why it hurts:
        The expression is empty for ever and the alert never fires. Nobody finds out before the incident it was
        written for.

    Bad:
        `vllm:gpu_cache_usage_perc > 0.8` with vLLM 0.12 or newer.

    Good:
        `vllm:kv_cache_usage_perc > 0.8`

    References:
        https://docs.vllm.ai/en/latest/usage/metrics/
        https://github.com/NVIDIA/dcgm-exporter/blob/main/etc/default-counters.csv
    """
    versions = engine_versions(engines_of(context.release))
    recorded = recorded_series(context.release)
    for each in rules_of(document):
        query = each.query
        if query is None:
            continue
        for problem in (*unknown_metrics(query, versions, recorded), *missing_counters(query, context.release)):
            yield context.finding(
                document, f"{each.label}: {problem.message}", path=f"{each.path}.expr", hint=problem.hint
            )
