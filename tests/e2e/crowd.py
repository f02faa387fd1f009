"""Many clients at once, each on a connection of its own.

A client here is as small as it can be, so that 200 of them measure the server and
not themselves: HTTP/1.1 over TLS, bodies in chunks or of a known length, server-sent
events.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field

from harness import Edge

DONE = "data: [DONE]"


@dataclass
class Stream:
    """What one client saw."""

    status: int = 0
    events: list[str] = field(default_factory=list)
    """The data of each event, in order."""
    ended: bool = False
    """The body was complete: its last chunk came."""

    def text(self) -> str:
        chunks = [json.loads(e) for e in self.events if e != "[DONE]"]
        return "".join(
            choice["delta"].get("content") or ""
            for chunk in chunks
            for choice in chunk.get("choices", [])
        )

    def finish_reasons(self) -> list[str]:
        chunks = [json.loads(e) for e in self.events if e != "[DONE]"]
        return [
            choice["finish_reason"]
            for chunk in chunks
            for choice in chunk.get("choices", [])
            if choice["finish_reason"]
        ]

    def errors(self) -> list[dict]:
        chunks = [json.loads(e) for e in self.events if e != "[DONE]"]
        return [chunk["error"] for chunk in chunks if "error" in chunk]

    def is_whole(self) -> bool:
        """It ended, and it ended once."""
        return (
            self.status == 200
            and self.ended
            and self.events.count("[DONE]") == 1
            and self.events[-1] == "[DONE]"
            and len(self.finish_reasons()) == 1
            and not self.errors()
        )


class Client:
    """One chat on one connection, streamed unless its body says otherwise."""

    def __init__(self, edge: Edge, key: str, body: dict):
        self.edge, self.key = edge, key
        self.body = json.dumps({"stream": True, **body}).encode()
        self.stream = Stream()
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._length: int | None = None

    async def ask(self) -> None:
        """Sends the request, and waits for nothing."""
        self._reader, self._writer = await asyncio.open_connection(
            "localhost", self.edge.port, ssl=self.edge.trust(), limit=1 << 20
        )
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            f"authorization: Bearer {self.key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(self.body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + self.body)
        await self._writer.drain()

    async def send(self) -> None:
        """Sends the request and waits for the head of its answer."""
        await self.ask()
        assert self._reader
        self.stream.status = int((await self._reader.readline()).split()[1])
        while field := (await self._reader.readline()).strip().lower():
            if field.startswith(b"content-length:"):
                self._length = int(field.split(b":")[1])

    async def read(self, contents_max: int | None = None) -> Stream:
        """Reads to the end, or until so many chunks with content have come."""
        assert self._reader
        pending, contents = b"", 0
        try:
            while piece := await self._piece():
                pending += piece
                *whole, pending = pending.split(b"\n\n")
                for event in whole:
                    data = event.decode()
                    if data.startswith("data: "):
                        self.stream.events.append(data[6:])
                        contents += '"content":"' in data and '"content":""' not in data
                if contents_max is not None and contents >= contents_max:
                    return self.stream
            self.stream.ended = not pending
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, ValueError):
            pass  # Cut: `ended` stays false.
        return self.stream

    async def _piece(self) -> bytes:
        """The next chunk, or the whole body where its length is known; nothing at the end."""
        assert self._reader
        if self._length is not None:
            length, self._length = self._length, 0
            return await self._reader.readexactly(length)
        size = int((await self._reader.readline()).strip() or b"0", 16)
        data = await self._reader.readexactly(size)
        if size:
            await self._reader.readexactly(2)
        return data

    def vanish(self) -> None:
        """As a client whose network is gone: no goodbye."""
        if self._writer:
            self._writer.transport.abort()


async def all_at_once(clients: list[Client]) -> list[Stream]:
    async def one(client: Client) -> Stream:
        await client.send()
        stream = await client.read()
        client.vanish()
        return stream

    return list(await asyncio.gather(*(one(client) for client in clients)))
