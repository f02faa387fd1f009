"""A backend as a script: an HTTP server that plays a persona and keeps every request.

Knows HTTP, a key and the two paths of the API; what is said is the persona's.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol


def dumps(value: object) -> str:
    """Compact, as these servers write it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass
class Request:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    raw: bytes
    body: dict = field(default_factory=dict)

    def raw_field(self, name: str) -> str | None:
        """The text of one of the body's own fields, byte for byte."""
        text = self.raw.decode()
        decoder, at = json.JSONDecoder(), text.index("{") + 1
        while match := re.compile(r'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*').match(text, at):
            _, end = decoder.raw_decode(text, match.end())
            if json.loads(match[1]) == name:
                return text[match.end() : end]
            at = end
        return None


@dataclass
class Reply:
    """A body of known length."""

    status: int
    body: object
    content_type: str = "application/json"

    def bytes(self) -> bytes:
        return (self.body if isinstance(self.body, str) else dumps(self.body)).encode()


@dataclass
class Stream:
    """A body in chunks; `cut` closes the connection in its middle."""

    writes: Iterator[str]
    content_type: str = "text/event-stream; charset=utf-8"
    cut: bool = False


class Persona(Protocol):
    """What a server needs of what it plays."""

    base: str
    key: str | None
    models: tuple[str, ...]

    def list(self) -> object: ...
    def unauthorized(self, sent: str) -> Reply: ...
    def unknown_model(self, model: str) -> Reply: ...
    def check(self, body: dict) -> Reply | None: ...
    def answer(self, body: dict) -> Reply | Stream: ...


class Backend:
    """One persona on a port of its own, from `with` to its end."""

    def __init__(self, persona: Persona):
        self.persona = persona
        self.requests: list[Request] = []
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.backend = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = self.origin + persona.base
        # What an operator writes: nothing after the port where the API is in its usual place.
        self.address = self.origin if persona.base == "/v1" else self.url

    def __enter__(self) -> Backend:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.close()

    def close(self) -> None:
        """As a server that is killed: open connections end too."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self._server.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def chats(self) -> list[Request]:
        """The chats that it was asked, in order."""
        return [request for request in self.requests if request.method == "POST"]

    def reply(self, request: Request) -> Reply | Stream:
        persona = self.persona
        if request.path not in (f"{persona.base}/models", f"{persona.base}/chat/completions"):
            return Reply(404, {"detail": "Not Found"})
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        if persona.key is not None and sent != persona.key:
            return persona.unauthorized(sent)
        if request.method == "GET":
            return Reply(200, persona.list())
        if request.body["model"] not in persona.models:
            return persona.unknown_model(request.body["model"])
        return persona.check(request.body) or persona.answer(request.body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    backend: Backend

    def __init__(self, *where: object):
        self.connections: list[socket.socket] = []
        super().__init__(*where)

    def process_request(self, request: socket.socket, client_address: object) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(b"".join(self._body()))

    def _body(self) -> Iterator[bytes]:
        """Of a known length, or in chunks (RFC 9112, 7.1), which http.server leaves as they are."""
        if self.headers.get("transfer-encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("content-length", 0)))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue  # Trailer fields.

    def log_message(self, *_: object) -> None:
        """Says nothing: pytest shows what went wrong."""

    def _answer(self, raw: bytes) -> None:
        backend = self.server.backend
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, raw, json.loads(raw) if raw else {})
        backend.requests.append(request)
        reply = backend.reply(request)
        if isinstance(reply, Reply):
            body = reply.bytes()
            self._head(reply.status, reply.content_type, ("Content-Length", str(len(body))))
            self.wfile.write(body)
            return
        self._head(200, reply.content_type, ("Transfer-Encoding", "chunked"))
        for write in reply.writes:
            data = write.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        if reply.cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, content_type: str, framing: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header(*framing)
        self.end_headers()
