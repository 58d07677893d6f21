"""How Prometheus finds a release: its monitors, the labels they add, the interval they scrape at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chartproof.languages.duration import DurationError, prometheus_seconds
from chartproof.release import Document, PodTemplate, Release, dig, once_per_release, selector_matches
from chartproof.rules._selection import caught_by_service, label_selector_matches, together
from chartproof.workload import engine_containers

MONITORS = ("ServiceMonitor", "PodMonitor")
#: Interval that is assumed where no monitor of the release says one.
ASSUMED_INTERVAL_SECONDS = 15.0
_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9_]")


def endpoints(monitor: Document) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The endpoints of a monitor with their paths."""
    field = "podMetricsEndpoints" if monitor.kind == "PodMonitor" else "endpoints"
    for index, each in enumerate(monitor.get("spec", field, default=[]) or []):
        if isinstance(each, Mapping):
            yield each, f"spec.{field}[{index}]"


def looks_at(monitor: Document, release: Release, document: Document) -> bool:
    """Whether the monitor's namespace selector reaches the namespace of a document."""
    selector = monitor.get("spec", "namespaceSelector", default={})
    if dig(selector, "any") is True:
        return True
    names = dig(selector, "matchNames", default=[]) or []
    if names:
        # A namespace that is left to the installation may be any of them.
        return not document.namespace or document.namespace in names
    return together(release, monitor, document)


def services_of_monitor(monitor: Document, release: Release) -> list[Document]:
    """Services that a ServiceMonitor selects."""
    selector = monitor.get("spec", "selector")
    return [
        each
        for each in release.of_kind("Service")
        if looks_at(monitor, release, each)
        and selector_matches(selector, {str(key): str(value) for key, value in each.labels.items()})
    ]


def pods_of_monitor(monitor: Document, release: Release) -> list[tuple[Document, PodTemplate]]:
    """Pod templates that a monitor ends up scraping."""
    if monitor.kind == "ServiceMonitor":
        return [
            found for service in services_of_monitor(monitor, release) for found in caught_by_service(release, service)
        ]
    selector = monitor.get("spec", "selector")
    return [
        (workload, pod)
        for workload in release.workloads
        if looks_at(monitor, release, workload)
        for pod in workload.pod_templates
        if label_selector_matches(selector, workload, pod)
    ]


@once_per_release
def engine_monitors(release: Release) -> list[Document]:
    """Monitors that scrape an engine of the release."""
    return [
        monitor
        for monitor in release.of_kind(*MONITORS)
        if any(any(engine_containers(workload)) for workload, _ in pods_of_monitor(monitor, release))
    ]


@once_per_release
def scrape_interval_seconds(release: Release) -> float | None:
    """Longest interval at which an engine of the release is scraped; None where nothing says."""
    found = []
    for monitor in engine_monitors(release):
        for endpoint, _ in endpoints(monitor):
            try:
                found.append(prometheus_seconds(str(endpoint["interval"])))
            except (DurationError, KeyError):
                continue
    return max(found, default=None)


@once_per_release
def added_labels(release: Release) -> frozenset[str]:
    """Labels that the release's monitors put on series: relabelings and transferred pod or Service labels."""
    found: set[str] = set()
    for monitor in release.of_kind(*MONITORS):
        for field in ("podTargetLabels", "targetLabels"):
            names = monitor.get("spec", field, default=[]) or []
            found.update(_NOT_IN_LABELS.sub("_", str(name)) for name in names)
        job_label = monitor.get("spec", "jobLabel")
        found.update([str(job_label)] if job_label else [])
        for endpoint, _ in endpoints(monitor):
            for field in ("relabelings", "metricRelabelings"):
                for each in endpoint.get(field) or []:
                    found.add(str(dig(each, "targetLabel", default="")))
                    if dig(each, "action") in {"labelmap", "LabelMap"}:
                        found.add("*")
    return frozenset(found)
