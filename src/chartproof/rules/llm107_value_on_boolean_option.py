"""LLM107."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.engine_options import option_table
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM107", name="value-on-boolean-option", severity=Severity.ERROR, kinds=SERVING)
def value_on_boolean_option(document: Document, context: Context) -> Iterator[Finding]:
    """A boolean option is given a value.

    What:
        An option that is only present or absent has `=True`, or a word such as `true` after it.

    Why it hurts:
        The argument parser refuses it ("ignored explicit argument 'True'", or "unrecognized
        arguments"): CrashLoopBackOff.

    Bad:
        `--enable-prefix-caching=True`

    Good:
        `--enable-prefix-caching` to switch on, `--no-enable-prefix-caching` to switch off.

    References:
        https://docs.vllm.ai/en/latest/cli/serve.html
        https://docs.python.org/3/library/argparse.html
    """
    for engine in engine_containers(document):
        table = option_table(engine.engine)
        for option in engine.options:
            facts = table.canonical(option.name)
            if facts is None or not facts.boolean or option.value is None:
                continue
            off = option.value.lower() in {"false", "0", "no", "off"}
            negated = next((each for each in facts.negations if each.startswith("--no-")), "")
            remedy = (negated or f"nothing instead of {option.name}") if off else f"{option.name} alone"
            yield context.finding(
                document,
                f"{engine}: {option.name} takes no value, and has {option.value!r}",
                path=f"{engine.path}.args",
                hint=f"write {remedy}",
            )
