"""LLM124."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document, Release
from chartproof.rules._kinds import SERVING
from chartproof.rules._selection import together
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM124", name="service-links-on", severity=Severity.WARNING, kinds=SERVING)
def service_links_on(document: Document, context: Context) -> Iterator[Finding]:
    """The engine's pod gets an environment variable for every Service of the namespace.

    What:
        `enableServiceLinks` is not false. Warning where a Service of the release begins with the
        engine's name (`vllm-...`), whose variables look like the engine's own settings; else a note.

    Why it hurts:
        `VLLM_QWEN_SERVICE_HOST` and its like are reported as unknown settings, and stop the engine with
        `--fail-on-environ-validation`. Thousands of Services make the environment too large to start.

    Bad:
        A Service `vllm-qwen`, and no `enableServiceLinks` in the pod.

    Good:
        `enableServiceLinks: false`

    References:
        https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
        https://github.com/vllm-project/vllm/issues/34199
    """
    for engine in engine_containers(document):
        if engine.pod.spec.get("enableServiceLinks", True) is False:
            continue
        named = _named_like(engine.engine, document, context.release)
        finding = context.finding(
            document,
            f"{engine} gets environment variables of every Service"
            + (f", those of {named!r} look like {engine.engine}'s own" if named else ""),
            path=engine.pod.path_of("spec", "enableServiceLinks"),
            hint="write enableServiceLinks: false",
        )
        yield finding if named else replace(finding, severity=Severity.NOTE)


def _named_like(engine: str, document: Document, release: Release) -> str:
    for service in release.of_kind("Service"):
        if service.name.lower().startswith(f"{engine}-") and together(release, service, document):
            return service.name
    return ""
