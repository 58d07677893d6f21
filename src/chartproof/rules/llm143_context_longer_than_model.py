"""LLM143."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.plan.workload_plan import human_integer
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._models import model_of
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers


@rule(id="LLM143", name="context-longer-than-model", severity=Severity.ERROR, kinds=SERVING)
def context_longer_than_model(document: Document, context: Context) -> Iterator[Finding]:
    """The longest context asked for is beyond the model's own.

    What:
        `--max-model-len` (SGLang: `--context-length`) is above what the model's config says, without rope
        scaling by `--hf-overrides` and without the switch that allows it.

    Why it hurts:
        The engine stops: "User-specified max_model_len is greater than the derived max_model_len". With
        the switch it runs, and answers nonsense beyond the trained length.

    Bad:
        `--max-model-len 65536` for Qwen2.5-7B (32768)

    Good:
        `--max-model-len 32768`, or `--hf-overrides` with the rope scaling that the model card gives.

    References:
        https://docs.vllm.ai/en/latest/configuration/engine_args.html
    """
    for engine in engine_containers(document):
        model = model_of(engine)
        length = human_integer(engine.option("--max-model-len", "--context-length"))
        if model is None or model.context is None or length is None or model.estimated or _extended(engine):
            continue
        if length > model.context:
            yield context.finding(
                document,
                f"{engine}: a context of {length} tokens is beyond the {model.context} of {model.id}",
                path=f"{engine.path}.args",
                hint=f"write at most {model.context}, or give rope scaling in --hf-overrides",
            )


def _extended(engine: EngineContainer) -> bool:
    switches = ("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN")
    overridden = any(
        each.name.startswith(("--hf-overrides", "--rope-scaling", "--json-model-override-args"))
        for each in engine.options
    )
    return overridden or any(str(engine.environment.get(name, "")) in {"1", "true", "True"} for name in switches)
