"""The front door: an ingress in front of every engine, which holds requests while no replica is ready.

    POST /v1/...                        to the model that the body names (`X-Namespace` where two serve it)
    POST /NAMESPACE/SERVICE/v1/...      to one Service
    GET  /v1/models                     the models there are
    GET  /metrics, /healthz

A request goes to the ready endpoint with the fewest open ones. Where there is none it waits, first come first served,
up to `hold_seconds` and with at most `hold_limit` others per model; past that the answer is 503 with Retry-After. An
endpoint that refuses the connection is passed over for another, as ingress-nginx does (`proxy-next-upstream: error
timeout`); what has reached a program is never sent again. Only ready endpoints are taken, not those that terminate
(ingress-nginx, `internal/ingress/controller/endpointslices.go`), so a request that comes during the last replica's
drain waits for the next.

Metrics have the names and labels of ingress-nginx where it has them: `nginx_ingress_controller_requests`, with the
model as `ingress` (`internal/ingress/metric/collectors/socket.go`). nginx counts a request once it is answered. Here
it is counted on arrival, because one that is held has to wake the model, and so it has no label `status`. Unlike
nginx's, all counters of a model exist from the moment its Service does: rate() does not see a counter's first value.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Protocol

import yarl
from aiohttp import web

from chartproof.cluster.machines.endpoints import Endpoint, Endpoints
from chartproof.cluster.machines.exposition import CONTENT_TYPE, Family, Histogram, labels, render
from chartproof.cluster.machines.listener import Listener
from chartproof.cluster.machines.routes import Route, Routes
from chartproof.cluster.machines.server import ERROR_HEADER, REFUSED, Cut
from chartproof.cluster.machines.watch import Key
from chartproof.cluster.speed import Speed

#: Simulated seconds that a request waits for a replica: as long as a patient client does (`chartproof.load`), and
#: longer than the slowest preset starts, a group of nodes that loads 700 GB.
HOLD_SECONDS = 1800.0
#: Requests that may wait for one model.
HOLD_LIMIT = 1000
#: Simulated seconds after which a refused client may come again: about a scrape, a poll and a decision.
RETRY_SECONDS = 60

#: Metrics that count requests: what can wake a model here.
COUNTED = ("nginx_ingress_controller_requests", "chartproof_front_door_requests_total")

NAMESPACE_HEADER = "X-Namespace"

_HELD_BUCKETS = (1, 5, 15, 30, 60, 120, 180, 240, 300, 420, 600, 900, 1200, 1800)


class Dispatch(Protocol):
    """The part of the pod network that a front door needs."""

    async def dispatch(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        """Have a request answered by whatever is at `url`."""


class Loss(StrEnum):
    """Why a request was not answered."""

    HOLD_LIMIT = "hold-limit"
    """Too many were waiting."""
    HOLD_TIMEOUT = "hold-timeout"
    """No replica became ready in time."""
    CLIENT_WHILE_HELD = "client-while-held"
    """The client went away while it waited."""
    CLIENT = "client"
    """The client went away before the answer's end."""
    BROKEN = "broken"
    """The replica broke off."""


@dataclass(slots=True)
class _Model:
    """What is counted of one route, and who waits for it."""

    route: Route
    requests: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    lost: Counter[Loss] = field(default_factory=Counter)
    refusals: int = 0
    held_seconds: Histogram = field(default_factory=lambda: Histogram(_HELD_BUCKETS))
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    #: Open requests and the last one's number, by endpoint.
    open: Counter[Endpoint] = field(default_factory=Counter)
    turns: dict[Endpoint, int] = field(default_factory=dict)


