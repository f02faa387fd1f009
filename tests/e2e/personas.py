"""Backends that others wrote, as a script: each persona answers as the real server does.

A persona says the same things as every other one, in its own server's words: the shape of
its list of models, of its events, its tool calls, its usage and its refusals, as those
servers' sources and public reports show them. What it is asked decides what it says: a
question gets `ANSWER`, tools get `CALLS`, a schema gets JSON in the schema's order, and
results of tools are repeated.

Knows nothing of edge, nor of what a client library makes of an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from persona_server import Reply, Stream, dumps

ANSWER = "Grüße! The tide turns at noon – 潮 🌊 – and then at six."
CALLS = [
    ("get_weather", {"city": "Oslo", "unit": "celsius"}),
    ("get_weather", {"city": "Bergen", "unit": "celsius"}),
]
PROMPT_TOKENS, COMPLETION_TOKENS = 31, 17
CREATED = 1_764_547_200
DIGEST = "5f1c0a3b7d9e4c2f8a6b1d3e5f7a9c0b"


# ── What was asked, and what is to be said ───────────────────────────────────


@dataclass
class Turn:
    """What the model says: a text, or calls of tools."""

    text: str = ""
    calls: list[tuple[str, dict]] = field(default_factory=list)

    def pieces(self) -> list[str]:
        return re.findall(r"\S+\s*", self.text)

    @property
    def finish_reason(self) -> str:
        return "tool_calls" if self.calls else "stop"


def text_of(content: object) -> str:
    """A message's content, which clients send as a text or as parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content if isinstance(content, str) else ""


def turn_of(body: dict) -> Turn:
    messages = body["messages"]
    results = [text_of(m["content"]) for m in messages if m["role"] == "tool"]
    if messages[-1]["role"] == "tool":
        return Turn(text=" and ".join(results) + ".")
    if body.get("tools") and body.get("tool_choice") != "none":
        return Turn(calls=CALLS)
    format = body.get("response_format") or {}
    if format.get("type") == "json_schema":
        schema = format["json_schema"]["schema"]
        return Turn(text=dumps(sample(schema, schema)))
    return Turn(text=ANSWER)


def sample(schema: dict, root: dict) -> object:
    """A value that fits, its properties in the schema's order, as guided decoding gives it."""
    if "$ref" in schema:
        return sample(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: sample(part, root) for name, part in schema["properties"].items()}
        case "array":
            return [sample(schema["items"], root)]
        case "integer" | "number":
            return 7
        case "boolean":
            return True
        case _:
            return "Oslo"


def event(data: object) -> str:
    return f"data: {data if isinstance(data, str) else dumps(data)}\n\n"


# ── The personas ─────────────────────────────────────────────────────────────


