"""Tools that the platform runs itself, when a request brings none."""

import json
import re


def test_the_platform_calculates_for_the_model(answers):
    assert re.search(r"\b84\b", answers("What is 12*7?"))


def test_the_page_can_show_what_was_called(edge, key, model):
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What is 12*7?"}],
        "temperature": 0,
        "stream": True,
        "skerry": {"events": True},
    }
    with edge.http(key.secret) as http:
        text = http.post("/v1/chat/completions", json=body).text
    events = [json.loads(e[6:]) for e in text.split("\n\n") if e.startswith("data: {")]
    shown = [event["skerry"] for event in events if event.get("skerry")]
    assert [e["type"] for e in shown] == ["tool_call", "tool_result"]
    call, result = shown
    assert call["name"] == result["name"] == "calculator"
    assert call["id"] == result["id"]
    assert json.loads(call["arguments"])["expression"].replace(" ", "") == "12*7"
    assert result["output"] == "84"
    said = "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
    assert "84" in said
    # The call itself is the platform's affair.
    assert "tool_calls" not in text.replace('"tool_calls":null', "")


def test_clients_that_did_not_ask_see_no_extension(client, model):
    chunks = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "What is 12*7?"}],
        temperature=0,
        stream=True,
    )
    chunks = list(chunks)
    assert all(chunk.choices for chunk in chunks)
    assert not any("skerry" in (chunk.model_extra or {}) for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_tool_choice_none_leaves_the_tools_alone(edge, key, model):
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What is 12*7?"}],
        "tool_choice": "none",
        "skerry": {"events": True},
        "stream": True,
        "max_tokens": 40,
    }
    with edge.http(key.secret) as http:
        text = http.post("/v1/chat/completions", json=body).text
    assert '"skerry"' not in text
    assert text.endswith("data: [DONE]\n\n")
