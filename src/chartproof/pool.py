"""A typed view of Karpenter's NodePool and its node class: what nodes it would make.

Understands NodePools of self-managed Karpenter on AWS (EC2NodeClass), of EKS Auto Mode (NodeClass
of eks.amazonaws.com) and of the kwok provider. Source: karpenter.sh/v1, karpenter.k8s.aws/v1 of
v1.14.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chartproof.catalog import Instance, catalog
from chartproof.languages.quantity import bytes_of
from chartproof.release import Body, Document, Release, dig, once_per_release
from chartproof.requirements import Requirement, combine, from_expressions, from_labels
from chartproof.versions import Version, parse_version

ZONE = "topology.kubernetes.io/zone"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
CAPACITY_TYPE = "karpenter.sh/capacity-type"
NODE_POOL = "karpenter.sh/nodepool"
AWS_LABELS = "karpenter.k8s.aws/"
AUTO_MODE_LABELS = "eks.amazonaws.com/"
AUTO_MODE_GROUP = "eks.amazonaws.com"
AWS_GROUP = "karpenter.k8s.aws"

#: Groups of node classes whose nodes carry the labels of AWS's provider; kwok's plays them.
_AWS_LIKE_GROUPS = frozenset({AWS_GROUP, AUTO_MODE_GROUP, "karpenter.kwok.sh"})

#: Karpenter's own defaults. Source: NodePool CRD v1.14.
DEFAULT_EXPIRE_AFTER = "720h"
DEFAULT_CONSOLIDATION_POLICY = "WhenEmptyOrUnderutilized"

_FAMILY_PREFIX = re.compile(r"[a-z]+")
#: Categories of instance families that have NVIDIA GPUs (g4ad, with AMD's, is the one exception).
_GPU_CATEGORIES = frozenset({"g", "gr", "p"})
_NVIDIA_KEYS = ("instance-gpu-name", "instance-gpu-manufacturer", "instance-gpu-count", "instance-gpu-memory")
_ALIAS = re.compile(r"(?P<family>[a-z0-9]+)@v?(?P<version>.+)")


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str
    effect: str

    @classmethod
    def parse(cls, body: Any) -> Taint:
        """From a mapping with `key`, `value` and `effect`."""
        value = dig(body, "value", default="")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return cls(str(dig(body, "key", default="")), text, str(dig(body, "effect", default="")))

    @property
    def repels(self) -> bool:
        """Whether it keeps pods out (PreferNoSchedule only discourages)."""
        return self.effect in {"NoSchedule", "NoExecute"}

    def tolerated_by(self, toleration: Any) -> bool:
        """Whether one toleration of a pod covers it, as the scheduler decides."""
        if not isinstance(toleration, Mapping):
            return False
        effect, key = toleration.get("effect"), toleration.get("key")
        if effect and effect != self.effect:
            return False
        operator = toleration.get("operator") or "Equal"
        if not key:
            return operator == "Exists"
        if key != self.key:
            return False
        value = toleration.get("value", "")
        text = str(value).lower() if isinstance(value, bool) else str(value if value is not None else "")
        return operator == "Exists" or text == self.value

    def __str__(self) -> str:
        """As kubectl prints it."""
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


@dataclass(frozen=True)
class NodeClass:
    """An EC2NodeClass, or Auto Mode's NodeClass."""

    document: Document

    @cached_property
    def alias(self) -> str:
        """The AMI alias such as `bottlerocket@v1.62.1`, empty where there is none."""
        for term in self.document.get("spec", "amiSelectorTerms", default=[]) or []:
            found = dig(term, "alias")
            if found:
                return str(found)
        return ""

    @cached_property
    def family(self) -> str:
        """Operating system in lower case (`bottlerocket`, `al2023`, `al2`, ...), empty where unknown.

        `custom` where user data is the author's own affair, whatever image the alias names.
        """
        match = _ALIAS.fullmatch(self.alias)
        if self.document.get("spec", "amiFamily") == "Custom":
            return "custom"
        if match:
            return match["family"]
        return str(self.document.get("spec", "amiFamily", default="")).lower()

    @cached_property
    def version_text(self) -> str:
        """The pinned version of the image without a leading v; empty for `latest` and where unknown."""
        match = _ALIAS.fullmatch(self.alias)
        return match["version"] if match and match["version"] != "latest" else ""

    @cached_property
    def version(self) -> Version | None:
        """The pinned Bottlerocket version, None where it is `latest`, unknown, or a date."""
        return parse_version(self.version_text) if self.family == "bottlerocket" and self.version_text else None

    @property
    def auto_mode(self) -> bool:
        """Whether it belongs to EKS Auto Mode."""
        return self.document.group == AUTO_MODE_GROUP

    @property
    def user_data(self) -> str:
        """The user data as written, empty where absent."""
        found = self.document.get("spec", "userData", default="")
        return found if isinstance(found, str) else ""

    @property
    def raid0(self) -> bool:
        """Whether Karpenter combines NVMe disks for images and ephemeral storage."""
        return bool(self.document.get("spec", "instanceStorePolicy") == "RAID0")

    @cached_property
    def volumes(self) -> Mapping[str, Mapping[str, Any]]:
        """EBS settings by device name; empty where the defaults of the image hold."""
        return {
            str(dig(each, "deviceName", default="")): dig(each, "ebs", default={})
            for each in self.document.get("spec", "blockDeviceMappings", default=[]) or []
        }

    @property
    def data_device(self) -> str:
        """The device that holds images, logs and emptyDirs."""
        return "/dev/xvdb" if self.family == "bottlerocket" else "/dev/xvda"

    @cached_property
    def data_bytes(self) -> int | None:
        """Size of that device: 20 GiB where nothing is said, None where it cannot be read."""
        if not self.volumes:
            return 20 * 1024**3
        found = self.volumes.get(self.data_device)
        if found is None:
            return None
        return bytes_of(found.get("volumeSize"))