class Persona:
    """OpenAI's own shapes, from which the others depart."""

    name = "openai"
    owned_by = "openai"
    base = "/v1"
    models: tuple[str, ...] = ()
    key: str | None = None
    dialect = "openai"
    # The models of these that take no tools.
    without_tools: tuple[str, ...] = ()
    # Of the platform's own fields, those that the server has as well.
    own_fields: frozenset[str] = frozenset()

    def list(self) -> object:
        return {"object": "list", "data": [self.listed(model) for model in self.models]}

    def listed(self, model: str) -> dict:
        return {"id": model, "object": "model", "created": CREATED, "owned_by": self.owned_by}

    def unauthorized(self, sent: str) -> Reply:
        raise NotImplementedError

    def unknown_model(self, model: str) -> Reply:
        return self.refusal(404, f"The model `{model}` does not exist.", "model_not_found")

    def refusal(self, status: int, message: str, code: str | None = None) -> Reply:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        return Reply(status, {"error": error})

    def check(self, body: dict) -> Reply | None:
        """A refusal of what this server does not take."""
        return None

    def answer(self, body: dict) -> Reply | Stream:
        turn = turn_of(body)
        if not body.get("stream"):
            return Reply(200, self.whole(body, turn))
        return Stream(self.events(body, turn))

    def events(self, body: dict, turn: Turn) -> Iterator[str]:
        for chunk in self.chunks(body, turn):
            yield event(chunk)
        yield event("[DONE]")

    def chunks(self, body: dict, turn: Turn) -> Iterator[dict]:
        raise NotImplementedError

    def call(self, index: int, call: tuple[str, dict]) -> dict:
        """A whole call, as it stands in an answer that is not streamed."""
        name, arguments = call
        function = {"name": name, "arguments": dumps(arguments)}
        return {"id": self.call_id(index), "type": "function", "function": function}

    def call_id(self, index: int) -> str:
        return f"call_{DIGEST[:23]}{index}"

    def usage(self) -> dict:
        return {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
        }

    def whole(self, body: dict, turn: Turn) -> dict:
        message: dict = {"role": "assistant", "content": turn.text or None}
        if turn.calls:
            message["tool_calls"] = [self.call(i, call) for i, call in enumerate(turn.calls)]
        choice = {"index": 0, "message": message, "finish_reason": turn.finish_reason}
        return {
            "id": f"chatcmpl-{DIGEST}",
            "object": "chat.completion",
            "created": CREATED,
            "model": body["model"],
            "choices": [choice],
            "usage": self.usage(),
        }


def wants_usage(body: dict) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def arguments_in_pieces(arguments: dict) -> list[str]:
    return re.findall(r".{1,9}", dumps(arguments))


