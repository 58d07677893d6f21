"""Karpenter's kwok provider in the place of AWS's: NodePools that name an EC2NodeClass name a KWOKNodeClass instead.

The kwok provider ignores NodePools of other node classes (karpenter v1.14 `nodepoolutils.IsManaged`). Its class has one
field, how long a node takes to register, which is what a machine of the EC2NodeClass's operating system takes by the
catalog. The EC2NodeClass stays in the cluster beside it, under the same name.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

from chartproof.catalog import catalog
from chartproof.cluster.time_scale import Body, Change
from chartproof.pool import AWS_GROUP, NodeClass
from chartproof.release import Document, dig

GROUP = "karpenter.kwok.sh"
KIND = "KWOKNodeClass"

_AWS_KIND = "EC2NodeClass"


def played(documents: Iterable[Body], factor: float) -> tuple[list[Body], list[Change]]:
    """The documents with a KWOKNodeClass behind every EC2NodeClass, and NodePools that refer to it; and what changed.

    `factor` is how many times as fast the cluster's time runs. A NodePool whose class is of another release is
    rewritten too: that release brought the KWOKNodeClass. Classes of EKS Auto Mode are left alone.
    """
    result, changes = list[Body](), list[Change]()
    for document in documents:
        reference = dig(document, "spec", "template", "spec", "nodeClassRef", default={})
        if _is(document, "karpenter.sh", "NodePool") and dig(reference, "group") == AWS_GROUP:
            result.append(_referring(document))
            before, after = f"{_AWS_KIND}.{AWS_GROUP}", f"{KIND}.{GROUP}"
            changes.append(Change(_name(document), "spec.template.spec.nodeClassRef", before, after))
            continue
        result.append(document)
        if _is(document, AWS_GROUP, _AWS_KIND):
            result.append(node_class(document, factor))
            seconds = registration_seconds(NodeClass(Document(document)).family)
            delay = dig(result[-1], "spec", "nodeRegistrationDelay")
            name = dig(document, "metadata", "name")
            changes.append(Change(f"{KIND}/{name}", "spec.nodeRegistrationDelay", f"{seconds:g}s", delay))
    return result, changes


def node_class(ec2: Body, factor: float) -> Body:
    """The KWOKNodeClass that stands for an EC2NodeClass."""
    seconds = registration_seconds(NodeClass(Document(ec2)).family)
    metadata = {key: copy.deepcopy(dig(ec2, "metadata", key)) for key in ("name", "labels", "annotations")}
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


def _referring(pool: Body) -> Body:
    body: dict[str, Any] = copy.deepcopy(dict(pool))
    body["spec"]["template"]["spec"]["nodeClassRef"] |= {"group": GROUP, "kind": KIND}
    return body


def _is(document: Body, group: str, kind: str) -> bool:
    return document.get("kind") == kind and str(document.get("apiVersion", "")).partition("/")[0] == group


def _name(document: Body) -> str:
    return f"{document['kind']}/{dig(document, 'metadata', 'name', default='')}"
