"""Manifests that no API server would take end in findings, never in a traceback."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chartproof import check, manifests
from chartproof.release import Release
from tests import presets

SPOILERS: tuple[Any, ...] = (None, "text", 7, -1.5, True, [], {}, [None], ["text"], {"text": None}, [[]], "\n")
PER_PRESET = 40


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def spoiled(release: Release, rng: random.Random) -> Release:
    """The release with one value of one document replaced by something else."""
    number = rng.randrange(len(release.documents))
    body = copy.deepcopy(dict(release.documents[number].body))
    *parents, last = rng.choice(list(places(body)))
    here: Any = body
    for step in parents:
        here = here[step]
    here[last] = rng.choice(SPOILERS)
    documents = list(release.documents)
    documents[number] = replace(documents[number], body=body)
    return replace(release, documents=tuple(documents))


@pytest.mark.slow
@pytest.mark.parametrize("stem", presets.STEMS)
def test_rules_only_stumble_over_what_the_schemas_refuse(stem: str) -> None:
    rng = random.Random(stem)  # noqa: S311  (the same cases in every run)
    good = presets.render(stem)
    releases = [replace(spoiled(good, rng), name=f"{stem} {number}") for number in range(PER_PRESET)]
    result = check.check(releases)
    assert len(result.releases) == PER_PRESET


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "kind: Deployment",
        "kind: {}\napiVersion: []",
        "kind: Deployment\napiVersion: apps/v1\nspec: null\nmetadata: null",
        "kind: Deployment\napiVersion: apps/v1\nspec: {template: {spec: {containers: vllm}}}\nmetadata: {name: 7}",
        "kind: ScaledObject\napiVersion: keda.sh/v1alpha1\nmetadata: []\nspec: {triggers: {type: cron}}",
        "kind: NodePool\napiVersion: karpenter.sh/v1\nmetadata: {name: [a]}\nspec: {template: {spec: {taints: a}}}",
        "kind: Service\napiVersion: v1\nmetadata: {name: a, labels: text, annotations: [a]}\nspec: {ports: 80}",
    ],
)
def test_malformed_manifest_is_a_finding(text: str) -> None:
    release = manifests.release_of(list(manifests.parse(text, origin="-")), "-", "default")
    result = check.check([release])
    assert result.releases[0].findings