class OpenAi(Persona):
    """OpenAI: a key, no field that is not its own, padding in every event."""

    models = ("gpt-4o-mini", "o4-mini")
    key = "sk-proj-of-the-operator"
    FIELDS = frozenset(
        "model messages stream stream_options max_tokens max_completion_tokens temperature top_p "
        "n stop seed tools tool_choice parallel_tool_calls response_format logprobs top_logprobs "
        "frequency_penalty presence_penalty logit_bias user metadata store reasoning_effort "
        "service_tier prompt_cache_key safety_identifier verbosity modalities prediction".split()
    )

    def unauthorized(self, sent: str) -> Reply:
        if not sent:
            return self.refusal(
                401,
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        message = (
            f"Incorrect API key provided: {sent[:8]}****{sent[-4:]}. You can find your API key at "
            "https://platform.openai.com/account/api-keys."
        )
        return self.refusal(401, message, "invalid_api_key")

    def check(self, body: dict) -> Reply | None:
        foreign = sorted(set(body) - self.FIELDS)
        if foreign:
            return self.refusal(400, f"Unrecognized request argument supplied: {foreign[0]}")
        if body["model"].startswith("o") and "max_tokens" in body:
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead."
            )
            error = {"message": message, "type": "invalid_request_error"}
            return Reply(
                400, {"error": {**error, "param": "max_tokens", "code": "unsupported_parameter"}}
            )
        if body["model"].startswith("o") and body.get("temperature", 1) != 1:
            message = (
                "Unsupported value: 'temperature' does not support 0.0 with this model. "
                "Only the default (1) value is supported."
            )
            error = {"message": message, "type": "invalid_request_error"}
            return Reply(
                400, {"error": {**error, "param": "temperature", "code": "unsupported_value"}}
            )
        return None

    def chunks(self, body: dict, turn: Turn) -> Iterator[dict]:
        def chunk(choices: list, usage: dict | None = None) -> dict:
            made = {
                "id": "chatcmpl-CQlCJiHP52aWhiirTMeEk8SkZfTn6",
                "object": "chat.completion.chunk",
                "created": CREATED,
                "model": f"{body['model']}-2024-07-18",
                "service_tier": "default",
                "system_fingerprint": "fp_cbf1785567",
                "choices": choices,
            }
            if wants_usage(body):
                made["usage"] = usage
            return {**made, "obfuscation": "lRK2aBv"}

        def choice(delta: dict, finish_reason: str | None = None) -> dict:
            return chunk(
                [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
            )

        if turn.text:
            yield choice({"role": "assistant", "content": "", "refusal": None})
        for piece in turn.pieces():
            yield choice({"content": piece})
        for index, (name, arguments) in enumerate(turn.calls):
            first = {"index": index, "id": self.call_id(index), "type": "function"}
            first["function"] = {"name": name, "arguments": ""}
            role = {"role": "assistant", "content": None} if index == 0 else {}
            refusal = {"refusal": None} if index == 0 else {}
            yield choice({**role, "tool_calls": [first], **refusal})
            for piece in arguments_in_pieces(arguments):
                yield choice({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield choice({}, turn.finish_reason)
        if wants_usage(body):
            details = {"prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0}}
            yield chunk([], {**self.usage(), **details})


class Vllm(Persona):
    """vLLM: names before arguments, usage by itself; models without a parser of tools."""

    name = "vllm"
    owned_by = "vllm"
    dialect = "vllm"
    models = ("Qwen/Qwen2.5-7B-Instruct", "no-parser/new-errors", "no-parser/old-errors")
    without_tools = models[1:]
    own_fields = frozenset({"cache_salt"})

    def listed(self, model: str) -> dict:
        permission = {"id": f"modelperm-{DIGEST}", "object": "model_permission", "allow_view": True}
        more = {"root": model, "parent": None, "max_model_len": 32768, "permission": [permission]}
        return {**super().listed(model), **more}

    def check(self, body: dict) -> Reply | None:
        no_parser = body["model"].startswith("no-parser/") and body.get("tools")
        if no_parser and body.get("tool_choice", "auto") == "auto":
            message = (
                '"auto" tool choice requires --enable-auto-tool-choice and '
                "--tool-call-parser to be set"
            )
            error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
            old = body["model"].endswith("old-errors")
            return Reply(400, {"object": "error", **error} if old else {"error": error})
        return None

    def chunks(self, body: dict, turn: Turn) -> Iterator[dict]:
        head = {"id": f"chatcmpl-{DIGEST}", "object": "chat.completion.chunk"}
        head |= {"created": CREATED, "model": body["model"]}

        def choice(delta: dict, **end: object) -> dict:
            made = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **end}
            return {**head, "choices": [made]}

        yield choice({"role": "assistant", "content": ""})
        for piece in turn.pieces():
            yield choice({"content": piece})
        for index, (name, arguments) in enumerate(turn.calls):
            first = {"id": self.call_id(index), "type": "function", "index": index}
            yield choice({"tool_calls": [{**first, "function": {"name": name}}]})
            for piece in arguments_in_pieces(arguments):
                yield choice({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield choice({"content": ""}, finish_reason=turn.finish_reason, stop_reason=None)
        if wants_usage(body):
            yield {**head, "choices": [], "usage": {**self.usage(), "prompt_tokens_details": None}}

    def call_id(self, index: int) -> str:
        return f"chatcmpl-tool-{DIGEST[:-1]}{index}"


class Ollama(Persona):
    """Ollama: every call whole and with index 0; an older one gives no ids and says "stop"."""

    name = "ollama"
    owned_by = "library"
    dialect = "ollama"
    models = ("llama3.2:3b", "older:3b", "gemma3:4b")
    without_tools = models[2:]

    def check(self, body: dict) -> Reply | None:
        if body.get("tools") and body["model"].startswith("gemma3"):
            message = f"registry.ollama.ai/library/{body['model']} does not support tools"
            return self.error(400, message)
        for message in body["messages"]:
            if message.get("content") is None and not message.get("tool_calls"):
                return self.error(400, "invalid message content type: <nil>")
        return None

    def error(self, status: int, message: str) -> Reply:
        error = {"message": message, "type": "api_error", "param": None, "code": None}
        return Reply(status, {"error": error})

    def chunks(self, body: dict, turn: Turn) -> Iterator[dict]:
        older = body["model"].startswith("older")
        head = {"id": "chatcmpl-631", "object": "chat.completion.chunk", "created": CREATED}
        head |= {"model": body["model"], "system_fingerprint": "fp_ollama"}

        def choice(content: str, finish_reason: str | None = None, **more: object) -> dict:
            delta = {"role": "assistant", "content": content, **more}
            made = {"index": 0, "delta": delta, "finish_reason": finish_reason}
            return {**head, "choices": [made]}

        for piece in turn.pieces():
            yield choice(piece)
        calls = [self.call(i, call) for i, call in enumerate(turn.calls)]
        if older and calls:
            yield choice("", tool_calls=[{k: c[k] for k in ("type", "function")} for c in calls])
        for call in [] if older else calls:
            yield choice("", tool_calls=[{"id": call["id"], "index": 0, **call}])
        yield choice("", "stop" if older else turn.finish_reason)
        if wants_usage(body):
            yield {**head, "choices": [], "usage": self.usage()}

    def call_id(self, index: int) -> str:
        return f"call_{DIGEST[:7]}{index}"


class LlamaCpp(Persona):
    """llama.cpp's server: choices first, a content of null, timings; tools with --jinja only."""

    name = "llama.cpp"
    owned_by = "llamacpp"
    dialect = "llama-cpp"
    models = ("gemma-3-4b-it-Q4_K_M.gguf", "/models/without-jinja.gguf")
    without_tools = models[1:]

    def list(self) -> object:
        shown = [{"name": model, "model": model, "type": "model"} for model in self.models]
        return {"models": shown, **super().list()}  # type: ignore[dict-item]

    def listed(self, model: str) -> dict:
        meta = {"vocab_type": 1, "n_vocab": 262144, "n_ctx_train": 131072, "n_embd": 2560}
        return {
            **super().listed(model),
            "meta": {**meta, "n_params": 3880099328, "size": 2481446912},
        }

    def error(self, status: int, message: str, kind: str) -> Reply:
        return Reply(status, {"error": {"code": status, "message": message, "type": kind}})

    def check(self, body: dict) -> Reply | None:
        if body.get("tools") and "without-jinja" in body["model"]:
            return self.error(500, "tools param requires --jinja flag", "server_error")
        return None

    def chunks(self, body: dict, turn: Turn) -> Iterator[dict]:
        tail = {"created": CREATED, "id": "chatcmpl-qC6laQHbZ2CmxNvJ4NoB1L93LcVF7nfe"}
        tail |= {"model": body["model"], "system_fingerprint": "b9554-d403f00ec"}
        tail |= {"object": "chat.completion.chunk"}

        def choice(delta: dict, finish_reason: str | None = None) -> dict:
            return {
                "choices": [{"finish_reason": finish_reason, "index": 0, "delta": delta}],
                **tail,
            }

        yield choice({"role": "assistant", "content": None})
        for piece in turn.pieces():
            yield choice({"content": piece})
        for index, (name, arguments) in enumerate(turn.calls):
            first, *rest = arguments_in_pieces(arguments)
            head = {"index": index, "id": self.call_id(index), "type": "function"}
            yield choice({"tool_calls": [{**head, "function": {"name": name, "arguments": first}}]})
            for piece in rest:
                yield choice({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield choice({}, turn.finish_reason)
        timings = {
            "cache_n": 7,
            "prompt_n": 24,
            "prompt_ms": 251.51,
            "predicted_n": COMPLETION_TOKENS,
        }
        timings |= {"predicted_ms": 407.596, "predicted_per_second": 68.69547296833139}
        yield {"choices": [], **tail, "usage": self.usage(), "timings": timings}

    def call_id(self, index: int) -> str:
        return f"aB3{DIGEST[:28]}{index}"


class Mistral(Persona):
    """Mistral: refuses what it does not know; ids of nine characters; usage beside the end."""

    name = "mistral"
    owned_by = "mistralai"
    dialect = "mistral"
    base = "/mistral/v1"
    key = "key-of-the-operator"
    # The second writes arguments as objects and no index, the third content as parts.
    models = ("mistral-small-latest", "open-mistral-7b", "magistral-small-latest")
    FIELDS = frozenset(
        "model messages stream max_tokens temperature top_p stop random_seed tools tool_choice "
        "parallel_tool_calls response_format presence_penalty frequency_penalty n prediction "
        "metadata prompt_mode safe_prompt".split()
    )

    def listed(self, model: str) -> dict:
        able = {"completion_chat": True, "completion_fim": False, "function_calling": True}
        more = {"capabilities": able, "name": model, "description": "", "max_context_length": 32768}
        return {**super().listed(model), **more, "aliases": [], "deprecation": None, "type": "base"}

    def unauthorized(self, sent: str) -> Reply:
        return Reply(401, {"message": "Unauthorized", "request_id": DIGEST})

    def check(self, body: dict) -> Reply | None:
        foreign = [["body", name] for name in body if name not in self.FIELDS]
        for at, message in enumerate(body["messages"]):
            known = {"role", "content", "tool_calls", "tool_call_id", "name", "prefix"}
            if message["role"] == "user":
                known = {"role", "content"}
            foreign += [
                ["body", "messages", at, message["role"], f] for f in message if f not in known
            ]
        if foreign:
            wrong = [
                {
                    "type": "extra_forbidden",
                    "loc": loc,
                    "msg": "Extra inputs are not permitted",
                    "input": None,
                }
                for loc in foreign
            ]
            error = {
                "object": "error",
                "message": {"detail": wrong},
                "type": "invalid_request_error",
            }
            return Reply(422, {**error, "param": None, "code": None})
        for message in body["messages"]:
            ids = [call["id"] for call in message.get("tool_calls") or []]
            for id in [*ids, *filter(None, [message.get("tool_call_id")])]:
                if not re.fullmatch(r"[a-zA-Z0-9]{9}", id):
                    words = f"Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9."
                    return self.error(words, "invalid_function_call", "3280")
        if body["messages"][-1]["role"] not in ("user", "tool"):
            role = body["messages"][-1]["role"]
            words = (
                "Expected last role User or Tool (or Assistant with prefix True) for serving "
                f"but got {role}"
            )
            return self.error(words, "invalid_request_message_order", "3230")
        return None

    def error(self, message: str, kind: str, code: str) -> Reply:
        error = {"object": "error", "message": message, "type": kind, "param": None, "code": code}
        return Reply(400, error)

    def chunks(self, body: dict, turn: Turn) -> Iterator[dict]:
        older, thinks = body["model"].startswith("open-"), body["model"].startswith("magistral")
        head = {"id": DIGEST, "object": "chat.completion.chunk", "created": CREATED}
        head["model"] = body["model"]

        def choice(delta: dict, finish_reason: str | None = None, **more: object) -> dict:
            made = {"index": 0, "delta": delta, "finish_reason": finish_reason}
            return {**head, "choices": [made], **more}

        yield choice({"role": "assistant", "content": ""})
        if thinks:
            thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Tides."}]}
            yield choice({"content": [thought]})
        for piece in turn.pieces():
            yield choice({"content": [{"type": "text", "text": piece}] if thinks else piece})
        end: dict = {"content": ""}
        if turn.calls:
            calls = [self.call(i, call) for i, call in enumerate(turn.calls)]
            end["tool_calls"] = [
                {"id": c["id"], "function": c["function"], "index": i} for i, c in enumerate(calls)
            ]
            if older:
                for call, (_, arguments) in zip(end["tool_calls"], turn.calls, strict=True):
                    del call["index"]
                    call["function"]["arguments"] = arguments
        yield choice(end, turn.finish_reason, usage=self.usage())

    def call_id(self, index: int) -> str:
        return f"D681PevK{index}"


class SgLang(Persona):
    """SGLang: thoughts first, nulls everywhere, a call's name after its id; an older one ends
    nothing with an empty reason."""

    name = "sglang"
    owned_by = "sglang"
    dialect = "other"
    models = ("meta-llama/Llama-3.1-8B-Instruct", "older/Llama-3.1-8B-Instruct")

    def listed(self, model: str) -> dict:
        return {**super().listed(model), "root": model, "max_model_len": 131072}

    def chunks(self, body: dict, turn: Turn) -> Iterator[dict]:
        going = "" if body["model"].startswith("older") else None
        head = {"id": DIGEST, "object": "chat.completion.chunk", "created": CREATED}
        head["model"] = body["model"]

        def choice(finish_reason: str | None = going, **said: object) -> dict:
            nothing = {"role": None, "content": None, "reasoning_content": None, "tool_calls": None}
            made = {"index": 0, "delta": {**nothing, **said}, "logprobs": None}
            matched = 128009 if finish_reason else None
            made |= {"finish_reason": finish_reason, "matched_stop": matched}
            return {**head, "choices": [made], "usage": None}

        yield choice(role="assistant", content="")
        yield choice(reasoning_content="The tides, then.")
        for piece in turn.pieces():
            yield choice(content=piece)
        for index, (name, arguments) in enumerate(turn.calls):
            call = {"id": self.call_id(index), "index": index, "type": "function"}
            yield choice(tool_calls=[{**call, "function": {"name": None, "arguments": ""}}])
            later = {"id": None, "index": index, "type": "function"}
            yield choice(tool_calls=[{**later, "function": {"name": name, "arguments": ""}}])
            for piece in arguments_in_pieces(arguments):
                yield choice(tool_calls=[{**later, "function": {"name": None, "arguments": piece}}])
        yield choice(turn.finish_reason)
        if wants_usage(body):
            yield {**head, "choices": [], "usage": {**self.usage(), "prompt_tokens_details": None}}


class LiteLlm(Persona):
    """LiteLLM's proxy before Bedrock: calls from index 1, keys left out, details of null."""

    name = "litellm"
    owned_by = "openai"
    base = "/litellm"
    key = "sk-of-the-proxy"
    models = ("claude-on-bedrock",)

    def unauthorized(self, sent: str) -> Reply:
        words = (
            "Authentication Error, Invalid proxy server token passed. "
            f"Received API Key = {sent[:3]}...{sent[-4:]}"
        )
        error = {"message": words, "type": "token_not_found_in_db", "param": "key", "code": "401"}
        return Reply(401, {"error": error})

    def chunks(self, body: dict, turn: Turn) -> Iterator[dict]:
        head = {"id": f"chatcmpl-{DIGEST}", "created": CREATED, "model": body["model"]}
        head["object"] = "chat.completion.chunk"

        def choice(delta: dict, **end: object) -> dict:
            return {**head, "choices": [{"index": 0, "delta": delta, **end}]}

        pieces = turn.pieces() or [""]
        yield choice({"content": pieces[0], "role": "assistant"})
        for piece in pieces[1:]:
            yield choice({"content": piece})
        for index, (name, arguments) in enumerate(turn.calls, 1):
            first = {"id": self.call_id(index), "type": "function", "index": index}
            yield choice(
                {
                    "content": "",
                    "tool_calls": [{**first, "function": {"name": name, "arguments": ""}}],
                }
            )
            for piece in arguments_in_pieces(arguments):
                later = {"type": "function", "index": index, "function": {"arguments": piece}}
                yield choice({"tool_calls": [later]})
        yield choice({}, finish_reason=turn.finish_reason)
        if wants_usage(body):
            details = {"completion_tokens_details": None, "cache_read_input_tokens": None}
            details["prompt_tokens_details"] = {"audio_tokens": None, "cached_tokens": None}
            yield {**choice({}), "usage": {**self.usage(), **details}}

    def call_id(self, index: int) -> str:
        return f"tooluse_{DIGEST[:21]}{index}"


PERSONAS: tuple[Persona, ...] = (
    OpenAi(),
    Vllm(),
    Ollama(),
    LlamaCpp(),
    Mistral(),
    SgLang(),
    LiteLlm(),
)
