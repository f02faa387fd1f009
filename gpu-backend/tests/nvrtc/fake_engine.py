#!/usr/bin/env python3
"""Stands in for `gpu-backend`, so that what `bench/gpu` makes of a program's ways to end can be
tried: FAKE is JSON, from a command (`check-device rows`, `bench-device bf16`, `serve cuda`) to
what it does: "wrong", "crash" (after a line), "dead" (before it), "hang" (after a line), or
for a server what it answers."""

import http.server
import json
import os
import signal
import sys

LINES = {
    "check-device": ("ok add of 1 × 1 (error 0.0e0, at most 0.0e0)", "1 passed, 0 failed"),
    "bench-device": ("| shape | weights |\n|---|---|", "| tiny | bf16 |"),
}


def option(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else ""


def serve(answer):
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def reply(self, body):
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.reply(b"{}")

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            events = [{"choices": [{"delta": {"content": answer}}]},
                      {"choices": [], "usage": {"completion_tokens": 3}}]
            self.reply(b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in events) + b"data: [DONE]\n\n")

    host, port = option("--listen").split(":")
    http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


def main():
    if "--version" in sys.argv:
        print("gpu-backend 0.0.0")
        return 0
    command = next(word for word in ("check-device", "bench-device", "serve") if word in sys.argv)
    which = {"check-device": "--only", "bench-device": "--precision", "serve": "--device"}[command]
    does = json.loads(os.environ.get("FAKE", "{}")).get(f"{command} {option(which)}", "")
    if does == "dead":
        print("no device", file=sys.stderr)
        return 64
    if command == "serve":
        serve(does)
    first, last = LINES[command]
    print(first, flush=True)
    if does == "hang":
        signal.pause()
    if does == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if does == "wrong":
        print("WRONG rms_norm of 3 × 70 (error 1.0e0, at most 1.0e-5)\n0 passed, 1 failed", flush=True)
        return 70
    print(last, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