@dataclass(frozen=True)
class Pool:
    """A NodePool with what its nodes would be; `node_class` is None where the release does not have it."""

    document: Document
    node_class: NodeClass | None

    @property
    def name(self) -> str:
        """The pool's name; its nodes carry it as label `karpenter.sh/nodepool`."""
        return self.document.name

    @property
    def template(self) -> Body:
        """`spec.template.spec`: what every node gets."""
        return self.document.get("spec", "template", "spec", default={})  # type: ignore[no-any-return]

    @property
    def auto_mode(self) -> bool:
        """Whether EKS Auto Mode runs it."""
        return str(dig(self.template, "nodeClassRef", "group", default="")) == AUTO_MODE_GROUP

    @property
    def on_ec2(self) -> bool:
        """Whether self-managed Karpenter on AWS runs it (the default where no group is named)."""
        return str(dig(self.template, "nodeClassRef", "group", default=AWS_GROUP)) == AWS_GROUP

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels that every node gets from the template."""
        return self.document.get("spec", "template", "metadata", "labels", default={})  # type: ignore[no-any-return]

    @cached_property
    def taints(self) -> tuple[Taint, ...]:
        """Taints that nodes keep."""
        return tuple(Taint.parse(each) for each in dig(self.template, "taints", default=[]) or [])

    @cached_property
    def startup_taints(self) -> tuple[Taint, ...]:
        """Taints that something else removes once a node is ready; pods need not tolerate them."""
        return tuple(Taint.parse(each) for each in dig(self.template, "startupTaints", default=[]) or [])

    @cached_property
    def requirements(self) -> Mapping[str, Requirement]:
        """What the labels of its nodes may be: requirements and template labels together.

        Labels of Auto Mode are kept under the names that self-managed Karpenter has for them.
        """
        written = from_expressions(dig(self.template, "requirements", default=[]))
        return combine(
            [
                *((self._canonical(key), requirement) for key, requirement in written),
                *from_labels(self.labels),
                (NODE_POOL, Requirement(frozenset({self.name}))),
            ]
        )

    def _canonical(self, key: str) -> str:
        if self.auto_mode and key.startswith(AUTO_MODE_LABELS + "instance-"):
            return AWS_LABELS + key.removeprefix(AUTO_MODE_LABELS)
        return key

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """GPU instance types of the catalog that the requirements allow, cheapest first; none on other clouds."""
        if not self.on_known_cloud:
            return ()
        found = [each for each in catalog().instances.values() if self.allows(each)]
        return tuple(sorted(found, key=lambda each: (each.usd_per_hour or float("inf"), each.name)))

    def allows(self, instance: Instance) -> bool:
        """Whether the requirements allow this instance type."""
        labels = instance.labels
        return all(
            requirement.allows(labels.get(key)) for key, requirement in self.requirements.items() if is_type_label(key)
        )

    @property
    def gpu_instances(self) -> tuple[Instance, ...]:
        """The allowed types that offer whole NVIDIA GPUs."""
        return tuple(each for each in self.instances if each.gpu_count)

    @cached_property
    def gpu_only(self) -> bool:
        """Whether the requirements leave no type without a GPU.

        They name GPUs, or families, types or categories that all have them.
        """
        for name in _NVIDIA_KEYS:
            requirement = self.requirements.get(AWS_LABELS + name)
            if requirement is not None and not requirement.absent and not requirement.empty:
                return True
        categories = self.requirements.get(AWS_LABELS + "instance-category")
        found: list[Collection[str]] = [categories.named or ()] if categories is not None else []
        for key in (AWS_LABELS + "instance-family", INSTANCE_TYPE):
            requirement = self.requirements.get(key)
            if requirement is not None:
                found.append([_category(each) for each in requirement.named or ()])
        return any(each and _GPU_CATEGORIES.issuperset(each) for each in found)

    @cached_property
    def names_unknown_types(self) -> bool:
        """Whether it names families or types that the catalog may not know yet (no claim is made about those)."""
        families = {each.family for each in catalog().instances.values()}
        for key in (AWS_LABELS + "instance-family", INSTANCE_TYPE):
            requirement = self.requirements.get(key)
            for value in (requirement.named or ()) if requirement is not None else ():
                family = value.partition(".")[0]
                if family not in families and _FAMILY_PREFIX.match(family):
                    return True
        return False

    @cached_property
    def capacity_types(self) -> frozenset[str]:
        """Capacity types that it may buy: all where it does not say (the provider tries reserved, then spot)."""
        requirement = self.requirements.get(CAPACITY_TYPE)
        known = ("spot", "on-demand", "reserved")
        return frozenset(each for each in known if requirement is None or requirement.allows(each))

    @property
    def buys_spot(self) -> bool:
        """Whether it names spot among its capacity types."""
        return CAPACITY_TYPE in self.requirements and "spot" in self.capacity_types

    @property
    def on_known_cloud(self) -> bool:
        """Whether its labels and instance types are those that the catalog knows."""
        return str(dig(self.template, "nodeClassRef", "group", default=AWS_GROUP)) in _AWS_LIKE_GROUPS

    @property
    def zones(self) -> frozenset[str] | None:
        """The zones it names; None where it may use all."""
        requirement = self.requirements.get(ZONE)
        return requirement.named if requirement is not None else None

    @property
    def limits(self) -> Mapping[str, Any]:
        """`spec.limits`."""
        return self.document.get("spec", "limits", default={})  # type: ignore[no-any-return]

    @property
    def weight(self) -> int:
        """Pools of larger weight are tried first."""
        found = self.document.get("spec", "weight", default=0)
        return found if isinstance(found, int) else 0

    @property
    def static(self) -> bool:
        """Whether it keeps a fixed count of nodes instead of following pods."""
        return self.document.get("spec", "replicas") is not None

    @property
    def disruption(self) -> Body:
        """`spec.disruption`."""
        return self.document.get("spec", "disruption", default={})  # type: ignore[no-any-return]

    @property
    def budgets(self) -> list[Body]:
        """Disruption budgets as written."""
        return [each for each in self.disruption.get("budgets") or [] if isinstance(each, Mapping)]

    @property
    def consolidation_policy(self) -> str:
        """Consolidation policy, Karpenter's default where absent."""
        return str(self.disruption.get("consolidationPolicy") or DEFAULT_CONSOLIDATION_POLICY)

    @property
    def expire_after(self) -> str:
        """Age at which nodes are replaced, Karpenter's default where absent."""
        return str(self.template.get("expireAfter") or DEFAULT_EXPIRE_AFTER)

    @property
    def path(self) -> str:
        """Path of `requirements`, where most findings about a pool belong."""
        return "spec.template.spec.requirements"

    def requirement_path(self, *keys: str) -> str:
        """Path of the requirement about one of these labels, else that of all."""
        for i, each in enumerate(dig(self.template, "requirements", default=[]) or []):
            if dig(each, "key") in keys:
                return f"{self.path}[{i}]"
        return self.path


