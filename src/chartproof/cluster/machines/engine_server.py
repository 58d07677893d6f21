"""One replica's engine process: the life, the HTTP paths and the metrics of a vLLM or SGLang server.

Read in vLLM 0.11.1 to 0.33.0 (`entrypoints/launchers/launcher.py`, `v1/engine/core.py`: shutdown;
`v1/engine/async_llm.py`: admission; `entrypoints/serve/{instrumentator,middleware}`) and SGLang 0.5.9 and 0.5.23
(`srt/entrypoints/http_server.py`, `srt/managers/tokenizer_manager.py`: health, SIGTERM; `srt/utils/auth.py`).

* Neither listens before the model is loaded. SGLang then answers its health path with 503 for the time of a warm-up.
* SIGTERM while loading ends vLLM as Ctrl-C does (130).
* SIGTERM later: vLLM gives up what runs at once, unless a `--shutdown-timeout` (0.18 and newer) lets it finish within
  that time; its health stays good meanwhile. A new request is then answered at once and empty, with finish reason
  `abort` (0.18, or a prompt of token ids), or with an error 500: from 0.19 on the threads that tokenize text are gone
  first. SGLang answers 503 to health checks, takes requests like before, and ends once none is left.
* What is given up is seen by the client as a broken connection. (The real vLLM leaves such clients waiting until
  the process is gone: vLLM's pull request 36964.)
* vLLM's `--max-num-queued-reqs` bounds the requests that wait or run, SGLang's `--max-queued-requests` those that wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import yarl
from aiohttp import web

from chartproof.cluster.machines.engine_api import (
    Api,
    Kind,
    Question,
    RawBody,
    RefusedError,
    SglangApi,
    Terms,
    VllmApi,
)
from chartproof.cluster.machines.engine_metrics import Facts, HttpMeter, State, vllm_buckets, vllm_families
from chartproof.cluster.machines.exposition import CONTENT_TYPE, render
from chartproof.cluster.machines.groups import STUCK_SECONDS, Seat
from chartproof.cluster.machines.played_engine import TICK_SECONDS, PlayedEngine, Ticket
from chartproof.cluster.machines.server import EXIT_DONE, EXIT_ERROR, EXIT_KILLED, Cut, cut
from chartproof.cluster.machines.sglang_metrics import SglangHttpMeter, StreamMeter, sglang_buckets, sglang_families
from chartproof.cluster.speed import Speed
from chartproof.simulate.engine import EngineModel
from chartproof.versions import Version, format_version

#: Exit code of a Python program that Ctrl-C ends.
EXIT_INTERRUPTED = 130
#: Seconds between the last answer and the end of the process (what rules plan with at least).
TEARDOWN_SECONDS = 5.0
#: Seconds until the API server notices that its engine died (`VLLM_WATCHDOG_TIME_S`).
WATCHDOG_SECONDS = 5.0
#: Seconds of SGLang's first request to itself: it sleeps for one before (`_execute_server_warmup`).
WARM_UP_SECONDS = 2.0
#: Seconds between SGLang's looks at what is left after SIGTERM (`sigterm_watchdog`).
DRAIN_LOOK_SECONDS = 5.0
#: SGLang's health check sleeps this long before it looks for an answer, and gives up after the second one.
HEALTH_SECONDS = 1.0
HEALTH_LIMIT_SECONDS = 20.0

_TOKENIZERS_GO_FIRST_SINCE: Version = (0, 19, 0)
_READY_PATH_SINCE: Version = (0, 5, 10)
_GUARDED_PREFIXES = ("/v1", "/v2", "/inference", "/cohere")
_SGLANG_OPEN_PREFIXES = ("/health", "/ready", "/metrics")
_DEAD_MESSAGE = "The server had an error while processing your request."
_NO_THREADS_MESSAGE = "cannot schedule new futures after shutdown"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the plan say of one engine. Seconds are simulated.

    `drain_seconds` is 0 where SIGTERM gives up what runs; `request_limit` None: no bound. `api_keys` are those that are
    known; where `key_needed` and none is known, any will do. `reachable`: it listens on more than the loopback address.
    `failure`: why the engine ends instead of serving.
    """

    engine: str
    version: Version
    terms: Terms
    port: int
    model: EngineModel
    gpu_memory_utilization: float
    load_seconds: float
    reachable: bool = True
    drain_seconds: float = 0.0
    request_limit: int | None = None
    key_needed: bool = False
    api_keys: tuple[str, ...] = ()
    prefix_caching: bool = True
    log_stats: bool = True
    metrics: bool = True
    health_generates: bool = True
    failure: str = ""


