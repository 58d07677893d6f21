"""Clients of the gateway: chats that are streamed, one after another at a steady pace, and what became of each."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

import aiohttp

#: Real seconds after which a client gives up; the gateway's own limits are far shorter.
_PATIENCE_SECONDS = 120.0
#: Says which target answered.
_TARGET = "x-litellm-model-id"


@dataclass
class Asked:
    """One request. `end` is the reason that the answer names, `error` what the client saw instead of an end."""

    sent: float
    target: str = ""
    pieces: int = 0
    end: str = ""
    error: str = ""
    over: bool = False

    @property
    def complete(self) -> bool:
        """Whether the whole answer came."""
        return bool(self.end) and not self.error

    @property
    def began(self) -> bool:
        """Whether a part of an answer came."""
        return self.pieces > 0


class Clients:
    """Sends to one URL by way of the pod network; lives in one event loop."""

    def __init__(self, url: str, proxy: str, key: str, model: str, tokens: int) -> None:
        self.asked: list[Asked] = []
        self._url, self._proxy, self._tokens = url, proxy, tokens
        self._headers = {"Authorization": f"Bearer {key}"}
        self._body = {
            "model": model,
            "stream": True,
            "messages": [{"role": "user", "content": "Say something."}],
        }
        self._open: set[asyncio.Task[None]] = set()

    async def send(self, per_second: float, stop: asyncio.Event) -> None:
        """Send until told to stop, and wait for the answers."""
        async with _session() as session:
            while not stop.is_set():
                asked = Asked(time.monotonic())
                self.asked.append(asked)
                task = asyncio.create_task(self._ask(session, asked, self._tokens))
                self._open.add(task)
                task.add_done_callback(self._open.discard)
                await asyncio.sleep(1 / per_second)
            await asyncio.gather(*self._open)

    async def one(self, asked: Asked, tokens: int) -> None:
        """Send one request, and wait for the answer's end."""
        async with _session() as session:
            await self._ask(session, asked, tokens)

    async def _ask(self, session: aiohttp.ClientSession, asked: Asked, tokens: int) -> None:
        body = {**self._body, "max_tokens": tokens}
        try:
            async with session.post(self._url, json=body, headers=self._headers, proxy=self._proxy) as response:
                asked.target = response.headers.get(_TARGET, "")
                if response.status != 200:
                    asked.error = f"{response.status}: {(await response.text())[:300]}"
                    return
                async for line in response.content:
                    _read(line.decode().strip(), asked)
            asked.error = asked.error or ("" if asked.end else "broke off")
        except (aiohttp.ClientError, TimeoutError) as error:
            asked.error = repr(error)
        finally:
            asked.over = True


def _session() -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))


def _read(line: str, asked: Asked) -> None:
    if not line.startswith("data: ") or line == "data: [DONE]":
        return
    event = json.loads(line.removeprefix("data: "))
    if "error" in event:
        asked.error = str(event["error"])[:300]
        return
    for choice in event["choices"]:
        asked.pieces += bool((choice.get("delta") or {}).get("content"))
        asked.end = choice.get("finish_reason") or asked.end
