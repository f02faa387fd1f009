"""Stored conversations: they remember, they belong to a project, they can go."""

import openai
import pytest


def say(client, model, conversation, text):
    completion = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": text}],
        temperature=0,
        extra_body={"conversation": conversation},
    )
    return completion.choices[0].message.content


def texts(client, conversation):
    """Role and text of each item, oldest first."""
    items = client.conversations.items.list(conversation, order="asc", limit=100)
    return [(item.role, "".join(part.text for part in item.content)) for item in items]


def test_a_conversation_remembers_what_was_said(client, model):
    conversation = client.conversations.create().id
    say(client, model, conversation, "My name is Marta.")
    answer = say(client, model, conversation, "What is my name?")
    assert "Marta" in answer


def test_its_items_are_the_turns_in_order(client, model):
    conversation = client.conversations.create().id
    first = say(client, model, conversation, "Hello!")
    second = say(client, model, conversation, "Thank you!")
    assert texts(client, conversation) == [
        ("user", "Hello!"),
        ("assistant", first),
        ("user", "Thank you!"),
        ("assistant", second),
    ]


def test_a_streamed_turn_is_stored_too(client, model):
    conversation = client.conversations.create().id
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hello!"}],
        stream=True,
        extra_body={"conversation": conversation},
    )
    said = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert texts(client, conversation) == [("user", "Hello!"), ("assistant", said)]


def test_a_request_without_one_is_stored_nowhere(edge, client, model, answers):
    conversation = client.conversations.create().id
    said = "Good morning, quicksilver marmoset!"
    answers(said)
    assert texts(client, conversation) == []
    assert not edge.holders(said)
    # One with a conversation would be found.
    say(client, model, conversation, said)
    assert edge.holders(said)


def test_another_projects_conversation_is_not_found(edge, admin, client, model):
    conversation = client.conversations.create().id
    stranger = admin.make_key(project=admin.make_project("another"), name="stranger")
    with edge.openai(stranger.secret) as other:
        with pytest.raises(openai.NotFoundError):
            say(other, model, conversation, "Hello!")
        with pytest.raises(openai.NotFoundError):
            other.conversations.retrieve(conversation)
        with pytest.raises(openai.NotFoundError):
            other.conversations.items.list(conversation)
        with pytest.raises(openai.NotFoundError):
            other.conversations.delete(conversation)
    assert client.conversations.retrieve(conversation).id == conversation


def test_a_deleted_conversation_is_gone_at_once(client, model):
    conversation = client.conversations.create().id
    say(client, model, conversation, "Hello!")
    assert client.conversations.delete(conversation).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(conversation)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.list(conversation)


def test_a_deleted_conversation_is_forgotten_by_the_edge_too(client, model):
    conversation = client.conversations.create().id
    say(client, model, conversation, "Hello!")
    client.conversations.delete(conversation)
    with pytest.raises(openai.NotFoundError):
        say(client, model, conversation, "Are you there?")
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(conversation)


def test_items_that_were_added_are_known_to_the_model_at_once(client, model):
    conversation = client.conversations.create().id
    say(client, model, conversation, "Hello!")
    items = [
        {"type": "message", "role": "user", "content": "My name is Marta."},
        {"type": "message", "role": "assistant", "content": "Nice to meet you, Marta!"},
    ]
    client.conversations.items.create(conversation, items=items)
    assert "Marta" in say(client, model, conversation, "What is my name?")


def test_a_reader_reads_its_users_conversations_and_calls_no_model(edge, admin, model):
    key = admin.make_key(name="writer", user="Marta")
    reader = admin.make_key(project=key.project, name="reader", role="reader", user="Marta")
    with edge.openai(key.secret) as client, edge.openai(reader.secret) as other:
        conversation = client.conversations.create().id
        assert other.conversations.retrieve(conversation).id == conversation
        with pytest.raises(openai.PermissionDeniedError):
            say(other, model, conversation, "Hello!")
        assert texts(client, conversation) == []


def test_another_keys_conversation_is_not_found(edge, admin, key, client, model):
    conversation = client.conversations.create().id
    said = "Nobody else knows this."
    say(client, model, conversation, said)
    for fields in ({}, {"user": "Noor"}, {"role": "reader"}):
        stranger = admin.make_key(project=key.project, name="stranger", **fields)
        with edge.openai(stranger.secret) as other:
            with pytest.raises(openai.NotFoundError):
                other.conversations.retrieve(conversation)
            with pytest.raises(openai.NotFoundError):
                other.conversations.items.list(conversation)
            if "role" not in fields:
                # Also while the edge has it in its cache.
                with pytest.raises(openai.NotFoundError):
                    say(other, model, conversation, "What do you know?")
                with pytest.raises(openai.NotFoundError):
                    other.conversations.delete(conversation)
    owner = admin.make_key(project=key.project, name="owner", role="owner")
    with edge.openai(owner.secret) as other:
        assert other.conversations.retrieve(conversation).id == conversation
    admin.revoke(owner)
    assert texts(client, conversation)[0] == ("user", said)


def test_more_than_a_turn_can_hold_is_refused_before_it_is_answered(client, model):
    conversation = client.conversations.create().id
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Hello!"}] * 101,
            extra_body={"conversation": conversation},
        )
    assert raised.value.param == "messages"


def test_an_id_that_never_was_is_not_found(client, model):
    with pytest.raises(openai.NotFoundError):
        say(client, model, "conv_0123456789abcdef", "Hello!")
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve("conv_0123456789abcdef")
