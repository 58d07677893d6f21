"""LLM412."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._weights import hub_repository
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(
    id="LLM412",
    name="remote-code-without-revision",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def remote_code_without_revision(document: Document, context: Context) -> Iterator[Finding]:
    """Code of a model repository runs at whatever revision is the newest.

    What:
        `--trust-remote-code` is given for a model that the engine fetches from Hugging Face, without
        `--code-revision` or `--revision`.

    Why it hurts:
        Whoever can push to the repository runs code on the GPU nodes at the next start of a replica.

    Bad:
        `vllm serve organisation/model --trust-remote-code`

    Good:
        `vllm serve organisation/model --trust-remote-code --revision <commit>`

    References:
        https://docs.vllm.ai/en/latest/usage/security/
    """
    for engine in engine_containers(document):
        trusts = engine.option("--trust-remote-code") is not None
        if trusts and hub_repository(engine) and not engine.option("--revision", "--code-revision"):
            yield context.finding(
                document,
                f"runs the newest code of {engine.model}",
                path=engine.path,
                hint="add --revision with the commit that was reviewed",
            )
