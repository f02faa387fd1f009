"""Forms of an answer that are hard to compile, by rules: deep, wide, endless.

Knows JSON Schema and nothing of how an engine compiles it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

# What a form may be answered with: endless ones are wrong, large ones may be too large.
WRONG, LARGE = frozenset({400}), frozenset({200, 400})


@dataclass(frozen=True)
class Form:
    """A field of a chat request, and the statuses that it may have."""

    name: str
    fields: dict
    statuses: frozenset[int]


def schema_form(name: str, schema: dict, statuses: frozenset[int]) -> Form:
    format = {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}
    return Form(name, {"response_format": format}, statuses)


def tool_form(name: str, schema: dict, statuses: frozenset[int]) -> Form:
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    function = {
        "name": "act",
        "strict": True,
        "parameters": {**parameters, "additionalProperties": False},
    }
    tools = [{"type": "function", "function": function}]
    return Form(f"tool-{name}", {"tools": tools, "tool_choice": "required"}, statuses)


WRAPPINGS = {
    "bare": lambda to: {"$ref": to},
    "all-of": lambda to: {"allOf": [{"$ref": to}]},
    "any-of": lambda to: {"anyOf": [{"$ref": to}, {"type": "null"}]},
    "one-of": lambda to: {"oneOf": [{"$ref": to}, {"type": "null"}]},
    "array": lambda to: {"type": "array", "items": {"$ref": to}},
    "object": lambda to: {
        "type": "object",
        "properties": {"a": {"$ref": to}},
        "required": ["a"],
        "additionalProperties": False,
    },
}


def chain(dice: Random, wrapping: str) -> Form:
    """Definitions that each refer to the next."""
    length = dice.randrange(400, 1_500)
    wrap = WRAPPINGS[wrapping]
    defs: dict = {f"d{at}": wrap(f"#/$defs/d{at + 1}") for at in range(length)}
    defs[f"d{length}"] = {"type": "string"}
    return schema_form(f"chain-{wrapping}-{length}", {"$ref": "#/$defs/d0", "$defs": defs}, LARGE)


def nest(dice: Random, wrapping: str) -> Form:
    """The same without references: schemas within schemas, as deep as a body is parsed."""
    depth = dice.randrange(30, 100)
    schema: dict = {"type": "string"}
    for _ in range(depth):
        inside = schema
        schema = WRAPPINGS[wrapping]("")
        schema = _put(schema, inside)
    return schema_form(f"nest-{wrapping}-{depth}", schema, LARGE)


def _put(schema: dict, inside: dict) -> dict:
    """The schema with its reference replaced."""
    if "$ref" in schema:
        return inside
    return {
        name: [_put(v, inside) if isinstance(v, dict) else v for v in value]
        if isinstance(value, list)
        else _put(value, inside)
        if isinstance(value, dict)
        else value
        for name, value in schema.items()
    }


def circle(dice: Random, wrapping: str) -> Form:
    """References that come back to where they began, with nothing between them."""
    length = dice.randrange(1, 6)
    wrap = WRAPPINGS[wrapping]
    defs = {f"d{at}": wrap(f"#/$defs/d{(at + 1) % length}") for at in range(length)}
    # No value of such an object ends, yet each beginning of one can be written.
    statuses = LARGE if wrapping == "object" else WRONG
    return schema_form(
        f"circle-{wrapping}-{length}", {"$ref": "#/$defs/d0", "$defs": defs}, statuses
    )


def itself(_: Random) -> Form:
    return schema_form("itself", {"$ref": "#"}, WRONG)


def alternatives(dice: Random) -> Form:
    """A tool whose argument is one of very many."""
    count = dice.randrange(300, 1_000)
    return tool_form(
        f"alternatives-{count}", {"anyOf": [{"const": f"v{at}"} for at in range(count)]}, LARGE
    )


def nested_alternatives(dice: Random) -> Form:
    depth = dice.randrange(20, 40)
    schema: dict = {"type": "string"}
    for at in range(depth):
        schema = {"anyOf": [schema, {"type": "array", "items": schema}, {"const": at}]}
        if at > 6:
            schema = {"anyOf": [{"type": "array", "items": schema["anyOf"][0]}, {"const": at}]}
    return tool_form(f"nested-alternatives-{depth}", schema, LARGE)


def tower(dice: Random) -> Form:
    """A pattern whose counted repetitions multiply beyond any limit of a lexer."""
    high, floors = dice.randrange(60, 200), dice.randrange(3, 7)
    pattern = "a"
    for _ in range(floors):
        pattern = f"({pattern}{{1,{high}}})"
    return schema_form(
        f"tower-{high}-{floors}", {"type": "string", "pattern": f"^{pattern}$"}, LARGE
    )


def words(dice: Random) -> Form:
    """A pattern of words that may end anywhere, very often."""
    high = dice.randrange(300, 900)
    pattern = rf"^((\w+\s?){{1,{high}}}){{1,{high}}}$"
    return schema_form(f"words-{high}", {"type": "string", "pattern": pattern}, LARGE)


def optional(dice: Random) -> Form:
    """Properties that may each be there or not."""
    count = dice.randrange(4_000, 6_000)
    tag = dice.randrange(1 << 30)
    properties = {f"p{tag}_{at}": {"type": "string"} for at in range(count)}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema_form(f"optional-{count}", schema, LARGE)


RULES = [
    *(lambda dice, w=w: chain(dice, w) for w in WRAPPINGS),
    *(lambda dice, w=w: nest(dice, w) for w in WRAPPINGS if w != "bare"),
    *(lambda dice, w=w: circle(dice, w) for w in ("bare", "all-of", "object")),
    itself,
    alternatives,
    nested_alternatives,
    tower,
    words,
]


def small(at: int) -> tuple[dict, object]:
    """A form that an honest client asks for, new each time, and its only answer."""
    name, value = f"n{at}", f"v{at}"
    schema = {
        "type": "object",
        "properties": {name: {"type": "string", "enum": [value]}},
        "required": [name],
        "additionalProperties": False,
    }
    return schema_form(name, schema, WRONG).fields, {name: value}
