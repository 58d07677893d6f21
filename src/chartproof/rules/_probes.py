"""Probes and hooks of engine containers: where they knock, and how long they wait."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.catalog import catalog
from chartproof.plan import plan_workload
from chartproof.release import Release, dig
from chartproof.rules._pods import container_ports, hook_text
from chartproof.workload import EngineContainer

#: GET routes of the servers. Sources: vLLM `entrypoints/serve` and `entrypoints/openai`,
#: SGLang `srt/entrypoints/http_server.py`.
KNOWN_PATHS: Mapping[str, frozenset[str]] = {
    "vllm": frozenset(
        {"/health", "/ping", "/load", "/version", "/v1/models", "/metrics", "/docs", "/openapi.json", "/server_info"}
        | {"/is_sleeping", "/redoc"}
    ),
    "sglang": frozenset(
        {"/health", "/health_generate", "/ready", "/ping", "/v1/models", "/metrics", "/get_load", "/docs"}
        | {"/model_info", "/get_model_info", "/server_info", "/get_server_info", "/openapi.json", "/v1/loads"}
    ),
}
#: Routes that answer from fixed data, also when the engine behind the server is dead.
STATIC_PATHS = frozenset({"/v1/models", "/version", "/metrics", "/docs", "/openapi.json", "/redoc", "/server_info"})
#: Routes behind the API key.
GUARDED_PATHS: Mapping[str, tuple[str, ...]] = {
    "vllm": ("/v1/", "/v2/", "/inference/", "/cohere/"),
    "sglang": ("/v1/", "/model_info", "/get_model_info", "/server_info", "/get_server_info", "/get_load"),
}

_LOCAL_URL = re.compile(r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(?::(\d+))?(/[^\s\"'|;&?]*)?")


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe with Kubernetes' defaults filled in; times are in seconds.

    `name` is startupProbe, readinessProbe or livenessProbe; `path` that of the document's field.
    """

    name: str
    body: Mapping[str, Any]
    path: str

    @property
    def period(self) -> int:
        """`periodSeconds`, 10 by default."""
        return _integer(self.body.get("periodSeconds"), 10)

    @property
    def timeout(self) -> int:
        """`timeoutSeconds`, 1 by default."""
        return _integer(self.body.get("timeoutSeconds"), 1)

    @property
    def failures(self) -> int:
        """`failureThreshold`, 3 by default."""
        return _integer(self.body.get("failureThreshold"), 3)

    @property
    def initial_delay(self) -> int:
        """`initialDelaySeconds`, 0 by default."""
        return _integer(self.body.get("initialDelaySeconds"), 0)

    @property
    def budget(self) -> int:
        """Seconds from the container's start until the probe has failed for good."""
        return self.initial_delay + self.period * self.failures

    @property
    def http(self) -> Mapping[str, Any]:
        """`httpGet`, empty where the probe is of another kind."""
        found = self.body.get("httpGet")
        return found if isinstance(found, Mapping) else {}

    @property
    def http_path(self) -> str:
        """The path of an HTTP probe (`/` where it names none); also that of a curl in an exec probe."""
        if self.http:
            return str(self.http.get("path") or "/").partition("?")[0]
        local = _LOCAL_URL.search(hook_text(self.body))
        return (local[2] or "/").partition("?")[0] if local else ""


@dataclass(frozen=True, slots=True)
class LoadTime:
    """Seconds an engine needs before it answers; `planned` tells a plan from the least any model needs."""

    seconds: float
    planned: bool

    def __str__(self) -> str:
        """Say which of both it is, as messages do."""
        kind = "the planned load time" if self.planned else "the least that an engine of this kind needs to start"
        return f"{self.seconds:.0f} s, {kind}"


def _integer(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default


def probe(engine: EngineContainer, name: str) -> Probe | None:
    """One probe of the container by its field name, or None."""
    body = engine.container.get(name)
    return Probe(name, body, f"{engine.path}.{name}") if isinstance(body, Mapping) else None


def probes(engine: EngineContainer) -> Iterator[Probe]:
    """The probes that the container has."""
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        found = probe(engine, name)
        if found is not None:
            yield found


def resolve_port(engine: EngineContainer, port: Any) -> int | None:
    """The number of a port that a probe or hook of the container names; None where no port has the name."""
    if isinstance(port, int):
        return port
    text = str(port)
    if text.isdigit():
        return int(text)
    for each in engine.container.get("ports") or []:
        if isinstance(each, Mapping) and each.get("name") == text:
            number = each.get("containerPort")
            return number if isinstance(number, int) else None
    return None


def other_ports(engine: EngineContainer) -> set[int]:
    """Ports that other containers of the pod declare: a sidecar may answer for the engine."""
    return {
        number
        for container, port in container_ports(engine.pod)
        if container is not engine.container and isinstance(number := port.get("containerPort"), int)
    }


def local_targets(body: Mapping[str, Any], engine: EngineContainer) -> Iterator[tuple[int | None, str, str]]:
    """Where a probe or hook knocks in its own pod: port (None: an undeclared name), path, as written."""
    for handler in ("httpGet", "tcpSocket"):
        found = body.get(handler)
        if isinstance(found, Mapping) and "port" in found and not found.get("host"):
            path = str(found.get("path") or "/") if handler == "httpGet" else ""
            yield resolve_port(engine, found["port"]), path, str(found["port"])
    for match in _LOCAL_URL.finditer(hook_text(body)):
        if match[1]:
            yield int(match[1]), match[2] or "/", match[1]


def load_time(engine: EngineContainer, release: Release) -> LoadTime:
    """Seconds between the container's start and its first answer.

    From the plan where the model is known; else the catalog's time for process start and
    initialisation alone, which no model undercuts.
    """
    plan = plan_workload(engine, release)
    if plan is not None:
        return LoadTime(plan.cold_start.in_container_seconds, planned=True)
    facts = catalog().engines.get(engine.engine) or catalog().engines["vllm"]
    seconds = dig(facts, "startSeconds", default={})
    least = min(seconds[name] for name in ("initialise", "initialiseEager", "initialiseCached"))
    return LoadTime(float(seconds["process"]) + float(least), planned=False)


#: An initial delay from which on it stands for a startup probe, in seconds.
LONG_DELAY_SECONDS = 30


def delays_instead(engine: EngineContainer) -> list[Probe]:
    """Probes that wait with `initialDelaySeconds` for a load that a startup probe should cover."""
    if probe(engine, "startupProbe") is not None:
        return []
    return [each for each in probes(engine) if each.initial_delay >= LONG_DELAY_SECONDS]
