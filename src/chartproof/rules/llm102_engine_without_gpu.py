"""LLM102."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import GPU_RESOURCE, engine_containers


@rule(id="LLM102", name="engine-without-gpu", severity=Severity.ERROR, kinds=SERVING)
def engine_without_gpu(document: Document, context: Context) -> Iterator[Finding]:
    """A GPU engine asks for no GPU.

    What:
        A container runs vLLM or SGLang from an image for NVIDIA GPUs and neither limits nor requests
        `nvidia.com/gpu`. Images for CPUs or other accelerators, MIG slices and device claims are fine.

    Why it hurts:
        The pod is scheduled anywhere, sees no GPU and ends with "Failed to infer device type". On a node
        whose runtime hands out all devices it takes GPUs that belong to other pods.

    Bad:
        `resources: {limits: {memory: 24Gi}}`

    Good:
        `resources: {limits: {nvidia.com/gpu: 1, memory: 24Gi}}`

    References:
        https://kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus/
        https://docs.vllm.ai/en/latest/deployment/k8s.html
    """
    for engine in engine_containers(document):
        asked = any(dig(engine.container, "resources", side, GPU_RESOURCE) for side in ("limits", "requests"))
        if engine.uses_nvidia_gpus and not asked:
            yield context.finding(
                document,
                f"{engine} runs {engine.engine} and asks for no {GPU_RESOURCE}",
                path=f"{engine.path}.resources.limits",
                hint=f"add {GPU_RESOURCE}: {engine.tensor_parallel_size * engine.pipeline_parallel_size}",
            )
