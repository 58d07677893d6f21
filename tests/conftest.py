"""Fixtures of the whole suite."""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from chartproof.cluster import Cluster


@pytest.fixture(scope="module")
def kube_config(embedded_cluster: Cluster) -> str:
    """Put the embedded cluster behind the fixtures of pytest-helm-charts, such as `kube_cluster`."""
    return str(embedded_cluster.kubeconfig)


def pytest_configure() -> None:
    """Let the programs under test be interrupted, whatever started the tests.

    A shell that puts tests into the background, or nohup, has SIGINT or SIGHUP ignored, and an ignored signal
    stays ignored in every child. One that is handled here is at its default in them.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, _end)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
