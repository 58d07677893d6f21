"""How rules are declared, found and run."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from chartproof.findings import Finding, Severity
from chartproof.release import Document, Release
from chartproof.shape import well_shaped

#: Sections that every rule's docstring must have, in this order.
DOCUMENTATION_SECTIONS = ("What", "Why it hurts", "Bad", "Good", "References")

_MODULE_NAME = re.compile(r"llm(\d{3})_([a-z0-9_]+)")

Check = Callable[["Document", "Context"], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A named bad pattern: `check` is called for every document of `kinds` and yields findings.

    `id` is `LLM` and three digits (never reused), `name` the kebab-case of the bad pattern,
    `kinds` the object kinds it looks at (empty: every document).
    """

    id: str
    name: str
    severity: Severity
    kinds: tuple[str, ...]
    check: Check
    documentation: str

    @property
    def summary(self) -> str:
        """First paragraph of the documentation, on one line."""
        return " ".join(self.documentation.partition("\n\n")[0].split())

    def section(self, title: str) -> str:
        """Text of one section of the documentation; raises KeyError where it is missing."""
        parts = re.split(r"^([A-Z][A-Za-z ]+):\s*$", self.documentation, flags=re.MULTILINE)
        sections = {name: inspect.cleandoc("\n" + text) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
        return sections[title]


@dataclass(frozen=True)
class Context:
    """What a check may look at beside its document: the whole release."""

    release: Release
    rule: Rule

    def finding(self, document: Document, message: str, *, path: str = "", hint: str = "") -> Finding:
        """A finding of the running rule, at its severity, about `document`."""
        return Finding(self.rule.id, self.rule.severity, message, document.identity, path, hint, document.source)


def rule(*, id: str, name: str, severity: Severity, kinds: tuple[str, ...] = ()) -> Callable[[Check], Rule]:  # noqa: A002
    """Declare the decorated function as a rule; its docstring is the rule's documentation."""

    def declare(check: Check) -> Rule:
        return Rule(id, name, severity, kinds, check, inspect.cleandoc(check.__doc__ or ""))

    return declare


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule, by id.

    Raises RuntimeError when a module breaks the naming contract (a mistake in this package).
    """
    package = importlib.import_module("chartproof.rules")
    found: list[Rule] = []
    for module_info in pkgutil.iter_modules(package.__path__):
        match = _MODULE_NAME.fullmatch(module_info.name)
        if match is None:
            continue
        module = importlib.import_module(f"chartproof.rules.{module_info.name}")
        rules = [value for value in vars(module).values() if isinstance(value, Rule)]
        expected = f"LLM{match[1]}", match[2].replace("_", "-")
        if len(rules) != 1 or (rules[0].id, rules[0].name) != expected:
            message = f"{module_info.name} must define exactly one rule, {expected[0]} {expected[1]}"
            raise RuntimeError(message)
        found += rules
    return tuple(sorted(found, key=lambda each: each.id))


def check_release(release: Release, rules: tuple[Rule, ...] | None = None) -> list[Finding]:
    """Run the rules over a release; the same problem at the same place is reported once.

    Suppression by annotation is applied by `chartproof.suppression`, not here.
    """
    findings: dict[tuple[str, str, str, str], Finding] = {}
    release = well_shaped(release)
    for each in all_rules() if rules is None else rules:
        context = Context(release, each)
        for document in release.documents:
            if each.kinds and document.kind not in each.kinds:
                continue
            for finding in each.check(document, context):
                findings.setdefault((finding.rule, finding.object, finding.path, finding.message), finding)
    return sorted(findings.values(), key=lambda each: (-each.severity, each.rule, each.object, each.path))
