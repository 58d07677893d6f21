"""LLM145."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from chartproof.engine_options import OptionFacts, option_table
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.versions import Version
from chartproof.workload import EngineContainer, Option, engine_containers

_INTEGER = re.compile(r"[+-]?\d+")
_HUMAN_INTEGER = re.compile(r"-1|auto|\d+(\.\d+)?[kKmMgGtT]?i?")
#: Options that are shares of something, and what each may be at most.
_SHARES = {"--gpu-memory-utilization": 1.0, "--mem-fraction-static": 1.0}


@rule(id="LLM145", name="illegal-option-value", severity=Severity.ERROR, kinds=SERVING)
def illegal_option_value(document: Document, context: Context) -> Iterator[Finding]:
    """An engine option has a value that the engine refuses.

    What:
        A word where a number is wanted, a value that is none of the option's choices, JSON that does not
        parse, a share of memory that is not between 0 and 1, or no value at all.

    Why it hurts:
        The argument parser ends with exit code 2: CrashLoopBackOff on a GPU node.

    Bad:
        `--dtype bf16`, `--gpu-memory-utilization 90`, `--max-model-len` as the last word.

    Good:
        `--dtype bfloat16`, `--gpu-memory-utilization 0.90`, `--max-model-len 8192`.

    References:
        https://docs.vllm.ai/en/latest/cli/serve.html
        https://docs.sglang.ai/advanced_features/server_arguments.html
    """
    for engine in engine_containers(document):
        table = option_table(engine.engine)
        for option in engine.options:
            facts = table.canonical(option.name)
            if facts is None or facts.boolean or "." in option.name or "$" in (option.value or ""):
                continue
            problem, hint = _problem(option, facts, engine.version or table.newest, engine)
            if problem:
                yield context.finding(
                    document, f"{engine}: {option.name} {problem}", path=f"{engine.path}.args", hint=hint
                )


def _problem(option: Option, facts: OptionFacts, version: Version, engine: EngineContainer) -> tuple[str, str]:
    if option.value is None:
        optional = facts.values in {"*", "?"} or option.name.startswith("-O")
        return ("", "") if optional else ("has no value", f"write {option.name} <value>")
    values = option.value.split() if facts.values in {"+", "*"} else [option.value]
    for value in values:
        kind = _not_of_type(value, facts)
        if kind:
            return f"is {value!r}, {kind} is wanted", f"write {kind}"
    # Choices were read from the newest release: an older one may have had others.
    newest = version >= option_table(engine.engine).newest
    wrong = [value for value in values if facts.choices and value not in facts.choices]
    if wrong and (newest or facts.name == "--dtype"):
        return f"is {wrong[0]!r}, which is none of its choices", f"use one of {', '.join(facts.choices)}"
    most = _SHARES.get(facts.name)
    if most is not None and not 0 < float(values[0]) <= most:
        return f"is {values[0]}, a share between 0 and {most:g} is wanted", "write 0.9 for 90 percent"
    return "", ""


def _not_of_type(value: str, facts: OptionFacts) -> str:
    match facts.type:
        case "int":
            return "" if _INTEGER.fullmatch(value) or value == "None" else "a whole number"
        case "humanInt":
            return "" if _HUMAN_INTEGER.fullmatch(value) else "a whole number such as 8192 or 8k"
        case "float":
            return "" if _is_float(value) else "a number"
        case _:
            looks_like = value.startswith(("{", "[")) and "template" not in facts.name
            return "valid JSON" if looks_like and not _is_json(value) else ""


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
