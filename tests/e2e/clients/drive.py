"""Drives one Python client as a program would: a task a line in, what it saw a line out.

`drive.py official|langchain|llama-index|litellm` reads {"task", "base_url", "api_key", "model"}
and writes one JSON object in the same words for every client. What a client raises becomes its
`error`. Knows nothing of what answers, nor of what it should have said.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from pydantic import BaseModel

QUESTION = "When does the tide turn?"
WEATHER_QUESTION = "How is the weather in Oslo and in Bergen?"
REPORT_QUESTION = "Report the weather."
TIMEOUT_S = 30


class Wind(BaseModel):
    speed: int
    direction: str


class Report(BaseModel):
    """Its properties are in no alphabet's order."""

    wind: Wind
    city: str
    celsius: int
    alerts: list[str]


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "city": {"type": "string", "description": "Such as Oslo"},
            },
            "required": ["unit", "city"],
            "additionalProperties": False,
        },
    },
}


def result_of(call: dict) -> str:
    return f"{call['arguments']['city']}: 7 °C"


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def usage_of(usage: object) -> list | None:
    """The three counts of OpenAI's object, or of a dict of them."""
    if usage is None:
        return None
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    read = usage.get if isinstance(usage, dict) else lambda name: getattr(usage, name)
    return [read(name) for name in names]


class OpenAiShaped:
    """A client whose answers are OpenAI's objects: the official one, and LiteLLM."""

    def create(self, **options: object) -> object:
        raise NotImplementedError

    def chat(self) -> dict:
        return self.seen(self.create(messages=[user(QUESTION)]))

    def stream(self) -> dict:
        return self.streamed(messages=[user(QUESTION)])

    def tools(self) -> dict:
        return self.seen(self.create(messages=[user(WEATHER_QUESTION)], tools=[WEATHER]))

    def tools_streamed(self) -> dict:
        return self.streamed(messages=[user(WEATHER_QUESTION)], tools=[WEATHER])

    def conversation(self) -> dict:
        messages: list = [user(WEATHER_QUESTION)]
        asked = self.create(messages=messages, tools=[WEATHER])
        messages.append(asked.choices[0].message)
        for call in self.seen(asked)["calls"]:
            result = {"role": "tool", "tool_call_id": call["id"], "content": result_of(call)}
            messages.append(result)
        return self.seen(self.create(messages=messages, tools=[WEATHER]))

    def seen(self, completion: object) -> dict:
        choice = completion.choices[0]
        return {
            "text": choice.message.content or "",
            "finish_reason": choice.finish_reason,
            "usage": usage_of(completion.usage),
            "calls": [self.call(call) for call in choice.message.tool_calls or []],
        }

    def call(self, call: object) -> dict:
        arguments = json.loads(call.function.arguments)
        return {"id": call.id, "name": call.function.name, "arguments": arguments}

    def streamed(self, **options: object) -> dict:
        """Puts a stream together as OpenAI's documentation does, by index."""
        stream = self.create(stream=True, stream_options={"include_usage": True}, **options)
        pieces, reasons, usage, calls = [], [], None, {}
        for chunk in stream:
            usage = getattr(chunk, "usage", None) or usage
            for choice in chunk.choices:
                pieces += [choice.delta.content] if choice.delta.content else []
                reasons += [choice.finish_reason] if choice.finish_reason else []
                for delta in choice.delta.tool_calls or []:
                    call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                    call["id"] += delta.id or ""
                    call["name"] += delta.function.name or ""
                    call["arguments"] += delta.function.arguments or ""
        whole = [{**c, "arguments": json.loads(c["arguments"])} for _, c in sorted(calls.items())]
        seen = {"text": "".join(pieces), "pieces": len(pieces), "calls": whole}
        return {**seen, "finish_reason": "+".join(reasons), "usage": usage_of(usage)}


class Official(OpenAiShaped):
    def __init__(self, base_url: str, api_key: str, model: str):
        import openai

        options = {"max_retries": 0, "timeout": TIMEOUT_S}
        self.client = openai.OpenAI(base_url=base_url, api_key=api_key, **options)
        self.model = model

    def create(self, **options: object) -> object:
        return self.client.chat.completions.create(model=self.model, **options)

    def structured(self) -> dict:
        parsed = self.client.chat.completions.parse(
            model=self.model, messages=[user(REPORT_QUESTION)], response_format=Report
        )
        return {**self.seen(parsed), "object": parsed.choices[0].message.parsed.model_dump()}


class LiteLlm(OpenAiShaped):
    def __init__(self, base_url: str, api_key: str, model: str):
        import litellm

        self.completion = litellm.completion
        self.where = {"model": f"openai/{model}", "api_base": base_url, "api_key": api_key}
        self.where |= {"max_retries": 0, "timeout": TIMEOUT_S}

    def create(self, **options: object) -> object:
        return self.completion(**self.where, **options)

    def structured(self) -> dict:
        seen = self.seen(self.create(messages=[user(REPORT_QUESTION)], response_format=Report))
        return {**seen, "object": Report.model_validate_json(seen["text"]).model_dump()}


