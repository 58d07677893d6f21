"""LLM323."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._nodes import user_data_of
from chartproof.rules.registry import Context, rule

_SOCI = ("container-runtime-plugins", "soci-snapshotter")
_TUNED = ("max-concurrent-downloads-per-image", "max-concurrent-unpacks-per-image")


@rule(id="LLM323", name="soci-untuned", severity=Severity.WARNING, kinds=("EC2NodeClass",))
def soci_untuned(document: Document, context: Context) -> Iterator[Finding]:
    """SOCI is chosen without its parallel settings, or tuned without being chosen.

    What:
        Bottlerocket user data sets `snapshotter = "soci"` and leaves the downloads or unpacks per image at
        their defaults (3 and 1), or sets them while the snapshotter stays overlayfs.

    Why it hurts:
        A vLLM image is 9 GB and more. With one unpack at a time SOCI is no faster than what it replaces;
        without the snapshotter the settings do nothing. Minutes of every cold start depend on it.

    Bad:
        `[settings.container-runtime]` with `snapshotter = "soci"` alone

    Good:
        also `max-concurrent-downloads-per-image = 20` and `max-concurrent-unpacks-per-image = 12` in
        `[settings.container-runtime-plugins.soci-snapshotter.parallel-pull-unpack]`

    References:
        https://bottlerocket.dev/en/os/latest/#/api/settings/container-runtime-plugins/
        https://github.com/aws-samples/karpenter-blueprints/tree/main/blueprints/soci-snapshotter
    """
    data = user_data_of(document)
    if data is None:
        return
    chosen = data.get("container-runtime", "snapshotter") == "soci"
    missing = [key for key in _TUNED if data.get(*_SOCI, "parallel-pull-unpack", key) is None]
    if chosen and missing:
        yield context.finding(
            document,
            f"SOCI without {' and '.join(missing)}: by default it takes 3 downloads and 1 unpack at a time",
            path="spec.userData",
            hint="set max-concurrent-downloads-per-image = 20 and max-concurrent-unpacks-per-image = 12",
        )
    elif not chosen and data.has(*_SOCI):
        yield context.finding(
            document,
            "SOCI is configured, but the snapshotter is not soci",
            path="spec.userData",
            hint='add snapshotter = "soci" to [settings.container-runtime]',
        )
