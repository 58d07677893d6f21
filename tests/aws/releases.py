"""Releases written out in tests, as manifests of any origin."""

from __future__ import annotations

from typing import Any

import yaml

from chartproof.aws import account
from chartproof.aws.target import Target
from chartproof.release import Document, Release

TARGET = Target("123456789012", "prod", "eu-central-1")


def release(text: str, namespace: str = "llm") -> Release:
    """A release of these YAML documents."""
    bodies = [each for each in yaml.safe_load_all(text) if each]
    return Release("foreign", tuple(Document(each, index=i) for i, each in enumerate(bodies)), namespace=namespace)


def described(text: str, target: Target = TARGET) -> Any:
    """Its prerequisites."""
    return account.describe(release(text), target)
