"""LLM710."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._probes import probe
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

#: Kubernetes' default of `progressDeadlineSeconds`.
_DEFAULT_SECONDS = 600
_TOLERANCE_SECONDS = 30


@rule(id="LLM710", name="progress-deadline-below-startup", severity=Severity.ERROR, kinds=("Deployment",))
def progress_deadline_below_startup(document: Document, context: Context) -> Iterator[Finding]:
    """The rollout is declared failed while a pod is still allowed to start.

    What:
        `progressDeadlineSeconds` is below the startup probe's budget. Warning where it is not written
        (600 by default).

    Why it hurts:
        `helm --wait`, `kubectl rollout status` and GitOps tools report a failure and roll back an update
        that is only loading its model.

    Bad:
        `progressDeadlineSeconds: 300` with a startup budget of 900 s.

    Good:
        `progressDeadlineSeconds: 1800`: the startup budget, and the time for node and image.

    References:
        https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#progress-deadline-seconds
    """
    written = document.get("spec", "progressDeadlineSeconds")
    deadline = written if isinstance(written, int) else _DEFAULT_SECONDS
    for engine in engine_containers(document):
        found = probe(engine, "startupProbe")
        # A budget just above the default was chosen for the default.
        if found is None or found.budget <= deadline + (0 if written is not None else _TOLERANCE_SECONDS):
            continue
        finding = context.finding(
            document,
            f"{engine} may take {found.budget} s to start, the rollout is given up after {deadline} s"
            + ("" if written is not None else " (the default)"),
            path="spec.progressDeadlineSeconds",
            hint=f"write progressDeadlineSeconds: {found.budget + _DEFAULT_SECONDS}",
        )
        yield finding if written is not None else replace(finding, severity=Severity.WARNING)
