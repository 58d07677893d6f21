"""Claims of storage, and the CSI driver and StorageClass of AWS that must be behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chartproof.aws.facts import Driver, drivers
from chartproof.aws.target import Target, file_name
from chartproof.release import Document, Release, dig

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the release and what serves it.

    `driver` is None where neither class nor volume tells; `brought` says whether the release has the StorageClass
    (or the volume) itself; `guessed` that the driver is told by the class's name alone.
    """

    name: str
    storage_class: str
    access_modes: tuple[str, ...]
    size: str
    driver: Driver | None
    brought: bool
    guessed: bool


def claims(release: Release) -> list[Claim]:
    """All claims: objects of their own, claim templates of StatefulSets, and ephemeral volumes."""
    return [_claim(name, spec, release) for name, spec in _specifications(release)]


def _specifications(release: Release) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for document in release.of_kind("PersistentVolumeClaim"):
        yield document.identity, document.get("spec", default={})
    for document in release.workloads:
        for template in document.get("spec", "volumeClaimTemplates", default=[]) or []:
            name = dig(template, "metadata", "name", default="")
            yield f"{document.identity} claim {name}", dig(template, "spec", default={})
        for pod in document.pod_templates:
            for volume in pod.spec.get("volumes") or []:
                spec = dig(volume, "ephemeral", "volumeClaimTemplate", "spec")
                if isinstance(spec, Mapping):
                    yield f"{document.identity} volume {dig(volume, 'name', default='')}", spec


def _claim(name: str, spec: Mapping[str, Any], release: Release) -> Claim:
    wanted = str(spec.get("storageClassName") or "")
    driver, brought, guessed = _driver(wanted, spec, release)
    return Claim(
        name,
        wanted,
        tuple(str(each) for each in spec.get("accessModes") or ()),
        str(dig(spec, "resources", "requests", "storage", default="")),
        driver,
        brought,
        guessed,
    )


def _driver(wanted: str, spec: Mapping[str, Any], release: Release) -> tuple[Driver | None, bool, bool]:
    volume = release.find("PersistentVolume", str(spec.get("volumeName") or ""))
    if volume is not None:
        return drivers().get(_text(volume, "spec", "csi", "driver")), True, False
    storage_class = release.find("StorageClass", wanted) if wanted else None
    if storage_class is not None:
        return drivers().get(_text(storage_class, "provisioner")), True, False
    for driver in drivers().values():
        if driver.class_name and re.search(driver.class_name, wanted):
            return driver, False, True
    return None, False, False


def _text(document: Document, *path: str) -> str:
    return str(document.get(*path, default=""))


def storage_class(name: str, driver: Driver) -> dict[str, Any] | None:
    """A StorageClass of that name for the driver, None where the driver has none."""
    if driver.parameters is None:
        return None
    body: dict[str, Any] = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": driver.name,
        "parameters": dict(driver.parameters),
    }
    if driver.name.startswith("ebs."):
        body["volumeBindingMode"] = "WaitForFirstConsumer"
    return body


def describe(claim: Claim, target: Target) -> Json:
    """What must stand behind a claim."""
    driver = claim.driver
    manifest = (
        storage_class(claim.storage_class, driver)
        if driver is not None and claim.storage_class and not claim.brought
        else None
    )
    commands = []
    if driver is not None and driver.addon:
        commands.append(
            f"aws eks create-addon --region {target.region} --cluster-name {target.cluster} --addon-name {driver.addon}"
        )
    return {
        "claim": claim.name,
        "storageClass": claim.storage_class or None,
        "accessModes": list(claim.access_modes),
        "size": claim.size or None,
        "driver": driver.name if driver else None,
        "title": driver.title if driver else None,
        "driverToldByClassName": claim.guessed,
        "classBroughtByRelease": claim.brought,
        "driverRolePolicy": target.managed_policy_arn(driver.managed_policy)
        if driver and driver.managed_policy
        else None,
        "resource": driver.resource if driver else None,
        "storageClassManifest": manifest,
        "files": {file_name("storage-class", f"{claim.storage_class}.json"): "storageClassManifest"}
        if manifest
        else {},
        "commands": commands,
    }


def warnings(found: Sequence[Claim]) -> list[str]:
    """Claims of which nobody can tell what serves them."""
    return [
        f"{each.name}: neither its StorageClass {each.storage_class or '(the default)'} nor a volume of the release"
        " tells which driver serves it"
        + (", and not every driver can be mounted by several nodes" if "ReadWriteMany" in each.access_modes else "")
        for each in found
        if each.driver is None
    ]
