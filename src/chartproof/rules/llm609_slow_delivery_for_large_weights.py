"""LLM609."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.catalog import catalog
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._weights import on_efs, weights_bytes, weights_mount
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

#: Longest read of the weights at one replica's start that is still in line with the other phases of a cold start.
_LONGEST_SECONDS = 180


@rule(
    id="LLM609",
    name="slow-delivery-for-large-weights",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def slow_delivery_for_large_weights(document: Document, context: Context) -> Iterator[Finding]:
    """Very large weights are read from EFS at every start.

    What:
        The model path lies on EFS, and reading the weights at what one mount gives takes more than three
        minutes.

    Why it hurts:
        EFS gives one client some hundred MB/s: 894 GiB took 43 minutes. Every scale-up waits for it, and
        replicas that start together share the file system's throughput.

    Bad:
        140 GB of weights on EFS

    Good:
        streaming from S3, FSx for Lustre, or a download to the node's NVMe disks

    References:
        https://docs.aws.amazon.com/efs/latest/ug/performance.html
    """
    for engine in engine_containers(document):
        weights, mount = weights_bytes(engine, context.release), weights_mount(engine)
        if weights is None or mount is None or not on_efs(mount, document, context.release):
            continue
        rate = float(catalog().deliveries["volume"]["megabytesPerSecond"])
        seconds = weights / 1e6 / rate
        if seconds > _LONGEST_SECONDS:
            yield context.finding(
                document,
                f"{weights / 1e9:.0f} GB from EFS at about {rate:.0f} MB/s take {seconds / 60:.0f} minutes per start",
                path=f"{engine.path}.volumeMounts",
                hint="stream from S3, use FSx for Lustre, or download to NVMe",
            )
