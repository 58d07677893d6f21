"""Alert rules of a release, wherever they stand: PrometheusRule, VMRule, or rule files in ConfigMaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from chartproof.languages.promql import PromqlError, Query, parse
from chartproof.metrics import is_engine_series
from chartproof.release import Document, Release, once_per_release
from chartproof.rules._config_maps import texts_of

RULE_KINDS = ("PrometheusRule", "VMRule")
#: Kinds of documents that may hold alert rules.
KINDS = (*RULE_KINDS, "ConfigMap")
_READER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class AlertRule:
    """One rule: an alert, or a recording (`is_alert` false). `path` leads to it inside the document."""

    name: str
    is_alert: bool
    text: str
    labels: Mapping[str, Any]
    annotations: Mapping[str, Any]
    path: str

    @property
    def query(self) -> Query | None:
        """The parsed expression, None where it does not parse."""
        try:
            return parse(self.text)
        except PromqlError:
            return None

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"alert {self.name}" if self.is_alert else f"recording {self.name}"


def rules_of(document: Document) -> Iterator[AlertRule]:
    """The rules of one document."""
    if document.kind in RULE_KINDS:
        yield from _rules(document.get("spec"), "spec.groups")
    elif document.kind == "ConfigMap":
        for key, text in texts_of(document).items():
            if "groups:" in text and "expr:" in text:
                try:
                    content = yaml.load(text, Loader=_READER)  # noqa: S506 - both are safe loaders
                except yaml.YAMLError:
                    continue
                yield from _rules(content, f"data.{key}.groups")


def alerts_of(release: Release) -> Iterator[AlertRule]:
    """Every alert of a release."""
    for document in release.of_kind(*KINDS):
        yield from (each for each in rules_of(document) if each.is_alert)


@once_per_release
def recorded_series(release: Release) -> frozenset[str]:
    """Names that the release's recording rules make."""
    rules = (each for document in release.of_kind(*KINDS) for each in rules_of(document))
    return frozenset(each.name for each in rules if not each.is_alert)


@once_per_release
def notices_missing_metrics(release: Release) -> bool:
    """Whether some alert of the release fires when an engine's metrics or its targets are gone."""
    return any(asks_for_missing_metrics(query) for each in alerts_of(release) if (query := each.query) is not None)


def asks_for_missing_metrics(query: Query) -> bool:
    """Whether a query asks whether targets, KEDA's metrics or an engine's series are there."""
    for selector in query.selectors:
        if selector.metric == "up" or selector.metric.startswith("keda_"):
            return True
        if is_engine_series(selector.metric) and (selector.asks_presence or "unless" in selector.enclosing):
            return True
    return False


def _rules(content: Any, path: str) -> Iterator[AlertRule]:
    groups = content.get("groups") if isinstance(content, Mapping) else None
    for g, group in enumerate(groups if isinstance(groups, list) else []):
        found = group.get("rules") if isinstance(group, Mapping) else None
        for r, rule in enumerate(found if isinstance(found, list) else []):
            if isinstance(rule, Mapping) and ("alert" in rule or "record" in rule):
                labels, annotations = rule.get("labels"), rule.get("annotations")
                yield AlertRule(
                    name=str(rule.get("alert") or rule.get("record") or ""),
                    is_alert="alert" in rule,
                    text=str(rule.get("expr", "")),
                    labels=labels if isinstance(labels, Mapping) else {},
                    annotations=annotations if isinstance(annotations, Mapping) else {},
                    path=f"{path}[{g}].rules[{r}]",
                )
