"""LLM714."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._probes import probes
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM714", name="probe-on-headless-worker", severity=Severity.ERROR, kinds=SERVING)
def probe_on_headless_worker(document: Document, context: Context) -> Iterator[Finding]:
    """A worker without an HTTP server is probed over the network.

    What:
        A vLLM container with `--headless` has an HTTP or TCP probe.

    Why it hurts:
        Nothing listens there: the worker is restarted without end, and takes its group with it.

    Bad:
        `--headless` and `livenessProbe: {httpGet: {path: /health}}`

    Good:
        Probes on the leader only.

    References:
        https://docs.vllm.ai/en/latest/deployment/frameworks/lws.html
    """
    for engine in engine_containers(document):
        if not engine.headless:
            continue
        for each in probes(engine):
            if each.http or each.body.get("tcpSocket") or each.body.get("grpc"):
                yield context.finding(
                    document,
                    f"{engine} runs headless and has a {each.name} over the network",
                    path=each.path,
                    hint="remove the probe; the leader's covers the group",
                )
