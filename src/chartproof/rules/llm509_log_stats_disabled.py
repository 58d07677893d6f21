"""LLM509."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._all_queries import reader_of_engine_metrics
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM509", name="log-stats-disabled", severity=Severity.ERROR, kinds=SERVING)
def log_stats_disabled(document: Document, context: Context) -> Iterator[Finding]:
    """The engine's metrics are switched off although scaling or monitoring reads them.

    What:
        vLLM runs with `--disable-log-stats` while an autoscaler, a monitor, an alert or a dashboard of the
        release reads its metrics.

    Why it hurts:
        The option removes the `vllm:` series altogether, not only log lines. The autoscaler then sees no load
        for ever.

    Bad:
        `--disable-log-stats` beside a ScaledObject on `vllm:num_requests_running`.

    Good:
        Leave the option out; `--disable-uvicorn-access-log` and `--disable-access-log-for-endpoints` make the
        log quiet.

    References:
        https://docs.vllm.ai/en/latest/configuration/engine_args/
    """
    for engine in engine_containers(document):
        if engine.engine != "vllm" or engine.option("--disable-log-stats") is None:
            continue
        reader = reader_of_engine_metrics(context.release)
        if reader is not None:
            yield context.finding(
                document,
                f"{engine} runs with --disable-log-stats, which removes the metrics that {reader.identity} reads",
                path=engine.path,
                hint="remove --disable-log-stats",
            )
