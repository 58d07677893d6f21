"""LLM148."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.kv_transfer import CONSUMER, NIXL, PRODUCER, kv_transfer
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.versions import parse_version
from chartproof.workload import engine_containers, engines_of

_HOST = "VLLM_NIXL_SIDE_CHANNEL_HOST"
#: First images that have NIXL's library (built with INSTALL_KV_CONNECTORS=true).
_SINCE = "0.14.0"
_COUNTERPART = {PRODUCER: CONSUMER, CONSUMER: PRODUCER}


@rule(id="LLM148", name="kv-handover-incomplete", severity=Severity.ERROR, kinds=SERVING)
def kv_handover_incomplete(document: Document, context: Context) -> Iterator[Finding]:
    """A replica is to hand its KV cache to others, and cannot.

    What:
        An engine with vLLM's NixlConnector that tells others to fetch from `localhost`
        (VLLM_NIXL_SIDE_CHANNEL_HOST is not set), or whose image is older than 0.14.0 and has no NIXL. A
        warning where the release has producers and no consumers, or the reverse.

    Why it hurts:
        Decode replicas ask themselves for the prompt's KV cache and fail each request; without the library
        the engine does not start; a role alone answers nothing.

    Bad:
        `--kv-transfer-config {"kv_connector":"NixlConnector","kv_role":"kv_producer"}` without that variable.

    Good:
        The variable from `fieldRef: status.podIP`, image v0.14.0 or newer, and both roles.

    References:
        https://docs.vllm.ai/en/latest/features/nixl_connector_usage.html
    """
    roles = {
        (each.document.namespace, found.connector, found.role)
        for each in engines_of(context.release)
        if (found := kv_transfer(each)) is not None
    }
    for engine in engine_containers(document):
        transfer = kv_transfer(engine)
        if transfer is None or transfer.connector != NIXL:
            continue
        if _HOST not in engine.environment:
            yield context.finding(
                document,
                f"{engine}: tells other replicas to fetch its KV cache from localhost, since {_HOST} is not set",
                path=f"{engine.path}.env",
                hint=f"set {_HOST} from the pod's address (fieldRef: status.podIP)",
            )
        since = parse_version(_SINCE)
        if engine.official_image and engine.version is not None and since is not None and engine.version < since:
            yield context.finding(
                document,
                f"{engine}: the image of vLLM {engine.version} has no NIXL, and {NIXL} does not start without it",
                path=f"{engine.path}.image",
                hint=f"take {_SINCE} or newer, or an image with the package nixl",
            )
        other = _COUNTERPART.get(transfer.role)
        if other is not None and (document.namespace, transfer.connector, other) not in roles:
            finding = context.finding(
                document,
                f"{engine}: is {transfer.role}, and no engine beside it is {other}",
                path=f"{engine.path}.args",
                hint="deploy both roles together, or take --kv-transfer-config away",
            )
            yield replace(finding, severity=Severity.WARNING)
