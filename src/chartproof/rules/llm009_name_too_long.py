"""LLM009."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules.registry import Context, rule

#: Kinds whose names are bound tighter than a DNS subdomain's 253 characters, and by what.
_LIMITS = {
    "ScaledObject": (54, "KEDA names its HPA keda-hpa-<name> and puts that into a label of 63 characters"),
    "CronJob": (52, "its Jobs get 11 more characters and must stay within 63"),
    "Job": (63, "its name becomes a label of its pods"),
    "StatefulSet": (52, "its pods carry <name>-<hash> as a label of 63 characters"),
    "LeaderWorkerSet": (49, "its StatefulSets are named <name>-<group> and their pods carry <name>-<hash> as a label"),
    "Service": (63, "a Service's name is a DNS label"),
    "Namespace": (63, "a namespace's name is a DNS label"),
}
_SUBDOMAIN = 253
_LABEL = 63


@rule(id="LLM009", name="name-too-long", severity=Severity.ERROR)
def name_too_long(document: Document, context: Context) -> Iterator[Finding]:
    """A name or label value is longer than what is made from it may be.

    What:
        A ScaledObject's name above 54 characters, a CronJob's or StatefulSet's above 52, a Service's or
        Job's above 63, any above 253; a label value or the name part of a label key above 63.

    Why it hurts:
        The API server refuses the object, or, worse, accepts it and a controller fails to make its own
        from it: a ScaledObject without an HPA never scales. Long release names get there in production
        only.

    Bad:
        ScaledObject `production-europe-qwen2-5-72b-instruct-awq-vllm-autoscaler` (58 characters).

    Good:
        Object names of at most 46 characters, so that suffixes have room.

    References:
        https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
        https://keda.sh/docs/latest/concepts/scaling-deployments/
    """
    limit, reason = _LIMITS.get(document.kind, (_SUBDOMAIN, "names are DNS subdomains"))
    if len(document.name) > limit:
        yield context.finding(
            document,
            f"the name has {len(document.name)} characters, {document.kind} allows {limit}: {reason}",
            path="metadata.name",
            hint=f"shorten it to {limit} characters",
        )
    places = [("metadata.labels", document.labels)]
    places += [(each.path_of("metadata", "labels"), each.labels) for each in document.pod_templates if each.path]
    for path, labels in places:
        for key, value in labels.items():
            for what, text in (("value", str(value)), ("key", str(key).rpartition("/")[2])):
                if len(text) > _LABEL:
                    yield context.finding(
                        document,
                        f"the {what} of label {key!r} has {len(text)} characters, {_LABEL} are allowed",
                        path=f"{path}.{key}",
                        hint="shorten it, or move it to an annotation",
                    )
