"""LLM123."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._selection import together
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engines_of


@rule(id="LLM123", name="service-named-like-engine", severity=Severity.ERROR, kinds=("Service",))
def service_named_like_engine(document: Document, context: Context) -> Iterator[Finding]:
    """A Service has the engine's name, and its pods get service links.

    What:
        A Service named `vllm` (or `sglang`) in the namespace of an engine whose pod does not set
        `enableServiceLinks: false`.

    Why it hurts:
        The kubelet puts `VLLM_PORT=tcp://10.0.0.1:80` into every pod of the namespace. vLLM reads it as a
        port and stops with a ValueError, from the first restart after the Service was made.

    Bad:
        A Service `vllm` in front of a Deployment `vllm`.

    Good:
        `enableServiceLinks: false` in the pod, and a name such as `qwen-api`.

    References:
        https://github.com/vllm-project/vllm/issues/34199
        https://docs.vllm.ai/en/latest/configuration/env_vars.html
    """
    if document.get("spec", "clusterIP") == "None" or document.get("spec", "type") == "ExternalName":
        return  # no environment variables are made for them
    for engine in linked_engines(document, context):
        if document.name.lower() == engine.engine:
            yield context.finding(
                document,
                f"is named {document.name!r}: {engine} of {engine.document.identity} gets "
                f"{engine.engine.upper()}_PORT=tcp://..., which {engine.engine} reads as its own setting",
                path="metadata.name",
                hint="set enableServiceLinks: false in the pod, and give the Service another name",
            )
            return


def linked_engines(service: Document, context: Context) -> Iterator[EngineContainer]:
    """Engines in the namespace of a Service that get an environment variable for it."""
    for engine in engines_of(context.release):
        links = engine.pod.spec.get("enableServiceLinks", True)
        if links is not False and together(context.release, service, engine.document):
            yield engine
