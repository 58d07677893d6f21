"""LLM007."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import POD_TEMPLATE_PATHS, Document
from chartproof.rules._pods import all_containers
from chartproof.rules.registry import Context, rule
from chartproof.workload import ImageReference

#: Tags that are moved, alone or with a platform behind or before them; `nightly-<commit>` stays put.
_FLOATING = re.compile(
    r"(cu\d+-)?(latest|nightly|main|master|head|dev|devel|develop|edge|stable|rolling|canary|snapshot|release)"
    r"(-(cu\d+|x86_64|aarch64|amd64|arm64|runtime|ubuntu\d+|gpu|cuda|slim|alpine))*",
    re.IGNORECASE,
)


@rule(id="LLM007", name="floating-image-tag", severity=Severity.ERROR, kinds=tuple(POD_TEMPLATE_PATHS))
def floating_image_tag(document: Document, context: Context) -> Iterator[Finding]:
    """An image is not pinned: its tag moves, or it has none.

    What:
        A container's image has no tag or digest, or one that its project moves (`latest`, `nightly`,
        `main`, `dev`, ...).

    Why it hurts:
        A new node pulls another program than its neighbours run. Engines rename options and metrics
        every few weeks: replicas that start during a burst crash, or scale on metrics that are gone.

    Bad:
        `image: vllm/vllm-openai:latest`

    Good:
        `image: vllm/vllm-openai:v0.33.0`, or a digest.

    References:
        https://kubernetes.io/docs/concepts/containers/images/#image-names
        https://docs.vllm.ai/en/latest/usage/metrics.html
    """
    for pod in document.pod_templates:
        for container, path in all_containers(pod):
            written = str(container.get("image") or "")
            image = ImageReference.parse(written)
            if not written or image.digest or "$" in written:
                continue
            if not image.tag or _FLOATING.fullmatch(image.tag):
                problem = f"the tag {image.tag!r} moves" if image.tag else "it has no tag"
                yield context.finding(
                    document,
                    f"image {written!r} of container {container.get('name')!r} is not pinned: {problem}",
                    path=f"{path}.image",
                    hint="write a release tag such as v0.33.0, or a digest",
                )
