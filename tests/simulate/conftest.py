from __future__ import annotations

import pytest
import yaml

from chartproof.simulate.run import Subject, subject_of
from tests import presets

DISAGGREGATED = "llama-3.3-70b-fp8-g7e-disaggregated"
#: Presets of a model that KEDA scales; the others have nothing to simulate. Roles are refused (test_run.py).
AUTOSCALED = tuple(
    stem
    for stem in presets.STEMS
    if (yaml.safe_load(presets.path_of(stem).read_text(encoding="utf-8")).get("autoscaling") or {}).get("enabled")
    and stem != DISAGGREGATED
)
SERVERLESS = "llama-3.1-8b-g6e-serverless"


@pytest.fixture(scope="session")
def serverless() -> Subject:
    """Zero to eight replicas, spot before on demand, woken by its ingress."""
    return subject_of(presets.render(SERVERLESS))
