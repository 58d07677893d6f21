"""The cache of built programs, shared by every checkout of this user."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chartproof.errors import ToolchainError


def home() -> Path:
    """Where built programs live: `$XDG_CACHE_HOME` or `~/.cache`, then chartproof/toolchain."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".cache"
    return base / "chartproof" / "toolchain"


@contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Hold the lock of `target`, so that two processes do not make the same thing at once."""
    lock = target.with_name(f"{target.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w")
    except OSError as error:
        raise ToolchainError(
            f"cannot write to the cache: {error.strerror}",
            where=str(lock.parent),
            how="set XDG_CACHE_HOME to a directory that can be written",
        ) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that makes {target}", file=sys.stderr, flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def fresh_directory(target: Path) -> Iterator[Path]:
    """A scratch directory that becomes `target` when the block succeeds, and vanishes otherwise.

    Call it under `exclusive`: `target` appears complete or not at all. What a killed process left
    half made is removed.
    """
    for abandoned in target.parent.glob(f"{target.name}.*.partial"):
        shutil.rmtree(abandoned, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{target.name}.", suffix=".partial", dir=target.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
