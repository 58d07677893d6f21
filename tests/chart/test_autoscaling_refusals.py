"""Contradictions in `autoscaling` that the chart refuses, each with its id."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest

from chartproof.helm import API_VERSIONS
from chartproof.languages import cron
from tests.chart.conftest import Refusals, Render, Values, merged
from tests.chart.test_autoscaling import ASLEEP, FIRST_TOKEN, KV_CACHE, OFFICE_HOURS, SCALED, TOKENS

OTEL: Values = {"autoscaling": {"source": "opentelemetry"}}


def scaling(**values: object) -> Values:
    return {"autoscaling": values}


@pytest.mark.parametrize(
    ("rule", "key", "values"),
    [
        ("LLM016", "autoscaling.enabled", {"engine": {"enabled": False}}),
        ("LLM238", "autoscaling.minReplicas", scaling(minReplicas=5)),
        ("LLM016", "autoscaling.fallback.replicas", scaling(fallback={"replicas": 5})),
        ("LLM017", "autoscaling.targetPerReplica", {**scaling(targetPerReplica=None), "nodes": {"instanceTypes": []}}),
        (
            "LLM226",
            "autoscaling.stepMilliseconds",
            merged(
                scaling(targetPerReplica=None, stepMilliseconds=20),
                {"model": {"id": "Qwen/Qwen3-8B"}},
            ),
        ),
        ("LLM211", "autoscaling.minReplicas", scaling(minReplicas=0)),
        ("LLM209", "autoscaling.activationTarget", merged(ASLEEP, scaling(activationTarget=5))),
        ("LLM224", "autoscaling.fallback.replicas", merged(ASLEEP, scaling(fallback={"replicas": 0}))),
        ("LLM236", "autoscaling.source", merged(ASLEEP, OTEL)),
        (
            "LLM236",
            "autoscaling.prometheus.kubeStateMetrics",
            merged(ASLEEP, scaling(prometheus={"kubeStateMetrics": False})),
        ),
        (
            "LLM201",
            "autoscaling.cooldownSeconds",
            merged(ASLEEP, scaling(cooldownSeconds=60, initialCooldownSeconds=900)),
        ),
        ("LLM201", "autoscaling.initialCooldownSeconds", merged(ASLEEP, scaling(initialCooldownSeconds=60))),
        ("LLM019", "autoscaling.wake.query", merged(ASLEEP, scaling(minReplicas=1))),
        ("LLM203", "autoscaling.formula", scaling(formula="running + watiing")),
        ("LLM203", "autoscaling.formula", scaling(formula="max(running, office-hours)")),
        ("LLM203", "autoscaling.formula", scaling(formula="max(running, kv_cache * 30)")),
        ("LLM202", "autoscaling.formula", merged(KV_CACHE, scaling(formula="running"))),
        ("LLM221", "autoscaling.formula", scaling(formula="0")),
        ("LLM204", "autoscaling.formula", scaling(formula="running / replicas * 25")),
        ("LLM209", "autoscaling.formula", merged(ASLEEP, scaling(formula="waiting + wake"))),
        ("LLM016", "observability.monitoring", {"observability": {"monitoring": "none"}}),
        ("LLM016", "autoscaling.signals.timeToFirstToken.enabled", merged(OTEL, FIRST_TOKEN)),
        ("LLM016", "autoscaling.signals.tokens.enabled", merged(OTEL, TOKENS)),
        ("LLM019", "autoscaling.averageSeconds", merged(OTEL, scaling(averageSeconds=60))),
        ("LLM017", "autoscaling.signals.tokens", merged(TOKENS, {"nodes": {"instanceTypes": []}})),
        ("LLM016", "autoscaling.formula", merged(OTEL, scaling(formula="running + replicas"))),
        ("LLM017", "autoscaling.prometheus.serverAddress", scaling(prometheus={"serverAddress": ""})),
        (
            "LLM017",
            "autoscaling.prometheus.authentication.existingSecret",
            scaling(prometheus={"authentication": {"mode": "bearer"}}),
        ),
        (
            "LLM017",
            "autoscaling.prometheus.authentication.awsRegion",
            scaling(prometheus={"authentication": {"mode": "sigv4"}}),
        ),
        (
            "LLM019",
            "autoscaling.prometheus.authentication.existingSecret",
            scaling(prometheus={"authentication": {"existingSecret": "login"}}),
        ),
        (
            "LLM019",
            "autoscaling.prometheus.authentication.awsRegion",
            scaling(prometheus={"authentication": {"awsRegion": "eu-central-1"}}),
        ),
        (
            "LLM207",
            "autoscaling.officeHours.timezone",
            merged(OFFICE_HOURS, scaling(officeHours={"timezone": "Europe/Berlni"})),
        ),
        (
            "LLM207",
            "autoscaling.officeHours.timezone",
            merged(OFFICE_HOURS, scaling(officeHours={"timezone": "Local"})),
        ),
        ("LLM016", "autoscaling.officeHours.replicas", merged(OFFICE_HOURS, scaling(officeHours={"replicas": 9}))),
        ("LLM019", "autoscaling.officeHours.replicas", merged(OFFICE_HOURS, scaling(minReplicas=2))),
        (
            "LLM237",
            "autoscaling.officeHours.start",
            merged(OFFICE_HOURS, scaling(officeHours={"start": "0 8 * * 1-7"})),
        ),
        ("LLM237", "autoscaling.officeHours.end", merged(OFFICE_HOURS, scaling(officeHours={"end": "0 25 * * 1-5"}))),
        ("LLM237", "autoscaling.officeHours.end", merged(OFFICE_HOURS, scaling(officeHours={"end": "0 20 * *"}))),
    ],
)
def test_contradiction_is_refused(refusals: Refusals, rule: str, key: str, values: Values) -> None:
    lines = refusals(SCALED, values)
    assert [line for line in lines if line.startswith(f"[{rule}] {key}: ")], lines
    # No refusal drags in others: each names one fault.
    assert {line[1:7] for line in lines} == {rule}, lines


def test_all_contradictions_come_at_once(refusals: Refusals) -> None:
    lines = refusals(
        SCALED, scaling(minReplicas=0, activationTarget=3, formula="waiting / 2", fallback={"replicas": 0})
    )
    assert {line[1:7] for line in lines} >= {"LLM211", "LLM209", "LLM204", "LLM224"}


def stays_open_over_days(start: str, end: str) -> bool:
    """Whether KEDA's window, once open, stays so for a day or longer, or opens at its own end."""
    starts, ends = cron.parse(start), cron.parse(end)
    monday = datetime(2026, 11, 23)  # noqa: DTZ001 - schedules know no zone
    first_starts = itertools.islice(starts.occurrences(monday), 14)
    lengths = [next(ends.occurrences(each)) - each for each in first_starts]
    return max(lengths) >= timedelta(days=1) or bool(cron.Window(starts, ends).surprise())


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("0 8 * * 1-5", "0 20 * * 1-5"),
        ("0 8 * * mon-fri", "30 20 * * MON,TUE,3,4,5"),
        ("0 8 * * *", "0 20 * * *"),
        ("0 8,13 * * 1-5", "0 12,18 * * 1-5"),
        ("0 22 * * 1-5", "0 6 * * 2-6"),
        ("0 22 * * 0,6", "0 6 * * 0,1"),
        ("0 22 * * *", "0 6 * * *"),
        ("0 8 * * 1-5", "0 22 * * *"),
        ("0 8 * * 1-5", "0 20 * * 1-4"),
        ("0 22 * * 1-5", "0 6 * * 1-5"),
        ("0 22 * * 1-5", "0 6 * * *"),
        ("0 8 1 * *", "0 20 * * *"),
        ("0 8 * * 1-5", "0 8 * * 1-5"),
    ],
)
def test_office_hours_are_refused_where_keda_keeps_them_open(refusals: Refusals, start: str, end: str) -> None:
    lines = refusals(SCALED, OFFICE_HOURS, scaling(officeHours={"start": start, "end": end}))
    assert bool(lines) == stays_open_over_days(start, end)
    assert all(line.startswith("[LLM206] autoscaling.officeHours.end: ") for line in lines)


