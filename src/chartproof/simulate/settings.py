"""The numbers of a ScaledObject that decide how it scales: read from a release, changed in a copy of it.

Of our chart they are values; of any other manifest they are a patch. Either way what is changed is the
rendered document, so that what is simulated is what would be deployed.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from chartproof.autoscaler import Autoscaler, Trigger, autoscaler
from chartproof.errors import InputError
from chartproof.release import Document, Release
from chartproof.simulate.run import Subject

#: Label by which an object of our chart is known.
_CHART_LABEL = "helm.sh/chart"
_OUR_CHART = re.compile(r"llm-inference-\d")
#: Terms of our chart's formula that are written in units of the target.
_IN_TARGETS = ("tokens", "kv_cache", "ttft", "office_hours")
_NUMBER = r"\d+(?:\.\d+)?"


@dataclass(frozen=True, slots=True)
class Settings:
    """One choice. None: the release has no such number, or nothing would come of changing it.

    `weight` multiplies waiting requests in the formula, `target` is requests (weighted) per replica,
    `cooldown` and `window` (of scaling down) are seconds.
    """

    weight: float | None
    target: float | None
    minimum: int
    maximum: int
    cooldown: float | None
    window: float

    def differences(self, other: Settings) -> Iterator[str]:
        """Names of the fields in which two choices differ."""
        return (each.name for each in fields(self) if getattr(self, each.name) != getattr(other, each.name))


@dataclass(frozen=True, slots=True)
class Tunable:
    """A release whose autoscaler can be changed, and how it is set now.

    `waiting` names the trigger that counts waiting requests, empty where the formula has none; `is_ours`: our
    chart was rendered, so that a choice can be written as its values.
    """

    subject: Subject
    current: Settings
    waiting: str
    is_ours: bool

    @property
    def cold_start_seconds(self) -> float:
        """Planned cold start on the slowest of the instance types: cooldown and window outlast it."""
        return self.subject.plan.cold_start.seconds

    def changed(self, settings: Settings) -> Subject:
        """The subject with the autoscaler set so."""
        document = self.document(settings)
        scaler = autoscaler(document, self.subject.release)
        return replace(self.subject, autoscaler=scaler)

    def release(self, settings: Settings) -> Release:
        """The release with the autoscaler set so."""
        old, new = self.subject.autoscaler.document, self.document(settings)
        documents = tuple(new if each is old else each for each in self.subject.release.documents)
        return replace(self.subject.release, documents=documents)

    def document(self, settings: Settings) -> Document:
        """The ScaledObject with these numbers in it; nothing else changes."""
        scaler, current = self.subject.autoscaler, self.current
        old = scaler.document
        body = copy.deepcopy(dict(old.body))
        spec = body["spec"]
        changes = set(settings.differences(current))
        if "weight" in changes or "target" in changes:
            self._set_load(spec, settings)
        if "minimum" in changes:
            spec["minReplicaCount"] = settings.minimum
        if "maximum" in changes:
            spec["maxReplicaCount"] = settings.maximum
        if "cooldown" in changes and settings.cooldown is not None:
            spec["cooldownPeriod"] = _whole(settings.cooldown)
            if scaler.initial_cooldown_seconds == scaler.cooldown_seconds:
                spec["initialCooldownPeriod"] = _whole(settings.cooldown)
        if "window" in changes:
            found = spec
            for key in ("advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown"):
                found = found.setdefault(key, {})
            found["stabilizationWindowSeconds"] = _whole(settings.window)
        return Document(body, old.source, old.index)

    def _set_load(self, spec: dict[str, Any], settings: Settings) -> None:
        modifiers = self.subject.autoscaler.modifiers
        if modifiers is None:
            trigger = _only_trigger(self.subject.autoscaler)
            if trigger is not None and settings.target is not None:
                spec["triggers"][trigger.index]["metadata"][_threshold_key(trigger)] = number_text(settings.target)
            return
        formula = modifiers.formula
        if settings.weight is not None and settings.weight != self.current.weight:
            formula = weighted(formula, self.waiting, settings.weight)
        if settings.target is not None and settings.target != self.current.target:
            crons = {each.name for each in self.subject.autoscaler.triggers if each.is_cron and each.name}
            names = crons | set(_IN_TARGETS if self.is_ours else ())
            formula = _in_units_of(formula, sorted(names), settings.target / (self.current.target or 1))
            spec["advanced"]["scalingModifiers"]["target"] = number_text(settings.target)
        spec["advanced"]["scalingModifiers"]["formula"] = formula

    def snippet(self, settings: Settings) -> dict[str, Any]:
        """What to write: values of our chart, or a merge patch of the ScaledObject."""
        return self._values(settings) if self.is_ours else self._patch(settings)

    def _values(self, settings: Settings) -> dict[str, Any]:
        changes = set(settings.differences(self.current))
        scaling: dict[str, Any] = {}
        for name, key in (("minimum", "minReplicas"), ("maximum", "maxReplicas")):
            if name in changes:
                scaling[key] = getattr(settings, name)
        if "target" in changes and settings.target is not None:
            scaling["targetPerReplica"] = _whole(settings.target)
        if "weight" in changes and settings.weight is not None:
            scaling["waitingWeight"] = _plain(settings.weight)
        if "cooldown" in changes and settings.cooldown is not None:
            scaling["cooldownSeconds"] = _whole(settings.cooldown)
        if "window" in changes:
            scaling["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": _whole(settings.window)}}
        if settings.minimum > 0:
            # What starts a model from zero has no effect above it, and the chart refuses it there.
            scaler = self.subject.autoscaler
            if self.current.minimum == 0 and scaler.trigger("wake") is not None:
                scaling["wake"] = {"query": ""}
            hours = scaler.trigger("office_hours")
            if hours is not None and (hours.number("desiredReplicas") or 0) <= settings.minimum:
                scaling["officeHours"] = {"enabled": False}
        return {"autoscaling": scaling} if scaling else {}

    def _patch(self, settings: Settings) -> dict[str, Any]:
        old = self.subject.autoscaler.document
        difference = _merge_patch(old.get("spec", default={}), self.document(settings).get("spec", default={}))
        if not difference:
            return {}
        metadata = {"name": old.name, **({"namespace": old.namespace} if old.namespace else {})}
        return {"apiVersion": old.api_version, "kind": old.kind, "metadata": metadata, "spec": difference}


def tunable(subject: Subject) -> Tunable:
    """What can be changed of a subject. Raises InputError where its ScaledObject does not count load."""
    scaler = subject.autoscaler
    engine = subject.plan.container.engine
    metric = str(subject.plan.facts.engines.get(engine, {}).get("metrics", {}).get("waiting", ""))
    waiting, weight, target = "", None, None
    if scaler.modifiers is not None:
        if scaler.formula is None or scaler.modifiers.target is None:
            raise InputError(
                "its formula or target cannot be read",
                where=scaler.document.identity,
                how="`chartproof check` says what is wrong with it",
            )
        target = scaler.modifiers.target
        waiting = next((each.name for each in scaler.triggers if each.name and _counts(each, metric)), "")
        weight = weight_of(scaler.modifiers.formula, waiting) if waiting in scaler.formula_names else None
    elif (trigger := _only_trigger(scaler)) is not None:
        target = trigger.threshold
    current = Settings(
        weight=weight,
        target=target,
        minimum=scaler.minimum or 0,
        maximum=scaler.maximum or 1,
        cooldown=scaler.cooldown_seconds if scaler.scales_to_zero else None,
        window=scaler.scale_down_window_seconds,
    )
    label = scaler.document.labels.get(_CHART_LABEL, "")
    ours = bool(subject.release.argv) and _OUR_CHART.match(str(label)) is not None
    return Tunable(subject, current, waiting if weight is not None else "", ours)


def weight_of(formula: str, name: str) -> float | None:
    """The number that multiplies a name in a formula: 1 where it stands alone; None where it is not a plain factor."""
    found = _weight_match(formula, name)
    if found is None:
        return None
    return float(found["before"] or found["after"] or 1)


def weighted(formula: str, name: str, weight: float) -> str:
    """The formula with another number before that name."""
    found = _weight_match(formula, name)
    if found is None:
        return formula
    text = name if weight == 1 else f"{name} * {number_text(weight)}"
    return formula[: found.start()] + text + formula[found.end() :]


def _weight_match(formula: str, name: str) -> re.Match[str] | None:
    if not name or len(re.findall(rf"\b{name}\b", formula)) != 1:
        return None
    pattern = rf"(?:(?P<before>{_NUMBER})\s*\*\s*)?\b{name}\b(?:\s*\*\s*(?P<after>{_NUMBER}))?"
    found = re.search(pattern, formula)
    if found is None:
        return None
    # A factor of a sum or of nothing else: not of another product, a power, a comparison or a function of it alone.
    around = (formula[: found.start()].rstrip()[-1:], formula[found.end() :].lstrip()[:1])
    plain = around[0] in {"", "+", "(", ","} and around[1] in {"", "+", ")", ","}
    return found if plain and not (found["before"] and found["after"]) else None


def _in_units_of(formula: str, names: list[str], factor: float) -> str:
    """Coefficients of these names times a factor: their terms are written in units of the target."""

    def scaled(match: re.Match[str]) -> str:
        return match[1] + number_text(float(match[2]) * factor)

    for name in names:
        formula = re.sub(rf"(\b{name}\s*\*\s*)({_NUMBER})", scaled, formula)
        formula = re.sub(rf"(\bmin\(\s*{name}\s*\*\s*{_NUMBER}\s*,\s*)({_NUMBER})", scaled, formula)
    return formula


def same_scaling(one: Document, other: Document) -> bool:
    """Whether two ScaledObjects scale alike, but for the last digit of a coefficient and for terms without effect."""
    return _comparable(one) == _comparable(other)


def _comparable(document: Document) -> str:
    spec = copy.deepcopy(document.get("spec", default={}))
    formula = str(Document(document.body).get("spec", "advanced", "scalingModifiers", "formula", default=""))
    # At one replica or more, a floor of one and a cron that is no higher change nothing, nor do their triggers.
    alive = int(spec.get("minReplicaCount") or 0) > 0
    if alive:
        formula = re.sub(r"\s*,\s*wake > 0 \? 1 : 0(?=\))", "", formula)
        formula = re.sub(r"\s*,\s*office_hours \* [0-9.]+(?=[,)])", "", formula)
        formula = re.sub(r"^max\(([^(),]*)\)$", r"\1", formula)
        gone = {"wake", "office_hours"}
        spec["triggers"] = [each for each in spec.get("triggers", []) if each.get("name") not in gone]
    if "advanced" in spec and "scalingModifiers" in spec["advanced"]:
        spec["advanced"]["scalingModifiers"]["formula"] = re.sub(
            _NUMBER, lambda match: f"{float(match[0]):.3g}", formula
        )
    return json.dumps(spec, sort_keys=True)


def _merge_patch(old: Any, new: Any) -> Any:
    """What a JSON merge patch needs to make `new` of `old`: changed keys only; lists are replaced whole."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {
        key: _merge_patch(old[key], value) if key in old else value
        for key, value in new.items()
        if old.get(key) != value
    }


def _counts(trigger: Trigger, metric: str) -> bool:
    text = " ".join(trigger.metadata.values())
    return bool(metric) and metric in text


def _only_trigger(scaler: Autoscaler) -> Trigger | None:
    """The one trigger whose threshold is the target; with several, none of them alone is."""
    counting = [each for each in scaler.triggers if not each.is_cron and not each.is_resource]
    return counting[0] if len(counting) == 1 and counting[0].threshold is not None else None


def _threshold_key(trigger: Trigger) -> str:
    return next(each for each in ("threshold", "targetValue", "value") if each in trigger.metadata)


def number_text(number: float) -> str:
    """A number as our chart writes it into a formula: at most four decimals, none without need."""
    text = f"{number:.4f}"
    return text.rstrip("0").rstrip(".")


def _whole(number: float) -> int:
    return math.ceil(number)


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) else number
