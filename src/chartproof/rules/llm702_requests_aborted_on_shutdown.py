"""LLM702."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._models import at_least
from chartproof.rules._pods import waits_for_requests
from chartproof.rules._shutdown import SHUTDOWN_TIMEOUT_SINCE
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM702", name="requests-aborted-on-shutdown", severity=Severity.ERROR, kinds=SERVING)
def requests_aborted_on_shutdown(document: Document, context: Context) -> Iterator[Finding]:
    """The engine aborts every running request when its pod stops.

    What:
        vLLM 0.18 or newer without `--shutdown-timeout`, or with 0, and without a preStop hook that waits
        until no request is running.

    Why it hurts:
        From 0.18 on, SIGTERM aborts all requests at once unless a drain time is given. Each scale-down
        and each update cuts off answers that people are reading.

    Bad:
        `vllm serve Qwen/Qwen3-8B` on 0.33, with a grace period of 120 s that nothing uses.

    Good:
        `--shutdown-timeout 90` with `terminationGracePeriodSeconds: 115`

    References:
        https://docs.vllm.ai/en/latest/cli/serve.html
        https://github.com/vllm-project/vllm/pull/43208
    """
    for engine in engine_containers(document):
        if engine.engine != "vllm" or engine.is_worker or not at_least(engine, SHUTDOWN_TIMEOUT_SINCE):
            continue
        told = engine.option("--shutdown-timeout")
        if (told is None or told == "0") and not waits_for_requests(engine.container):
            yield context.finding(
                document,
                f"{engine} aborts running requests when it stops: --shutdown-timeout is "
                + ("0" if told else "not given (0 by default)"),
                path=f"{engine.path}.args",
                hint="add --shutdown-timeout 90, and a grace period of preStop + 90 + 15 seconds",
            )
