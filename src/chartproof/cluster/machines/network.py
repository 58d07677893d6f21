"""The pod network: gives requests for pod addresses and Service names to whatever answers there.

There is no kube-proxy, no DNS and no route to a pod on this machine. Programs that we play are called in memory; real
ones (Prometheus) are reached on their loopback port. From outside, the network is an HTTP forward proxy on loopback:
`curl -x http://127.0.0.1:PORT http://llama.llm/v1/models`. Nothing is buffered on the way, in either direction: a
client that goes away ends the program's work, and an answer that breaks off breaks the client's connection.

Every request to a Service is a connection of its own, so each is spread anew; a client that keeps connections open
would find itself bound to one pod in a real cluster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address

import yarl
from aiohttp import web

from chartproof.cluster.machines.endpoints import Endpoint, Endpoints, NoSuchHostError
from chartproof.cluster.machines.listener import Listener
from chartproof.cluster.machines.network_faults import Answer, Mode, NetworkFaults, spoiled
from chartproof.cluster.machines.passage import Passage
from chartproof.cluster.machines.server import ERROR_HEADER, NO_SUCH_HOST, REFUSED, Server
from chartproof.cluster.ports import LOOPBACK

_HTTP_PORT = 80
_LOOPBACK_NAME = "localhost"
#: Query parameters that differ from one poll to the next.
_MOMENTS = ("time", "start", "end")


class Network:
    """Pod addresses, what answers there, and the way from names to them."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._servers: defaultdict[str, list[Server]] = defaultdict(list)
        self._aliases: dict[tuple[str, int], tuple[str, int]] = {}
        self._faults = NetworkFaults()
        self._remembered: dict[tuple[str, str], Answer] = {}
        self._listener = Listener(self._proxy)
        self._passage = Passage()

    # --- What is where ------------------------------------------------------------------------------------------------

    def attach(self, address: str, server: Server) -> None:
        """From now on the pod's address answers with this program, and with those of its other containers."""
        alive = [each for each in self._servers[address] if not each.exit.done()]
        self._servers[address] = [*alive, server]

    def detach(self, address: str) -> None:
        """No program answers at this address any more."""
        self._servers.pop(address, None)

    def offers(self, address: str) -> bool:
        """Whether clients of any Service are sent to a pod's address."""
        return self._endpoints.offers(address)

    def alias(self, host: str, port: int, target: tuple[str, int]) -> None:
        """Give what asks for a pod's address (or any name) and port to a real program's address and port."""
        self._aliases[host.lower(), port] = target

    def unalias(self, host: str, port: int) -> None:
        """End of `alias`."""
        self._aliases.pop((host.lower(), port), None)

    # --- Faults -------------------------------------------------------------------------------------------------------

    def break_host(self, host_pattern: str, mode: str) -> None:
        """Answer for these hosts as `mode` says: refuse, error, nan, stale, empty. Patterns: see NetworkFaults.

        The last three change what is read (GET) and leave the rest alone. Raises UsageError for another mode.
        """
        self._faults.break_host(host_pattern, mode)
        self._remembered.clear()

    def mend(self, host_pattern: str) -> None:
        """End of `break_host`."""
        self._faults.mend(host_pattern)
        self._remembered.clear()

    @property
    def broken(self) -> Mapping[str, Mode]:
        """What is broken now, by pattern."""
        return self._faults.modes

    # --- Requests -----------------------------------------------------------------------------------------------------

    async def dispatch(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        """Have a request for `url` (absolute) answered by whatever is there.

        Where nothing is, by us: status 502, with ERROR_HEADER. The rest is as `Server.handle` has it.
        """
        host, port = (url.host or "").lower(), url.port or _HTTP_PORT
        try:
            endpoint = self._find(host, port)
        except NoSuchHostError:
            return _nobody(NO_SUCH_HOST, host)
        hosts = [(each, port) for each in self._endpoints.names(host)]
        if endpoint is not None:
            hosts.append((endpoint.address, endpoint.port))
        mode = self._faults.of(hosts, url.path)
        if mode is Mode.REFUSE:
            return _nobody(REFUSED, f"{host}:{port}")
        if mode is Mode.ERROR:
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text="this host is broken on purpose\n")
        if mode is None or request.method != "GET":
            return await self._reach(request, url, endpoint)
        return await self._spoil(request, url, endpoint, mode)

    async def start(self, port: int) -> None:
        """Listen as a forward proxy; port 0 is any that is free, see `port`."""
        await self._listener.start(port)

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self._listener.stop()
        await self._passage.close()

    @property
    def port(self) -> int:
        """The proxy's port, while it listens."""
        return self._listener.port

    def _find(self, host: str, port: int) -> Endpoint | None:
        """Where the host is: an address of a pod, or of a real program. Raises NoSuchHostError."""
        if (host, port) in self._aliases or _is_loopback(host):
            return Endpoint(host, port)
        return self._endpoints.resolve(host, port)

    async def _reach(self, request: web.BaseRequest, url: yarl.URL, endpoint: Endpoint | None) -> web.StreamResponse:
        if endpoint is None:
            return _nobody(REFUSED, f"{url.host}:{url.port}")
        target = self._real(endpoint)
        if target is not None:
            streamed = await self._passage.stream(request, url, target)
            return _nobody(REFUSED, f"{url.host}:{url.port}") if streamed is None else streamed
        # The newest first: an older one on the same port is a container's life that is over.
        for server in reversed(self._servers.get(endpoint.address, ())):
            if endpoint.port in server.ports and server.listening:
                return await server.handle(request, url.with_host(endpoint.address).with_port(endpoint.port))
        return _nobody(REFUSED, f"{endpoint.address}:{endpoint.port}")

    def _real(self, endpoint: Endpoint) -> tuple[str, int] | None:
        """Address and port of the real program behind an endpoint, or None."""
        alias = self._aliases.get((endpoint.address, endpoint.port))
        if alias is None and _is_loopback(endpoint.address):
            return LOOPBACK, endpoint.port
        return alias

    async def _proxy(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request that came over the port."""
        if request.method == "CONNECT":
            refusal = web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, text="the pod network carries HTTP only\n")
            refusal.force_close()
            return refusal
        return await self.dispatch(request, request.url)

    # --- Spoiled answers ----------------------------------------------------------------------------------------------

    async def _spoil(
        self, request: web.BaseRequest, url: yarl.URL, endpoint: Endpoint | None, mode: Mode
    ) -> web.StreamResponse:
        """Answer a question as a broken host does that still listens."""
        key = f"{url.host}:{url.port}", str(url.without_query_params(*_MOMENTS).relative())
        if mode is Mode.STALE and key in self._remembered:
            return _response(self._remembered[key])
        answer = await self._whole(request, url, endpoint)
        if isinstance(answer, web.StreamResponse):
            return answer
        if mode is Mode.STALE:
            if HTTPStatus.OK <= answer.status < HTTPStatus.BAD_REQUEST:
                self._remembered[key] = answer
            return _response(answer)
        return _response(spoiled(mode, answer))

    async def _whole(
        self, request: web.BaseRequest, url: yarl.URL, endpoint: Endpoint | None
    ) -> Answer | web.StreamResponse:
        """The answer in one piece; as a response where it cannot be had so."""
        target = None if endpoint is None else self._real(endpoint)
        if target is None:
            response = await self._reach(request, url, endpoint)
            if isinstance(response, web.Response) and not response.prepared and isinstance(response.body, bytes):
                return Answer(response.status, response.content_type, response.body)
            return response
        answer = await self._passage.whole(request, url, target)
        return _nobody(REFUSED, f"{url.host}:{url.port}") if answer is None else answer


def _nobody(error: str, where: str) -> web.Response:
    return web.Response(status=HTTPStatus.BAD_GATEWAY, headers={ERROR_HEADER: error}, text=f"{where}: {error}\n")


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)


def _is_loopback(host: str) -> bool:
    """Whether the host is this machine, where only real programs are."""
    if host == _LOOPBACK_NAME:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
