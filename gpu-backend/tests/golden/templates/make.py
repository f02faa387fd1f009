#!/usr/bin/env python3
"""Makes golden.json: what transformers' `apply_chat_template` makes of each template here
and each conversation below, or the exception that the template raises.

    venv/bin/python gpu-backend/tests/golden/templates/make.py

The templates are in the form that each family documents for its prompts; their words are
our own. See ../make.py for the environment.
"""

import datetime
import json
import pathlib

import jinja2
import tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 3, 5, 4, 9, 7)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = Clock


def message(role, content, **more):
    return {"role": role, "content": content} | more


def call(call_id, name, arguments):
    return {"id": call_id, "type": "function",
            "function": {"name": name, "arguments": arguments}}


TOOLS = [
    {"type": "function", "function": {
        "name": "wetter_für",
        "description": "Weather at a place: \"now\" or <later>",
        "parameters": {"type": "object", "properties": {
            "place": {"type": "string", "description": "A town's name"},
            "days": {"type": "integer", "minimum": 0, "default": 1},
            "units": {"enum": ["C", "F", None]},
        }, "required": ["place"], "additionalProperties": False},
    }},
    {"type": "function", "function": {"name": "clock", "description": "", "parameters": {}}},
]
USER = message("user", "  What is 2 < 3 & 'why'?\n")
CONVERSATIONS = {
    "one": [USER],
    "system": [message("system", "Be brief. \n"), message("user", "Hello")],
    "turns": [
        message("system", "Be kind."),
        message("user", "Grüße, 世界 🌊"),
        message("assistant", " Hello!\n"),
        message("user", "a {{ b }} {% c %}"),
    ],
    "thought": [
        message("user", "Q1"),
        message("assistant", "<think>\nhm\n</think>\n\nA1"),
        message("user", "Q2"),
    ],
    "twice": [message("user", "one"), message("user", "two")],
    "called": [
        message("user", "Weather in Kiel?"),
        message("assistant", "", tool_calls=[
            call("abcdefghi", "wetter_für", {"place": "Kiel \"Förde\"", "days": 2, "f": 1.5})]),
        message("tool", "{\"t\": 7}", name="wetter_für", tool_call_id="abcdefghi"),
        message("assistant", "Seven degrees."),
        message("user", "And now?"),
    ],
    "two calls": [
        message("system", "Use tools."),
        message("user", "Both?"),
        message("assistant", "Let me look.", tool_calls=[
            call("abcdefghi", "wetter_für", {"place": "Ü", "nested": {"a": [1, {}, []]}}),
            call("jklmnopqr", "clock", {})]),
        message("tool", "7", name="wetter_für", tool_call_id="abcdefghi"),
        message("tool", "noon", name="clock", tool_call_id="jklmnopqr"),
    ],
}


def render(tokenizer, template, messages, tools, prompt):
    try:
        text = tokenizer.apply_chat_template(
            messages, tools=tools, chat_template=template, tokenize=False,
            add_generation_prompt=prompt)
        return {"text": text}
    except jinja2.exceptions.TemplateError as error:
        return {"refused": error.message}


def main():
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({"x": 0}, unk_token="x"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    cases = []
    for path in sorted(HERE.glob("*.jinja")):
        source = path.read_text()
        for name, messages in CONVERSATIONS.items():
            for tools in (None, TOOLS):
                for prompt in (True, False) if name == "turns" else (True,):
                    result = render(tokenizer, source, messages, tools, prompt)
                    cases.append({"template": path.stem, "conversation": name,
                                  "tools": tools is not None, "prompt": prompt} | result)
    golden = {"tools": TOOLS, "conversations": CONVERSATIONS, "cases": cases}
    text = json.dumps(golden, ensure_ascii=False, indent=1)
    (HERE / "golden.json").write_text(text + "\n")
    refused = sum("refused" in case for case in cases)
    print(f"{len(cases)} cases, {refused} of them refused")


main()
