"""What a client says is in no log, at no level, and breaks no line of one, nor of the metrics."""

from __future__ import annotations

import re
import socket

import httpx2

from town import BLOCKED

CHAT = "/v1/chat/completions"


def bodies(stage, mark: str) -> list[dict]:
    """Requests that are refused, and say the mark in the field that is wrong."""
    chat = stage.chat("[script chunks=1]")
    return [
        {**chat, "model": mark},
        {**chat, "model": f"{mark}\r\nfake: line"},
        {**chat, mark: 1},
        {**chat, "temperature": mark},
        {**chat, "stop": [mark] * 9},
        {**chat, "user": f"{mark}\u2028\x1b[31m"},
        {**chat, "conversation": mark},
        {**chat, "tools": [{"type": mark}]},
        {**chat, "tool_choice": mark},
        {**chat, "response_format": {"type": mark}},
        {**chat, "messages": [{"role": mark, "content": "x"}]},
        stage.chat(f"{BLOCKED} {mark}"),
        stage.chat(f"{mark} [script status=400]"),
        stage.chat(f"{mark} [script status=500]"),
        stage.chat(f"{mark} [script chunks=2 cut_after=1]"),
    ]


def raw(stage, request: str) -> None:
    with (
        socket.create_connection(("localhost", stage.edge.port), timeout=30) as tcp,
        stage.edge.trust().wrap_socket(tcp, server_hostname="localhost") as tls,
    ):
        tls.sendall(request.encode())
        tls.recv(65_536)


def test_nothing_that_a_client_said_is_logged_or_counted_by_name(stage, members):
    mark = f"mark{members.random().randrange(1 << 60):x}"
    with stage.edge.http(stage.attacker.secret) as http:
        for body in bodies(stage, mark):
            http.post(CHAT, json=body)
        http.post(CHAT, content=f'{{"{mark}', headers={"content-type": "application/json"})
        http.post("/v1/conversations", json={"metadata": {mark: "x" * 10_000}})
        http.post("/v1/conversations", json={"items": [{"type": mark}]})
        http.get("/v1/conversations", params={"after": mark, mark: "1"})
        http.get(f"/v1/models/{mark}")
        http.get("/v1/models", headers={"x-request-id": mark, "user-agent": mark})
    raw(stage, f"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n{mark}\x01: 1\r\n\r\n")
    assert mark not in httpx2.get(f"{stage.edge.operator}/metrics").text
    logged = [line for line in stage.edge.logged().splitlines() if mark in line]
    # Who asked for which path is what an access log is for.
    told = [line for line in logged if f"/v1/models/{mark}" not in line]
    assert not told, told[:5]
    assert "fake: line" not in stage.edge.logged()
    assert not re.search(r"[\x00-\x08\x0b-\x1a\x1c-\x1f]", stage.edge.logged())


def test_an_id_of_a_client_is_escaped_where_it_is_given_back(stage):
    with stage.edge.http(stage.attacker.secret) as http:
        for bad in ("a\tb", "é", "x" * 5_000, "<script>", '"; drop'):
            answer = http.get("/v1/models", headers={"x-request-id": bad.encode()})
            given = answer.headers.get("x-request-id", "")
            assert re.fullmatch(r"[!-~]{0,200}", given), given
