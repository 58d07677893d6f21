"""LLM109."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.engine_options import option_table
from chartproof.findings import Finding, Severity
from chartproof.plan.workload_plan import human_integer
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

#: Options of which the first makes the second useless.
_USELESS = (
    ("--enforce-eager", "--cudagraph-capture-sizes", "eager mode captures no CUDA graphs"),
    ("--enforce-eager", "--max-cudagraph-capture-size", "eager mode captures no CUDA graphs"),
)
#: Options of which the engine accepts one at most.
_EXCLUSIVE = (
    ("--data-parallel-hybrid-lb", "--data-parallel-external-lb"),
    ("--disable-radix-cache", "--enable-hierarchical-cache"),
)
#: Options that may be given several times.
_REPEATABLE = frozenset({"--lora-modules", "--middleware", "--served-model-name", "--lora-paths"})


@rule(id="LLM109", name="contradicting-engine-options", severity=Severity.ERROR, kinds=SERVING)
def contradicting_engine_options(document: Document, context: Context) -> Iterator[Finding]:
    """Options of one engine contradict each other.

    What:
        The same option twice with different values, a boolean together with its negation, two models, a
        token budget below what the other options need, a tool option without its parser, or options
        that exclude each other.

    Why it hurts:
        Either the engine refuses to start, or the last one wins and the manifest says something else
        than what runs.

    Bad:
        `--max-model-len 8192 ... --max-model-len 32768`

    Good:
        Each option once.

    References:
        https://docs.vllm.ai/en/latest/cli/serve.html
        https://github.com/vllm-project/vllm/blob/main/vllm/config/scheduler.py
    """
    for engine in engine_containers(document):
        for problem, hint in _contradictions(engine):
            yield context.finding(document, f"{engine}: {problem}", path=f"{engine.path}.args", hint=hint)
        for first, second, why in _USELESS:
            if engine.option(first) is not None and engine.option(second) is not None:
                finding = context.finding(
                    document,
                    f"{engine}: {second} has no effect beside {first}: {why}",
                    path=f"{engine.path}.args",
                    hint="remove one of them",
                )
                yield replace(finding, severity=Severity.WARNING)


def _contradictions(engine: EngineContainer) -> Iterator[tuple[str, str]]:
    yield from _twice(engine)
    yield from _budgets(engine)
    for first, second in _EXCLUSIVE:
        if engine.option(first) is not None and engine.option(second) is not None:
            yield f"{first} and {second} exclude each other", "keep one"
    named = engine.option("--model")
    if named and engine.positional and engine.positional[0] != named and engine.engine == "vllm":
        yield f"is told two models, {engine.positional[0]} and --model {named}", "name the model once"
    if engine.option("--enable-auto-tool-choice") is not None and engine.option("--tool-call-parser") is None:
        yield (
            "--enable-auto-tool-choice needs --tool-call-parser, without which vLLM refuses to start",
            "add --tool-call-parser with the model's parser",
        )


def _twice(engine: EngineContainer) -> Iterator[tuple[str, str]]:
    table = option_table(engine.engine)
    seen: dict[str, tuple[str, str | None]] = {}
    for option in engine.options:
        facts = table.canonical(option.name)
        if facts is None or "." in option.name or facts.name in _REPEATABLE:
            continue
        negated = option.name in facts.negations
        value = str(not negated) if facts.boolean else option.value
        before = seen.setdefault(facts.name, (option.name, value))
        if before[1] != value:
            shown = f"{before[0]} and {option.name}" if facts.boolean else f"{option.name} {before[1]} and {value}"
            yield f"contradicts itself: {shown}; the last one wins", "write it once"


def _budgets(engine: EngineContainer) -> Iterator[tuple[str, str]]:
    batched = human_integer(engine.option("--max-num-batched-tokens"))
    sequences = human_integer(engine.option("--max-num-seqs"))
    length = human_integer(engine.option("--max-model-len"))
    if batched is None or engine.engine != "vllm":
        return
    if sequences is not None and batched < sequences:
        yield (
            f"--max-num-batched-tokens {batched} is below --max-num-seqs {sequences}: each sequence needs a token",
            f"write at least {sequences}",
        )
    unchunked = engine.option("--no-enable-chunked-prefill", "--disable-chunked-prefill") is not None
    if unchunked and length is not None and batched < length:
        yield (
            f"--max-num-batched-tokens {batched} is below --max-model-len {length} without chunked prefill",
            f"write at least {length}, or leave chunked prefill on",
        )
