"""Karpenter's kwok provider in the place of AWS's: NodePools that name a class of AWS's name one of kwok's instead.

That is EC2NodeClass, and NodeClass of EKS Auto Mode. The kwok provider ignores NodePools of other node classes
(karpenter v1.14 `nodepoolutils.IsManaged`). Its class has one field, how long a node takes to register, which is what a
machine of the class's operating system takes by the catalog. The class itself stays beside it, under the same name.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable
from typing import Any

from chartproof.catalog import catalog
from chartproof.cluster.placement import CAPACITY_TYPE, RESERVED, holds
from chartproof.cluster.time_scale import Body, Change
from chartproof.pool import AUTO_MODE_GROUP, AWS_GROUP, NodeClass
from chartproof.release import Document, dig

GROUP = "karpenter.kwok.sh"
KIND = "KWOKNodeClass"

_KINDS = {AWS_GROUP: "EC2NodeClass", AUTO_MODE_GROUP: "NodeClass"}


def played(documents: Iterable[Body], factor: float) -> tuple[list[Body], list[Change]]:
    """The documents with a KWOKNodeClass behind every node class, and NodePools that refer to it; and what changed.

    `factor` is how many times as fast the cluster's time runs. A NodePool whose class is of another release is
    rewritten too: that release brought the KWOKNodeClass. The provider offers reserved machines of every type to every
    pool, so that pools whose class selects no capacity reservation (or is not among the documents) are told not to take
    any.
    """
    documents = list(documents)
    reserving = {
        dig(each, "metadata", "name")
        for each in documents
        if _is_node_class(each) and dig(each, "spec", "capacityReservationSelectorTerms")
    }
    result, changes = list[Body](), list[Change]()
    for document in documents:
        group = dig(document, "spec", "template", "spec", "nodeClassRef", "group")
        if document.get("kind") == "NodePool" and group in _KINDS:
            result.append(_referring(document, reserving))
            before, after = f"{_KINDS[group]}.{group}", f"{KIND}.{GROUP}"
            changes.append(Change(_name(document), "spec.template.spec.nodeClassRef", before, after))
            continue
        result.append(document)
        if _is_node_class(document):
            result.append(node_class(document, factor))
            seconds = registration_seconds(_family(document))
            delay = dig(result[-1], "spec", "nodeRegistrationDelay")
            name = dig(document, "metadata", "name")
            changes.append(Change(f"{KIND}/{name}", "spec.nodeRegistrationDelay", f"{seconds:g}s", delay))
    return result, changes


def node_class(document: Body, factor: float) -> Body:
    """The KWOKNodeClass that stands for a node class of AWS's provider."""
    seconds = registration_seconds(_family(document))
    metadata = {key: copy.deepcopy(dig(document, "metadata", key)) for key in ("name", "labels", "annotations")}
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": KIND,
        "metadata": {key: value for key, value in metadata.items() if value},
        # Its definition takes whole seconds only.
        "spec": {"nodeRegistrationDelay": f"{math.ceil(seconds / factor)}s"},
    }


def registration_seconds(family: str) -> float:
    """Seconds from an unschedulable pod to a node that offers its GPU, for a family of operating systems.

    As the cold start is planned (`plan.cold_start`): claim, boot, registration of the GPU.
    """
    node = catalog().node
    register = node["registerGpuSeconds"]
    return float(node["nodeClaimSeconds"] + node["bootSeconds"] + register.get(family, register["al2023"]))


def _referring(pool: Body, reserving: Collection[str]) -> Body:
    body: dict[str, Any] = copy.deepcopy(dict(pool))
    spec = body["spec"]["template"]["spec"]
    spec["nodeClassRef"] |= {"group": GROUP, "kind": KIND}
    requirements = spec.get("requirements") or []
    allowed = all(holds(each, {CAPACITY_TYPE: RESERVED}) for each in requirements if each["key"] == CAPACITY_TYPE)
    if allowed and spec["nodeClassRef"].get("name") not in reserving:
        spec["requirements"] = [*requirements, {"key": CAPACITY_TYPE, "operator": "NotIn", "values": [RESERVED]}]
    return body


def _is_node_class(document: Body) -> bool:
    return _KINDS.get(str(document.get("apiVersion", "")).partition("/")[0]) == document.get("kind")


def _family(document: Body) -> str:
    """The operating system; Auto Mode's nodes run Bottlerocket (Amazon EKS User Guide)."""
    found = NodeClass(Document(document))
    return "bottlerocket" if found.auto_mode else found.family


def _name(document: Body) -> str:
    return f"{document['kind']}/{dig(document, 'metadata', 'name', default='')}"
