"""What is known of the DCGM exporter of a release: its counters, and whose pod its labels name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser as ast

from chartproof.languages.promql import Query, unwrap, walk
from chartproof.metrics import contract
from chartproof.release import Document, Release, once_per_release
from chartproof.rules._config_maps import texts_of
from chartproof.rules._monitors import MONITORS, endpoints
from chartproof.rules._query_checks import Problem

_COUNTER = re.compile(r"^\s*(DCGM_[A-Z0-9_a-z]+)\s*,", re.MULTILINE)
_WORKLOAD_LABELS = ("pod", "container")


@once_per_release
def exported_counters(release: Release) -> frozenset[str] | None:
    """Counters that the exporter of the release exports, by its counters file; None where it has none."""
    found: set[str] = set()
    for document in release.of_kind("ConfigMap"):
        for text in texts_of(document).values():
            found.update(_COUNTER.findall(text))
    return frozenset(found) or None


def missing_counters(query: Query, release: Release) -> Iterator[Problem]:
    """DCGM series that the exporter of the release does not export, by its counters file or the default one.

    Silent where the release has no exporter: another one's counters file is not known.
    """
    known = contract("dcgm").metrics
    asked = [each for each in query.metrics if each in known]
    if not asked:
        return
    exported = exported_counters(release)
    if exported is None and not has_exporter(release):
        return
    for series in asked:
        metric = known.get(series)
        if metric is None or (exported is None and not metric.condition) or (exported and series in exported):
            continue
        where = "the default counters file" if exported is None else "the counters file of this release"
        yield Problem(f"{series} is not in {where}, so the DCGM exporter does not export it", f"add {series} to it")


@once_per_release
def has_exporter(release: Release) -> bool:
    """Whether the release runs NVIDIA's DCGM exporter."""
    return any(
        "dcgm-exporter" in str(container.get("image") or "")
        for workload in release.of_kind("DaemonSet")
        for pod in workload.pod_templates
        for container in pod.containers()
    )


@once_per_release
def honours_labels(release: Release) -> bool | None:
    """Whether the scrape of the release's DCGM exporter keeps the workload's labels; None where nothing says."""
    for monitor in release.of_kind(*MONITORS):
        if _is_dcgm(monitor):
            return any(endpoint.get("honorLabels") is True for endpoint, _ in endpoints(monitor))
    return None


def _is_dcgm(monitor: Document) -> bool:
    text = f"{monitor.name} {monitor.get('spec', 'selector')}"
    return "dcgm" in text.lower()


def joins_on_exporter_pod(query: Query, release: Release) -> Iterator[Problem]:
    """DCGM series chosen, grouped or joined by `pod`, which is the exporter's own pod unless labels are honoured."""
    if honours_labels(release):
        return
    for selector in query.selectors:
        if not selector.metric.startswith("DCGM_"):
            continue
        for matcher in selector.matchers:
            if matcher.label in _WORKLOAD_LABELS and matcher.limits and not re.search("dcgm|nvidia|gpu", matcher.value):
                yield Problem(
                    f"{selector.metric}{{{matcher}}}: {matcher.label} is the exporter's own, the workload's is "
                    f"exported_{matcher.label}",
                    f'write exported_{matcher.label}{matcher.operator}"{matcher.value}"',
                )
    for label in _joined_labels(query):
        yield Problem(
            f"DCGM series are joined by {label}, which is the exporter's own pod",
            f'use exported_{label} (label_replace(..., "{label}", "$1", "exported_{label}", "(.+)") for a join)',
        )


def _joined_labels(query: Query) -> list[str]:
    """Labels of workloads by which DCGM series are matched with series of something else."""
    found: list[str] = []
    for node in walk(query.expression):
        if not isinstance(node, ast.BinaryExpr) or _reads_dcgm(node.lhs) == _reads_dcgm(node.rhs) or _relabels(node):
            continue
        matching = node.modifier.matching if node.modifier else None
        if matching is None:
            labels = {*_grouped_by(node.lhs), *_grouped_by(node.rhs)}
        else:
            labels = set(matching.labels) if matching.type == ast.LabelModifierType.Include else set()
        found += [each for each in _WORKLOAD_LABELS if each in labels and each not in found]
    return found


def _grouped_by(node: Any) -> list[str]:
    node = unwrap(node)
    if isinstance(node, ast.AggregateExpr) and node.modifier and node.modifier.type == ast.AggModifierType.By:
        return list(node.modifier.labels)
    return []


def _reads_dcgm(node: object) -> bool:
    return any(isinstance(each, ast.VectorSelector) and (each.name or "").startswith("DCGM_") for each in walk(node))


def _relabels(node: object) -> bool:
    return any(isinstance(each, ast.Call) and each.func.name in {"label_replace", "label_join"} for each in walk(node))
