"""Manifests for a cluster whose time runs faster than real time.

The harness's own kubelets, engines and load divide by the factor themselves. What real programs interpret (KEDA, the
HPA, Prometheus, Karpenter, the controllers of Deployments and Jobs) is divided here, on the way into the cluster, so
that chart and presets stay as they are.

Left alone: cron triggers and budgets' schedules, which are times of day; KEDA's `timeout`, a real HTTP request's;
probes, grace periods and preStop, which our kubelets divide; and a NodePool's `terminationGracePeriod`, which Karpenter
compares with the pods' own grace period (karpenter v1.14 `terminator.DeleteExpiringPods`): less of it than of theirs
would make it delete pods without a drain.
"""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from chartproof.cluster import promql_time
from chartproof.cluster.speed import Speed
from chartproof.errors import InputError
from chartproof.languages.duration import NEVER, DurationError, go_seconds, karpenter_seconds
from chartproof.release import dig

Body = Mapping[str, Any]

_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one document that became something else."""

    document: str
    path: str
    before: str
    after: str

    def __str__(self) -> str:
        """As it is printed: `ScaledObject/x spec.cooldownPeriod: 442 -> 30`."""
        return f"{self.document} {self.path}: {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A value of several parts; `changes` name each part that changed, its path below the value, before and after."""

    value: Any
    changes: tuple[tuple[str, str, str], ...]


Scale = Callable[[Any, float], Any]
"""The value for a faster cluster, or a `Rewritten`; the same where it means no duration."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """Fields of one kind: where (`a.b[].c`), how they scale, and the default that counts where one is absent."""

    path: str
    scale: Scale
    default: Any = None


def scaled(document: Body, factor: float) -> tuple[Body, list[Change]]:
    """A rendered document for a cluster `factor` times as fast, and what is different in it.

    Durations are rounded up, whole seconds to at least 1; what is 0 stays 0. Defaults that would otherwise hold in
    real time are written out. Factor 1 changes nothing. Raises InputError for a duration or query that the program
    it is for would refuse, UsageError for a factor that is none.
    """
    Speed(factor)  # refuses what is no factor
    group = str(document.get("apiVersion", "")).rpartition("/")[0]
    rules = _RULES.get((group, str(document.get("kind"))), ())
    if factor == 1 or not rules:
        return document, []
    body = copy.deepcopy(dict(document))
    name = f"{body['kind']}/{dig(body, 'metadata', 'name', default='')}"
    changes = [Change(name, *each) for rule in rules for each in _apply(rule, body, factor, name)]
    return (body, changes) if changes else (document, [])


def scaled_all(documents: Iterable[Body], factor: float) -> tuple[list[Body], list[Change]]:
    """The same for every document."""
    results = [scaled(each, factor) for each in documents]
    return [body for body, _ in results], [change for _, changes in results for change in changes]


def whole_seconds(value: Any, factor: float) -> Any:
    """An integer number of seconds."""
    return _up(Fraction(value), factor) if isinstance(value, int) and value > 0 else value


def prometheus_duration(value: Any, factor: float) -> Any:
    """A duration of Prometheus and of prometheus-operator."""
    return promql_time.shorter_duration(value, factor) if isinstance(value, str) and value else value


def karpenter_duration(value: Any, factor: float) -> Any:
    """A duration of Karpenter, which has no fractions of a second, or `Never`."""
    if not isinstance(value, str) or value == NEVER:
        return value
    seconds = karpenter_seconds(value)
    return _in_units(_up(Fraction(seconds), factor)) if seconds else value


def do_not_disrupt(value: Any, factor: float) -> Any:
    """The annotation of that name: `true`, or how long after a pod's start it holds."""
    if not isinstance(value, str):
        return value
    try:
        seconds = go_seconds(value)
    except DurationError:
        return value  # "true", and what Karpenter ignores with an event
    return _in_units(_up(Fraction(seconds), factor)) if seconds > 0 else value


def promql(value: Any, factor: float) -> Any:
    """A query; see `promql_time.rewrite`."""
    if not isinstance(value, str):
        return value
    query = promql_time.rewrite(value, factor)
    return Rewritten(query.text, tuple(("", *each) for each in query.changes))


def behavior(value: Any, factor: float) -> Any:
    """Windows and periods of an autoscaler's behavior.

    Without any behavior the controller's own limits hold, which count in its sync period and flags.
    """
    if not isinstance(value, dict):
        return value
    result, changes = dict(value), list[tuple[str, str, str]]()
    for direction, defaults in _DEFAULT_POLICIES.items():
        # As the API server sees it: null counts as absent.
        rules = dict(result.get(direction) or {})
        if (window := rules.get("stabilizationWindowSeconds")) is not None:
            rules["stabilizationWindowSeconds"] = whole_seconds(window, factor)
            changes.append((f".{direction}.stabilizationWindowSeconds", window, rules["stabilizationWindowSeconds"]))
        given = rules.get("policies")
        rules["policies"] = []
        for index, policy in enumerate(defaults if given is None else given):
            period = policy.get("periodSeconds")
            rules["policies"].append({**policy, "periodSeconds": whole_seconds(period, factor)})
            path = f".{direction}.policies[{index}].periodSeconds"
            changes.append((path, period, rules["policies"][-1]["periodSeconds"]))
        result[direction] = rules
    return Rewritten(result, tuple((path, str(old), str(new)) for path, old, new in changes if old != new))


def condensed(changes: Iterable[Change]) -> list[str]:
    """The changes in few lines: the same one at several places of a list is printed once, with how often."""
    counts = Counter(str(replace(each, path=_INDEX.sub("[]", each.path))) for each in changes)
    return [f"{line} ({count} times)" if count > 1 else line for line, count in counts.items()]


