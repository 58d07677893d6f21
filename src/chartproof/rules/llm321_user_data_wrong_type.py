"""LLM321."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.bottlerocket import type_problem
from chartproof.release import Document
from chartproof.rules._nodes import user_data_of
from chartproof.rules.registry import Context, rule


@rule(id="LLM321", name="user-data-wrong-type", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def user_data_wrong_type(document: Document, context: Context) -> Iterator[Finding]:
    """A Bottlerocket setting has the wrong type, or a value outside its list.

    What:
        A setting is an integer where a string is wanted, a string where an integer or boolean is wanted, or a
        word that is not among the legal ones. For `settings.kubernetes` Karpenter's types count: there,
        `image-gc-high-threshold-percent` is a string.

    Why it hurts:
        Karpenter cannot decode the user data and every launch fails; other tables reach the node, whose boot
        stops with HTTP 400. Karpenter tries again every 15 minutes.

    Bad:
        `image-gc-high-threshold-percent = 85`

    Good:
        `image-gc-high-threshold-percent = "85"`

    References:
        https://github.com/aws/karpenter-provider-aws/blob/main/pkg/providers/amifamily/bootstrap/bottlerocketsettings.go
        https://github.com/bottlerocket-os/bottlerocket/issues/1346
    """
    data = user_data_of(document)
    for setting in data.settings if data is not None else ():
        problem = type_problem(setting)
        if problem:
            wanted = problem.partition("must be ")[2]
            yield context.finding(document, f"{setting} {problem}", path="spec.userData", hint=f"write {wanted}")
    for name, command in _bootstrap_commands(document):
        if "mode" not in command:
            yield context.finding(
                document,
                f"settings.bootstrap-commands.{name} has no mode: Karpenter writes mode = '', which does not boot",
                path="spec.userData",
                hint='add mode = "always"',
            )


def _bootstrap_commands(document: Document) -> Iterator[tuple[str, set[str]]]:
    """Names of the user's own bootstrap commands, each with the keys it has."""
    data = user_data_of(document)
    keys: dict[str, set[str]] = {}
    for setting in data.settings if data is not None else ():
        if setting.group == "bootstrap-commands" and len(setting.path) > 2:  # noqa: PLR2004 - group, name, key
            keys.setdefault(setting.path[1], set()).add(setting.path[2])
    yield from keys.items()
