"""LLM126."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'", re.DOTALL)
_ALL_ARGUMENTS = re.compile(r"\$(?:@|\*|\{[@*]\})")
_EVAL = re.compile(r"(?:^|[;&|\n]\s*|\s)eval\s")
_REFERENCE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|\((\w+)\))")
_SPECIAL = re.compile(r"[\"'`$&|;<>(){}*?\\]")


@rule(id="LLM126", name="arguments-parsed-by-shell-twice", severity=Severity.ERROR, kinds=SERVING)
def arguments_parsed_by_shell_twice(document: Document, context: Context) -> Iterator[Finding]:
    """Arguments of the engine go through a shell that takes them apart.

    What:
        The engine's script expands values without quotes (`$@`, or a variable whose value holds spaces,
        quotes or braces), uses `eval`, contains JSON that the shell strips of its quotes, or never uses
        the `args` that follow it.

    Why it hurts:
        A JSON option arrives without quotes and is refused; a value with a space becomes two arguments;
        `args` after `sh -c SCRIPT` are silently ignored; a `$(...)` in a value is run.

    Bad:
        `command: [sh, -c, "exec vllm serve $@"]`, or `--speculative-config {"method":"ngram"}` in a script.

    Good:
        `command: [vllm, serve]` with `args`; in a script, `exec vllm serve "$@"` with `--` before them.

    References:
        https://pubs.opengroup.org/onlinepubs/9799919799/utilities/sh.html
        https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/
    """
    for engine in engine_containers(document):
        if not engine.launch.shell:
            continue
        for problem, hint in _problems(engine):
            yield context.finding(document, f"{engine}: {problem}", path=f"{engine.path}.command", hint=hint)


def _problems(engine: EngineContainer) -> Iterator[tuple[str, str]]:
    script = engine.launch.script
    bare = _QUOTED.sub("", script)
    if _EVAL.search(script):
        yield "its script uses eval, which parses every argument once more", "start the engine by command and args"
    if _ALL_ARGUMENTS.search(bare):
        yield "its script expands $@ without quotes and takes arguments apart", 'write "$@"'
    extra = _words_after_script(engine)
    if extra and not re.search(r"\$(?:@|\*|\{[@*]\}|[0-9])", script):
        yield (
            f"the shell ignores the arguments after its script: {' '.join(extra[:3])} ...",
            "put them into the script, or start the engine by command and args",
        )
    for option in engine.options:
        value = option.value or ""
        if value.startswith(("{", "[{")) and ":" in value and not _is_json(value) and "$" not in value:
            yield f"the shell strips the quotes of {value}", "put single quotes around the JSON value"
    yield from _spilled(bare, engine)


def _words_after_script(engine: EngineContainer) -> list[str]:
    raw = [
        str(word) for key in ("command", "args") for word in engine.container.get(key) or [] if isinstance(word, str)
    ]
    scripts = [i for i, word in enumerate(raw) if i and re.fullmatch(r"-[a-z]*c[a-z]*", raw[i - 1])]
    return raw[scripts[0] + 1 :] if scripts else []


def _spilled(bare: str, engine: EngineContainer) -> Iterator[tuple[str, str]]:
    """Variables that the script expands outside quotes and whose value a shell takes apart.

    A value of plain words is split on purpose and arrives whole.
    """
    for match in _REFERENCE.finditer(bare):
        name = match[1] or match[2] or match[3]
        value = engine.environment.get(name)
        if value is not None and _SPECIAL.search(str(value)):
            yield (
                f"the shell takes the value of ${name} apart: {value!r}",
                f'write "${name}", one variable for one value',
            )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
