"""LLM508."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.promql import of_expression
from chartproof.metrics import is_engine_series
from chartproof.release import Document
from chartproof.rules._alerts import KINDS, rules_of
from chartproof.rules.registry import Context, rule

_UTILISATION = frozenset({"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"})


@rule(id="LLM508", name="alert-on-framebuffer", severity=Severity.WARNING, kinds=KINDS)
def alert_on_framebuffer(document: Document, context: Context) -> Iterator[Finding]:
    """An alert on GPU memory or utilisation always fires under an inference engine.

    What:
        An alert compares GPU memory in use (`DCGM_FI_DEV_FB_USED`, `FB_FREE`), or high GPU utilisation
        (`DCGM_FI_DEV_GPU_UTIL`), with a threshold.

    Why it hurts:
        The engine reserves nine tenths of the GPU's memory at start, and utilisation is near 100 % as soon as
        any kernel runs. The alert fires for ever and teaches people to ignore alerts.

    Bad:
        `DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE) > 0.9`

    Good:
        `max(vllm:kv_cache_usage_perc) > 0.9`

    References:
        https://docs.vllm.ai/en/latest/configuration/conserving_memory/
    """
    for each in rules_of(document):
        query = each.query
        if query is None or not each.is_alert:
            continue
        for expression, operator, _ in query.comparisons():
            metrics = of_expression(expression).metrics
            memory = next((name for name in metrics if name.startswith("DCGM_FI_DEV_FB_")), "")
            busy = next((name for name in metrics if name in _UTILISATION), "") if operator in {">", ">="} else ""
            # Utilisation next to requests (a hung engine) is another question.
            if busy and any(is_engine_series(name) for name in query.metrics):
                busy = ""
            if memory or busy:
                yield context.finding(
                    document,
                    f"{each.label}: {memory or busy} is high from the engine's start on, whatever the load",
                    path=f"{each.path}.expr",
                    hint="alert on KV cache usage, waiting requests or latency",
                )