class LangChain:
    def __init__(self, base_url: str, api_key: str, model: str):
        from langchain_openai import ChatOpenAI

        options = {"max_retries": 0, "timeout": TIMEOUT_S, "stream_usage": True}
        self.model = ChatOpenAI(base_url=base_url, api_key=api_key, model=model, **options)

    def chat(self) -> dict:
        return self.seen(self.model.invoke(QUESTION))

    def stream(self) -> dict:
        return self.streamed(self.model, QUESTION)

    def tools(self) -> dict:
        return self.seen(self.model.bind_tools([WEATHER]).invoke(WEATHER_QUESTION))

    def tools_streamed(self) -> dict:
        return self.streamed(self.model.bind_tools([WEATHER]), WEATHER_QUESTION)

    def conversation(self) -> dict:
        from langchain_core.messages import HumanMessage, ToolMessage

        model = self.model.bind_tools([WEATHER])
        messages: list = [HumanMessage(WEATHER_QUESTION)]
        messages.append(model.invoke(messages))
        for call in self.seen(messages[1])["calls"]:
            messages.append(ToolMessage(result_of(call), tool_call_id=call["id"]))
        return self.seen(model.invoke(messages))

    def structured(self) -> dict:
        model = self.model.with_structured_output(Report, method="json_schema", include_raw=True)
        answer = model.invoke(REPORT_QUESTION)
        return {**self.seen(answer["raw"]), "object": answer["parsed"].model_dump()}

    def streamed(self, model: object, question: str) -> dict:
        chunks = list(model.stream(question))
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        return {**self.seen(whole), "pieces": sum(bool(chunk.text) for chunk in chunks)}

    def seen(self, message: object) -> dict:
        assert not message.invalid_tool_calls, message.invalid_tool_calls
        usage = message.usage_metadata or {}
        counts = [usage.get(name) for name in ("input_tokens", "output_tokens", "total_tokens")]
        return {
            "text": message.text,
            "finish_reason": message.response_metadata.get("finish_reason"),
            "usage": counts if usage else None,
            "calls": [
                {"id": call["id"], "name": call["name"], "arguments": call["args"]}
                for call in message.tool_calls
            ],
        }


class LlamaIndex:
    def __init__(self, base_url: str, api_key: str, model: str):
        from llama_index.core.tools import FunctionTool
        from llama_index.llms.openai_like import OpenAILike

        self.model = OpenAILike(
            api_base=base_url,
            api_key=api_key,
            model=model,
            temperature=1,
            max_retries=0,
            timeout=TIMEOUT_S,
            is_chat_model=True,
            is_function_calling_model=True,
            should_use_structured_outputs=True,
        )

        def get_weather(unit: str, city: str) -> str:
            """Tells the weather of a city."""
            return f"{city}: 7 °C ({unit})"

        self.tool = FunctionTool.from_defaults(get_weather)

    def message(self, text: str) -> object:
        from llama_index.core.llms import ChatMessage

        return ChatMessage(role="user", content=text)

    def chat(self) -> dict:
        return self.seen(self.model.chat([self.message(QUESTION)]))

    def stream(self) -> dict:
        options = {"stream_options": {"include_usage": True}}
        return self.streamed(self.model.stream_chat([self.message(QUESTION)], **options))

    def tools(self) -> dict:
        return self.seen(self.ask_with_tool([self.message(WEATHER_QUESTION)]))

    def tools_streamed(self) -> dict:
        return self.streamed(
            self.model.stream_chat_with_tools(
                [self.tool],
                chat_history=[self.message(WEATHER_QUESTION)],
                allow_parallel_tool_calls=True,
                stream_options={"include_usage": True},
            )
        )

    def ask_with_tool(self, history: list) -> object:
        return self.model.chat_with_tools(
            [self.tool], chat_history=history, allow_parallel_tool_calls=True
        )

    def conversation(self) -> dict:
        from llama_index.core.llms import ChatMessage

        history = [self.message(WEATHER_QUESTION)]
        asked = self.ask_with_tool(history)
        history.append(asked.message)
        for call in self.calls(asked):
            more = {"tool_call_id": call["id"]}
            history.append(
                ChatMessage(role="tool", content=result_of(call), additional_kwargs=more)
            )
        return self.seen(self.ask_with_tool(history))

    def structured(self) -> dict:
        answer = self.model.as_structured_llm(Report).chat([self.message(REPORT_QUESTION)])
        return {"text": answer.message.content, "object": answer.raw.model_dump()}

    def streamed(self, responses: object) -> dict:
        pieces, reasons, usage, last = 0, [], None, None
        for last in responses:
            pieces += bool(last.delta)
            usage = last.raw.usage or usage
            reasons += [c.finish_reason for c in last.raw.choices if c.finish_reason]
        seen = {"text": last.message.content or "", "pieces": pieces, "calls": self.calls(last)}
        return {**seen, "finish_reason": "+".join(reasons), "usage": usage_of(usage)}

    def calls(self, response: object) -> list[dict]:
        found = self.model.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        return [{"id": c.tool_id, "name": c.tool_name, "arguments": c.tool_kwargs} for c in found]

    def seen(self, response: object) -> dict:
        return {
            "text": response.message.content or "",
            "finish_reason": response.raw.choices[0].finish_reason,
            "usage": usage_of(response.raw.usage),
            "calls": self.calls(response),
        }


CLIENTS: dict[str, Callable] = {
    "official": Official,
    "langchain": LangChain,
    "llama-index": LlamaIndex,
    "litellm": LiteLlm,
}


def error_of(error: BaseException) -> dict:
    """What a program can tell its user of it."""
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "message": str(error),
    }


def main() -> None:
    client = CLIENTS[sys.argv[1]]
    # Whatever a library prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        order = json.loads(line)
        task = order.pop("task")
        try:
            seen = getattr(client(**order), task)()
        except Exception as error:  # noqa: BLE001
            seen = {"error": error_of(error)}
        print(json.dumps(seen), file=answers, flush=True)


if __name__ == "__main__":
    main()
