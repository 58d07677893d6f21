"""LLM106."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.engine_options import Lookup, Verdict, option_table
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.versions import format_version
from chartproof.workload import EngineContainer, engine_containers

#: Reported by rules of their own.
_ELSEWHERE = frozenset({"--shutdown-timeout"})


@rule(id="LLM106", name="unknown-engine-option", severity=Severity.ERROR, kinds=SERVING)
def unknown_engine_option(document: Document, context: Context) -> Iterator[Finding]:
    """The engine's version does not know an option that it is given.

    What:
        An option that is misspelled, abbreviated, removed before the version of the image, or newer
        than it. The tables of options were made from the argument parsers of 32 vLLM releases and of
        SGLang; where the version is not known, only what no release has is reported.

    Why it hurts:
        The argument parser ends with exit code 2: CrashLoopBackOff on a GPU node that stays up. An
        abbreviation works until a release adds an option with the same beginning.

    Bad:
        `--max-modle-len 8192`, or `--swap-space 4` on vLLM 0.33.

    Good:
        Options in full, as `vllm serve --help` of that version lists them.

    References:
        https://docs.vllm.ai/en/latest/cli/serve.html
        https://docs.sglang.ai/advanced_features/server_arguments.html
    """
    for engine in engine_containers(document):
        table = option_table(engine.engine)
        for option in engine.options:
            if "$" in option.name or option.name in _ELSEWHERE:
                continue
            lookup = table.look_up(option.name, engine.version)
            problem = _problem(lookup, engine)
            if problem:
                yield context.finding(
                    document,
                    f"{engine}: option {option.name} {problem}",
                    path=f"{engine.path}.args",
                    hint=_hint(lookup),
                )


def _problem(lookup: Lookup, engine: EngineContainer) -> str:
    version = format_version(engine.version) if engine.version else "any compared version"
    match lookup.verdict:
        case Verdict.UNKNOWN:
            return f"is unknown to {engine.engine} {version}"
        case Verdict.ABBREVIATED:
            return f"is an abbreviation of {lookup.suggestion}"
        case Verdict.REMOVED:
            last = format_version(lookup.removed.last_seen) if lookup.removed else "earlier"
            return f"is gone from {engine.engine} {version} (last seen in {last})"
        case Verdict.TOO_NEW:
            since = lookup.facts.since if lookup.facts and not lookup.suggestion else None
            return f"is newer than {engine.engine} {version}" + (f" (from {format_version(since)})" if since else "")
        case _:
            return ""


def _hint(lookup: Lookup) -> str:
    if lookup.removed is not None and lookup.removed.instead:
        return f"use {lookup.removed.instead}"
    if lookup.suggestion:
        return (
            f"write {lookup.suggestion}"
            if lookup.verdict is not Verdict.UNKNOWN
            else f"did you mean {lookup.suggestion}?"
        )
    return "remove it, or use an image that has it"
