"""docs/engines.md: which engine has which feature from which version on, from the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chartproof.catalog import catalog
from ci.generate.artifacts import Artifact, GenerationError, between_markers

_PAGE = Path("docs/engines.md")
#: What a row says, the value that asks for it, and where the catalog has it: a list of steps in an engine's facts.
_FEATURES = (
    ("Weights streamed from S3", "weights.delivery: stream", ("abilities", "objectStorage")),
    ("Bounded queue, 503 beyond", "engine.maxNumQueuedRequests", ("abilities", "maxNumQueuedRequests")),
    ("LoRA adapters", "engine.lora.adapters", ("abilities", "lora")),
    ("Guessing from the prompt", "engine.speculative.method: ngram", ("speculativeMethods", "ngram")),
    ("Guessing with EAGLE", "engine.speculative.method: eagle, eagle3", ("speculativeMethods", "eagle3")),
    ("Guessing with the model's own head", "engine.speculative.method: mtp", ("speculativeMethods", "mtp")),
    ("Guessing with a draft model", "engine.speculative.method: draftModel", ("speculativeMethods", "draftModel")),
    ("Over several nodes, without Ray", "multiNode.enabled", ("abilities", "severalNodes")),
    ("KV cache in host memory", "engine.kvOffloadGibibytes", ("abilities", "kvOffload")),
    ("Tool calls only when named", "engine.toolCalling.autoChoice: false", ("abilities", "namedToolChoiceOnly")),
    ("Several names of one model", "engine.servedModelName", ("abilities", "severalServedNames")),
    ("Drain bounded by an option", "engine.drainSeconds", ("abilities", "shutdownTimeout")),
    ("Readiness that asks nothing of the engine", "", ("abilities", "readyEndpoint")),
    ("Measured KV cache size kept", "engine.compileCache.startupPlan", ("abilities", "startupPlan")),
)


def artifacts() -> Iterator[Artifact]:
    """The page with a new table."""
    yield Artifact(_PAGE, between_markers(_PAGE, "features", table(catalog().engines)))


def table(engines: Mapping[str, Mapping[str, Any]]) -> str:
    """One row per feature, one column per engine. Raises GenerationError for a feature that no engine has."""
    titles = [facts["title"] for facts in engines.values()]
    lines = [f"| Feature | Value | {' | '.join(titles)} |", f"|---|---|{'---|' * len(titles)}"]
    versions = " | ".join(f"{facts['oldest']} to {facts['newest']}" for facts in engines.values())
    lines.append(f"| Versions | `engine.version` | {versions} |")
    for words, value, steps in _FEATURES:
        cells = [_since(facts, steps) for facts in engines.values()]
        if not any(cells):
            raise GenerationError(f"engines.yaml: no engine has {'.'.join(steps)}; mend ci/generate/engine_table.py")
        shown = f"`{value}`" if value else ""
        lines.append(f"| {words} | {shown} | {' | '.join(each or 'no' for each in cells)} |")
    for words, value, key in (
        ("Kinds of models", "engine.task", "tasks"),
        ("Output backends", "engine.structuredOutputBackend", "structuredOutputBackends"),
        ("Types of the KV cache", "engine.kvCacheDtype", "kvCacheDtypes"),
    ):
        cells = [", ".join(facts[key]) for facts in engines.values()]
        lines.append(f"| {words} | `{value}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _since(facts: Mapping[str, Any], steps: tuple[str, ...]) -> str:
    """`all`, the first version that has it, or empty where none does."""
    found: Any = facts
    for step in steps:
        found = found.get(step, {})
    since = str(found.get("since", ""))
    return "all" if since and since == facts["oldest"] else since
