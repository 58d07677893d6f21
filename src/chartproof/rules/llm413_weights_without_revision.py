"""LLM413."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._weights import downloads, hub_repositories, hub_repository
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

_PINNED = re.compile(r"--revision\b|\brevision\s*=")


@rule(
    id="LLM413",
    name="weights-without-revision",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod", "Job"),
)
def weights_without_revision(document: Document, context: Context) -> Iterator[Finding]:
    """Weights come from Hugging Face at whatever revision is the newest.

    What:
        An engine or a download container names a repository of Hugging Face without a revision.

    Why it hurts:
        Replicas that start on different days serve different weights, and a push to the repository (a changed
        chat template is enough) reaches production at the next scale-up.

    Bad:
        `vllm serve Qwen/Qwen2.5-7B-Instruct`

    Good:
        `vllm serve Qwen/Qwen2.5-7B-Instruct --revision a09a35458c702b33eeacc393d103063234e8bc28`

    References:
        https://huggingface.co/docs/huggingface_hub/guides/download
    """
    for engine in engine_containers(document):
        if hub_repository(engine) and not engine.option("--revision"):
            yield context.finding(
                document,
                f"serves the newest revision of {engine.model}",
                path=engine.path,
                hint="add --revision with a commit",
            )
    for each in downloads(document):
        names = hub_repositories(each.container)
        if each.tool == "huggingface" and names and not _PINNED.search(each.script):
            yield context.finding(
                document,
                f"downloads the newest revision of {names[0]}",
                path=each.path,
                hint="add --revision with a commit",
            )
