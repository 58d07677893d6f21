"""A workload's plan, as text or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chartproof.catalog import GIGABYTE
from chartproof.plan.deliveries import compare_deliveries
from chartproof.plan.fit import Fit
from chartproof.plan.workload_plan import WorkloadPlan
from chartproof.report.table import table


def describe(release: str, plan: WorkloadPlan, *, compare: int | None = None) -> dict[str, Any]:
    """The plan as JSON; `compare` adds every delivery for that many replicas."""
    start = plan.cold_start
    described: dict[str, Any] = {
        "release": release,
        "workload": plan.container.document.identity,
        "engine": plan.container.engine,
        "model": plan.model.id,
        "precision": plan.precision,
        "weightsGigabytes": plan.weights_gigabytes,
        "delivery": plan.delivery,
        "gpusPerReplica": plan.gpus,
        "nodesPerReplica": plan.nodes,
        "instances": [{"name": each.name, "usdPerHour": each.usd_per_hour} for each in plan.candidates],
        "usdPerReplicaHour": plan.usd_per_hour,
        "fits": [_fit(each) for each in plan.fits],
        "concurrency": plan.concurrency,
        "target": plan.target,
        "coldStart": {
            "seconds": round(start.seconds, 1),
            "warmNodeSeconds": round(start.warm_node_seconds, 1),
            "startupProbeSeconds": round(start.in_container_seconds, 1),
            "phases": [{"name": each.name, "seconds": round(each.seconds, 1)} for each in start.phases],
        },
    }
    if compare is not None:
        described["deliveries"] = {
            "replicas": compare,
            "compared": [
                {
                    "delivery": each.delivery,
                    "title": each.title,
                    "transferSeconds": round(each.transfer_seconds, 1),
                    "loadSeconds": round(each.load_seconds, 1),
                    "coldStartSeconds": round(each.cold_start.seconds, 1),
                    "warmNodeSeconds": round(each.cold_start.warm_node_seconds, 1),
                }
                for each in compare_deliveries(plan, replicas=compare)
            ],
        }
    return described


def _fit(fit: Fit) -> dict[str, Any]:
    return {
        "gpu": fit.gpu,
        "gpus": fit.gpus,
        "fits": fit.fits,
        "budgetGigabytes": round(fit.budget_bytes / GIGABYTE, 1),
        "weightsGigabytes": round(fit.weights_bytes / GIGABYTE, 1),
        "overheadGigabytes": round(fit.overhead_bytes / GIGABYTE, 1),
        "kvCacheGigabytes": round(fit.kv_bytes / GIGABYTE, 1),
        "kvCacheTokens": fit.kv_tokens,
        "maxModelLen": fit.max_model_len,
        "concurrency": fit.concurrency(),
    }


def text(plan: Mapping[str, Any]) -> str:
    """The described plan for a terminal."""
    price = plan["usdPerReplicaHour"]
    instances = ", ".join(each["name"] for each in plan["instances"]) or "not said by the manifests"
    nodes = f"{plan['nodesPerReplica']} nodes: " if plan["nodesPerReplica"] > 1 else ""
    lines = [
        f"{plan['release']}: {plan['model']} on {plan['engine']}\n",
        f"  weights     {plan['precision']}, {plan['weightsGigabytes']:g} GB, delivery {plan['delivery']}\n",
        f"  {plan['workload']}, {plan['gpusPerReplica']} GPU(s) per replica on {nodes}{instances}\n",
        f"  price       {f'${price:.3f} per replica-hour on demand' if price else 'unknown'}\n",
    ]
    for fit in plan["fits"]:
        verdict = "fits" if fit["fits"] else "DOES NOT FIT"
        lines.append(
            f"  {fit['gpus']} x {fit['gpu']:<8} {verdict}: {fit['budgetGigabytes']} GB usable"
            f" - {fit['weightsGigabytes']} weights - {fit['overheadGigabytes']} overhead"
            f" = {fit['kvCacheGigabytes']} GB KV cache"
        )
        if fit["kvCacheTokens"] is not None:
            lines[-1] += (
                f", {fit['kvCacheTokens']} tokens, {fit['concurrency']} requests at once (longest {fit['maxModelLen']})"
            )
        lines[-1] += "\n"
    start = plan["coldStart"]
    lines.append(
        f"  cold start  {start['seconds']:.0f} s on a fresh node, {start['warmNodeSeconds']:.0f} s on a warm one; "
        f"the startup probe waits for {start['startupProbeSeconds']:.0f} s of it\n"
    )
    rows = [[each["name"], f"{each['seconds']:.1f}"] for each in start["phases"]]
    lines.append(_indented(table(("phase", "seconds"), rows)))
    if "deliveries" in plan:
        replicas = plan["deliveries"]["replicas"]
        lines.append(f"  deliveries  for {replicas} replica(s) that start at once\n")
        rows = [
            [each["title"], *(f"{each[key]:.0f}" for key in _DELIVERY_COLUMNS)]
            for each in plan["deliveries"]["compared"]
        ]
        lines.append(_indented(table(("delivery", *_DELIVERY_COLUMNS.values()), rows)))
    return "".join(lines)


_DELIVERY_COLUMNS = {
    "transferSeconds": "transfer s",
    "loadSeconds": "load s",
    "coldStartSeconds": "fresh node s",
    "warmNodeSeconds": "warm node s",
}


def _indented(block: str) -> str:
    return "".join(f"    {line}\n" for line in block.splitlines())
