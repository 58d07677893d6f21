"""A Hugging Face hub on loopback, with the few routes that its client uses to fetch files."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

REPOSITORY = "Qwen/Qwen2.5-7B-Instruct"
#: Large files carry their sha256 on the hub, small ones a git hash.
LARGE_BYTES = 100_000


@dataclass
class Hub:
    """What the hub holds and what it was asked. Change `files`, `answers` to misbehave."""

    revision: str
    files: dict[str, bytes]
    #: Bodies that are sent in place of the true ones.
    answers: dict[str, bytes] = field(default_factory=dict)
    #: Status for every request, with the hub's error code.
    refusal: tuple[int, str] | None = None
    ranges: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    address: str = ""

    def siblings(self) -> list[dict[str, Any]]:
        found = []
        for name, body in self.files.items():
            each: dict[str, Any] = {"rfilename": name, "size": len(body), "blobId": git_hash(body)}
            if len(body) >= LARGE_BYTES:
                each["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
            found.append(each)
        return found


def git_hash(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()


def serve(hub: Hub) -> ThreadingHTTPServer:  # noqa: C901 - a handler is a class inside
    """Start serving; the caller shuts it down."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path).lstrip("/")
            hub.requests.append(f"{self.command} {path}")
            if hub.refusal:
                status, code = hub.refusal
                self.reply(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})
            elif path == f"api/models/{REPOSITORY}/revision/{hub.revision}":
                info = {"id": REPOSITORY, "sha": hub.revision, "siblings": hub.siblings()}
                self.reply(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
            elif path.startswith(f"{REPOSITORY}/resolve/{hub.revision}/"):
                self.file(path.removeprefix(f"{REPOSITORY}/resolve/{hub.revision}/"), body=body)
            else:
                self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})

        def file(self, name: str, *, body: bool) -> None:
            content = hub.answers.get(name, hub.files[name])
            truth = hub.files[name]
            etag = hashlib.sha256(truth).hexdigest() if len(truth) >= LARGE_BYTES else git_hash(truth)
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": hub.revision, "Accept-Ranges": "bytes"}
            wanted = self.headers.get("Range")
            status = 200
            total = len(content)
            if wanted and body:
                hub.ranges.append(wanted)
                start, _, end = wanted.removeprefix("bytes=").partition("-")
                headers["Content-Range"] = f"bytes {start}-{end}/{total}"
                content, status = content[int(start) : int(end) + 1], 206
            self.reply(
                status, content if body else b"", {**headers, **({} if body else {"Content-Length": str(total)})}
            )

        def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            headers = {"Content-Length": str(len(content)), **headers}
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that is killed midway is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
