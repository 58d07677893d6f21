"""Workspaces of Amazon Managed Service for Prometheus that KEDA asks for metrics."""

from __future__ import annotations

import re
from typing import Any

from chartproof.aws import policies
from chartproof.aws.target import Target
from chartproof.release import Release, dig

Json = dict[str, Any]
_WORKSPACE = re.compile(r"aps-workspaces\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/workspaces/(?P<id>ws-[\w-]+)")


def describe(release: Release, target: Target) -> Json | None:
    """Workspaces of Amazon Managed Service for Prometheus that KEDA's operator queries under its own identity."""
    arns = []
    for scaler in release.of_kind("ScaledObject"):
        for trigger in scaler.get("spec", "triggers", default=[]) or []:
            match = _WORKSPACE.search(str(dig(trigger, "metadata", "serverAddress", default="")))
            if match:
                arns.append(f"arn:{target.partition}:aps:{match['region']}:{target.account}:workspace/{match['id']}")
    if not arns:
        return None
    workspaces = list(dict.fromkeys(arns))
    return {
        "workspaces": workspaces,
        "policy": policies.query_metrics(workspaces),
        "files": {"keda-operator.query-metrics.json": "policy"},
    }
