"""A key that was revoked changes nothing from that moment on, whatever a cache remembers."""

from __future__ import annotations

from admin import PROJECTS

ROUNDS = 12


def changes(project: str, key: str, name: str) -> list[tuple[str, str, dict]]:
    base = f"{PROJECTS}/{project}"
    return [
        ("POST", f"{base}/api_keys", {"json": {"name": name, "role": "owner"}}),
        ("POST", PROJECTS, {"json": {"name": name}}),
        ("POST", base, {"json": {"name": name}}),
        ("DELETE", f"{base}/api_keys/{key}", {}),
    ]


def test_no_change_is_made_by_a_key_that_was_just_revoked(stage, members):
    made = {}
    for at in range(members.count(ROUNDS)):
        owner = stage.admin.make_key(name="an owner", role="owner")
        victim = stage.key("a victim")
        wanted = changes(victim.project, victim.id, f"too late {at}")
        method, path, fields = wanted[at % len(wanted)]
        with stage.edge.http(owner.secret) as http:
            # It is known, and remembered.
            assert http.get(PROJECTS).status_code == 200
            stage.admin.revoke(owner)
            answer = http.request(method, path, **fields)
        if answer.status_code != 401:
            made[f"{at}: {method} {path}"] = answer.status_code
        assert victim.id in [key["id"] for key in stage.admin.keys(victim.project)]
        assert f"too late {at}" not in str(stage.admin.keys(victim.project))
        listed = stage.admin.http.get(PROJECTS, params={"limit": 100}).text
        assert f"too late {at}" not in listed
    assert not made, made
