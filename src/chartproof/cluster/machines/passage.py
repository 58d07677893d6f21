"""Carries requests and answers to and from real programs, which listen on ports of this machine."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import yarl
from aiohttp import web
from multidict import CIMultiDict

from chartproof.cluster.machines.network_faults import Answer
from chartproof.cluster.machines.server import ERROR_HEADER, Cut, cut

#: Headers that are about one connection, not about the request (RFC 9110, 7.6.1), and what we set ourselves.
_OF_CONNECTION = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"),
        *("expect", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)

Target = tuple[str, int]


class Passage:
    """A client for real programs. Nothing is buffered: what comes is handed on, what breaks off breaks off."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def stream(self, request: web.BaseRequest, url: yarl.URL, target: Target) -> web.StreamResponse | None:
        """Have a request answered by the program at an address; None where it refuses the connection."""
        content = request.content
        # What was read before is kept with the request.
        body = await request.read() if content.at_eof() else content
        try:
            async with self._client.request(
                request.method,
                _at(url, target),
                headers=_headers(request.headers, "content-length" if isinstance(body, bytes) else ""),
                data=body or None,
                allow_redirects=False,
            ) as upstream:
                # Of a connection that the program itself was refused, its own client is not told.
                headers = _headers(upstream.headers, ERROR_HEADER.lower())
                response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
                await response.prepare(request)
                async for piece in upstream.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response
        except aiohttp.ClientConnectorError:
            return None
        except aiohttp.ClientError:
            return cut(request)

    async def whole(self, request: web.BaseRequest, url: yarl.URL, target: Target) -> Answer | Cut | None:
        """What the program answers to a question, in one piece; None where it refuses the connection."""
        headers = _headers(request.headers, "accept-encoding")
        try:
            async with self._client.get(_at(url, target), headers=headers, allow_redirects=False) as upstream:
                return Answer(upstream.status, upstream.content_type, await upstream.read())
        except aiohttp.ClientConnectorError:
            return None
        except aiohttp.ClientError:
            return cut(request)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # A connection for each request: one that is kept is closed by its program just when it is used again,
                # uvicorn's after 5 idle seconds, and what was sent on it is lost.
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                # Whoever asks has a limit of its own; bodies are handed on as they came.
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                trust_env=False,
                max_line_size=2**16,
                max_field_size=2**16,
            )
        return self._session


def _at(url: yarl.URL, target: Target) -> yarl.URL:
    host, port = target
    return url.with_host(host).with_port(port)


def _headers(given: Mapping[str, str], *without: str) -> CIMultiDict[str]:
    """Headers as they are handed on."""
    named = {each.strip().lower() for each in given.get("Connection", "").split(",")}
    left_out = _OF_CONNECTION | named | set(without)
    return CIMultiDict((name, value) for name, value in given.items() if name.lower() not in left_out)
