"""Does by the last word of its path what it is asked: the one component in Python, as the
Python SDK builds it (CPython, WASI 0.3)."""

import os
import traceback
from urllib.parse import unquote, urlsplit

import componentize_py_async_support
from componentize_py_types import Err, Ok
from spin_sdk import http, key_value, llm, redis, sqlite, util, variables, wit
from spin_sdk.http import Request, Response
from spin_sdk.wit import exports
from spin_sdk.wit.imports import wasi_config_store_0_2_0_draft_2024_09_27 as config
from spin_sdk.wit.imports import wasi_keyvalue_atomics_0_2_0_draft2 as atomics
from spin_sdk.wit.imports import wasi_keyvalue_batch_0_2_0_draft2 as batch
from spin_sdk.wit.imports import wasi_keyvalue_store_0_2_0_draft2 as bucket
from spin_sdk.wit.imports.wasi_http_types_0_3_0 import (
    Fields,
    Request as WasiRequest,
    Response as WasiResponse,
)


def no_trailers():
    """A body's end without trailers."""
    ended = wit.result_option_wasi_http_types_0_3_0_fields_wasi_http_types_0_3_0_error_code_future
    return ended(lambda: Ok(None))[1]


def taken():
    """What an incoming body is told of how it was taken."""
    return wit.result_unit_wasi_http_types_0_3_0_error_code_future(lambda: Ok(None))[1]


def told(request: Request, url) -> str:
    header = lambda name: request.headers.get(name, "-")
    lines = [
        f"{request.method} {request.uri}",
        f"route {header('spin-matched-route')}",
        f"rest {header('spin-path-info')}",
        f"name {header('spin-path-match-name')}",
    ]
    return "\n".join(lines)


async def keys(label: str) -> str:
    with await key_value.open(label) as store:
        await store.set("one", b"1")
        await store.set("bytes", bytes([0, 255]))
        lines = [await store.get("one"), await store.get("bytes"), await store.get("none")]
        lines.append(await store.exists("one"))
        lines.append(sorted(await util.collect(await store.get_keys())))
        await store.delete("one")
        lines.append(await store.exists("one"))
        return "\n".join(map(str, lines))


def buckets(label: str) -> str:
    """The interfaces of wasi:keyvalue."""
    with bucket.open(label) as opened:
        batch.set_many(opened, [("a", b"1"), ("b", b"2")])
        many = batch.get_many(opened, ["a", "none", "b"])
        batch.delete_many(opened, ["a", "b"])
        atomics.increment(opened, "count", 2)
        count = atomics.increment(opened, "count", 40)
        opened.delete("count")
        return f"{many}\n{count}\n{opened.list_keys(None).keys}"


async def sql(label: str) -> str:
    with await sqlite.Connection.open(label) as database:

        async def run(statement, values=()):
            columns, rows, end = await database.execute(statement, list(values))
            return columns, await util.collect((rows, end))

        await run("CREATE TABLE IF NOT EXISTS py (i INTEGER, r REAL, t TEXT, b BLOB)")
        await run("DELETE FROM py")
        row = [
            sqlite.Value_Integer(-7),
            sqlite.Value_Real(0.5),
            sqlite.Value_Text("é"),
            sqlite.Value_Blob(bytes([0, 255])),
        ]
        await run("INSERT INTO py VALUES (?, ?, ?, ?)", row)
        columns, rows = await run("SELECT * FROM py")
        changes = await database.changes()
        return f"{columns}\n{[value.value for value in rows[0].values]}\n{changes}"


async def commands(url: str) -> str:
    with await redis.open(url) as server:
        await server.set("py", b"41")
        after = await server.incr("py")
        return f"{after} {await server.get('py')} {await server.get('none')}"


async def done(request: Request) -> Response:
    url = urlsplit(request.uri)
    query = unquote(url.query)
    match url.path.rsplit("/", 1)[-1]:
        case "length":
            body = str(len(request.body or b""))
        case "big":
            body = "x" * int(query)
        case "status":
            return Response(int(query), {"x-asked": query}, None)
        case "raise":
            raise RuntimeError("told to")
        case "environment":
            body = "\n".join(sorted(f"{name}={value}" for name, value in os.environ.items()))
        case "variable":
            body = await variables.get(query)
        case "config":
            body = f"{config.get(query)} {sorted(config.get_all())}"
        case "keys":
            body = await keys(query)
        case "buckets":
            body = buckets(query)
        case "sql":
            body = await sql(query)
        case "redis":
            body = await commands(query)
        case "infer":
            answer = llm.infer(query, "a text")
            body = f"{answer.text} {answer.usage.generated_token_count}"
        case "file":
            with open(query, encoding="utf-8") as file:
                body = file.read()
        case "fetch":
            answer = await http.send(Request("GET", query, {}, None))
            body = f"{answer.status} {(answer.body or b'').decode()}"
        case "post":
            answer = await http.send(Request("POST", query, {}, request.body))
            return Response(answer.status, {}, answer.body)
        case _:
            body = told(request, url)
    return Response(200, {"x-written-in": "Python"}, body.encode())


class Handler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        try:
            return await done(request)
        except Err as error:
            return Response(200, {}, type(error.value).__name__.encode())


class HttpHandler(exports.HttpHandler):
    """Streams by hand what it is told to stream; else the SDK's buffering handler answers."""

    async def handle(self, request: WasiRequest) -> WasiResponse:
        path = urlsplit(request.get_path_with_query() or "/").path
        match path.rsplit("/", 1)[-1]:
            case "body":
                chunks, trailers = WasiRequest.consume_body(request, taken())
                return WasiResponse.new(Fields(), chunks, trailers)[0]
            case "stream":
                writer, reader = wit.byte_stream()
                componentize_py_async_support.spawn(lines(writer))
                return WasiResponse.new(Fields(), reader, no_trailers())[0]
            case _:
                return await Handler().handle(request)


async def lines(writer) -> None:
    try:
        with writer:
            for line in range(3):
                await writer.write_all(f"line {line}\n".encode())
    except Exception:
        traceback.print_exc()
