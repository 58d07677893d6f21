"""LLM147."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.versions import Version, parse_version
from chartproof.workload import EngineContainer, engine_containers

_PREFIX = "VLLM_"
#: A name this similar to a known one is a typing mistake.
_ALIKE = 0.88


@dataclass(frozen=True, slots=True)
class _Known:
    """The variables that one release reads."""

    version: Version | None
    names: frozenset[str]


@rule(id="LLM147", name="unknown-engine-variable", severity=Severity.WARNING, kinds=SERVING)
def unknown_engine_variable(document: Document, context: Context) -> Iterator[Finding]:
    """An environment variable looks like a setting of the engine, and the engine has none of that name.

    What:
        A `VLLM_...` variable that is almost the name of one that vLLM reads. Error where
        `--fail-on-environ-validation` makes vLLM stop at it; a note where the newest release, which the
        image is, does not read it at all (it may have been removed).

    Why it hurts:
        The setting is ignored with a line in the log: a cache in the wrong directory, a key that is not
        asked for.

    Bad:
        `VLLM_CACHEROOT: /cache`, `VLLM_APIKEY` from a Secret.

    Good:
        `VLLM_CACHE_ROOT: /cache`, `VLLM_API_KEY` from a Secret.

    References:
        https://docs.vllm.ai/en/latest/configuration/env_vars.html
    """
    known = _known()
    for engine in engine_containers(document):
        if engine.engine != "vllm":
            continue
        fatal = engine.option("--fail-on-environ-validation") is not None
        for name in sorted(engine.environment):
            if not name.startswith(_PREFIX) or name in known.names:
                continue
            close = difflib.get_close_matches(name, known.names, n=1, cutoff=_ALIKE)
            severity = _severity(engine, known, close=bool(close), fatal=fatal)
            if severity is None:
                continue
            finding = context.finding(
                document,
                f"{engine}: vLLM reads no variable {name}" + (", and stops at it" if fatal else ""),
                path=f"{engine.path}.env[name={name}]",
                hint=f"did you mean {close[0]}?" if close else "remove it",
            )
            yield replace(finding, severity=severity)


def _severity(engine: EngineContainer, known: _Known, *, close: bool, fatal: bool) -> Severity | None:
    if close:
        return Severity.ERROR if fatal else Severity.WARNING
    if engine.version is None or engine.version != known.version:
        return None  # another release may read it
    return Severity.ERROR if fatal else Severity.NOTE


@cache
def _known() -> _Known:
    text = resources.files("chartproof").joinpath("data/vllm_environment.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return _Known(parse_version(data["version"]), frozenset(data["variables"]))
