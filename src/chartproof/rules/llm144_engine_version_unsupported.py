"""LLM144."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.catalog import catalog
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.versions import format_version, parse_version
from chartproof.workload import engine_containers


@rule(id="LLM144", name="engine-version-unsupported", severity=Severity.ERROR, kinds=SERVING)
def engine_version_unsupported(document: Document, context: Context) -> Iterator[Finding]:
    """The engine is older than the oldest version whose behaviour is known here.

    What:
        The image's version is below the catalog's `oldest` for that engine (vLLM 0.11.1: the first image
        that is entered by `vllm serve`, without the old engine core).

    Why it hurts:
        Options, metric names, probes and shutdown differ: rules, plans and dashboards would speak of
        another program. Releases of that age get no security fixes.

    Bad:
        `vllm/vllm-openai:v0.6.6`

    Good:
        `vllm/vllm-openai:v0.33.0`

    References:
        https://github.com/vllm-project/vllm/releases
        https://github.com/vllm-project/vllm/security/advisories
    """
    for engine in engine_containers(document):
        facts = catalog().engines.get(engine.engine) or {}
        oldest = parse_version(str(facts.get("oldest", "")))
        if oldest is not None and engine.version is not None and engine.version < oldest:
            yield context.finding(
                document,
                f"{engine} runs {engine.engine} {format_version(engine.version)}, the oldest supported is "
                f"{format_version(oldest)}",
                path=f"{engine.path}.image",
                hint=f"use {facts.get('newest')}",
            )
