"""Which series the simulated cluster exports, and which of them the release's queries need.

Engine metrics go by the names of the catalog for the engine; kube-state-metrics and the DCGM exporter by
their own. A counter that none of these has, read through `rate` or `increase` somewhere, is taken for the requests
that reach the front door: that is what wakes a model from zero. Anything else is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from chartproof.errors import InputError
from chartproof.languages.promql import Query, Selector
from chartproof.simulate.engine import Engine

#: Upper bounds of vLLM's histogram of the time to first token (`v1/metrics/loggers.py`).
FIRST_TOKEN_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
    *(160.0, 640.0, 2560.0),
)

#: What a counter or gauge of an engine reads.
Reading = Callable[[Engine], float]

_ENGINE_READINGS: Mapping[str, Reading] = {
    "running": lambda engine: engine.running,
    "waiting": lambda engine: engine.queued,
    "kvCacheUsage": lambda engine: engine.kv_tokens / engine.model.kv_tokens,
    "promptTokens": lambda engine: engine.prompt_tokens_total,
    "generationTokens": lambda engine: engine.answer_tokens_total,
    # Prompts are computed whole: what a prefix cache saves is not modelled.
    "prefixCacheHits": lambda _: 0,
    "preemptions": lambda engine: engine.preemptions_total,
}
_FIRST_TOKEN = "timeToFirstToken"  # noqa: S105 - the name of a metric
_STATE_METRICS = (
    "kube_deployment_status_replicas_ready",
    "kube_deployment_status_replicas_available",
    "kube_deployment_status_replicas",
    "kube_deployment_spec_replicas",
    # The leaders of a LeaderWorkerSet are a StatefulSet's.
    "kube_statefulset_status_replicas_ready",
    "kube_statefulset_status_replicas_available",
    "kube_statefulset_status_replicas",
    "kube_statefulset_replicas",
)
GPU_UTILISATION = "DCGM_FI_DEV_GPU_UTIL"


@dataclass(frozen=True, slots=True)
class Exports:
    """The series that are needed: engine readings by metric, and the rest by their source.

    `first_token` is the name of the histogram, empty where nobody asks; `front_door` the counters that
    stand for requests at the front door, each with the labels that its selector fixes.
    """

    engine: Mapping[str, Reading]
    first_token: str
    state: tuple[str, ...]
    gpu_utilisation: bool
    front_door: tuple[Selector, ...]

    @property
    def from_pods(self) -> bool:
        """Whether pods have to be scraped."""
        return bool(self.engine or self.first_token or self.gpu_utilisation)


def exports_for(queries: Iterable[Query], names: Mapping[str, str], where: str) -> Exports:
    """What these queries read. `names` are the engine's metrics in the catalog. Raises InputError."""
    readings = {names[key]: reading for key, reading in _ENGINE_READINGS.items() if key in names}
    histogram = names.get(_FIRST_TOKEN, "")
    engine: dict[str, Reading] = {}
    state: dict[str, None] = {}
    doors: dict[tuple[str, str], Selector] = {}
    first_token = ""
    utilisation = False
    selectors = [each for query in queries for each in query.selectors]
    rated = {each.metric for each in selectors if each.is_rated}
    for selector in selectors:
        metric = selector.metric
        if metric in readings:
            engine[metric] = readings[metric]
        elif histogram and metric in {histogram + "_bucket", histogram + "_sum", histogram + "_count"}:
            first_token = histogram
        elif metric in _STATE_METRICS:
            state[metric] = None
        elif metric == GPU_UTILISATION:
            utilisation = True
        elif metric in rated and not metric.startswith(("vllm:", "sglang:", "kube_", "DCGM_")):
            doors[metric, str(selector.matchers)] = selector
        else:
            raise InputError(
                f"{metric} is not simulated",
                where=where,
                how="the metrics simulated are "
                + ", ".join((*readings, histogram + "_bucket", *_STATE_METRICS, GPU_UTILISATION)),
            )
    return Exports(engine, first_token, tuple(state), utilisation, tuple(doors.values()))


def fixed_labels(selector: Selector) -> dict[str, str]:
    """Labels with which a series passes a selector's matchers: what `=` names, and the first of what `=~` names."""
    labels = {each.label: each.value for each in selector.matchers if each.operator == "="}
    for each in selector.matchers:
        named = re.sub(r"\\(.)", r"\1", each.value.split("|")[0])
        if each.operator == "=~" and each.accepts(named):
            labels.setdefault(each.label, named)
    return labels
