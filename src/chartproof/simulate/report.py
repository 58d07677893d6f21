"""A run, and a comparison of runs, as text for a terminal and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from chartproof.report.sparkline import sparkline
from chartproof.report.table import table
from chartproof.simulate.baselines import dominates, mean_replicas, usd_per_million
from chartproof.simulate.policies import Tick
from chartproof.simulate.run import PERCENTILES, Options, Result, Subject
from chartproof.simulate.traffic import Trace
from chartproof.simulate.world import Overflow

#: Ticks that scaled which the text shows; JSON has all.
_SHOWN_TICKS = 8
_HOUR = 3600.0


def describe(subject: Subject, trace: Trace, options: Options, results: Sequence[Result]) -> dict[str, Any]:
    """Everything as JSON."""
    model = subject.model
    return {
        "release": subject.release.name,
        "workload": subject.plan.container.document.identity,
        "trace": {"name": trace.name, "scale": trace.scale, "start": trace.start.isoformat()},
        "seed": options.seed,
        "engine": {
            "model": subject.plan.model.id,
            "instance": subject.pools[0].instances[0].name,
            "estimate": model.estimate,
            "kvTokens": model.kv_tokens,
            "maxSequences": model.max_sequences,
            "prefixCache": model.prefix_cache,
            "cachedPromptShare": model.cached_share,
            "stepSecondsAlone": _rounded(model.step_seconds(1, 1152)),
        },
        "coldStartSeconds": _rounded(subject.lead_seconds),
        "holdSeconds": options.hold_seconds,
        "balancing": options.balancing.value,
        "spotDiscount": options.spot_discount,
        "spotLossesPerHour": options.spot_losses_per_hour,
        "overflow": None if options.overflow is None else _overflow(options.overflow),
        "runs": [_run(each) for each in results],
    }


def _overflow(overflow: Overflow) -> dict[str, Any]:
    return {
        "usdPerMillionTokens": overflow.usd_per_million_tokens,
        "usdPerMillionAnswerTokens": overflow.usd_per_million_answer_tokens,
        "firstTokenSeconds": overflow.first_token_seconds,
        "secondsPerToken": overflow.seconds_per_token,
        "requestsPerReplica": overflow.requests_per_replica,
    }


def _run(result: Result) -> dict[str, Any]:
    return {
        "policy": result.policy,
        "seconds": _rounded(result.seconds),
        "requests": result.requests,
        "finished": result.finished,
        "lost": result.lost,
        "ttftSeconds": _percentiles(result.ttft),
        "endToEndSeconds": _percentiles(result.end_to_end),
        "objectives": [
            {"objective": each.objective.name, "attainedPercent": _rounded(each.percent), "met": each.met}
            for each in result.attained
        ],
        "replicaHours": _rounded(result.replica_hours),
        "gpuHours": _rounded(result.gpu_hours),
        "usd": _rounded(result.usd),
        "usdPerMillionAnswerTokens": _rounded(usd_per_million(result)),
        "busyPercent": _rounded(result.busy_percent),
        "cachedPromptPercent": _rounded(result.cached_percent),
        "mostReplicas": result.most_replicas,
        "coldStarts": result.cold_starts,
        "coldStartMeanSeconds": _rounded(result.cold_start_mean),
        "secondsAtZero": _rounded(result.seconds_at_zero),
        "spotLosses": result.spot_losses,
        "overflowed": result.overflowed,
        "overflowUsd": _rounded(result.overflow_usd),
        "passes": result.passes,
        "ticks": [_tick(each) for each in result.ticks],
        "samples": [
            [_rounded(each.time), _rounded(each.arrivals), each.replicas, each.ready, each.running, each.waiting]
            for each in result.samples
        ],
    }


def _tick(tick: Tick) -> dict[str, Any]:
    found = {
        "time": _rounded(tick.time),
        "controller": tick.controller,
        "from": tick.current,
        "to": tick.replicas,
        "reason": tick.reason,
        "value": _rounded(tick.value),
        "raw": tick.raw,
        "stabilized": tick.stabilized,
        "limited": tick.limited,
    }
    return {key: value for key, value in found.items() if value is not None}


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    return {f"p{percent:g}": _rounded(value) for percent, value in zip(PERCENTILES, values, strict=False)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def text(subject: Subject, trace: Trace, results: Sequence[Result]) -> str:
    """A summary of the first run, and a table of all where there are several."""
    result = results[0]
    scale = f" x {trace.scale:g}" if trace.scale != 1 else ""
    estimate = " (engine speed is an estimate)" if subject.model.estimate else ""
    ttft, end_to_end = _line(result.ttft), _line(result.end_to_end)
    lost = ", ".join(f"{count} {why}" for why, count in result.lost.items()) or "none"
    price = usd_per_million(result)
    start = f", {result.cold_start_mean:.0f} s on average" if result.cold_start_mean is not None else ""
    lines = [
        f"{result.policy}: {subject.plan.model.id} on {subject.pools[0].instances[0].name}{estimate}",
        f"  trace        {trace.name}{scale}, {_duration(result.seconds)}, {result.requests} requests",
        f"  first token  {ttft}",
        f"  end to end   {end_to_end}",
        *(
            f"  objective    {each.objective.name}: {each.percent:.2f} % of requests, {'met' if each.met else 'MISSED'}"
            for each in result.attained
        ),
        f"  lost         {lost}",
        (
            f"  replicas     {mean_replicas(result):.2f} on average, at most {result.most_replicas}, "
            f"at zero for {_duration(result.seconds_at_zero)}; steps run {result.busy_percent:.0f} % of ready time"
        ),
        *([f"  cached       {result.cached_percent:.0f} % of the prompts' tokens"] if result.cached_percent else []),
        f"  cold starts  {result.cold_starts}{start}"
        + (f", {result.spot_losses} spot nodes lost" if result.spot_losses else ""),
        f"  paid         {result.gpu_hours:.2f} GPU-hours, ${result.usd:.2f}"
        + (
            f" (${result.overflow_usd:.2f} of it for {result.overflowed} requests that overflowed)"
            if result.overflowed
            else ""
        )
        + (f", ${price:.2f} per million answer tokens" if price is not None else ""),
        (
            f"  requests/s   {sparkline([each.arrivals for each in result.samples])}"
            f" {max((each.arrivals for each in result.samples), default=0):.3g}"
        ),
        f"  replicas     {sparkline([each.replicas for each in result.samples])} {result.most_replicas}",
        (
            f"  ready        {sparkline([each.ready for each in result.samples])}"
            f" {max((each.ready for each in result.samples), default=0)}"
        ),
        (
            f"  waiting      {sparkline([each.waiting for each in result.samples])}"
            f" {max((each.waiting for each in result.samples), default=0)}"
        ),
    ]
    return "\n".join(lines) + "\n" + _ticks(result) + (_comparison(results) if len(results) > 1 else "")


def _ticks(result: Result) -> str:
    scaled = [each for each in result.ticks if each.replicas != each.current]
    counts = Counter(f"{each.controller}: {each.reason}" for each in scaled)
    lines = [f"  scaled       {len(scaled)} times in {result.passes} passes"]
    lines += [
        f"    {count:5} x {reason}" for reason, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    ]
    for each in scaled[:_SHOWN_TICKS]:
        steps = [("asks", each.raw), ("window", each.stabilized), ("policies", each.limited)]
        detail = ", ".join(f"{name} {value}" for name, value in steps if value is not None)
        value = f"value {each.value:g}" if each.value is not None else ""
        why = "; ".join(part for part in (value, detail) if part)
        lines.append(
            f"    {_clock(each.time):>9}  {each.current} -> {each.replicas}  {each.controller}: {each.reason}"
            + (f" ({why})" if why else "")
        )
    if len(scaled) > _SHOWN_TICKS:
        lines.append(f"    and {len(scaled) - _SHOWN_TICKS} more; --format json has them all")
    return "\n".join(lines) + "\n"


def _comparison(results: Sequence[Result]) -> str:
    ours = results[0]
    headings = ("policy", "GPU-hours", "of ours", "$", "attained %", "TTFT p95 s", "lost", "cold starts", "verdict")
    rows = [
        [
            each.policy,
            f"{each.gpu_hours:.2f}",
            f"{100 * each.gpu_hours / ours.gpu_hours:.0f} %" if ours.gpu_hours else "-",
            f"{each.usd:.2f}",
            f"{each.attainment:.2f}",
            f"{each.ttft[2]:.2f}" if len(each.ttft) > 2 else "-",  # noqa: PLR2004 - the third of PERCENTILES is the 95th
            str(each.lost_requests),
            str(each.cold_starts),
            ""
            if each is ours
            else "DOMINATES ours"
            if dominates(each, ours)
            else "dominated"
            if dominates(ours, each)
            else "",
        ]
        for each in results
    ]
    return "\n" + table(headings, rows)


def _line(values: Sequence[float]) -> str:
    return "  ".join(f"p{percent:g} {value:.2f} s" for percent, value in zip(PERCENTILES, values, strict=False)) or "-"


def _duration(seconds: float) -> str:
    if seconds >= 48 * _HOUR:
        return f"{seconds / 24 / _HOUR:.1f} days"
    return f"{seconds / _HOUR:.1f} h" if seconds >= _HOUR else f"{seconds:.0f} s"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
