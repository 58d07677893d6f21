"""Facts about AWS that no manifest holds: quotas, registries, events, roles of nodes, storage drivers.

The table is `data/aws.json`, with the public source of each part at its head.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota of EC2 in vCPUs. `default` is what a new account has."""

    code: str
    name: str
    default: int


@dataclass(frozen=True, slots=True)
class Registry:
    """A public registry, and whether a pull-through cache of Amazon ECR can stand before it.

    `prefixes` are names that people give the cache, `repositories` images that are known to come from there.
    """

    name: str
    upstream_url: str
    pull_through: bool
    credential: bool
    prefixes: tuple[str, ...]
    repositories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeRole:
    """What EKS asks of the role of nodes: `access_policy` is empty where the access entry's type says all."""

    access_entry_type: str
    managed_policies: tuple[str, ...]
    access_policy: str


@dataclass(frozen=True, slots=True)
class Driver:
    """A storage driver of AWS: its EKS add-on, the policy of its role, and what it stores on.

    `parameters` are those of a StorageClass, None where there is none; `endpoint` is the service that the driver
    calls.
    """

    name: str
    title: str
    class_name: str
    addon: str
    managed_policy: str
    resource: str
    parameters: Mapping[str, str] | None
    endpoint: str


@cache
def _table() -> Mapping[str, Any]:
    text = resources.files("chartproof").joinpath("data/aws.json").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


def quota(family: str, *, spot: bool) -> Quota | None:
    """The quota that instances of a family (`g6e`, `p5`) count against; None where AWS names none."""
    for entry in _table()["quotas"]:
        if re.match(entry["families"], family):
            found = entry["spot" if spot else "onDemand"]
            return Quota(found["code"], found["name"], entry["default"]) if found else None
    return None


@cache
def registries() -> Mapping[str, Registry]:
    """Public registries by host name."""
    return {
        name: Registry(
            name,
            entry["upstreamUrl"],
            entry["pullThrough"],
            entry["credential"],
            tuple(entry["prefixes"]),
            tuple(entry["repositories"]),
        )
        for name, entry in _table()["registries"].items()
    }


def interruption_events() -> Mapping[str, Mapping[str, list[str]]]:
    """EventBridge patterns of the events that Karpenter understands, by a short name."""
    found: Mapping[str, Mapping[str, list[str]]] = _table()["interruptionEvents"]
    return found


def node_role(*, auto_mode: bool) -> NodeRole:
    """What the role of nodes needs, for EKS Auto Mode or for self-managed Karpenter."""
    entry = _table()["nodeRoles"]["autoMode" if auto_mode else "karpenter"]
    return NodeRole(entry["accessEntryType"], tuple(entry["managedPolicies"]), entry["accessPolicy"] or "")


@cache
def drivers() -> Mapping[str, Driver]:
    """Storage drivers of AWS by provisioner name."""
    return {
        name: Driver(
            name,
            entry["title"],
            entry["className"],
            entry["addon"],
            entry["managedPolicy"],
            entry["resource"],
            entry["parameters"],
            entry["endpoint"],
        )
        for name, entry in _table()["drivers"].items()
    }
