"""Queries of Grafana dashboards in ConfigMaps and GrafanaDashboard objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.languages.promql import without_grafana_variables
from chartproof.release import Document
from chartproof.rules._config_maps import texts_of

KINDS = ("ConfigMap", "GrafanaDashboard")
_LABEL_VALUES = re.compile(r"\s*label_values\(\s*(?:(.*),)?\s*([a-zA-Z_]\w*)\s*\)\s*", re.DOTALL)
_QUERY_RESULT = re.compile(r"\s*query_result\((.*)\)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DashboardQuery:
    """One query: where it stands (a panel's or variable's title) and its text without Grafana's variables."""

    place: str
    text: str
    path: str


@dataclass(frozen=True, slots=True)
class BrokenDashboard:
    """A dashboard that is no JSON."""

    path: str
    reason: str


def dashboards_of(document: Document) -> Iterator[DashboardQuery | BrokenDashboard]:
    """Every query of the dashboards in a document."""
    if document.kind == "GrafanaDashboard":
        text = document.get("spec", "json")
        if isinstance(text, str):
            yield from _read("spec.json", text)
        return
    for key, text in texts_of(document).items():
        if key.endswith(".json") and '"panels"' in text:
            yield from _read(f"data.{key}", text)


def _read(path: str, text: str) -> Iterator[DashboardQuery | BrokenDashboard]:
    try:
        content = json.loads(text)
    except ValueError as error:
        yield BrokenDashboard(path, str(error))
        return
    yield from _panels(content, path)
    variables = content.get("templating", {}) if isinstance(content, Mapping) else {}
    for each in _list(variables.get("list") if isinstance(variables, Mapping) else None):
        query = each.get("query")
        query_text = query.get("query") if isinstance(query, Mapping) else query
        if each.get("type") == "query" and isinstance(query_text, str):
            found = _variable_query(query_text)
            if found:
                place = f"variable {each.get('name')}"
                yield DashboardQuery(place, without_grafana_variables(found), path)


def _variable_query(text: str) -> str:
    values = _LABEL_VALUES.fullmatch(text)
    if values is not None:
        return (values[1] or "").strip()
    result = _QUERY_RESULT.fullmatch(text)
    return result[1].strip() if result is not None else ""


def _panels(content: Any, path: str) -> Iterator[DashboardQuery]:
    if not isinstance(content, Mapping):
        return
    for row in _list(content.get("rows")):
        yield from _panels(row, path)
    for panel in _list(content.get("panels")):
        yield from _panels(panel, path)
        for target in _list(panel.get("targets")):
            expression = target.get("expr")
            if isinstance(expression, str) and expression.strip() and _asks_prometheus(panel, target):
                place = f"panel {panel.get('title') or panel.get('id')}"
                yield DashboardQuery(place, without_grafana_variables(expression), path)


def _asks_prometheus(panel: Mapping[str, Any], target: Mapping[str, Any]) -> bool:
    """Loki has `expr` as well; a data source without type is taken for Prometheus."""
    for each in (target.get("datasource"), panel.get("datasource")):
        if isinstance(each, Mapping) and each.get("type"):
            return str(each["type"]) == "prometheus"
    return True


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
