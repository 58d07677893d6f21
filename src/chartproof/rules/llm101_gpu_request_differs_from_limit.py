"""LLM101."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chartproof.findings import Finding, Severity
from chartproof.release import POD_TEMPLATE_PATHS, Document, dig
from chartproof.rules._pods import all_containers
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM101",
    name="gpu-request-differs-from-limit",
    severity=Severity.ERROR,
    kinds=tuple(POD_TEMPLATE_PATHS),
)
def gpu_request_differs_from_limit(document: Document, context: Context) -> Iterator[Finding]:
    """GPUs requested and GPUs limited are not the same whole number.

    What:
        `nvidia.com/gpu` (or another `nvidia.com/` resource) has a request without a limit, a request
        other than the limit, or a number that is not whole.

    Why it hurts:
        The API server refuses pods like that, but only when the Deployment's controller makes them: the
        install succeeds and no pod ever appears.

    Bad:
        `requests: {nvidia.com/gpu: 1}` and `limits: {nvidia.com/gpu: 2}`.

    Good:
        The same number on both sides; a limit alone is a request, too.

    References:
        https://kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus/
    """
    for pod in document.pod_templates:
        for container, path in all_containers(pod):
            limits = _devices(container, "limits")
            requests = _devices(container, "requests")
            for resource in sorted({*limits, *requests}):
                problem = _problem(limits.get(resource), requests.get(resource))
                if problem:
                    yield context.finding(
                        document,
                        f"container {container.get('name')!r}: {resource} {problem}",
                        path=f"{path}.resources",
                        hint=f"write the same whole number of {resource} as request and as limit",
                    )


def _devices(container: Mapping[str, object], side: str) -> dict[str, str]:
    found = dig(container, "resources", side, default={})
    if not isinstance(found, Mapping):
        return {}
    return {str(key): str(value) for key, value in found.items() if str(key).startswith("nvidia.com/")}


def _problem(limit: str | None, request: str | None) -> str:
    for side, value in (("limit", limit), ("request", request)):
        if value is not None and not value.isdigit():
            return f"{side} {value!r} is not a whole number"
    if limit is None:
        return f"is requested ({request}) without a limit"
    if request is not None and int(request) != int(limit):
        return f"request {request} differs from limit {limit}"
    return ""
