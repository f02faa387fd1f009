"""A backend that breaks OpenAI's protocol, a model a fault: see `FAULTS`.

What is served as JSON, events or neither follows what real servers were seen to send. Knows
nothing of what a client should see of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from persona_server import Reply, Stream, dumps
from personas import ANSWER, CALLS, CREATED, Persona, Turn, event

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": "m"}
PIECES = Turn(text=ANSWER).pieces()
DONE = event("[DONE]")


def said(delta: object, finish_reason: str | None = None, **more: object) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return event({**HEAD, "choices": [choice], **more})


def answer(first: str = "", last: str = "", end: str = DONE, usage: object = None) -> list[str]:
    """A whole answer, with something odd before or after it, or as its usage."""
    counted = [] if usage is None else [event({**HEAD, "choices": [], "usage": usage})]
    text = [said({"content": piece}) for piece in PIECES]
    return [first, *text, said({}, "stop"), *counted, last, end]


def calls(*deltas: dict) -> list[str]:
    return [*(said({"tool_calls": [delta]}) for delta in deltas), said({}, "tool_calls"), DONE]


def call(at: int, **more: object) -> dict:
    name, arguments = CALLS[at]
    function = {"name": name, "arguments": dumps(arguments)}
    return {"id": f"call_{at}", "type": "function", "function": function, **more}


def stream(*events: str, cut: bool = False, content_type: str = "text/event-stream") -> Stream:
    return Stream(iter([event for event in events if event]), content_type, cut)


def whole(**more: object) -> dict:
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    head = {**HEAD, "object": "chat.completion"}
    return {**head, "choices": [choice], "usage": usage, **more}


HTML = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
ERROR = {"message": "CUDA out of memory", "type": "server_error", "param": None, "code": None}

# Faults through which the answer can be read.
READABLE: dict[str, Callable[[], Reply | Stream]] = {
    "usage-empty": lambda: stream(*answer(usage={})),
    "usage-of-nulls": lambda: stream(
        *answer(usage=dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens")))
    ),
    "usage-absent": lambda: stream(*answer()),
    "delta-null": lambda: stream(*answer(first=said(None))),
    "choices-null": lambda: stream(*answer(last=event({**HEAD, "choices": None}))),
    "choices-absent": lambda: stream(*answer(last=event(HEAD))),
    "data-empty": lambda: stream(*answer(first="data:\n\ndata: \n\n")),
    "comments": lambda: stream(*answer(first=": OPENROUTER PROCESSING\n\n: ping\n\n")),
    "fields-of-events": lambda: stream(*answer(first="event: message\nid: 1\nretry: 10\n\n")),
    "carriage-returns": lambda: stream(*(e.replace("\n", "\r\n") for e in answer())),
    "no-space-after-colon": lambda: stream(*(e.replace("data: ", "data:") for e in answer())),
    "byte-order-mark": lambda: stream(*answer(first="\ufeff")),
    "content-of-parts": lambda: stream(
        *(said({"content": [{"type": "text", "text": piece}]}) for piece in PIECES),
        said({}, "stop"),
        DONE,
    ),
    "created-a-float": lambda: stream(
        *(e.replace(f"{CREATED}", f"{CREATED}.25") for e in answer())
    ),
    "finish-reason-empty": lambda: stream(
        *(e.replace('"finish_reason":null', '"finish_reason":""') for e in answer())
    ),
    "reason-absent": lambda: stream(*(e for e in answer() if '"stop"' not in e)),
    "done-absent": lambda: stream(*answer(end="")),
    "content-type-wrong": lambda: stream(*answer(), content_type="application/octet-stream"),
    "whole-object": lambda: Reply(200, whole()),
    "whole-object-with-error-null": lambda: Reply(200, whole(error=None)),
}

# Tool calls that can be told apart all the same.
CALLING: dict[str, Callable[[], Reply | Stream]] = {
    "index-null": lambda: stream(*calls(call(0, index=None), call(1, index=None))),
    "index-absent": lambda: stream(*calls(call(0), call(1))),
    "index-from-one": lambda: stream(*calls(call(0, index=1), call(1, index=2))),
    "index-always-zero": lambda: stream(*calls(call(0, index=0), call(1, index=0))),
    "ids-null": lambda: stream(*calls(call(0, index=0, id=None), call(1, index=1, id=None))),
    "ids-empty": lambda: stream(*calls(call(0, index=0, id=""), call(1, index=1, id=""))),
    "arguments-an-object": lambda: stream(
        *calls(
            *(
                call(at, index=at, function={"name": name, "arguments": arguments})
                for at, (name, arguments) in enumerate(CALLS)
            )
        )
    ),
    "ended-as-stop": lambda: stream(
        *(e.replace('"tool_calls"}', '"stop"}') for e in calls(call(0, index=0), call(1, index=1)))
    ),
    "whole-object-of-calls": lambda: Reply(
        200,
        whole(
            choices=[
                {
                    "index": 0,
                    "message": {"role": "assistant", "tool_calls": [call(0), call(1)]},
                    "finish_reason": "tool_calls",
                }
            ]
        ),
    ),
}

# Nothing that can be taken for an answer.
HOPELESS: dict[str, Callable[[], Reply | Stream]] = {
    "cut-at-once": lambda: stream(cut=True),
    "cut-in-the-middle": lambda: stream(*answer()[:5], cut=True),
    "ends-without-a-reason": lambda: stream(*answer()[:5]),
    "nothing-at-all": lambda: stream(),
    "not-json": lambda: stream(*answer()[:3], event("{broken"), DONE),
    "error-at-once": lambda: stream(event({"error": ERROR}), DONE),
    "error-in-the-middle": lambda: stream(*answer()[:5], event({"error": ERROR}), DONE),
    "error-of-old-vllm": lambda: stream(event({"object": "error", **ERROR, "code": 500}), DONE),
    "error-as-text": lambda: stream(event({"error": "CUDA out of memory"}), DONE),
    "error-object-as-200": lambda: Reply(200, {"error": ERROR}),
    "page-as-200": lambda: Reply(200, HTML, "text/html"),
    "page-as-500": lambda: Reply(500, HTML, "text/html"),
    "page-as-502": lambda: Reply(502, HTML, "text/html"),
    "body-empty": lambda: Reply(200, ""),
}

WORDS = "This model's maximum context length is 4096 tokens."
FLAT = {"message": WORDS, "type": "BadRequestError", "param": None, "code": 400}
OF_PYDANTIC = [{"type": "value_error", "loc": ["body", "messages"], "msg": WORDS, "input": 1}]
# Refusals of the request, in the shapes that servers give them: status and body.
REFUSALS: dict[str, tuple[int, object]] = {
    "openai": (400, {"error": {**FLAT, "param": "messages", "code": "context_length_exceeded"}}),
    "code-a-number": (400, {"error": FLAT}),
    "old-vllm": (400, {"object": "error", **FLAT}),
    "llama.cpp": (400, {"error": {"code": 400, "message": WORDS, "type": "t", "n_ctx": 4096}}),
    "text-of-ollama": (400, {"error": WORDS}),
    "detail": (422, {"detail": WORDS}),
    "detail-of-pydantic": (422, {"detail": OF_PYDANTIC}),
    "mistral": (422, {"object": "error", **FLAT, "message": {"detail": OF_PYDANTIC}}),
    "message-alone": (400, {"message": WORDS, "request_id": "1"}),
    "too-large": (413, {"error": {"message": WORDS}}),
    "text-alone": (400, WORDS),
}

FAULTS = {**READABLE, **CALLING, **HOPELESS}


class Broken(Persona):
    """Lists its models among entries that are none."""

    name = "broken"
    models = ("sound", *FAULTS, *(f"refuses/{shape}" for shape in REFUSALS))

    def list(self) -> object:
        odd: list = [{"object": "model"}, None, {"id": 7}, {"id": ""}, "name"]
        listed = [{"id": model} for model in self.models[:3]]
        listed += [
            {"id": model, "created": CREATED + 0.5, "owned_by": None} for model in self.models[3:6]
        ]
        listed += [self.listed(model) for model in self.models[6:]]
        return {"data": odd + listed, "has_more": False}

    def answer(self, body: dict) -> Reply | Stream:
        model = body["model"]
        if model.startswith("refuses/"):
            status, body = REFUSALS[model.removeprefix("refuses/")]
            content_type = "text/plain" if isinstance(body, str) else "application/json"
            return Reply(status, body, content_type)
        return FAULTS[model]() if model in FAULTS else stream(*answer())

    def chunks(self, body: dict, turn: Turn) -> Iterator[dict]:
        raise NotImplementedError
