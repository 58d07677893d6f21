"""LLM405."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._pods import security
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

_HOW = {
    "allowPrivilegeEscalation": "allowPrivilegeEscalation: false",
    "seccompProfile": "seccompProfile: {type: RuntimeDefault}",
    "capabilities": "capabilities: {drop: [ALL]}",
    "runAsNonRoot": "runAsNonRoot: true",
}
#: With this many hardenings in place, a missing one was forgotten rather than never meant.
_MEANT = 2


@rule(
    id="LLM405",
    name="weak-security-context",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def weak_security_context(document: Document, context: Context) -> Iterator[Finding]:
    """An engine's security context is weaker than the restricted standard.

    What:
        Of no privilege escalation, a seccomp profile, all capabilities dropped and a non-root user, something
        is switched off explicitly, or is missing while others are set (warnings); a note where nothing is set
        at all.

    Why it hurts:
        A hole in the engine or in a model's code gives more than it must: setuid programs, raw sockets, every
        system call, files of root.

    Bad:
        `allowPrivilegeEscalation: true`

    Good:
        `allowPrivilegeEscalation: false`, `runAsNonRoot: true`, `capabilities: {drop: [ALL]}`,
        `seccompProfile: {type: RuntimeDefault}`

    References:
        https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    for engine in engine_containers(document):
        weakened = list(_weakened(engine))
        for what, field in weakened:
            yield context.finding(
                document,
                f"{engine} {what}",
                path=f"{engine.path}.securityContext.{field}",
                hint=f"write {_HOW[field]}",
            )
        states = _hardenings(engine)
        missing = [name for name, there in states.items() if not there and name not in {field for _, field in weakened}]
        if not missing or security(engine.pod, engine.container, "privileged") is True:
            continue
        found = context.finding(
            document,
            f"{engine} lacks {', '.join(_HOW[name] for name in missing)}",
            path=f"{engine.path}.securityContext",
            hint="complete the restricted standard of pod security",
        )
        yield found if sum(states.values()) >= _MEANT else replace(found, severity=Severity.NOTE)


def _hardenings(engine: EngineContainer) -> dict[str, bool]:
    """Which of the four are in place."""
    user = security(engine.pod, engine.container, "runAsUser")
    dropped = dig(engine.container, "securityContext", "capabilities", "drop", default=[]) or []
    return {
        "allowPrivilegeEscalation": dig(engine.container, "securityContext", "allowPrivilegeEscalation") is False,
        "seccompProfile": dig(security(engine.pod, engine.container, "seccompProfile"), "type")
        in {"RuntimeDefault", "Localhost"},
        "capabilities": any(str(each).upper() == "ALL" for each in dropped),
        "runAsNonRoot": security(engine.pod, engine.container, "runAsNonRoot") is True
        or (isinstance(user, int) and user > 0),
    }


def _weakened(engine: EngineContainer) -> Iterator[tuple[str, str]]:
    """What is switched off explicitly, with its field."""
    if dig(engine.container, "securityContext", "allowPrivilegeEscalation") is True:
        yield "may escalate its privileges", "allowPrivilegeEscalation"
    if dig(security(engine.pod, engine.container, "seccompProfile"), "type") == "Unconfined":
        yield "has no seccomp filter", "seccompProfile"
    if security(engine.pod, engine.container, "runAsUser") == 0:
        yield "is told to run as root", "runAsNonRoot"
    elif security(engine.pod, engine.container, "runAsNonRoot") is False:
        yield "is allowed to run as root", "runAsNonRoot"
