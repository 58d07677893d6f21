"""Pytest fixtures of chartproof, loaded wherever it is installed."""

from __future__ import annotations
