"""Instance types for a model, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chartproof.catalog import Model
from chartproof.plan.sizes import Size
from chartproof.report.table import table


def describe(size: Size) -> dict[str, Any]:
    """One size as JSON; prices in USD, null where unknown."""
    speed = size.throughput
    return {
        "instance": size.instance.name,
        "gpu": size.instance.gpu,
        "precision": size.precision,
        "tensorParallelSize": size.tensor_parallel_size,
        "replicasPerInstance": size.replicas,
        "usdPerHour": size.instance.usd_per_hour,
        "usdPerMillionTokens": size.usd_per_million_tokens,
        "tokensPerSecondPerReplica": speed.tokens_per_second if speed else None,
        "batch": speed.batch if speed else None,
        "estimate": speed.estimate if speed else None,
        "concurrency": size.fit.concurrency(),
        "kvCacheTokens": size.fit.kv_tokens,
        "coldStartSeconds": size.cold_start_seconds,
    }


def text(model: Model, sizes: Sequence[Size]) -> str:
    """The ranking as a table."""
    if not sizes:
        return f"{model.id} fits no single instance of the catalog.\n"
    rows = []
    for each in sizes:
        speed = each.throughput
        mark = "~" if speed and speed.estimate else ""
        price = each.usd_per_million_tokens
        rows.append(
            [
                each.instance.name,
                f"{each.instance.gpu_count} x {each.instance.gpu}",
                each.precision,
                str(each.tensor_parallel_size),
                str(each.replicas),
                f"{each.instance.usd_per_hour:.2f}" if each.instance.usd_per_hour else "-",
                f"{mark}{price:.2f}" if price else "-",
                f"{mark}{speed.tokens_per_second:.0f}" if speed else "-",
                str(each.fit.concurrency() or "-"),
                f"{each.cold_start_seconds:.0f}",
            ]
        )
    headings = (
        "instance",
        "GPUs",
        "precision",
        "TP",
        "replicas",
        "$/h",
        "$/1M tokens",
        "tokens/s per replica",
        "requests held",
        "cold start s",
    )
    return f"{model.id}\n\n{table(headings, rows)}"