class FrontDoor:
    """Answers for every model of the cluster on one port."""

    def __init__(
        self,
        network: Dispatch,
        endpoints: Endpoints,
        routes: Routes,
        speed: Speed,
        *,
        hold_seconds: float = HOLD_SECONDS,
        hold_limit: int = HOLD_LIMIT,
    ) -> None:
        self._network = network
        self._endpoints = endpoints
        self._routes = routes
        self._speed = speed
        self._hold_seconds = hold_seconds
        self._hold_limit = hold_limit
        self._models: dict[Key, _Model] = {}
        self._turn = 0
        self._listener = Listener(self.handle)
        endpoints.on_change(self._release)
        routes.on_change(self._rearrange)
        self._rearrange()

    async def start(self, port: int) -> None:
        """Listen; port 0 is any that is free, see `port`."""
        await self._listener.start(port)

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self._listener.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._listener.port

    def held(self) -> Mapping[str, int]:
        """How many requests wait now, by model; several Services of one model count together."""
        found: Counter[str] = Counter()
        for each in self._models.values():
            found[each.route.model] += len(each.waiting)
        return found

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        path = request.path
        if request.method == "GET":
            if path == "/metrics":
                return web.Response(body=render(self._families()).encode(), headers={"Content-Type": CONTENT_TYPE})
            if path == "/healthz":
                return web.Response(text="ok\n")
            if path == "/v1/models":
                return web.json_response(self._list())
        found, rest = await self._route(request)
        if isinstance(found, web.Response):
            return found
        model = self._models[found.key]
        model.requests += 1
        response = await self._serve(request, model, rest)
        model.answers["cut" if isinstance(response, Cut) else str(response.status)] += 1
        return response

    # --- Where to -----------------------------------------------------------------------------------------------------

    async def _route(self, request: web.BaseRequest) -> tuple[Route | web.Response, str]:
        """The route, or the answer to a client that named none; and the path there, with its query."""
        parts = request.raw_path.split("/", 3)
        if len(parts) > 3 and parts[1] != "v1":  # noqa: PLR2004 - empty, namespace, Service, the rest
            found = self._routes.of_service(parts[1], parts[2])
            if found is None:
                return _error(HTTPStatus.NOT_FOUND, f"no engine behind the Service {parts[1]}/{parts[2]}"), ""
            return found, f"/{parts[3]}"
        if len(parts) < 3 or parts[1] != "v1":  # noqa: PLR2004 - empty, v1, the rest
            return _error(HTTPStatus.NOT_FOUND, "only /v1/... and /NAMESPACE/SERVICE/... lead somewhere"), ""
        return self._named(await request.read(), request.headers.get(NAMESPACE_HEADER, "")), request.raw_path

    def _named(self, body: bytes, namespace: str) -> Route | web.Response:
        """The route to the model that a body names."""
        try:
            model = json.loads(body)["model"]
        except (ValueError, TypeError, KeyError):
            return _error(HTTPStatus.BAD_REQUEST, "the body is no JSON object with a `model`")
        found = self._routes.of_model(str(model), namespace)
        if not found:
            known = ", ".join(dict.fromkeys(each.model for each in self._routes.all())) or "none"
            return _error(HTTPStatus.NOT_FOUND, f"there is no model {model!r}; there are: {known}")
        if len(found) > 1:
            prefixes = ", ".join(f"/{each.namespace}/{each.service}" for each in found)
            return _error(
                HTTPStatus.BAD_REQUEST,
                f"several Services serve {model!r}: name a namespace with the header {NAMESPACE_HEADER}, "
                f"or put one of {prefixes} before the path",
            )
        return found[0]

    def _list(self) -> object:
        names = dict.fromkeys(name for each in self._routes.all() for name in each.models)
        return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "chartproof"} for name in names]}

    # --- Hold and forward ---------------------------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest, model: _Model, path: str) -> web.StreamResponse:
        refused: set[Endpoint] = set()
        deadline: float | None = None
        loop = asyncio.get_running_loop()
        while True:
            endpoint = self._least_busy(model, refused)
            if endpoint is None:
                deadline = deadline or loop.time() + self._speed.real(self._hold_seconds)
                loss = await self._hold(model, deadline)
                if loss is not None:
                    model.lost[loss] += 1
                    return _unavailable(model.route.model, loss)
                # Something has changed: who refused may have come back.
                refused.clear()
                continue
            response = await self._forward(request, model, endpoint, path)
            if response.headers.get(ERROR_HEADER) != REFUSED:
                return response
            model.refusals += 1
            refused.add(endpoint)

    def _least_busy(self, model: _Model, without: set[Endpoint]) -> Endpoint | None:
        """The ready endpoint with the fewest open requests; of several, the one that was chosen longest ago."""
        ready = self._endpoints.ready(model.route.key, model.route.port)
        usable = [each for each in ready if each not in without]
        return min(usable, key=lambda each: (model.open[each], model.turns.get(each, 0)), default=None)

    async def _hold(self, model: _Model, deadline: float) -> Loss | None:
        """Wait until the endpoints have changed and some are ready; why not, where that is in vain."""
        if len(model.waiting) >= self._hold_limit:
            return Loss.HOLD_LIMIT
        loop = asyncio.get_running_loop()
        begun = loop.time()
        turn = loop.create_future()
        model.waiting.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except TimeoutError:
            return Loss.HOLD_TIMEOUT
        except asyncio.CancelledError:
            model.lost[Loss.CLIENT_WHILE_HELD] += 1
            raise
        finally:
            if turn in model.waiting:
                model.waiting.remove(turn)
            model.held_seconds.observe(self._speed.simulated(loop.time() - begun))
        return None

    async def _forward(
        self, request: web.BaseRequest, model: _Model, endpoint: Endpoint, path: str
    ) -> web.StreamResponse:
        """Have one endpoint answer."""
        self._turn += 1
        model.turns[endpoint] = self._turn
        model.open[endpoint] += 1
        url = yarl.URL(f"http://{endpoint.address}:{endpoint.port}{path}", encoded=True)
        try:
            response = await self._network.dispatch(request, url)
        except (asyncio.CancelledError, ConnectionError):
            model.lost[Loss.CLIENT] += 1
            raise
        finally:
            model.open[endpoint] -= 1
            if not model.open[endpoint]:
                del model.open[endpoint]
        if isinstance(response, Cut):
            model.lost[Loss.BROKEN] += 1
        return response

    def _release(self, service: Key) -> None:
        """The endpoints of a Service have changed: whoever waits looks again."""
        model = self._models.get(service)
        if model is None:
            return
        ready = self._endpoints.ready(service, model.route.port)
        model.turns = {each: model.turns[each] for each in ready if each in model.turns}
        if not ready:
            return
        while model.waiting:
            turn = model.waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    def _rearrange(self) -> None:
        """Routes have changed: new ones begin at 0, who waits for one that is gone waits on."""
        known = {each.key: each for each in self._routes.all()}
        for key, route in known.items():
            if key in self._models:
                self._models[key].route = route
            else:
                self._models[key] = _Model(route)
            self._release(key)
        for key in [each for each in self._models if each not in known]:
            if not self._models[key].waiting:
                del self._models[key]

    # --- Metrics ------------------------------------------------------------------------------------------------------

    def _families(self) -> Iterable[Family]:
        models = [self._models[key] for key in sorted(self._models)]
        own = [(_own(each.route), each) for each in models]
        yield Family(
            COUNTED[0],
            "counter",
            "Requests that came, answered or not, under the name that ingress-nginx has for it.",
            [(_nginx(each.route), each.requests) for each in models],
        )
        yield Family(
            COUNTED[1],
            "counter",
            "Requests that came, answered or not.",
            [(labels(pairs), each.requests) for pairs, each in own],
        )
        yield Family(
            "chartproof_front_door_answers_total",
            "counter",
            "Requests that were answered, by status; `cut` broke off.",
            [
                (labels({**pairs, "status": status}), count)
                for pairs, each in own
                for status, count in sorted(each.answers.items())
            ],
        )
        yield Family(
            "chartproof_front_door_held",
            "gauge",
            "Requests that wait for a replica.",
            [(labels(pairs), len(each.waiting)) for pairs, each in own],
        )
        yield Family(
            "chartproof_front_door_held_seconds",
            "histogram",
            "How long requests waited that had to, in simulated seconds.",
            [(labels(pairs), each.held_seconds) for pairs, each in own],
        )
        yield Family(
            "chartproof_front_door_lost_total",
            "counter",
            "Requests that were not answered, by reason.",
            [(labels({**pairs, "reason": loss}), each.lost[loss]) for pairs, each in own for loss in Loss],
        )
        yield Family(
            "chartproof_front_door_refusals_total",
            "counter",
            "Connections that a ready endpoint refused; the request went to another.",
            [(labels(pairs), each.refusals) for pairs, each in own],
        )


def _own(route: Route) -> dict[str, str]:
    return {"model": route.model, "namespace": route.namespace, "service": route.service}


def _nginx(route: Route) -> tuple[tuple[str, str], ...]:
    return labels({"ingress": route.model, "namespace": route.namespace, "service": route.service})


def _unavailable(model: str, loss: Loss) -> web.Response:
    why = "as many requests as may wait are waiting" if loss is Loss.HOLD_LIMIT else "no replica became ready in time"
    response = _error(HTTPStatus.SERVICE_UNAVAILABLE, f"{model}: {why}")
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _error(status: HTTPStatus, message: str) -> web.Response:
    """An error in the form of OpenAI's API."""
    return web.json_response(
        {"error": {"message": message, "type": status.phrase, "param": None, "code": int(status)}}, status=status
    )
