"""Texts in ConfigMaps."""

from __future__ import annotations

from collections.abc import Mapping

from chartproof.release import Document


def texts_of(document: Document) -> Mapping[str, str]:
    """`data` of a ConfigMap: what is text in it, by key."""
    data = document.get("data", default={})
    if not isinstance(data, Mapping):
        return {}
    return {str(key): text for key, text in data.items() if isinstance(text, str)}
