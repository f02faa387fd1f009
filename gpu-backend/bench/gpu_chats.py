#!/usr/bin/env python3
"""Chats with `gpu-backend serve` on a device.

    gpu_chats.py equal   --binary B --model DIR --device cuda    five answers beside the CPU's
    gpu_chats.py streams --binary B --model DIR --device cuda    many streams at once

`equal` ends with 1 where an answer differs. Needs Python's standard library only.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import time

from compare import free_port

READY_S = 120
ANSWER_S = 60
QUESTIONS = (
    "Hello! Who are you?",
    "What is two plus three?",
    "Tell me about the sea.",
    "How do I make tea?",
    "What is the capital of France?",
)


def ready(port):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


@contextlib.contextmanager
def server(args, device):
    """The port of a server that is ready; it is stopped at the end."""
    port = free_port()
    process = subprocess.Popen(
        [args.binary, "--log-format", "text", "serve", "--model", args.model, "--device", device,
         "--served-model-name", "bench", "--listen", f"127.0.0.1:{port}", "--drain-s", "1",
         "--kv-cache-mib", str(args.kv_cache_mib)])
    try:
        deadline = time.monotonic() + READY_S
        while not ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"serve --device {device} did not become ready")
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


def ask(port, question, tokens):
    """Streams one greedy answer: its text, its tokens, and seconds to the first of them."""
    body = {"model": "bench", "messages": [{"role": "user", "content": question}], "stream": True,
            "temperature": 0, "max_tokens": tokens, "ignore_eos": True,
            "stream_options": {"include_usage": True}}
    began, first, text, usage = time.monotonic(), None, "", None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise OSError(f"{answer.status}: {answer.read()[:300]!r}")
    for line in answer:
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            piece = "".join(choice["delta"].get("content") or "" for choice in event["choices"])
            if piece and first is None:
                first = time.monotonic() - began
            text += piece
            usage = event.get("usage") or usage
    connection.close()
    if usage is None:
        raise OSError("the stream ended before its usage")
    return text, usage["completion_tokens"], first


def equal(args):
    with server(args, "cpu") as port:
        want = [ask(port, question, args.tokens)[0] for question in QUESTIONS]
    differ = 0
    with server(args, args.device) as port:
        for question, text in zip(QUESTIONS, want):
            got = ask(port, question, args.tokens)[0]
            if args.unjudged:
                print(f"answered, not judged: {question}", flush=True)
            elif got == text:
                print(f"equal: {question}", flush=True)
            else:
                differ += 1
                print(f"DIFFERS: {question}\n  on the CPU: {text!r}\n  on {args.device}: {got!r}", flush=True)
    print(f"{len(QUESTIONS) - differ} of {len(QUESTIONS)} answers are the CPU's" if not args.unjudged
          else f"{len(QUESTIONS)} answers, none judged", flush=True)
    return 1 if differ else 0


def streams(args):
    with server(args, args.device) as port:
        # What is compiled first is not timed.
        ask(port, QUESTIONS[0], args.tokens)
        began = time.monotonic()

        def client(number):
            answers = []
            while time.monotonic() - began < args.seconds:
                answers.append(ask(port, f"{number} {QUESTIONS[number % len(QUESTIONS)]}", args.tokens))
            return answers, time.monotonic() - began

        with concurrent.futures.ThreadPoolExecutor(args.streams) as pool:
            done = list(pool.map(client, range(args.streams)))
    took = max(seconds for _, seconds in done)
    each = [sum(answer[1] for answer in answers) / seconds for answers, seconds in done]
    firsts = sorted(answer[2] for answers, _ in done for answer in answers if answer[2] is not None)
    tokens = sum(answer[1] for answers, _ in done for answer in answers)
    print(f"{args.streams} streams, {sum(len(a) for a, _ in done)} answers of {args.tokens} tokens: "
          f"{tokens / took:.0f} tokens/s, a stream {statistics.median(each):.1f} (least {min(each):.1f})")
    if firsts:
        at = firsts[min(len(firsts) - 1, len(firsts) * 99 // 100)]
        print(f"first text after {1e3 * statistics.median(firsts):.0f} ms, 99 % within {1e3 * at:.0f} ms", flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("equal", "streams"))
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--streams", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--kv-cache-mib", type=int, default=512)
    parser.add_argument("--unjudged", action="store_true")
    args = parser.parse_args()
    # Python ends with 1 after an exception, which here is an answer that differs.
    try:
        code = {"equal": equal, "streams": streams}[args.what](args)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
