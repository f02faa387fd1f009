"""Keys: made, listed without their secret, revoked within five seconds."""

import contextlib
import os
import time
from pathlib import Path

import openai
import pytest

from harness import eventually

# The promise is that a revoked key stops everywhere within five seconds.
REVOKED_S_MAX = 5.0


def test_a_secret_is_shown_once_and_stored_nowhere(edge, admin):
    key = admin.make_key(name="secret")
    listed = admin.keys(key.project)
    assert key.id in [entry["id"] for entry in listed]
    assert key.secret not in str(listed)
    read = 0
    for folder, _, names in os.walk(edge.state):
        for name in names:
            path = Path(folder, name)
            # The edge is at work: what was listed may be gone.
            with contextlib.suppress(FileNotFoundError):
                assert key.secret.encode() not in path.read_bytes(), path
                read += 1
    assert read > 3, "the state folder is there"
    assert key.secret not in edge.logged()
    assert key.secret not in edge.printed()


def test_a_revoked_key_stops_within_five_seconds(edge, admin, model):
    key = admin.make_key(name="short-lived")
    with edge.openai(key.secret) as client:
        assert client.models.list().data
        admin.revoke(key)
        began = time.monotonic()

        def is_refused():
            try:
                client.models.list()
            except openai.AuthenticationError:
                return True
            return False

        eventually(is_refused, REVOKED_S_MAX, "the revoked key is refused")
        assert time.monotonic() - began <= REVOKED_S_MAX
        # And stays so, on every route.
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "Hello!"}]
            )
        with pytest.raises(openai.AuthenticationError):
            client.conversations.create()
    assert key.id not in [entry["id"] for entry in admin.keys(key.project)]


def test_a_member_may_not_make_keys(edge, admin):
    member = admin.make_key(name="member", role="member")
    with edge.http(member.secret) as http:
        path = f"/v1/organization/projects/{member.project}/api_keys"
        answer = http.post(path, json={"name": "more"})
    assert answer.status_code == 403
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_no_key_reaches_no_route(edge):
    routes = [
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/conversations"),
        ("GET", "/v1/organization/usage/completions"),
        ("GET", "/v1/organization/projects"),
    ]
    with edge.http() as http:
        for method, path in routes:
            answer = http.request(method, path)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["error"]["code"] == "invalid_api_key"


def test_internal_routes_are_not_reachable_from_outside(edge, key):
    with edge.http(key.secret) as http:
        for path in ["/internal/bootstrap", "/internal/tick", "/internal/keys"]:
            answer = http.post(path, json={})
            assert answer.status_code in (404, 405), (path, answer.text)
            assert "api_key" not in answer.text
