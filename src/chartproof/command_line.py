"""What a container's `command` and `args` start, through a shell or directly.

Kubernetes replaces `$(NAME)` before anything else reads the words; a shell then splits its script
into simple commands. Both are followed only as far as the manifest itself tells: what depends on
the running container stays as written, with its `$`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh"})

_KUBERNETES_REFERENCE = re.compile(r"\$(\$)?\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_SHELL_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})")
_COMMAND_SUBSTITUTION = re.compile(r"\$\([^()]*\)|`[^`]*`")
_COMMENT_LINE = re.compile(r"^\s*#.*$", re.MULTILINE)
_NUMBERED_REDIRECTION = re.compile(r"(?<=\s)[012](?=>)")
_OPERATORS = ";&|<>\n"
_NEGATIVE_NUMBER = re.compile(r"-\d[\d.]*")

#: Stands for the output of a command substitution, which only the running container knows.
UNKNOWN = "$UNKNOWN"


@dataclass(frozen=True, slots=True)
class SimpleCommand:
    """One command of a script: its words, and the operators around it (`&&`, `|`, newline, ...)."""

    words: tuple[str, ...]
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command line: `--name value`, or `--name` alone (`value` None).

    `name` has dashes for underscores; `index` is its position among the words, `joined` whether the
    value was written after `=`.
    """

    name: str
    value: str | None
    index: int
    joined: bool = False


def expand_references(text: str, environment: Mapping[str, str | None]) -> str:
    """Replace Kubernetes' `$(NAME)` by the literal values of the container's environment."""

    def replacement(match: re.Match[str]) -> str:
        value = environment.get(match[2])
        return match[0] if match[1] or value is None else value

    return _KUBERNETES_REFERENCE.sub(replacement, text)


def expand_variables(word: str, environment: Mapping[str, str | None]) -> str:
    """Replace a shell's `$NAME`, `${NAME}` and `${NAME:-default}` where the value is known."""

    def replacement(match: re.Match[str]) -> str:
        value = environment.get(match[1] or match[2])
        if value is not None:
            return value
        return match[3] if match[3] is not None and (match[1] or match[2]) not in environment else match[0]

    return _SHELL_REFERENCE.sub(replacement, word)


def shell_of(words: Sequence[str]) -> tuple[str, int] | None:
    """Name of the shell and index of its script, for `sh -c SCRIPT` (also behind an init such as tini)."""
    for i, word in enumerate(words[:4]):
        name = word.rpartition("/")[2]
        if name in SHELLS:
            for j in range(i + 1, len(words)):
                if re.fullmatch(r"-[a-z]*c[a-z]*", words[j]):
                    return (name, j + 1) if j + 1 < len(words) else None
                if not words[j].startswith("-"):
                    return None
    return None


def split_script(script: str) -> list[SimpleCommand]:
    """The simple commands of a shell script, in order.

    Quotes are removed as the shell would; control words (`if`, `then`, `exec`) stay among the words. A
    script that no shell could read is split at spaces.
    """
    text = _COMMENT_LINE.sub("", script.replace("\\\n", " "))
    text = _COMMAND_SUBSTITUTION.sub(
        lambda match: match[0] if _KUBERNETES_REFERENCE.fullmatch(match[0]) else UNKNOWN, text
    )
    text = _NUMBERED_REDIRECTION.sub("", text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError:
        tokens = text.split()
    commands: list[SimpleCommand] = []
    words: list[str] = []
    before = ""
    redirected = False
    for token in [*tokens, "\n"]:
        if token and set(token) <= set(_OPERATORS):
            if set(token) & set("<>") and not set(token) & set(";|\n"):
                redirected = True  # the next word is a file
                continue
            if words:
                commands.append(SimpleCommand(tuple(words), before, token))
            if words or token.strip("\n"):
                before = token
            words = []
        elif redirected:
            redirected = False
        else:
            words.append(token)
    return commands


def parse_options(words: Sequence[str], arity: Callable[[str], str | int | None]) -> tuple[list[Option], list[str]]:
    """Options and positional words of a command line.

    `arity(name)` says how many values an option takes: a number, `"+"` for as many as follow, None
    where the option is unknown (then as many as follow, too).
    """
    found: list[Option] = []
    positional: list[str] = []
    i = 0
    while i < len(words):
        word = words[i]
        if not word.startswith("-") or word in {"-", "--"} or _NEGATIVE_NUMBER.fullmatch(word):
            positional.append(word)
            i += 1
            continue
        written, equals, value = word.partition("=")
        name = _dashed(written)
        position = i
        values = [value] if equals else []
        i += 1
        takes = arity(name)
        limit = len(words) if takes is None or isinstance(takes, str) else takes
        while not equals and i < len(words) and _is_value(words[i]):
            stray_boolean = takes == 0 and not values and words[i].lower() in {"true", "false"}
            if len(values) >= limit and not stray_boolean:
                break
            values.append(words[i])
            i += 1
        found.append(Option(name, " ".join(values) if values else None, position, bool(equals)))
    return found, positional


def _is_value(word: str) -> bool:
    return not word.startswith("-") or bool(_NEGATIVE_NUMBER.fullmatch(word))


def _dashed(name: str) -> str:
    """Underscores are dashes in long names, except after the dot of a nested JSON option."""
    if not name.startswith("--"):
        return name
    head, dot, tail = name.partition(".")
    return head.replace("_", "-") + dot + tail
