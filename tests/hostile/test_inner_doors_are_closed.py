"""What is behind the platform's door has doors of its own: engine, inner routes, operator's port."""

from __future__ import annotations

import httpx2
import pytest

from harness import listening_ports

INNER = [
    "/internal/bootstrap",
    "/internal/keys/verify",
    "/internal/usage",
    "/internal/turns",
    "/internal/tick",
    "/internal/projects/p/conversations/c/messages",
]
DISGUISES = [
    "{}",
    "/v1/..{}",
    "/v1/conversations/..{}",
    "/v1/conversations/../..{}",
    "/{}",
    "/v1/%2e%2e{}",
    "/v1/organization/projects/..%2f..%2f..{}",
    "/v1/conversations{}",
    "/v1/organization/usage{}",
]
ASKED = [
    ("GET", "/v1/models", None),
    ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    ("POST", "/v1/completions", {"prompt": "Hi"}),
    ("POST", "/tokenize", {"prompt": "Hi"}),
]


def test_the_engine_answers_nobody_who_has_no_secret(town):
    """Either it has no port, or it refuses who comes by it: also with another's salt."""
    for port in listening_ports(town.edge.engine_pid()):
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            for method, path, body in ASKED:
                if body is not None:
                    body = {"model": town.model, "max_tokens": 1, "cache_salt": "a/b", **body}
                for headers in ({}, {"authorization": f"Bearer {town.attacker.secret}"}):
                    answer = http.request(method, path, json=body, headers=headers)
                    assert answer.status_code in (401, 403), (path, answer.status_code)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "skerry", "directory.spin.internal"])
def test_no_spelling_of_an_inner_route_leads_there(stage, host):
    with stage.edge.http(stage.attacker.secret) as http:
        for route in INNER:
            for disguise in DISGUISES:
                url = httpx2.URL(stage.edge.url).copy_with(raw_path=disguise.format(route).encode())
                answer = http.post(url, json={"items": []}, headers={"host": host})
                assert answer.status_code in (400, 403, 404, 405, 421), (url, answer.text)


def test_the_operators_port_answers_no_other_host(stage):
    """As a page that a browser shows asks, whose name leads to the loopback (DNS rebinding)."""
    for path in ("/metrics", "/healthz", "/readyz"):
        url = f"{stage.edge.operator}{path}"
        assert httpx2.get(url).status_code == 200
        for host in ("evil.example", "evil.example:9443", "localhost.evil.example"):
            answer = httpx2.get(url, headers={"host": host})
            assert answer.status_code in (400, 403, 421), (host, answer.status_code)


def test_two_authorization_fields_are_refused(stage):
    mine, theirs = (f"Bearer {key.secret}" for key in (stage.attacker, stage.other))
    routes = [
        "/v1/models",
        "/v1/conversations",
        "/v1/organization/projects",
        "/v1/organization/usage/completions?start_time=1",
    ]
    with stage.edge.http() as http:
        for pair in ((mine, theirs), (mine, mine), (mine, "Basic eDp5"), ("", mine)):
            headers = [("authorization", value) for value in pair]
            for path in routes:
                answer = http.get(path, headers=headers)
                assert answer.status_code in (400, 401), (path, answer.status_code)
