"""LLM141."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._pods import hook_text
from chartproof.rules._probes import GUARDED_PATHS, Probe, probes
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers


@rule(id="LLM141", name="probe-behind-api-key", severity=Severity.ERROR, kinds=SERVING)
def probe_behind_api_key(document: Document, context: Context) -> Iterator[Finding]:
    """A probe asks for a path that the API key guards.

    What:
        The engine has an API key (`--api-key` or `VLLM_API_KEY`), and a probe asks for a guarded path
        such as `/v1/models` without an Authorization header.

    Why it hurts:
        The answer is 401: the pod never becomes ready, or is restarted without end.

    Bad:
        `readinessProbe: {httpGet: {path: /v1/models}}` with `VLLM_API_KEY` set.

    Good:
        `readinessProbe: {httpGet: {path: /health}}`, which needs no key.

    References:
        https://docs.vllm.ai/en/latest/usage/security.html
    """
    for engine in engine_containers(document):
        keyed = engine.option("--api-key") is not None or "VLLM_API_KEY" in engine.environment
        if not keyed:
            continue
        for each in probes(engine):
            if _guarded(each, engine) and not _authorised(each):
                yield context.finding(
                    document,
                    f"{engine}: {each.name} asks for {each.http_path}, which answers 401 without the API key",
                    path=f"{each.path}.httpGet.path" if each.http else each.path,
                    hint="use /health",
                )


def _guarded(each: Probe, engine: EngineContainer) -> bool:
    return each.http_path.startswith(GUARDED_PATHS[engine.engine])


def _authorised(each: Probe) -> bool:
    headers = each.http.get("httpHeaders") or []
    named = any(str(header.get("name")).lower() == "authorization" for header in headers)
    return named or "authorization" in hook_text(each.body).lower()
