"""LLM329."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chartproof.findings import Finding, Severity
from chartproof.languages.quantity import bytes_of, format_bytes
from chartproof.release import Document, dig
from chartproof.rules._nodes import operating_systems, throughput_of
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM329",
    name="throughput-above-quarter-iops",
    severity=Severity.ERROR,
    kinds=("EC2NodeClass", "NodeClass", "StorageClass"),
)
def throughput_above_quarter_iops(document: Document, context: Context) -> Iterator[Finding]:
    """A gp3 volume asks for more than its other figures allow.

    What:
        Throughput in MiB/s is above a quarter of the IOPS (3000 where none are given), or IOPS are above 500
        per GiB.

    Why it hurts:
        EC2 refuses the volume, so every launch (or every claim of the StorageClass) fails. The API server does
        not check.

    Bad:
        `{volumeType: gp3, throughput: 1000}` (3000 IOPS allow 750)

    Good:
        `{volumeType: gp3, throughput: 1000, iops: 4000}`

    References:
        https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
    """
    for path, ebs in _volumes(document):
        asked = throughput_of(ebs)
        if asked is None:
            continue
        throughput, iops = asked
        gp3 = operating_systems()["gp3"]
        if throughput > iops * gp3["throughputPerIops"]:
            yield context.finding(
                document,
                f"{throughput:g} MiB/s need {throughput / gp3['throughputPerIops']:g} IOPS, the volume has {iops:g}",
                path=path,
                hint=f"set iops to at least {throughput / gp3['throughputPerIops']:g}",
            )
        size = bytes_of(ebs.get("volumeSize") or ebs.get("size"))
        if size and iops > max(gp3["leastIops"], gp3["iopsPerGibibyte"] * size / 1024**3):
            yield context.finding(
                document,
                f"{iops:g} IOPS need {iops / gp3['iopsPerGibibyte']:g} GiB, the volume has {format_bytes(size)}",
                path=path,
                hint="enlarge the volume, or ask for fewer IOPS",
            )


def _volumes(document: Document) -> Iterator[tuple[str, Mapping[str, object]]]:
    """gp3 settings of a document with their path; a StorageClass's are strings."""
    if document.kind == "StorageClass":
        parameters = document.get("parameters", default={})
        if str(document.get("provisioner", default="")).startswith("ebs.csi"):
            yield "parameters", {**parameters, "volumeType": parameters.get("type")}
        return
    if document.kind == "NodeClass":
        yield "spec.ephemeralStorage", document.get("spec", "ephemeralStorage", default={})
        return
    for i, mapping in enumerate(document.get("spec", "blockDeviceMappings", default=[]) or []):
        yield f"spec.blockDeviceMappings[{i}].ebs", dig(mapping, "ebs", default={})