@pytest.mark.parametrize(
    "timezone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Etc/UTC", "UTC", "Africa/Abidjan"]
)
def test_timezones_of_the_database_are_taken(refusals: Refusals, timezone: str) -> None:
    assert refusals(SCALED, OFFICE_HOURS, scaling(officeHours={"timezone": timezone})) == []


@pytest.mark.parametrize(
    "formula",
    [
        "running + waiting * 10",
        "let load = running + waiting; load > 3 ? load : 0.0",
        "max(running, waiting, 1e1)",
        "replicas > 0 ? running / replicas : 0",
        "if waiting > 2 { running * 2 } else { running }",
    ],
)
def test_own_formulas_that_keda_takes_are_taken(refusals: Refusals, formula: str) -> None:
    assert refusals(SCALED, scaling(formula=formula)) == []


def test_a_known_cluster_without_keda_is_told_the_command_that_installs_it(refusals: Refusals) -> None:
    apis = ("v1/Pod", "monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/ServiceMonitor")
    lines = refusals(SCALED, api_versions=apis)
    assert any(
        line.startswith("[LLM012] autoscaling.enabled: ") and "helm upgrade --install keda" in line for line in lines
    )
    assert refusals(SCALED, api_versions=("v1/Pod", *API_VERSIONS)) == []


def test_an_unknown_cluster_is_not_asked_for_keda(render: Render) -> None:
    assert list(render(SCALED, api_versions=()).of_kind("ScaledObject"))
