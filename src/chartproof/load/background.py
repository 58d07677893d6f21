"""A load that runs beside a program which is not asynchronous itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from chartproof.load.generator import Load
from chartproof.load.records import Record


class BackgroundLoad:
    """Runs a `Load` in a thread for the duration of a block; at the block's end it is stopped at once.

        with BackgroundLoad(load) as running:
            ...                         # roll out, drain
            records = running.finish()  # send no more, wait for the open answers

    The load's callbacks are called in that thread.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._started = threading.Event()
        self._result: Future[list[Record]] = Future()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._tell(self._task.cancel)
        self._thread.join()

    @property
    def is_running(self) -> bool:
        """Whether something is still to be sent, or waited for."""
        return not self._result.done()

    def wait(self, seconds: float | None = None) -> list[Record]:
        """Wait for the trace's end and the last answer; the records. Raises TimeoutError after so many real seconds."""
        return self._result.result(seconds)

    def finish(self, seconds: float | None = None) -> list[Record]:
        """Send no more, and wait for the answers that are open. Raises as `wait`."""
        self._tell(self._load.stop)
        return self.wait(seconds)

    def _run(self) -> None:
        try:
            self._result.set_result(asyncio.run(self._main()))
        except asyncio.CancelledError:
            self._result.set_result(self._load.records)
        except BaseException as error:  # noqa: BLE001 - it is for whoever waits
            self._result.set_exception(error)
        finally:
            self._started.set()

    async def _main(self) -> list[Record]:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._started.set()
        return await self._load.run()

    def _tell(self, call: Callable[[], object]) -> None:
        if self._loop is not None:
            # A loop that is closed has nothing left to do.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)