class EngineServer:
    """A `Server` (see `server`) that plays one engine process.

    `occupy` is called at the start and returns what is called at the end: the process holds its GPUs between. `seat` is
    its place in a group of pods that compute together; without one it is alone.
    """

    def __init__(
        self,
        settings: Settings,
        speed: Speed,
        *,
        occupy: Callable[[EngineServer], Callable[[], None]] | None = None,
        seat: Seat | None = None,
    ) -> None:
        self.settings = settings
        self.ports: tuple[int, ...] = (settings.port,) if settings.reachable else ()
        self.exit_reason = ""
        self._speed = speed
        self._occupy = occupy
        self._seat = seat
        self._loading_since = math.inf
        self._vacate: Callable[[], None] | None = None
        self._played: PlayedEngine | None = None
        self._api: Api = VllmApi(settings.terms) if settings.engine == "vllm" else SglangApi(settings.terms)
        self._vllm = settings.engine == "vllm"
        buckets = vllm_buckets(settings.terms.context_tokens) if self._vllm else sglang_buckets()
        self._buckets = buckets
        self._http = HttpMeter()
        self._sglang_http = SglangHttpMeter()
        self._streams = StreamMeter(buckets)
        self._facts = Facts(
            model_name=settings.terms.names[0],
            version=settings.version,
            context_tokens=settings.terms.context_tokens,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            prefix_caching=settings.prefix_caching,
            log_stats=settings.log_stats,
        )
        self._timers: list[asyncio.TimerHandle] = []
        self._answering = 0
        self._number = 0
        self._listening = False
        self._warm = False
        self._draining = False
        self._dead = False
        self._hung = False

    # Life.

    def start(self) -> None:
        """Begin to load, or to wait for the others of the group."""
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        if self._occupy is not None:
            self._vacate = self._occupy(self)
        if self._seat is None:
            self.met()
        else:
            self._later(self._seat.patience, self._not_met)
            self._seat.take(self)

    def met(self) -> None:
        """All of the group are there, which load at the same time."""
        self._loading_since = self._loop.time()
        self._later(self.settings.load_seconds, self._loaded)

    def _not_met(self) -> None:
        if self._loading_since == math.inf:
            self._end(EXIT_ERROR, "Error")

    def lost(self) -> None:
        """A worker of the group has ended. See `groups`."""
        if self._played is None:
            self._end(EXIT_ERROR, "Error")
        else:
            self.hang()
            self._later(STUCK_SECONDS, self.die)

    def _loaded(self) -> None:
        if self.settings.failure:
            self._end(EXIT_ERROR, "Error")
            return
        self._played = PlayedEngine(
            self.settings.model, self._buckets, self._speed, first=self._first, finished=self._finished
        )
        if self._hung:
            self._played.hang()
        self._listening = True
        if self._vllm:
            self._warm = True
        else:
            self._later(WARM_UP_SECONDS, self._warmed_up)

    def _warmed_up(self) -> None:
        self._warm = True

    def terminate(self) -> None:
        """SIGTERM."""
        if self.exit.done() or self._draining:
            return
        self._draining = True
        if self._played is None:
            self._end(EXIT_INTERRUPTED if self._vllm else EXIT_DONE, "Error" if self._vllm else "Completed")
        elif not self.settings.drain_seconds or (self._hung and not self._vllm):
            self._give_up()
        elif self._vllm:
            self._later(self.settings.drain_seconds, self._give_up)
            self._look_for_the_last()
        else:
            self._later(DRAIN_LOOK_SECONDS, self._look_for_the_last)

    def _look_for_the_last(self) -> None:
        """Whether the last answer is out; vLLM knows at once, SGLang looks from time to time."""
        if self._played is None or self.exit.done() or not self._listening:
            return
        if self._played.open:
            seconds = self._speed.simulated(TICK_SECONDS) if self._vllm else DRAIN_LOOK_SECONDS
            self._later(seconds, self._look_for_the_last)
        else:
            self._later(TEARDOWN_SECONDS, self._close)

    def _close(self) -> None:
        """Stop to listen, and end once nobody is being written to any more."""
        self._listening = False
        if self._answering:
            self._later(self._speed.simulated(TICK_SECONDS), self._close)
        else:
            self._end(EXIT_DONE, "Completed")

    def _give_up(self) -> None:
        if self._played is None or self.exit.done():
            return
        self._listening = False
        self._played.cut()
        self._later(TEARDOWN_SECONDS, self._close)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(EXIT_KILLED, "Error")

    def crash(self, code: int, reason: str) -> None:
        """End by itself."""
        self._end(code, reason)

    def die(self) -> None:
        """The engine behind the API dies: health turns bad, requests fail, and the process follows soon."""
        if self._played is None or self._dead:
            return
        self._dead = True
        self._played.cut()
        self._later(WATCHDOG_SECONDS, self._close)

    def hang(self) -> None:
        """Make no progress from now on."""
        self._hung = True
        if self._played is not None:
            self._played.hang()

    def unhang(self) -> None:
        """Go on."""
        self._hung = False
        if self._played is not None:
            self._played.unhang()

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return self._listening

    @property
    def exit(self) -> asyncio.Future[int]:
        """The exit code, when it ended."""
        return self._exit

    def _end(self, code: int, reason: str) -> None:
        if self.exit.done():
            return
        self._listening = False
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._played is not None:
            self._played.cut()
        if self._vacate is not None:
            self._vacate()
        self.exit_reason = reason
        self.exit.set_result(code)
        if self._seat is not None:
            self._seat.leave(self)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        now = self._loop.time()
        self._timers = [each for each in self._timers if not each.cancelled() and each.when() > now]
        self._timers.append(self._loop.call_later(self._speed.real(seconds), call))

    # What is known of it.

    @property
    def loaded(self) -> bool:
        """Whether it has its weights."""
        return self._played is not None

    @property
    def busy_seconds(self) -> float:
        """Simulated seconds that its GPUs worked."""
        if self._played is None:
            return 0.0
        self._played.look()
        return self._played.engine.busy_seconds

    @property
    def memory_share(self) -> float:
        """Share of its GPUs' usable memory that it holds; it grows while it loads."""
        loading = self.settings.load_seconds
        if not loading:
            return self.settings.gpu_memory_utilization
        loaded = max(0.0, self._speed.simulated(self._loop.time() - self._loading_since) / loading)
        return self.settings.gpu_memory_utilization * min(1.0, loaded)

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return self._played.engine.running if self._played else 0

    @property
    def waiting(self) -> int:
        """Requests that wait for a place in it."""
        return self._played.engine.queued if self._played else 0

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache in use."""
        return self._played.engine.kv_tokens / self._played.engine.model.kv_tokens if self._played else 0.0

    def _first(self, ticket: Ticket) -> None:
        self._streams.first_token(ticket.time_to_first_token, stream=ticket.stream)

    def _finished(self, ticket: Ticket) -> None:
        if self._played is None:
            return
        self._played.meter.count_finished(ticket)
        self._streams.finished(ticket)

    # HTTP.

    async def handle(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        """Answer a request."""
        played = self._played
        if played is None or not self._listening:
            return cut(request)
        path = url.path
        began = played.now()
        handler = path if path in self._paths else "none"
        self._answering += 1
        status = None
        self._sglang_http.begin(path, request.method)
        try:
            answer = await self._answer(request, path, played)
            status = None if isinstance(answer, Cut) else answer.status
        finally:
            self._answering -= 1
            self._sglang_http.end(path, request.method, status)
        if status is not None:
            sizes = (request.content_length or 0, answer.content_length or 0)
            self._http.count(path, handler, request.method, status, played.now() - began, sizes)
        return answer

    @property
    def _paths(self) -> frozenset[str]:
        return _VLLM_PATHS if self._vllm else _SGLANG_PATHS

    async def _answer(self, request: web.BaseRequest, path: str, played: PlayedEngine) -> web.StreamResponse:
        refused = self._refusal(request, path)
        if refused is not None:
            return refused
        kind = _KINDS.get(path)
        if kind is not None:
            return await self._generate(request, kind, played)
        if path == "/metrics":
            return self._metrics(played)
        if path in {"/health", "/health_generate", "/ping", "/ready"}:
            return web.Response(status=await self._health(path, played))
        return _json(self._told(path, played))

    def _refusal(self, request: web.BaseRequest, path: str) -> web.Response | None:
        """What a request gets that no route takes."""
        if not self._may(request, path):
            return _json({"error": "Unauthorized"}, HTTPStatus.UNAUTHORIZED)
        if path not in self._paths or (path == "/ready" and self.settings.version < _READY_PATH_SINCE):
            return _json({"detail": "Not Found"}, HTTPStatus.NOT_FOUND)
        if request.method not in (("POST",) if path in _KINDS else _READ_METHODS.get(path, ("GET",))):
            return _json({"detail": "Method Not Allowed"}, HTTPStatus.METHOD_NOT_ALLOWED)
        return None

    def _may(self, request: web.BaseRequest, path: str) -> bool:
        """Whether the client's key opens this path."""
        settings = self.settings
        guarded = path.startswith(_GUARDED_PREFIXES) if self._vllm else not path.startswith(_SGLANG_OPEN_PREFIXES)
        if not settings.key_needed or not guarded or request.method == "OPTIONS":
            return True
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and (key in settings.api_keys if settings.api_keys else bool(key))

    async def _health(self, path: str, played: PlayedEngine) -> HTTPStatus:
        """Of vLLM's the engine is alive or dead; SGLang's makes a token, so that a hung one fails in the end."""
        bad, good = HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.OK
        if self._vllm:
            return bad if self._dead else good
        if self._draining or not self._warm or self._dead:
            return bad
        if path in {"/ping", "/ready"} or (path == "/health" and not self.settings.health_generates):
            return good
        await asyncio.sleep(self._speed.real(HEALTH_SECONDS))
        if self._hung:
            await asyncio.sleep(self._speed.real(HEALTH_LIMIT_SECONDS - HEALTH_SECONDS))
        return bad if self._hung or played is not self._played else good

    def _metrics(self, played: PlayedEngine) -> web.Response:
        if not self._vllm and not self.settings.metrics:
            return _json({"detail": "Not Found"}, HTTPStatus.NOT_FOUND)
        played.look()
        state = State(self._facts, played.engine)
        if self._vllm:
            families = [*vllm_families(state), *self._http.families()]
        else:
            families = [*sglang_families(state, self._streams), *self._sglang_http.families()]
        return web.Response(body=render(families).encode(), headers={"Content-Type": CONTENT_TYPE})

    def _told(self, path: str, played: PlayedEngine) -> Mapping[str, Any]:
        """What the other paths tell."""
        version = format_version(self.settings.version)
        if path == "/v1/models":
            return self._api.models(int(time.time()))
        if path == "/version":
            return {"version": version}
        terms = self.settings.terms
        if path in {"/model_info", "/get_model_info"}:
            return {"model_path": terms.root, "served_model_name": terms.names[0], "is_generation": True}
        return {
            "model_path": terms.root,
            "served_model_name": terms.names[0],
            "context_length": terms.context_tokens,
            "max_total_num_tokens": played.engine.model.kv_tokens,
            "version": version,
        }

    async def _generate(self, request: web.BaseRequest, kind: Kind, played: PlayedEngine) -> web.StreamResponse:
        raw = RawBody(request.headers.get("Content-Type", ""), await request.read())
        self._number += 1
        told = request.headers.get("X-Request-Id", "") if self._vllm else ""
        identifier = told or hashlib.blake2b(f"{id(self)}-{self._number}".encode(), digest_size=16).hexdigest()
        try:
            question = self._api.question(kind, raw, identifier, int(time.time()))
            self._admit(played)
            if self._draining and self._vllm:
                return await self._refuse_at_the_end(request, question, played)
            ticket = played.submit(
                question.prompt_tokens,
                question.answer_tokens,
                max_tokens=question.max_tokens,
                reason=question.reason,
                stream=question.stream,
                received=question.handed_over,
            )
            if ticket is None:
                raise self._api.error(HTTPStatus.BAD_REQUEST, "The request is longer than the KV cache.")
        except RefusedError as refused:
            return _json(refused.body, refused.status)
        try:
            if question.stream:
                return await self._stream(request, question, ticket, played)
            return await self._whole(request, question, ticket, played)
        except (asyncio.CancelledError, ConnectionError):
            # The client went away; the engine stops working for it.
            if played.give_up(ticket):
                self._streams.aborted += 1
            raise

    def _admit(self, played: PlayedEngine) -> None:
        """Raise RefusedError where the engine takes no more requests."""
        if self._dead:
            raise self._api.error(HTTPStatus.INTERNAL_SERVER_ERROR, _DEAD_MESSAGE)
        limit = self.settings.request_limit
        counted = played.open if self._vllm else len(played.engine.waiting)
        if limit is not None and counted + 1 > limit:
            played.meter.admission_rejections += 1
            raise self._api.busy()

    async def _refuse_at_the_end(
        self, request: web.BaseRequest, question: Question, played: PlayedEngine
    ) -> web.StreamResponse:
        """A new request while vLLM drains."""
        if not question.tokenized and self.settings.version >= _TOKENIZERS_GO_FIRST_SINCE:
            raise self._api.error(HTTPStatus.INTERNAL_SERVER_ERROR, _NO_THREADS_MESSAGE)
        played.meter.count_end("abort")
        if not question.stream:
            return _json(self._api.whole(question, "abort"))
        response = await _event_stream(request)
        await response.write(self._api.piece(question, 0, 0, "abort").encode())
        await response.write(self._api.last(question, 0).encode())
        await response.write_eof()
        return response

    async def _stream(
        self, request: web.BaseRequest, question: Question, ticket: Ticket, played: PlayedEngine
    ) -> web.StreamResponse:
        response = await _event_stream(request)
        while True:
            made = await played.piece(ticket)
            if ticket.cut:
                if not self._dead:
                    return cut(request)
                error = self._api.error(HTTPStatus.INTERNAL_SERVER_ERROR, _DEAD_MESSAGE)
                await response.write(f"data: {_text(error.body)}\n\ndata: [DONE]\n\n".encode())
                break
            ended = question.reason if ticket.done else None
            await response.write(self._api.piece(question, ticket.sent, made, ended).encode())
            ticket.sent = made
            if ended:
                await response.write(self._api.last(question, made).encode())
                break
        await response.write_eof()
        return response

    async def _whole(
        self, request: web.BaseRequest, question: Question, ticket: Ticket, played: PlayedEngine
    ) -> web.StreamResponse:
        await played.finish(ticket)
        if not ticket.cut:
            return _json(self._api.whole(question, question.reason))
        if not self._dead:
            return cut(request)
        error = self._api.error(HTTPStatus.INTERNAL_SERVER_ERROR, _DEAD_MESSAGE)
        return _json(error.body, error.status)


_KINDS: Mapping[str, Kind] = {kind.value: kind for kind in Kind}
_COMMON_PATHS = {"/health", "/ping", "/metrics", "/v1/models", Kind.COMPLETION.value, Kind.CHAT.value}
_VLLM_PATHS = frozenset({*_COMMON_PATHS, "/version"})
_SGLANG_PATHS = frozenset(
    {*_COMMON_PATHS, Kind.GENERATE.value, "/health_generate", "/ready"}
    | {"/server_info", "/get_server_info", "/model_info", "/get_model_info"}
)
_READ_METHODS: Mapping[str, tuple[str, ...]] = {"/ping": ("GET", "POST")}


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _json(value: Mapping[str, Any], status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(text=_text(value), status=status, content_type="application/json")


async def _event_stream(request: web.BaseRequest) -> web.StreamResponse:
    """An answer whose parts come as server-sent events; its headers are out before the first token."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    return response
