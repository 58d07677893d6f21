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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `xdist_group` keep tests on one worker.

    pytest-xdist 3.8 writes the group behind an item's name into `_nodeid` (its remote.py), which pytest 9.2 reads no
    more (its nodes.py: `_id`): every worker had a live cluster of its own. Does nothing where xdist knows better.
    """
    for item in items:
        grouped = getattr(item, "_nodeid", None)
        if grouped and "@" in grouped and item.nodeid != grouped:
            item._id = type(item.id).parse(grouped)


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
