"""HTTP/2 by hand over TLS, from any address of the loopback: what no client library sends.

Knows frames; what they are for is the attack's.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections import Counter

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from harness import Edge

# A frame's type and flags, RFC 9113, section 6.
SETTINGS, PING, WINDOW_UPDATE, ACK = 0x4, 0x6, 0x8, 0x1
READ_BYTES = 1 << 16
GREETING_S_MAX = 10.0


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload


class Connection:
    """One connection; `over` once the server has ended it."""

    def __init__(self, edge: Edge, source: str):
        self.edge = edge
        self.over = False
        self.statuses: dict[int, int] = {}
        self.ended: set[int] = set()
        self.acknowledged: Counter[str] = Counter()
        trust = edge.trust()
        trust.set_alpn_protocols(["h2"])
        tcp = socket.create_connection(
            ("127.0.0.1", edge.port), timeout=GREETING_S_MAX, source_address=(source, 0)
        )
        self.tls = trust.wrap_socket(tcp, server_hostname="localhost")
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self.state = h2.connection.H2Connection(config)
        self.state.initiate_connection()
        self.flush()
        # The limits of this connection are told first.
        while not self.state.remote_settings.max_concurrent_streams < 1 << 31 and not self.over:
            self.receive(GREETING_S_MAX)

    def request(self, method: str, path: str, *fields: tuple[str, str], ends: bool) -> int:
        stream = self.state.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "https"), (":path", path)]
        head = [*pseudo, (":authority", f"localhost:{self.edge.port}"), *fields]
        self.state.send_headers(stream, head, end_stream=ends)
        return stream

    def drip(self, stream: int, data: bytes) -> bool:
        """Sends a piece of a body; whether the stream still takes one."""
        if self.over or stream in self.ended:
            return False
        try:
            self.state.send_data(stream, data)
        except h2.exceptions.ProtocolError:
            return False
        return True

    def flush(self) -> None:
        self.send_bytes(self.state.data_to_send())

    def send_bytes(self, data: bytes) -> None:
        """Bytes as they are, past the protocol's state."""
        try:
            self.tls.sendall(data)
        except OSError:
            self.over = True

    def receive(self, within_s: float = 0.0) -> bool:
        """Reads what has come; whether anything had."""
        if self.over or not (self.tls.pending() or select.select([self.tls], [], [], within_s)[0]):
            return False
        try:
            data = self.tls.recv(READ_BYTES)
        except ssl.SSLWantReadError:
            return False
        except OSError:
            data = b""
        if not data:
            self.over = True
            return False
        try:
            self._note(self.state.receive_data(data))
        except h2.exceptions.ProtocolError:
            self.over = True
        self.flush()
        return True

    def receive_all(self) -> None:
        while self.receive():
            continue

    def _note(self, events: list[h2.events.Event]) -> None:
        for event in events:
            match event:
                case h2.events.ResponseReceived():
                    fields = dict(event.headers)
                    self.statuses[event.stream_id] = int(fields[":status"])
                case h2.events.DataReceived():
                    with contextlib.suppress(h2.exceptions.ProtocolError):
                        length = event.flow_controlled_length
                        self.state.acknowledge_received_data(length, event.stream_id)
                case h2.events.StreamEnded() | h2.events.StreamReset():
                    self.ended.add(event.stream_id)
                case h2.events.PingAckReceived():
                    self.acknowledged["ping"] += 1
                case h2.events.ConnectionTerminated():
                    self.over = True

    def close(self) -> None:
        """As a client whose network is gone."""
        with contextlib.suppress(OSError):
            self.tls.close()
