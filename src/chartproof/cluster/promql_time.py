"""PromQL for a cluster whose time runs faster: ranges get shorter, growth per second is given per simulated second.

Works on the text of a query and not on a parsed one, so that everything else stays as it was written. Source of the
grammar: Prometheus 3 `promql/parser/lex.go` and `generated_parser.y`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from chartproof.errors import InputError
from chartproof.languages.duration import DurationError, prometheus_seconds

#: Growth per second: counters of a faster world grow `factor` times as fast in real time.
PER_SECOND_FUNCTIONS = frozenset({"rate", "irate", "deriv"})
#: Its second argument is a number of seconds.
_FORECAST = "predict_linear"
#: What tells real time of day, whose differences no factor can be applied to without knowing what they are for.
_WALL_CLOCK = frozenset({"time", "timestamp"})

_DURATION = r"\d+(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*"
_NUMBER = r"0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TOKEN = re.compile(
    rf"""(?P<blank>\s+|\#[^\n]*)
    |(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    |(?P<range>\[[^\]]*\])
    |(?P<duration>{_DURATION})
    |(?P<number>{_NUMBER})
    |(?P<word>[A-Za-z_:][A-Za-z0-9_:]*)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_RANGE = re.compile(rf"\[\s*({_DURATION}|{_NUMBER})\s*(:\s*({_DURATION}|{_NUMBER})?\s*)?\]")
_MILLISECONDS = (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A query for the faster cluster; `changes` are its parts before and after, each once."""

    text: str
    changes: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Call:
    """An open parenthesis: whose it is, at which token that starts, and after which its last argument does."""

    function: str
    start: int
    argument: int


def rewrite(text: str, factor: float) -> Rewritten:  # noqa: C901 - one case per kind of token
    """The query whose result, in a cluster `factor` times as fast, is what `text` gives in a real one.

    Ranges, subquery steps and offsets are divided by the factor (up to whole milliseconds), and so are rate, irate
    and deriv, and the seconds that predict_linear looks ahead. Comparisons with the time of day stay and are named
    in the changes. Raises InputError for a range that is no plain duration and for parentheses that do not match.
    """
    if factor == 1:
        return Rewritten(text, ())
    tokens = list(_TOKEN.finditer(text))
    parts = [each[0] for each in tokens]
    changes, calls = dict[tuple[str, str], None](), list[_Call]()
    word_at, offset = -1, False
    for index, (token, written) in enumerate(zip(tokens, parts.copy(), strict=True)):
        kind = token.lastgroup
        if kind == "range":
            parts[index] = _scaled_range(written, factor)
            changes[written, parts[index]] = None
        elif offset and kind in {"duration", "number"}:
            parts[index] = _shorter(written, factor)
            changes[f"offset {written}", f"offset {parts[index]}"] = None
        elif written == "(":
            calls.append(_Call(parts[word_at] if word_at >= 0 else "", word_at, index))
        elif written == "," and calls:
            calls[-1].argument = index
        elif written == ")":
            if not calls:
                raise _unbalanced(text)
            changes.update(_close(parts, calls.pop(), index, factor))
        if kind != "blank":
            # A sign may stand between the word and the duration.
            offset = (kind == "word" and written.lower() == "offset") or (offset and written in {"-", "+"})
            word_at = index if kind == "word" else -1
    if calls:
        raise _unbalanced(text)
    return Rewritten("".join(parts), tuple(changes))


def shorter_duration(text: str, factor: float) -> str:
    """A Prometheus duration divided by the factor, rounded up to whole milliseconds; 0 stays 0.

    Raises DurationError.
    """
    return _written(Fraction(str(prometheus_seconds(text))) / Fraction(str(factor)))


def plain(factor: float) -> str:
    """The factor as a query or a person writes it: `15`, `7.5`."""
    return f"{factor:.15g}"


def _close(parts: list[str], call: _Call, end: int, factor: float) -> Mapping[tuple[str, str], None]:
    """Rewrite a call that ends at the token `end`; returns what changed."""
    name, divisor = call.function, plain(factor)
    if name in PER_SECOND_FUNCTIONS:
        parts[call.start] = f"({parts[call.start]}"
        parts[end] += f" / {divisor})"
        return {(f"{name}()", f"{name}() / {divisor}"): None}
    if name == _FORECAST:
        ahead = "".join(parts[call.argument + 1 : end]).strip()
        parts[call.argument] += " ("
        parts[end] = f") / {divisor})"
        return {(f"{name}(, {ahead})", f"{name}(, ({ahead}) / {divisor})"): None}
    if name in _WALL_CLOCK:
        return {(f"{name}()", "the same: it tells real time"): None}
    return {}


def _scaled_range(written: str, factor: float) -> str:
    match = _RANGE.fullmatch(written)
    if match is None:
        raise InputError(
            f"the range {written} cannot be scaled",
            how="write plain durations such as [5m] or [1h:30s]",
        )
    length, colon, step = match.groups()
    end = "" if colon is None else f":{_shorter(step, factor)}" if step else ":"
    return f"[{_shorter(length, factor)}{end}]"


def _shorter(written: str, factor: float) -> str:
    """A duration or a number of seconds divided by the factor."""
    if re.fullmatch(_DURATION, written):
        try:
            return shorter_duration(written, factor)
        except DurationError as error:
            raise InputError(str(error)) from None
    seconds = Fraction(int(written, 16) if written[:2].lower() == "0x" else float(written))
    return _written(seconds / Fraction(str(factor)))


def _written(seconds: Fraction) -> str:
    """A duration of whole milliseconds, rounded up: `1h36m`, `666ms`."""
    return "".join(_parts(math.ceil(seconds * 1000))) or "0s"


def _parts(milliseconds: int) -> Iterator[str]:
    for unit, size in _MILLISECONDS:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            yield f"{count}{unit}"


def _unbalanced(text: str) -> InputError:
    return InputError(f"the parentheses of the query do not match: {text}")
