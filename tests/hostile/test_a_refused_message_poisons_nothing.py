"""A refused message is kept as refused: it returns in no later prompt, and no secret is stored."""

from __future__ import annotations

import pytest

from town import BLOCKED
from spellings import luhn

CHAT = "/v1/chat/completions"


@pytest.fixture
def http(stage):
    with stage.edge.http(stage.attacker.secret) as http:
        yield http


def turn(http, stage, conversation: str, text: str) -> dict:
    answer = http.post(CHAT, json={**stage.chat(text), "conversation": conversation})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


def test_a_conversation_goes_on_after_a_blocked_prompt(stage, http):
    conversation = http.post("/v1/conversations", json={}).json()["id"]
    assert turn(http, stage, conversation, "[script chunks=1]")["finish_reason"] == "stop"
    for at in range(3):
        blocked = turn(http, stage, conversation, f"I want {BLOCKED}, number {at}")
        assert blocked["finish_reason"] == "content_filter"
        after = turn(http, stage, conversation, "[script chunks=2]")
        assert after["finish_reason"] == "stop", f"after {at + 1} blocked prompts"
        assert after["message"]["content"] == "word " * 2


def test_no_store_has_a_card_number_that_the_policy_masks(stage, http, members):
    number = luhn(members.random(), 16, "4")
    conversation = http.post("/v1/conversations", json={}).json()["id"]
    turn(http, stage, conversation, f"My card is {number} [script chunks=1]")
    turn(http, stage, conversation, f"{BLOCKED} for {number}")
    # Every turn is delivered once its successor is answered.
    turn(http, stage, conversation, "[script chunks=1]")
    items = http.get(f"/v1/conversations/{conversation}/items").text
    assert "[CARD_1]" in items, items
    assert number not in items
    assert not stage.edge.holders(number)