def is_type_label(key: str) -> bool:
    """Whether a label is decided by the instance type alone."""
    return key in {INSTANCE_TYPE, "kubernetes.io/arch", "kubernetes.io/os"} or (
        key.startswith(AWS_LABELS + "instance-") and key not in _UNKNOWN_PER_TYPE
    )


#: Labels of instance types whose values the catalog does not hold: no claim is made about them.
_UNKNOWN_PER_TYPE = frozenset(
    AWS_LABELS + name
    for name in (
        "instance-cpu-manufacturer",
        "instance-cpu-sustained-clock-speed-mhz",
        "instance-encryption-in-transit-supported",
        "instance-tenancy",
        "instance-capability-flex",
    )
)


def _category(text: str) -> str:
    match = _FAMILY_PREFIX.match(text)
    return match[0] if match else ""


def node_class_of(document: Document, release: Release) -> NodeClass | None:
    """The node class that a NodePool refers to, where the release has it."""
    reference = document.get("spec", "template", "spec", "nodeClassRef", default={})
    kind = str(dig(reference, "kind", default="EC2NodeClass"))
    found = release.find(kind, str(dig(reference, "name", default="")))
    return NodeClass(found) if found is not None and kind in {"EC2NodeClass", "NodeClass"} else None


def pool_of(document: Document, release: Release) -> Pool:
    """The typed view of one NodePool document."""
    return Pool(document, node_class_of(document, release))


