"""Every PromQL query of a release, wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.autoscaler import autoscaler
from chartproof.languages.promql import PromqlError, Query, parse
from chartproof.metrics import is_engine_series
from chartproof.release import Document, Release
from chartproof.rules._alerts import rules_of
from chartproof.rules._autoscaling import is_engine_signal
from chartproof.rules._dashboards import DashboardQuery, dashboards_of
from chartproof.rules._monitors import engine_monitors


def queries_of(document: Document, release: Release) -> Iterator[tuple[str, Query, str]]:
    """Queries of a document that parse: what messages call the place, the query, its path."""
    if document.kind == "ScaledObject":
        for trigger in autoscaler(document, release).triggers:
            if trigger.query is not None:
                yield trigger.label, trigger.query, f"{trigger.path}.metadata.query"
        return
    for rule in rules_of(document):
        if rule.query is not None:
            yield rule.label, rule.query, f"{rule.path}.expr"
    if document.kind in {"ConfigMap", "GrafanaDashboard"}:
        for each in dashboards_of(document):
            if isinstance(each, DashboardQuery):
                try:
                    yield each.place, parse(each.text), each.path
                except PromqlError:
                    continue


def reader_of_engine_metrics(release: Release) -> Document | None:
    """A document of the release that needs the engine's metrics: autoscaler, alert, dashboard or monitor."""
    for document in release.of_kind("ScaledObject"):
        if any(is_engine_signal(each) for each in autoscaler(document, release).triggers):
            return document
    for document in release.of_kind("HorizontalPodAutoscaler"):
        if any(is_engine_series(each.name) for each in autoscaler(document, release).metrics):
            return document
    for document in release.of_kind("PrometheusRule", "VMRule", "ConfigMap", "GrafanaDashboard"):
        for _, query, _ in queries_of(document, release):
            if any(is_engine_series(each) for each in query.metrics):
                return document
    return next(iter(engine_monitors(release)), None)
