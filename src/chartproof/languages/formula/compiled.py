"""A formula as KEDA takes it: wrapped, checked, tried once, and run on trigger values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from chartproof.languages.formula.lexer import FormulaError, UnjudgedError
from chartproof.languages.formula.run import Runner, go_integer
from chartproof.languages.formula.syntax import Node, parse
from chartproof.languages.formula.types import Checker

#: KEDA tries a formula with this value for every trigger before it accepts it.
DUMMY_VALUE = -1.0


def wrap(formula: str) -> str:
    """What KEDA compiles for a formula (`castToFloatIfNecessary`)."""
    if "??" in formula:
        if formula.startswith("let _kedaCompositeResult = "):
            return formula
        return (
            f"let _kedaCompositeResult = ({formula}); _kedaCompositeResult == nil ? nil : float(_kedaCompositeResult)"
        )
    return formula if formula.startswith("float(") else f"float({formula})"


@dataclass(frozen=True, slots=True)
class FormulaResult:
    """What the HPA gets: `value` as computed (None: nil, KEDA then falls back) and in milli units."""

    value: float | None
    milli: int | None

    @property
    def is_number(self) -> bool:
        """Whether the value is a finite number; anything else becomes -2**63 milli."""
        return self.value is not None and math.isfinite(self.value)


@dataclass(frozen=True)
class Formula:
    """A formula that KEDA accepts. `tree` is the formula as written, without the wrapping."""

    source: str
    tree: Node
    _wrapped: Node
    _types: Mapping[int, str]

    def run(
        self, triggers: Mapping[str, float | None], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> FormulaResult:
        """Value on these trigger values; a trigger that failed under `fallback: scalingModifiers` is None.

        Raises FormulaError with stage `run` where KEDA logs an error and hands the HPA nothing, and
        UnjudgedError where the formula uses a function this package does not evaluate.
        """
        value = Runner(triggers, self._types, now).run(self._wrapped)
        if value is None:
            return FormulaResult(None, None)
        if not isinstance(value, float):
            raise FormulaError(f"formula returned non-float result ({value})", stage="run")
        return FormulaResult(value, go_integer(value * 1000))


def compile_formula(source: str, triggers: Iterable[str]) -> Formula:
    """Accept a formula as KEDA's webhook and operator do.

    `triggers` are the names of the triggers that are neither cpu nor memory. Raises FormulaError
    with KEDA's reason; its stage tells a formula that does not compile from one whose trial run fails.
    """
    return _compile(source, tuple(triggers))


@lru_cache(maxsize=256)
def _compile(source: str, names: tuple[str, ...]) -> Formula:
    if not source:
        raise FormulaError("formula is empty")
    wrapped = parse(wrap(source), names)
    checker = Checker(names)
    checker.check(wrapped)
    formula = Formula(source, parse(source, names), wrapped, checker.types)
    # What this package cannot run is given the benefit of the doubt.
    with suppress(UnjudgedError):
        # The trial run's map holds plain floats: what it lacks reads as 0, not as nil.
        Runner(dict.fromkeys(names, DUMMY_VALUE), checker.types, lambda: datetime.now(UTC), missing=0.0).run(wrapped)
    return formula
