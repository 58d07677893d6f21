"""Version numbers of engines, as image tags carry them."""

from __future__ import annotations

import re

Version = tuple[int, int, int]

_VERSION = re.compile(r"^v?(\d+)\.(\d+)(?:\.(\d+))?")


def parse_version(text: str) -> Version | None:
    """Numeric (major, minor, patch) at the start of a tag such as `v0.33.0-cu129`, else None."""
    match = _VERSION.match(text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def format_version(version: Version) -> str:
    """`(0, 18, 0)` as `0.18.0`."""
    return ".".join(str(part) for part in version)
