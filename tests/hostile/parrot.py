"""A backend that answers with what a test has put down, and keeps what it was asked.

Knows OpenAI's shapes, and nothing of what a guard should make of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable

from persona_server import Reply, Stream
from personas import CREATED, Persona, event, text_of

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED}
MODEL = "parrot"
HONEST = ["The ", "tide ", "turns ", "at ", "noon."]
Answer = Callable[[], Reply | Stream]


class Parrot(Persona):
    """Plays the answer whose number the prompt names, or an honest one."""

    name = "parrot"
    owned_by = "vllm"
    models = (MODEL,)

    def __init__(self) -> None:
        self._answers: dict[int, Answer] = {}
        self._numbers = itertools.count(1)

    def plays(self, answer: Answer) -> str:
        """Puts an answer down; the prompt that asks for it."""
        number = next(self._numbers)
        self._answers[number] = answer
        return f"Play number {number}."

    def answer(self, body: dict) -> Reply | Stream:
        asked = [text_of(m["content"]) for m in body["messages"] if m["role"] == "user"]
        found = re.search(r"Play number (\d+)\.", asked[-1] if asked else "")
        answer = self._answers.get(int(found[1])) if found else None
        return answer() if answer else said(HONEST)


def chunk(delta: dict, finish_reason: str | None = None, **more: object) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, **more}
    return event({**HEAD, "model": MODEL, "choices": [choice]})


def counted(prompt: int, completion: int) -> str:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    return event({**HEAD, "model": MODEL, "choices": [], "usage": usage})


def streamed(
    deltas: Iterable[dict], reason: str = "stop", usage: tuple[int, int] | None = None
) -> Stream:
    """One chunk for each delta, and an end."""
    deltas = list(deltas)
    tokens = usage or (9, len(deltas))
    return Stream(
        iter([*(chunk(d) for d in deltas), chunk({}, reason), counted(*tokens), event("[DONE]")])
    )


def said(pieces: Iterable[str]) -> Stream:
    return streamed({"content": piece} for piece in pieces)
