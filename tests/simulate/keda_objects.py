"""ScaledObjects for tests, as KEDA would get them."""

from __future__ import annotations

from typing import Any

from chartproof.autoscaler import Autoscaler, autoscaler
from chartproof.release import Document, Release


def scaled_object(**spec: Any) -> Autoscaler:
    document = Document(
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "s", "namespace": "llm"},
            "spec": {"scaleTargetRef": {"name": "a"}, **spec},
        }
    )
    return autoscaler(document, Release("r", (document,)))


def prometheus(name: str = "", query: str = "sum(x)", **metadata: str) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "prometheus", "metadata": {"query": query, "threshold": "1", **metadata}}
    return {**found, "name": name} if name else found


def cron(name: str, start: str, end: str, timezone: str = "UTC", replicas: str = "1") -> dict[str, Any]:
    metadata = {"start": start, "end": end, "timezone": timezone, "desiredReplicas": replicas}
    return {"type": "cron", "name": name, "metadata": metadata}


def formula(text: str, target: str = "25", **more: str) -> dict[str, Any]:
    return {"scalingModifiers": {"formula": text, "target": target, **more}}
