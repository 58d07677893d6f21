"""Kinds that rules about engines look at."""

from __future__ import annotations

#: Kinds whose pods may serve a model.
SERVING = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "LeaderWorkerSet")
