"""What a confused or hostile client sends: always a clear 4xx, never a 5xx."""

import json
import socket
import ssl

import pytest

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


def is_clear_refusal(answer, statuses=range(400, 500)):
    assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert error["type"]
    return error


@pytest.fixture
def http(edge, key):
    with edge.http(key.secret) as http:
        yield http
        # Whatever was sent, the next request is answered.
        assert http.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"chat"',
        b'{"model": "x", "messages": [}',
        b'{"model": NaN}',
        b"\x00\x01\x02",
        b"model=x&messages=y",
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
    ids=repr,
)
def test_a_body_that_is_not_a_json_object(http, body):
    is_clear_refusal(http.post(CHAT, content=body, headers=JSON), [400])


def test_a_body_that_is_not_utf_8(http, model):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "?"}]})
    for bad in (b"\xff", b"\xc3\x28", b"\xed\xa0\x80"):
        answer = http.post(CHAT, content=body.encode().replace(b"?", bad), headers=JSON)
        is_clear_refusal(answer, [400])


def test_ten_megabytes(http, model):
    for size in (10_000_000, 5_000_000):
        body = {"model": model, "messages": [{"role": "user", "content": "x" * size}]}
        is_clear_refusal(http.post(CHAT, json=body), [413])


def test_ten_megabytes_whose_length_is_not_told(http):
    def pieces():
        for _ in range(160):
            yield b"x" * 65_536

    is_clear_refusal(http.post(CHAT, content=pieces(), headers=JSON), [400, 413])


def test_more_than_the_models_context(http, model):
    body = {"model": model, "messages": [{"role": "user", "content": "word " * 60_000}]}
    error = is_clear_refusal(http.post(CHAT, json=body), [400])
    assert error["code"] == "context_length_exceeded"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [10**6, 2**32, 2**63, 10**30, 0, -1, 1.5, "10", [1]])
def test_a_huge_or_senseless_max_tokens(http, model, field, value):
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], field: value}
    error = is_clear_refusal(http.post(CHAT, json=body), [400])
    assert error["param"] == field


def test_a_max_tokens_beyond_the_whole_minute_says_what_to_lower(http, model):
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2**31}
    answer = http.post(CHAT, json=body)
    error = is_clear_refusal(answer, [400, 429])
    assert "max_" in error["message"]
    # Waiting cannot help.
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/no-such-route"),
        ("POST", "/v1/chat/completions/more"),
        ("GET", "/v1/"),
        ("GET", "/v1/organization/no-such-route"),
        ("GET", "/v1/conversations/../models/x"),
        ("GET", "/v1/%00"),
        ("GET", "/v1/" + "x" * 4_000),
    ],
)
def test_an_unknown_route(http, method, path):
    is_clear_refusal(http.request(method, path), [400, 404, 414])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", CHAT), ("DELETE", CHAT), ("PUT", CHAT), ("POST", "/v1/models"), ("PATCH", "/v1/models")],
)
def test_a_wrong_method_names_the_right_one(http, method, path):
    answer = http.request(method, path)
    is_clear_refusal(answer, [405])
    assert answer.headers["allow"]


def test_no_content_type_is_no_obstacle(http, model):
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    answer = http.post(CHAT, content=json.dumps(body).encode())
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        [None],
        ["hello"],
        [{}],
        [{"role": "king", "content": "x"}],
        [{"role": "user"}],
        [{"role": "user", "content": 7}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [{"role": "tool", "content": "84"}],
        [{"role": "user", "content": "x"}, {"role": "tool", "content": "84", "tool_call_id": "c"}],
        [{"role": "user", "content": "x", "colour": "red"}],
    ],
    ids=repr,
)
def test_messages_that_make_no_sense(http, model, messages):
    error = is_clear_refusal(http.post(CHAT, json={"model": model, "messages": messages}), [400])
    assert error["param"].startswith("messages")


def test_keys_that_make_no_sense(edge):
    headers = ["", "Bearer", "Basic dTpw", "Bearer a b", "Bearer \u00e9", "Bearer " + "x" * 3_000]
    with edge.http() as http:
        for value in headers:
            answer = http.get("/v1/models", headers={"authorization": value.encode()})
            is_clear_refusal(answer, [401])


def raw(edge, request: bytes) -> bytes:
    """What comes back for these very bytes, until the connection ends."""
    with (
        socket.create_connection(("localhost", edge.port), timeout=15) as tcp,
        edge.trust().wrap_socket(tcp, server_hostname="localhost") as tls,
    ):
        try:
            tls.sendall(request)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass  # It has answered and closed already.
        received = b""
        try:
            while block := tls.recv(65_536):
                received += block
        except (ConnectionResetError, ssl.SSLError):
            pass
        return received


def status_of(received: bytes) -> int:
    assert received.startswith(b"HTTP/1."), received[:200]
    return int(received.split(b" ", 2)[1])


def test_ten_thousand_headers(edge, http):
    many = "".join(f"x-h{n}: {n}\r\n" for n in range(10_000))
    request = f"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n{many}\r\n".encode()
    assert 400 <= status_of(raw(edge, request)) < 500


def test_one_enormous_header(edge, http):
    request = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 2_000_000 + b"\r\n\r\n"
    assert 400 <= status_of(raw(edge, request)) < 500


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
        # Ambiguous framing, RFC 9112 section 6.3.
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n"
        b"content-length: 4\r\n\r\nabcd",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
    ],
    ids=repr,
)
def test_bytes_that_are_not_http(edge, http, request_bytes):
    assert 400 <= status_of(raw(edge, request_bytes)) < 500


def test_a_body_that_is_never_finished_ends_by_itself(edge, http, key):
    request = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {key.secret}\r\ncontent-length: 100\r\n\r\n" + "{"
    )
    with (
        socket.create_connection(("localhost", edge.port), timeout=90) as tcp,
        edge.trust().wrap_socket(tcp, server_hostname="localhost") as tls,
    ):
        tls.sendall(request.encode())
        # Either an answer or an end: no client can hold a place for ever.
        received = tls.recv(65_536)
    assert received == b"" or 400 <= status_of(received) < 500
