"""A document as the API server would receive it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from chartproof.errors import InputError
from chartproof.release import Document

_NOT_IN_YAML = re.compile("[\x7f-\x9f\ufeff\ufffe\uffff]")
"""What JSON may contain as it is and YAML may not: kubeconform reads JSON as YAML."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A document in JSON: `text`, and `body` with nothing but what JSON knows.

    `api_version` and `kind` are empty where the document has none, or none that is a string.
    """

    text: str
    body: dict[str, Any] = field(repr=False, compare=False)

    @property
    def api_version(self) -> str:
        """`apiVersion` of the document."""
        value = self.body.get("apiVersion")
        return value if isinstance(value, str) else ""

    @property
    def kind(self) -> str:
        """`kind` of the document."""
        value = self.body.get("kind")
        return value if isinstance(value, str) else ""

    @property
    def digest(self) -> bytes:
        """Documents of equal content have equal digests."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).digest()

    @classmethod
    def of(cls, document: Document) -> Payload:
        """The payload of a rendered document.

        Raises InputError for numbers that JSON does not have (`.nan`, `.inf`).
        """
        try:
            # Dates become strings, as Kubernetes' YAML reader leaves them; keys become strings.
            text = json.dumps(document.body, allow_nan=False, default=str, ensure_ascii=False, separators=(",", ":"))
        except ValueError as error:
            raise InputError(
                "the document contains a number that JSON does not have (.nan or .inf)",
                where=document.source or document.identity,
                how="write it as a string in quotes",
            ) from error
        text = _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        return cls(text, json.loads(text))
