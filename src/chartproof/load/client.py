"""A client of OpenAI's API: sends one streaming request and tells what became of it.

Nothing is sent twice, whatever happens: the record is of one request.

Prompts are ids of tokens, so that every engine counts as many as were meant, drawn by chance, so that no prefix cache
knows them; `ignore_eos` makes the answer as long as was asked for (vLLM and SGLang; neither is OpenAI's). Where an
engine's API takes text only, a chat is sent with about as many tokens of text.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import yarl

from chartproof.cluster.speed import Speed
from chartproof.errors import UsageError
from chartproof.load.records import ABORTED, OK, REFUSED, TIMEOUT, TRUNCATED, Record, http
from chartproof.release import dig
from chartproof.simulate.traffic import Request

#: Characters of English text that make a token, as a rule of thumb, and what a chat's template adds to a message.
CHARACTERS_PER_TOKEN = 4
MESSAGE_TOKENS = 4
#: Simulated seconds after which a client gives up: a cold start and a long answer are shorter.
TIMEOUT_SECONDS = 1800.0

#: Ids of tokens that are ordinary pieces of words in every model's vocabulary.
_TOKEN_IDS = range(1000, 30000)
#: Prompts are cut out of so many tokens.
_POOL = 65536
#: An idle connection is left before the server leaves it (vLLM's: after 5 s), or a request would run into its end.
_IDLE_SECONDS = 2.0
_CONNECT_SECONDS = 30.0
_LONGEST_DETAIL = 300
#: What the live cluster's network and front door say of themselves.
_ERROR_HEADER = "X-Chartproof-Error"
#: Ends of an answer that are none.
_GIVEN_UP = frozenset({"abort", "error"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go. `proxy` is an HTTP proxy's address, such as that of the live cluster's pod network."""

    url: str
    model: str
    proxy: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    chat: bool = False
    ignore_eos: bool = True
    timeout_seconds: float = TIMEOUT_SECONDS

    def address(self) -> yarl.URL:
        """The address that requests are sent to. Raises UsageError."""
        try:
            url = yarl.URL(self.url)
        except ValueError:
            url = yarl.URL()
        if url.scheme not in {"http", "https"} or not url.host:
            raise UsageError(
                f"{self.url!r} is no address", how="such as http://127.0.0.1:8000 or https://llm.example.com/v1"
            )
        path = url.path.rstrip("/")
        if path.endswith("/completions"):
            return url
        path = path if path.endswith("/v1") else f"{path}/v1"
        return url.with_path(f"{path}/chat/completions" if self.chat else f"{path}/completions")


@dataclass(frozen=True, slots=True)
class Clock:
    """Simulated seconds since `origin`, a time of the event loop."""

    speed: Speed
    origin: float

    def now(self) -> float:
        """Simulated seconds since then."""
        return self.speed.simulated(asyncio.get_running_loop().time() - self.origin)


