"""What each preset needs in AWS, on record: `.venv/bin/python -m tests.aws.goldens` writes the files anew."""

from __future__ import annotations

import json
from pathlib import Path

from chartproof.aws import account
from chartproof.aws.target import Target
from tests import presets

DIRECTORY = Path(__file__).parent / "goldens"
COMMAND = ".venv/bin/python -m tests.aws.goldens"


def path_of(stem: str) -> Path:
    return DIRECTORY / f"{stem}.json"


def content(stem: str) -> str:
    """The golden of a preset as it is now, with placeholders for account, cluster and region."""
    return json.dumps(account.describe(presets.render(stem), Target()), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    for stem in presets.STEMS:
        path_of(stem).write_text(content(stem), encoding="utf-8")
    for path in DIRECTORY.glob("*.json"):
        if path.stem not in presets.STEMS:
            path.unlink()


if __name__ == "__main__":
    main()
