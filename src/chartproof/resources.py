"""Where the data is that a checkout keeps beside the package and a wheel carries inside it."""

from __future__ import annotations

from pathlib import Path

from chartproof.errors import InputError

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent.parent
_IN_CHECKOUT = {
    "catalog": "charts/llm-inference/files/catalog",
    "schemas": "schemas",
    "toolchain": "ci/toolchain",
    "weights": "charts/llm-inference/files/weights",
}


def directory(name: str) -> Path:
    """The directory of `name`: catalog, schemas, toolchain or weights.

    The checkout wins, so that an edited file takes effect at once. Raises InputError where neither
    place has it, which means a damaged installation.
    """
    places = (_CHECKOUT / _IN_CHECKOUT[name], _PACKAGE / "data" / name)
    for place in places:
        if place.is_dir():
            return place
    raise InputError(
        f"the {name} directory is missing",
        where=" and ".join(str(place) for place in places),
        how="reinstall chartproof: pip install --force-reinstall chartproof",
    )
