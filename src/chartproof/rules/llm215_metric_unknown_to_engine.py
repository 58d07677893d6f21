"""LLM215."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.metrics import Presence, look_up
from chartproof.release import Document
from chartproof.rules._alerts import recorded_series
from chartproof.rules._autoscaling import prometheus_triggers, query_path, view
from chartproof.rules._query_checks import engine_versions, unknown_metrics
from chartproof.rules.registry import Context, rule
from chartproof.workload import engines_of


@rule(
    id="LLM215",
    name="metric-unknown-to-engine",
    severity=Severity.ERROR,
    kinds=("ScaledObject", "HorizontalPodAutoscaler"),
)
def metric_unknown_to_engine(document: Document, context: Context) -> Iterator[Finding]:
    """An autoscaler reads a metric that the engine version does not export.

    What:
        The query of a trigger, or the metric of a HorizontalPodAutoscaler, names a series of vLLM, SGLang or
        DCGM that the version of this release does not have: renamed, removed, misspelled, or without the ending
        `_total`, `_bucket`, `_sum` or `_count`.

    Why it hurts:
        The query succeeds with an empty result, which KEDA counts as 0 by default. The workload stays at its
        minimum under any load, and nothing reports an error.

    Bad:
        `sum(vllm:gpu_cache_usage_perc)` with vLLM 0.12 or newer; `vllm_num_requests_waiting`.

    Good:
        `sum(vllm:kv_cache_usage_perc)`; `vllm:num_requests_waiting`.

    References:
        https://docs.vllm.ai/en/latest/usage/metrics/
        https://github.com/vllm-project/vllm/pull/18354
    """
    scaler = view(document, context)
    versions = engine_versions(list(scaler.engines) or engines_of(context.release))
    recorded = recorded_series(context.release)
    for trigger in prometheus_triggers(scaler):
        if trigger.query is not None:
            for problem in unknown_metrics(trigger.query, versions, recorded):
                yield context.finding(
                    document, f"{trigger.label}: {problem.message}", path=query_path(trigger), hint=problem.hint
                )
    for metric in scaler.metrics:
        # An adapter may rename: only what is gone under any name is certain.
        name = metric.name.replace("vllm_", "vllm:", 1).replace("sglang_", "sglang:", 1)
        found = look_up(name, versions)
        if found is not None and found.presence is Presence.REMOVED:
            yield context.finding(
                document,
                f"metric {metric.name} does not exist: {found.reason}",
                path=metric.path,
                hint=f"use {found.suggestion}" if found.suggestion else "use a metric that the engine exports",
            )
