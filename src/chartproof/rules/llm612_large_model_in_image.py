"""LLM612."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.plan.workload_plan import delivery_of
from chartproof.release import Document, dig
from chartproof.rules._weights import weights_bytes
from chartproof.rules.registry import Context, rule
from chartproof.workload import DELIVERY_ANNOTATION, engine_containers

#: Weights above this double the time of pulling the engine's image itself.
_LARGE_BYTES = 10 * 10**9


@rule(
    id="LLM612",
    name="large-model-in-image",
    severity=Severity.NOTE,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def large_model_in_image(document: Document, context: Context) -> Iterator[Finding]:
    """A large model is baked into the engine's image.

    What:
        The model path of an engine lies inside its own image (no volume covers it) or in an image volume, and
        the weights take more than 10 GB.

    Why it hurts:
        A layer unpacks as one stream on one core: the layer with the weights bounds the pull, and every new
        engine version or weight revision moves all of it again.

    Bad:
        an image with 16 GB of weights

    Good:
        the engine's image, and weights streamed from S3 or on a volume

    References:
        https://docs.aws.amazon.com/eks/latest/userguide/ml-inference-recommendations.html
    """
    for engine in engine_containers(document):
        weights = weights_bytes(engine, context.release)
        told = engine.pod.annotations.get(DELIVERY_ANNOTATION) or delivery_of(engine)
        image_volume = any(
            "image" in each and engine.model.startswith(str(dig(mount, "mountPath", default="?")))
            for each in engine.pod.spec.get("volumes") or []
            for mount in engine.container.get("volumeMounts") or []
            if dig(mount, "name") == each.get("name")
        )
        if weights is not None and weights > _LARGE_BYTES and (told == "image" or image_volume):
            yield context.finding(
                document,
                f"{weights / 1e9:.1f} GB of weights travel inside an image",
                path=f"{engine.path}.image",
                hint="stream them from S3, or keep them on a volume",
            )