@once_per_release
def pools_of(release: Release) -> list[Pool]:
    """The NodePools of a release, heaviest first, as Karpenter tries them."""
    found = [pool_of(each, release) for each in release.of_kind("NodePool")]
    return sorted(found, key=lambda each: (-each.weight, each.name))


def is_gpu_pool(pool: Pool) -> bool:
    """Whether a pool can make nodes with NVIDIA GPUs, and is meant to."""
    return pool.gpu_only or bool(pool.gpu_instances and _speaks_of_gpus(pool))


@once_per_release
def gpu_pools_of(release: Release) -> list[Pool]:
    """Pools that can make nodes with NVIDIA GPUs."""
    return [each for each in pools_of(release) if is_gpu_pool(each)]


def _speaks_of_gpus(pool: Pool) -> bool:
    """Whether a pool of mixed types is meant for GPUs too: a bare pool of any type is not."""
    return any(is_type_label(key) for key in pool.requirements) and "nvidia.com/gpu" in {
        *pool.limits,
        *(taint.key for taint in pool.taints),
    }


def node_classes_of(release: Release) -> Iterator[NodeClass]:
    """The node classes of a release."""
    return (NodeClass(each) for each in release.of_kind("EC2NodeClass", "NodeClass"))


def pools_with(node_class: Document, release: Release) -> list[Pool]:
    """Pools whose nodes are made from this node class."""
    return [each for each in pools_of(release) if each.node_class and each.node_class.document is node_class]
