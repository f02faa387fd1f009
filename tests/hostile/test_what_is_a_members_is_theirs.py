"""Chats and keys are those of the person whose key it is, and of nobody else in the project."""

from __future__ import annotations


def test_another_key_of_the_project_sees_none_of_my_conversations(stage):
    with (
        stage.edge.http(stage.beside.secret) as mine,
        stage.edge.http(stage.attacker.secret) as theirs,
        stage.edge.http(stage.other.secret) as foreign,
    ):
        made = mine.post("/v1/conversations", json={}).json()["id"]
        path = f"/v1/conversations/{made}"
        assert mine.get(path).status_code == 200
        for http in (theirs, foreign):
            asked = [
                http.get(path),
                http.get(f"{path}/items"),
                http.post(path, json={"metadata": {"a": "b"}}),
                http.post(f"{path}/items", json={"items": [message("Hello")]}),
                http.delete(path),
                http.post(
                    "/v1/chat/completions", json={**stage.chat("Hi"), "conversation": made}
                ),
            ]
            assert {answer.status_code for answer in asked} == {404}
            assert made not in http.get("/v1/conversations", params={"limit": 100}).text
        assert mine.get(f"{path}/items").json()["data"] == []


def message(text: str) -> dict:
    return {"type": "message", "role": "user", "content": text}


def test_a_key_for_somebody_does_not_belong_to_the_owner_who_made_it(stage):
    keys = stage.admin.keys(stage.admin.default_project())
    [first] = [key for key in keys if key["name"] == "First key"]
    made = [key for key in stage.admin.keys(stage.attacker.project)]
    assert made and all(key["owner"] != first["owner"] for key in made)
