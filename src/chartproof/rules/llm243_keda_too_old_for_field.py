"""LLM243."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.autoscaler import Autoscaler, keda_version
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule
from chartproof.versions import Version, format_version


def _fields(document: Document, scaler: Autoscaler) -> Iterator[tuple[str, Version, bool]]:
    behavior = document.get("spec", "fallback", "behavior", default="")
    yield "spec.fallback.behavior", (2, 17, 0), bool(behavior)
    yield "spec.fallback.behavior", (2, 20, 0), behavior == "scalingModifiers"
    formula = scaler.modifiers.formula if scaler.modifiers else ""
    yield "spec.advanced.scalingModifiers.formula", (2, 20, 0), "??" in formula
    yield "spec.advanced.scalingModifiers", (2, 12, 0), scaler.modifiers is not None
    rules = ("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior")
    for side in ("scaleUp", "scaleDown"):
        present = document.get(*rules, side, "tolerance") is not None
        yield ".".join((*rules, side, "tolerance")), (2, 18, 0), present
    for trigger in scaler.triggers:
        yield f"{trigger.path}.metadata.timeout", (2, 17, 0), trigger.is_prometheus and "timeout" in trigger.metadata


@rule(id="LLM243", name="keda-too-old-for-field", severity=Severity.ERROR, kinds=("ScaledObject",))
def keda_too_old_for_field(document: Document, context: Context) -> Iterator[Finding]:
    """The installed KEDA is too old for a field that the ScaledObject uses.

    What:
        The release installs a KEDA operator whose version does not know a field, or a value, that a
        ScaledObject of the release uses.

    Why it hurts:
        The API server drops unknown fields, or refuses the object. A fallback behaviour, a tolerance or a
        timeout that was written is not there.

    Bad:
        `fallback.behavior: scalingModifiers` with KEDA 2.19.

    Good:
        KEDA 2.20 or newer.

    References:
        https://github.com/kedacore/keda/blob/main/CHANGELOG.md
    """
    version = keda_version(context.release)
    if version is None:
        return
    for path, since, present in _fields(document, view(document, context)):
        if present and version < since:
            yield context.finding(
                document,
                f"{path} needs KEDA {format_version(since)}, the release installs {format_version(version)}",
                path=path,
                hint=f"install KEDA {format_version(since)} or newer",
            )