def _in_units(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    return "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if count)


def _up(seconds: Fraction, factor: float) -> int:
    return math.ceil(seconds / Fraction(str(factor)))


def _apply(rule: _Rule, body: dict[str, Any], factor: float, name: str) -> Iterator[tuple[str, str, str]]:
    """Change the fields that a rule names; yields path, before, after."""
    for holder, key, path in _places(body, rule.path):
        before = holder.get(key, rule.default)
        if before is None:
            continue
        try:
            after = rule.scale(before, factor)
        except (DurationError, InputError) as error:
            raise InputError(str(error), where=f"{name} {path}") from None
        if isinstance(after, Rewritten):
            holder[key] = after.value
            yield from ((path + below, old, new) for below, old, new in after.changes)
        elif after != before:
            yield path, f"{before}{'' if key in holder else ' (default)'}", str(after)
            holder[key] = after


def _places(body: dict[str, Any], pattern: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Mappings that hold, or could hold, the last key of a path, with that key and its path in words.

    `name[]` stands for every element of a list, `name[type=x]` for those whose type is x. A key with dots is the last
    one and stands in quotes.
    """
    plain, _, quoted = pattern.partition('"')
    steps = [each for each in plain.split(".") if each]
    last = quoted.rstrip('"') or steps.pop()
    holders: list[tuple[Any, str]] = [(body, "")]
    for step in steps:
        holders = [each for holder, path in holders for each in _below(holder, step, path)]
    for holder, path in holders:
        if isinstance(holder, dict):
            yield holder, last, f"{path}{last}"


def _below(holder: Any, step: str, path: str) -> Iterator[tuple[Any, str]]:
    name, bracket, condition = step.partition("[")
    value = holder.get(name) if isinstance(holder, dict) else None
    if not bracket:
        yield value, f"{path}{name}."
    elif isinstance(value, list):
        kind = condition.rstrip("]").rpartition("=")[2]
        for index, each in enumerate(value):
            if isinstance(each, dict) and kind in {"", each.get("type")}:
                yield each, f"{path}{name}[{index}]."


#: What the API server fills in for a direction without policies, where there is a behavior at all.
#: Source: Kubernetes 1.36 `pkg/apis/autoscaling/v2/defaults.go`.
_DEFAULT_POLICIES: Mapping[str, list[dict[str, Any]]] = {
    "scaleUp": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
    "scaleDown": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


def _pods_below(path: str) -> tuple[_Rule, ...]:
    return (
        _Rule(f'{path}.metadata.annotations."karpenter.sh/do-not-disrupt"', do_not_disrupt),
        # Evictions from lost nodes are the taint manager's, a real controller.
        _Rule(f"{path}.spec.tolerations[].tolerationSeconds", whole_seconds),
    )


_POD_TEMPLATE = _pods_below("spec.template")
_WORKLOAD = (
    *_POD_TEMPLATE,
    _Rule("spec.minReadySeconds", whole_seconds),
    # Its default is left alone: it would only report a failed rollout earlier.
    _Rule("spec.progressDeadlineSeconds", whole_seconds),
)
_TRIGGERS = (
    _Rule("spec.triggers[type=prometheus].metadata.query", promql),
    # Source of the defaults: KEDA 2.21 `withtriggers_types.go`, `scale_executor.go`.
    _Rule("spec.pollingInterval", whole_seconds, default=30),
)
_ENDPOINT = ("interval", "scrapeTimeout")

_RULES: Mapping[tuple[str, str], tuple[_Rule, ...]] = {
    ("keda.sh", "ScaledObject"): (
        *_TRIGGERS,
        _Rule("spec.cooldownPeriod", whole_seconds, default=300),
        _Rule("spec.initialCooldownPeriod", whole_seconds),
        _Rule("spec.advanced.horizontalPodAutoscalerConfig.behavior", behavior),
    ),
    ("keda.sh", "ScaledJob"): _TRIGGERS,
    ("autoscaling", "HorizontalPodAutoscaler"): (_Rule("spec.behavior", behavior),),
    ("monitoring.coreos.com", "ServiceMonitor"): tuple(
        _Rule(f"spec.endpoints[].{each}", prometheus_duration) for each in _ENDPOINT
    ),
    ("monitoring.coreos.com", "PodMonitor"): tuple(
        _Rule(f"spec.podMetricsEndpoints[].{each}", prometheus_duration) for each in _ENDPOINT
    ),
    ("monitoring.coreos.com", "PrometheusRule"): (
        _Rule("spec.groups[].interval", prometheus_duration),
        _Rule("spec.groups[].query_offset", prometheus_duration),
        _Rule("spec.groups[].rules[].expr", promql),
        _Rule("spec.groups[].rules[].for", prometheus_duration),
        _Rule("spec.groups[].rules[].keep_firing_for", prometheus_duration),
    ),
    ("karpenter.sh", "NodePool"): (
        _Rule("spec.disruption.consolidateAfter", karpenter_duration),
        # Source of the default: the NodePool definition of Karpenter 1.14.
        _Rule("spec.template.spec.expireAfter", karpenter_duration, default="720h"),
    ),
    ("apps", "Deployment"): _WORKLOAD,
    ("apps", "StatefulSet"): _WORKLOAD,
    ("apps", "DaemonSet"): _WORKLOAD,
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): (
        *_pods_below("spec.leaderWorkerTemplate.leaderTemplate"),
        *_pods_below("spec.leaderWorkerTemplate.workerTemplate"),
    ),
    ("batch", "Job"): (
        *_POD_TEMPLATE,
        _Rule("spec.activeDeadlineSeconds", whole_seconds),
        _Rule("spec.ttlSecondsAfterFinished", whole_seconds),
    ),
}
