"""LLM603."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._weights import (
    HUB_TOKENS,
    environment_names,
    gated,
    has_unseen_environment,
    hub_repositories,
    hub_repository,
    literal,
    script_of,
)
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(
    id="LLM603",
    name="gated-model-without-token",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod", "Job", "CronJob"),
)
def gated_model_without_token(document: Document, context: Context) -> Iterator[Finding]:
    """A gated model is fetched from Hugging Face without a token.

    What:
        An engine or a download container names a repository that Hugging Face gives only to accepted accounts,
        and has no `HF_TOKEN` (nor a mirror, offline mode, or variables from a Secret as a whole).

    Why it hurts:
        The download ends with 401 and "access to model is restricted", the container restarts for ever.

    Bad:
        `vllm serve meta-llama/Llama-3.1-8B-Instruct` without HF_TOKEN

    Good:
        `{name: HF_TOKEN, valueFrom: {secretKeyRef: {name: hugging-face, key: token}}}`

    References:
        https://huggingface.co/docs/hub/models-gated
    """
    engines = {id(each.container): each for each in engine_containers(document)}
    for pod in document.pod_templates:
        for init in (True, False):
            for container in pod.containers(init=init):
                engine = engines.get(id(container))
                names = [hub_repository(engine)] if engine is not None else hub_repositories(container)
                closed = [name for name in names if name and gated(name)]
                if closed and not _admitted(container):
                    yield context.finding(
                        document,
                        f"{closed[0]} is gated, and container {container.get('name')!r} has no HF_TOKEN",
                        path=pod.container_path(container, init=init) + ".env",
                        hint="add HF_TOKEN from a Secret (valueFrom.secretKeyRef)",
                    )


def _admitted(container: Mapping[str, object]) -> bool:
    """Whether the container has a token, or does not ask Hugging Face at all."""
    names = environment_names(container)
    return bool(
        names & HUB_TOKENS
        or has_unseen_environment(container)
        or names & {"HF_ENDPOINT", "HF_TOKEN_PATH"}
        or literal(container, "HF_HUB_OFFLINE") == "1"
        or literal(container, "VLLM_USE_MODELSCOPE")
        or re.search(r"--(hf-)?token\b", script_of(container))
    )
