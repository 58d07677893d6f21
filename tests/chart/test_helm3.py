"""Who still has Helm 3 deploys the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from chartproof import helm, toolchain
from chartproof.release import Release
from chartproof.toolchain import pins
from tests import presets

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def helm3() -> Path:
    path = toolchain.find("helm3").path
    if path is None:
        pytest.skip("helm 3 is not there: chartproof toolchain build helm3, or set CHARTPROOF_HELM3")
    return path


def _rendered(release: Release) -> list[tuple[str, object]]:
    return [(each.source, each.body) for each in release.documents]


@pytest.mark.parametrize("stem", presets.STEMS)
def test_both_helms_render_the_same_documents(stem: str, helm3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_helm4 = presets.render(stem)
    monkeypatch.setattr(helm, "program", lambda: helm3)
    by_helm3 = helm.render(helm.Rendering(presets.CHART, stem, helm.release_name(stem), (presets.path_of(stem),)))
    assert by_helm3.argv[0] == str(helm3) != by_helm4.argv[0]
    assert _rendered(by_helm3) == _rendered(by_helm4)
    assert by_helm3.documents


def test_helm_3_and_kind_are_built_only_for_those_who_ask() -> None:
    assert set(pins.programs()) - set(pins.usual()) == {"helm3", "kind"}
