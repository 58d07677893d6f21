"""LLM411."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(
    id="LLM411",
    name="developer-mode",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def developer_mode(document: Document, context: Context) -> Iterator[Finding]:
    """Developer mode of vLLM is on.

    What:
        `VLLM_SERVER_DEV_MODE` is set to 1.

    Why it hurts:
        It opens routes without authentication that put the engine to sleep, reset its caches, call methods of
        the workers and show the configuration.

    Bad:
        `{name: VLLM_SERVER_DEV_MODE, value: "1"}`

    Good:
        no such variable

    References:
        https://docs.vllm.ai/en/latest/usage/security/
    """
    for engine in engine_containers(document):
        if str(engine.environment.get("VLLM_SERVER_DEV_MODE") or "0").lower() in {"1", "true"}:
            yield context.finding(
                document,
                "developer mode opens /sleep, /collective_rpc and /server_info to whoever reaches the port",
                path=f"{engine.path}.env",
                hint="remove VLLM_SERVER_DEV_MODE",
            )
