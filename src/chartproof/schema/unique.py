"""Lists whose items must differ: no JSON schema can say by which fields.

`x-kubernetes-list-type: map` names those fields. Server-side apply, which `helm install` of Helm 4
and `kubectl apply --server-side` use, refuses two items of one name ("duplicate entries for key").
The generated schemas keep the names as our own keyword `uniqueBy`: field -> default or null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chartproof.schema.engine import Violation
from chartproof.schema.messages import dotted

Steps = tuple[str | int, ...]


def repeated_items(body: Any, schema: Mapping[str, Any], steps: Steps = ()) -> Iterator[Violation]:
    """Every item that has the name of an earlier one; `body` must be valid, `schema` without references."""
    if isinstance(body, Mapping):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, value in body.items():
            part = properties.get(key, others)
            if isinstance(part, Mapping):
                yield from repeated_items(value, part, (*steps, key))
    elif isinstance(body, list):
        if "uniqueBy" in schema:
            yield from _repeated(body, schema["uniqueBy"], steps)
        part = schema.get("items", {})
        for index, value in enumerate(body):
            yield from repeated_items(value, part, (*steps, index))


def _repeated(items: Sequence[Any], keys: Mapping[str, Any], steps: Steps) -> Iterator[Violation]:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            continue
        # null is read as "not set", and what is not set has the default.
        values = {key: default if item.get(key) is None else item[key] for key, default in keys.items()}
        earlier = first.setdefault(json.dumps(values), index)
        if earlier != index:
            name = ", ".join(f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
            yield Violation(
                dotted((*steps, index)),
                f"a second item with {name}",
                f"merge it with {dotted((*steps, earlier))}: server-side apply, Helm 4's default, refuses two",
            )