class Client:
    """Sends requests to one target; an asynchronous context manager."""

    def __init__(self, target: Target, clock: Clock, *, seed: int = 0) -> None:
        self._target = target
        self._address = target.address()
        self._clock = clock
        # Not for security: only so that prompts differ, in the same way each time.
        self._draw = random.Random(f"{seed} prompts")  # noqa: S311
        words = [str(each) for each in self._draw.choices(_TOKEN_IDS, k=_POOL)]
        self._pool = ["".join(self._draw.choices("aeinorst", k=3)) for _ in range(_POOL)] if target.chat else words
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            headers={"Content-Type": "application/json", **self._target.headers},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, index: int, request: Request) -> Record:
        """Send one request, now, and wait for its end."""
        if self._session is None:
            message = "a Client is used inside `async with`"
            raise RuntimeError(message)
        clock, stream = self._clock, Stream()
        body = self._body(request)
        sent = clock.now()
        try:
            async with (
                asyncio.timeout(clock.speed.real(self._target.timeout_seconds)),
                self._session.post(self._address, data=body, proxy=self._target.proxy or None) as response,
            ):
                if response.status == HTTPStatus.OK:
                    async for piece in response.content.iter_any():
                        stream.feed(piece, clock)
                    outcome, detail = stream.outcome()
                else:
                    outcome, detail = await _refusal(response)
        except aiohttp.ServerTimeoutError as error:
            outcome, detail = TIMEOUT, str(error)
        except TimeoutError:
            outcome, detail = TIMEOUT, f"no end after {self._target.timeout_seconds:g} s"
        except aiohttp.ClientConnectorError as error:
            outcome, detail = REFUSED, str(error)
        except (aiohttp.ClientError, ConnectionError) as error:
            outcome, detail = ABORTED, str(error) or type(error).__name__
        return Record(
            index=index,
            due=request.time,
            sent=sent,
            first_token=stream.first_token,
            done=clock.now(),
            outcome=outcome,
            prompt_tokens=request.prompt_tokens,
            answer_tokens=request.answer_tokens,
            received_tokens=stream.tokens,
            detail=detail[:_LONGEST_DETAIL],
        )

    def _body(self, request: Request) -> bytes:
        """The request's body. Written by hand: of a long prompt's ids nothing needs to be escaped."""
        options: dict[str, Any] = {
            "model": self._target.model,
            "max_tokens": request.answer_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._target.ignore_eos:
            options["ignore_eos"] = True
        if self._target.chat:
            tokens = max(1, request.prompt_tokens - MESSAGE_TOKENS)
            # A word of three letters and its space are a token.
            text = " ".join(self._cut(tokens)) + " "
            return json.dumps({**options, "messages": [{"role": "user", "content": text}]}).encode()
        head = json.dumps(options)
        return f'{head[:-1]},"prompt":[{",".join(self._cut(request.prompt_tokens))}]}}'.encode()

    def _cut(self, tokens: int) -> Iterator[str]:
        """So many tokens of the pool, from a place drawn by chance; a longer prompt goes around."""
        begin = self._draw.randrange(_POOL)
        while tokens:
            part = self._pool[begin : begin + tokens]
            yield from part
            tokens -= len(part)
            begin = 0


class Stream:
    """What is told of an answer by the pieces of its stream (server-sent events)."""

    def __init__(self) -> None:
        self.first_token: float | None = None
        #: Of the answer: what the engine says, and until it does, pieces with text in them.
        self.tokens = 0
        self._finish_reason = ""
        self._done = False
        self._error: tuple[str, str] | None = None
        self._rest = b""

    def feed(self, piece: bytes, clock: Clock) -> None:
        """Bytes as they came."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip(), clock)

    def outcome(self) -> tuple[str, str]:
        """Outcome and detail, once the stream has ended without a broken connection."""
        if self._error is not None:
            return self._error
        if self._finish_reason in _GIVEN_UP:
            return ABORTED, f"finish_reason {self._finish_reason}"
        if not self._done or not self._finish_reason:
            missing = "finish_reason" if self._done else "[DONE]"
            return TRUNCATED, f"the stream ended without {missing}"
        return OK, ""

    def _event(self, data: bytes, clock: Clock) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        try:
            found = json.loads(data)
        except ValueError:
            self._error = ABORTED, f"an event is no JSON: {data[:_LONGEST_DETAIL].decode(errors='replace')}"
            return
        error = dig(found, "error") or (found if dig(found, "object") == "error" else None)
        if error:
            code = dig(error, "code")
            self._error = (
                http(code) if isinstance(code, int) else ABORTED,
                str(dig(error, "message", default=error)),
            )
            return
        choice = dig(found, "choices", 0)
        if choice is not None:
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            delta = choice.get("delta") or choice
            if any(delta.get(key) for key in ("text", "content", "reasoning_content", "reasoning", "tool_calls")):
                self.first_token = clock.now() if self.first_token is None else self.first_token
                self.tokens += 1
        usage = dig(found, "usage", "completion_tokens")
        if isinstance(usage, int):
            self.tokens = usage


async def _refusal(response: aiohttp.ClientResponse) -> tuple[str, str]:
    """Outcome and detail of an answer that is an error."""
    text = (await response.text(errors="replace")).strip()
    told = response.headers.get(_ERROR_HEADER)
    if told is not None:
        return REFUSED, told
    try:
        return http(response.status), str(dig(json.loads(text), "error", "message", default=text))
    except ValueError:
        return http(response.status), text
