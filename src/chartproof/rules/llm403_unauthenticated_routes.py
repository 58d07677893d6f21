"""LLM403."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, Release, dig
from chartproof.rules._policies import exposed_by
from chartproof.rules._weights import environment_names
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(
    id="LLM403",
    name="unauthenticated-routes",
    severity=Severity.NOTE,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def unauthenticated_routes(document: Document, context: Context) -> Iterator[Finding]:
    """An API key is set, but routes without it are exposed.

    What:
        An engine with an API key is exposed by a LoadBalancer, NodePort, Ingress or route as a whole.

    Why it hurts:
        vLLM asks for the key only below /v1, /v2, /inference and /cohere. /metrics, /tokenize, /invocations,
        /load and /health answer to anybody: models can be used and load observed without the key.

    Bad:
        an Ingress with path `/`

    Good:
        an Ingress with path `/v1`

    References:
        https://docs.vllm.ai/en/latest/usage/security/
    """
    for engine in engine_containers(document):
        keyed = "VLLM_API_KEY" in environment_names(engine.container) or engine.option("--api-key") is not None
        exposures = [each for each in exposed_by(context.release, engine) if not _only_guarded(each, context.release)]
        if keyed and exposures and engine.engine == "vllm":
            yield context.finding(
                document,
                f"{exposures[0]} also exposes /metrics, /tokenize and /invocations, which ask for no key",
                path=engine.path,
                hint="expose only /v1",
            )


def _only_guarded(exposure: str, release: Release) -> bool:
    """Whether every path of the Ingress or route lies below /v1."""
    kind, _, name = exposure.partition(" ")
    document = release.find(kind, name.strip("'"))
    if document is None or kind not in {"Ingress", "HTTPRoute"}:
        return False
    paths = []
    for entry in document.get("spec", "rules", default=[]) or []:
        paths += [str(dig(each, "path", default="/")) for each in dig(entry, "http", "paths", default=[]) or []]
        paths += [str(dig(each, "path", "value", default="/")) for each in dig(entry, "matches", default=[]) or []]
        if kind == "HTTPRoute" and not dig(entry, "matches"):
            paths.append("/")
    return bool(paths) and all(each.startswith("/v1") for each in paths)
