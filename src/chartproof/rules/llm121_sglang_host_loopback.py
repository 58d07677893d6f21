"""LLM121."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@rule(id="LLM121", name="sglang-host-loopback", severity=Severity.ERROR, kinds=SERVING)
def sglang_host_loopback(document: Document, context: Context) -> Iterator[Finding]:
    """The engine listens on the pod's loopback address only.

    What:
        SGLang without `--host` (its default is 127.0.0.1), or any engine with a loopback `--host`.

    Why it hurts:
        The kubelet's probes and the Service come from outside the pod: the model loads, nothing ever
        reaches it, and the startup probe kills it.

    Bad:
        `python3 -m sglang.launch_server --model-path Qwen/Qwen3-8B --port 8000`

    Good:
        The same with `--host 0.0.0.0`.

    References:
        https://docs.sglang.ai/advanced_features/server_arguments.html
    """
    for engine in engine_containers(document):
        host = engine.option("--host")
        if engine.is_worker:
            continue
        if host in _LOOPBACK or (host is None and engine.engine == "sglang" and engine.option("--config") is None):
            told = f"--host {host}" if host else "SGLang's default, 127.0.0.1"
            yield context.finding(
                document,
                f"{engine} listens on loopback only ({told})",
                path=f"{engine.path}.args",
                hint="add --host 0.0.0.0",
            )
