"""What the schemas accept and refuse is what the API server accepts and refuses; both engines say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chartproof.schema import Outcome, Verdict

Judge = Callable[[Sequence[dict[str, Any]]], dict[str, list[Verdict]]]
CONTAINER = ("spec", "template", "spec", "containers", 0)

ACCEPTED = {
    "null where a chart left an optional field empty": (
        "apps/deployment_v1",
        ("spec", "template", "spec", "affinity"),
        None,
    ),
    "null in a custom resource, which the server drops": (
        "keda.sh/scaledobject_v1alpha1",
        ("spec", "pollingInterval"),
        None,
    ),
    "null where the server fills in a default": (
        "karpenter.sh/nodepool_v1",
        ("spec", "disruption", "consolidationPolicy"),
        None,
    ),
    "a whole number with a fraction of zero": ("apps/deployment_v1", ("spec", "replicas"), 2.0),
    "a number as quantity": ("apps/deployment_v1", (*CONTAINER, "resources", "limits", "cpu"), 0.5),
    "a quantity with an exponent": ("apps/deployment_v1", (*CONTAINER, "resources", "limits", "memory"), "1.5e9"),
    "a name or a number as port": ("core/service_v1", ("spec", "ports", 0, "targetPort"), 8000),
    "an enumerated field that is empty": ("core/service_v1", ("spec", "type"), ""),
    "an empty label value": ("core/service_v1", ("metadata", "labels"), {"app": ""}),
    "a generated name": ("batch/job_v1", ("metadata",), {"generateName": "stage-"}),
    "unknown fields where they are preserved": (
        "monitoring.coreos.com/alertmanagerconfig_v1alpha1",
        ("spec", "route", "routes", 0, "anything"),
        {"at": "all"},
    ),
    "anything in raw data": ("apps/controllerrevision_v1", ("data", "anything"), [1, {"a": None}]),
    "a field of JSON schema that contains JSON schema": (
        "apiextensions.k8s.io/customresourcedefinition_v1",
        ("spec", "versions", 0, "schema", "openAPIV3Schema", "properties", "deep"),
        {"type": "object", "properties": {"deeper": {"type": "string", "x-kubernetes-int-or-string": True}}},
    ),
    "a colon in the name of a role": ("rbac.authorization.k8s.io/role_v1", ("metadata", "name"), "system:engine"),
    "a template's metadata without a name": ("apps/deployment_v1", ("spec", "template", "metadata"), {}),
    "control characters and emoji": ("core/configmap_v1", ("data", "text"), "\x7f\x85\ufeff🚀\u2028"),
}
REFUSED = {
    "null in a list": ("apps/deployment_v1", (*CONTAINER, "args"), [None]),
    "a number for a string": ("apps/deployment_v1", (*CONTAINER, "env", 0, "value"), 1),
    "a string for a number": ("apps/deployment_v1", ("spec", "replicas"), "2"),
    "true for a number": ("apps/deployment_v1", ("spec", "replicas"), True),
    "a fraction of a replica": ("apps/deployment_v1", ("spec", "replicas"), 1.5),
    "more than 32 bits hold": ("apps/deployment_v1", ("spec", "replicas"), 2**31),
    "a unit that no quantity has": ("apps/deployment_v1", (*CONTAINER, "resources", "limits", "memory"), "24GB"),
    "another case of an enumerated value": ("apps/deployment_v1", (*CONTAINER, "imagePullPolicy"), "always"),
    "an unknown value in a list of enumerated ones": ("core/service_v1", ("spec", "ipFamilies"), ["ipv4"]),
    "a label value with a plus sign": ("core/service_v1", ("metadata", "labels"), {"chart": "engine-0.1.0+build"}),
    "a label value of 64 characters": ("core/service_v1", ("metadata", "labels"), {"app": "a" * 64}),
    "a label key with a space": ("core/service_v1", ("metadata", "labels"), {"my app": "engine"}),
    "an annotation that is a number": ("core/service_v1", ("metadata", "annotations"), {"port": 8000}),
    "upper case in a name": ("core/configmap_v1", ("metadata", "name"), "Engine"),
    "a dot in the name of a Service": ("core/service_v1", ("metadata", "name"), "a.b"),
    "no name at all": ("core/configmap_v1", ("metadata",), {}),
    "a typing error in the metadata of a pod template": (
        "apps/deployment_v1",
        ("spec", "template", "metadata", "label"),
        {"app": "engine"},
    ),
    "a Deployment whose spec is null": ("apps/deployment_v1", ("spec",), None),
    "a pod template without a pod": (
        "apps/deployment_v1",
        ("spec", "template"),
        {"metadata": {"labels": {"app": "x"}}},
    ),
    "text that is not base64": ("core/secret_v1", ("data", "key"), "not base64!"),
    "a time without a zone": ("coordination.k8s.io/lease_v1", ("spec", "renewTime"), "2026-01-31T08:00:00"),
    "the apiVersion in a nodeClassRef": (
        "karpenter.sh/nodepool_v1",
        ("spec", "template", "spec", "nodeClassRef", "apiVersion"),
        "karpenter.k8s.aws/v1",
    ),
    "a policy of an older Karpenter": (
        "karpenter.sh/nodepool_v1",
        ("spec", "disruption", "consolidationPolicy"),
        "WhenUnderutilized",
    ),
    "a volume size that is a number": (
        "karpenter.k8s.aws/ec2nodeclass_v1",
        ("spec", "blockDeviceMappings", 0, "ebs", "volumeSize"),
        300,
    ),
    "a threshold that is a number": (
        "keda.sh/scaledobject_v1alpha1",
        ("spec", "triggers", 0, "metadata", "threshold"),
        20,
    ),
    "a replica count below zero": ("keda.sh/scaledobject_v1alpha1", ("spec", "minReplicaCount"), -1),
    "a wrong unit of a scrape interval": (
        "monitoring.coreos.com/servicemonitor_v1",
        ("spec", "endpoints", 0, "interval"),
        "15 seconds",
    ),
    "an address that is no IP": (
        "gateway.networking.k8s.io/gateway_v1",
        ("spec", "addresses", 0, "value"),
        "not an ip",
    ),
}


def changed(body: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    place: Any = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return body


@pytest.mark.parametrize("case", ACCEPTED)
def test_schemas_accept(case: str, good: Callable[[str], dict[str, Any]], judge: Judge) -> None:
    name, path, value = ACCEPTED[case]
    for engine, (verdict,) in judge([changed(good(name), path, value)]).items():
        assert verdict == Verdict(Outcome.VALID), engine


@pytest.mark.parametrize("case", REFUSED)
def test_schemas_refuse(case: str, good: Callable[[str], dict[str, Any]], judge: Judge) -> None:
    name, path, value = REFUSED[case]
    for engine, (verdict,) in judge([changed(good(name), path, value)]).items():
        assert verdict.outcome is Outcome.INVALID, engine
