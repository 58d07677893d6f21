"""Whether a query asks for the engines of this release: their names, namespaces, pods, jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chartproof import metrics
from chartproof.languages.promql import Query
from chartproof.release import Release
from chartproof.rules._monitors import added_labels, engine_monitors, pods_of_monitor, services_of_monitor
from chartproof.rules._query_checks import Problem
from chartproof.workload import EngineContainer, engines_of

#: What is filled in when the pod starts, or when a dashboard is looked at.
_PLACEHOLDER_MARKS = ("$", "{{", "grafana_variable")
_POD_SUFFIXES = {"Deployment": "-7d9c6b8f4d-x2x8z", "StatefulSet": "-0", "LeaderWorkerSet": "-0", "DaemonSet": "-x2x8z"}


def not_of_this_release(query: Query, release: Release, engines: list[EngineContainer]) -> Iterator[Problem]:
    """Matchers that none of these engines (all of the release, where the list is empty) satisfies."""
    engines = engines or engines_of(release)
    for selector in query.selectors:
        same = [each for each in engines if selector.metric.startswith(f"{each.engine}:")]
        if not same or metrics.metric_of(selector.metric) is None:
            continue
        facts = target_facts(same, release) if selector.matchers else {}
        for matcher in selector.matchers:
            values = facts.get(matcher.label)
            if not values or not matcher.limits or any(matcher.accepts(value) for value in values):
                continue
            if matcher.label == "pod":
                shown, hint = f"pods such as {values[0]}", f'write pod=~"{same[0].document.name}-.*"'
            else:
                shown, hint = values[0], f'write {matcher.label}="{values[0]}"'
            yield Problem(f"{matcher} matches no engine of this release, whose {matcher.label} is {shown}", hint)


def target_facts(engines: list[EngineContainer], release: Release) -> Mapping[str, list[str]]:
    """Values that labels have on the series of these engines; a label that is not certain has none."""
    facts = {
        "model_name": [each.served_model_name for each in engines],
        # Only as written: where it is left to the installation, a query may rightly name what is chosen there.
        "namespace": [each.document.namespace for each in engines],
        "container": [str(each.container.get("name") or "") for each in engines],
        "pod": [_sample_pod(each) for each in engines],
        "app": [str(each.pod.labels.get("app") or "") for each in engines],
        **_of_monitors(engines, release),
    }
    changed = added_labels(release)
    if "*" in changed:
        # A labelmap transfers labels; it does not touch the engine's own.
        changed |= {"namespace", "container", "pod", "job", "service"}
    return {label: _told(values) for label, values in facts.items() if label not in changed}


def _of_monitors(engines: list[EngineContainer], release: Release) -> Mapping[str, list[str]]:
    """`job` and `service` as the release's monitors set them; empty where none scrapes the engines."""
    jobs: list[str] = []
    services: list[str] = []
    for monitor in engine_monitors(release):
        if not any(pod is engine.pod for _, pod in pods_of_monitor(monitor, release) for engine in engines):
            continue
        if monitor.get("spec", "jobLabel"):
            jobs.append("")
        elif monitor.kind == "PodMonitor":
            namespace = monitor.namespace or (release.namespace if release.argv else "")
            jobs.append(f"{namespace}/{monitor.name}" if namespace else "")
        else:
            names = [each.name for each in services_of_monitor(monitor, release)]
            jobs += names
            services += names
    return {"job": jobs, "service": services}


def _told(values: list[str]) -> list[str]:
    """The values where all are known, else none: what is filled in at run time is not judged."""
    unknown = any(not value or any(mark in value for mark in _PLACEHOLDER_MARKS) for value in values)
    return [] if unknown else values


def _sample_pod(engine: EngineContainer) -> str:
    suffix = _POD_SUFFIXES.get(engine.document.kind)
    return engine.document.name + suffix if engine.document.name and suffix else ""
