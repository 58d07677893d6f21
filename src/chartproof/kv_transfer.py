"""What an engine hands on of its KV cache: the connector and the role of disaggregated serving."""

from __future__ import annotations

import json
from dataclasses import dataclass

from chartproof.workload import EngineContainer

PRODUCER = "kv_producer"
CONSUMER = "kv_consumer"
NIXL = "NixlConnector"
"""vLLM's own connector, over the network from replica to replica."""


@dataclass(frozen=True, slots=True)
class KvTransfer:
    """vLLM's `--kv-transfer-config`, as far as a release can be judged by it; role "" where none is given."""

    connector: str
    role: str

    @property
    def is_half(self) -> bool:
        """Whether the engine computes prompts or answers only, and needs another one for the rest."""
        return self.role in {PRODUCER, CONSUMER}


def kv_transfer(engine: EngineContainer) -> KvTransfer | None:
    """How a vLLM engine transfers its KV cache; None where it does not, or where that cannot be read."""
    text = engine.option("--kv-transfer-config") if engine.engine == "vllm" else None
    if not text:
        return None
    try:
        given = json.loads(text)
    except ValueError:
        return None
    if not isinstance(given, dict) or not given.get("kv_connector"):
        return None
    return KvTransfer(str(given["kv_connector"]), str(given.get("kv_role") or ""))
