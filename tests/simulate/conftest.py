from __future__ import annotations

import pytest

from chartproof.simulate.run import Subject, subject_of
from tests import presets

SERVERLESS = "llama-3.1-8b-g6e-serverless"


@pytest.fixture(scope="session")
def serverless() -> Subject:
    """Zero to eight replicas, spot before on demand, woken by its ingress."""
    return subject_of(presets.render(SERVERLESS))
