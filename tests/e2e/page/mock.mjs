// A stand-in for Skerry: serves the built page with the component's own headers, and answers the
// API from scripts chosen by what the user says. `node mock.mjs [PORT]` runs it by itself.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("../../../components/web/", import.meta.url));
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

export const KEY = "sk-mock-0123456789";
export const KEY_REVOKED = "sk-mock-revoked-00";

/** Starts on a free port; `state` tells what the browser did. */
export async function startMock(port = 0) {
  const policy = await contentSecurityPolicy();
  const state = { requests: [], disconnects: 0, attempts: new Map() };
  const server = createServer((request, response) => {
    const answer = request.url.startsWith("/v1/") ? serveApi(request, response, state) : serveFile(request, response, policy);
    answer.catch((error) => response.destroy(error));
  });
  await new Promise((listening) => server.listen(port, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${server.address().port}`;
  const close = () => {
    server.closeAllConnections();
    return new Promise((closed) => server.close(closed));
  };
  return { url, state, close };
}

/** The policy of the component itself, so that the page is tested under the one it will have. */
async function contentSecurityPolicy() {
  const source = await readFile(join(web, "src/security.rs"), "utf8");
  const literal = /CONTENT_SECURITY_POLICY: &str =\s*"((?:[^"\\]|\\\s*\n)*)"/.exec(source)?.[1];
  if (!literal) throw new Error("components/web/src/security.rs holds no content security policy");
  return literal.replace(/\\\s*\n\s*/g, "");
}

async function serveFile(request, response, policy) {
  const path = new URL(request.url, "http://mock").pathname;
  const name = path === "/" ? "index.html" : normalize(path).slice(1);
  const bytes = await readFile(join(web, "dist", name)).catch(() => null);
  response.writeHead(bytes ? 200 : 404, {
    "content-type": types[extname(name)] ?? "text/plain",
    "content-security-policy": policy,
    "x-content-type-options": "nosniff",
  });
  response.end(bytes ?? "Not found.\n");
}

async function serveApi(request, response, state) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const key = request.headers.authorization?.replace("Bearer ", "");
  if (key !== KEY) {
    return refuse(response, 401, "Incorrect API key provided.", "invalid_api_key");
  }
  if (request.url === "/v1/models") {
    const models = [{ id: "skerry-demo", suggestions: ["Hello there", "What is 12 * 7?", 7] }, { id: "llama-3-70b" }];
    return json(response, 200, { object: "list", data: models.map((model) => ({ ...model, object: "model" })) });
  }
  const body = JSON.parse(Buffer.concat(chunks).toString());
  state.requests.push(body);
  const said = body.messages.at(-1).content;
  const attempt = (state.attempts.get(said) ?? 0) + 1;
  state.attempts.set(said, attempt);
  response.on("close", () => {
    if (!response.writableFinished) state.disconnects += 1;
  });
  const script = Object.entries(scripts).find(([name]) => said.startsWith(name))?.[1] ?? scripts.Hello;
  await script(new Wire(response), { attempt, body, said });
}

const json = (response, status, body, headers = {}) => {
  response.writeHead(status, { "content-type": "application/json", "x-request-id": "req_mock_1", ...headers });
  response.end(JSON.stringify(body));
};

const refuse = (response, status, message, code = null, headers = {}) =>
  json(response, status, { error: { message, type: "mock_error", param: null, code } }, headers);

/** Writes events as Skerry does. */
class Wire {
  constructor(response) {
    this.response = response;
  }
  get gone() {
    return this.response.destroyed;
  }
  refuse(...args) {
    refuse(this.response, ...args);
  }
  event(data) {
    if (!this.response.headersSent) this.response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    this.response.write(`data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`);
  }
  delta(delta, finish_reason = null) {
    this.event({ object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason }] });
  }
  skerry(skerry) {
    this.event({ object: "chat.completion.chunk", choices: [], skerry });
  }
  async words(text, pauseMs = 15) {
    for (const word of text.split(/(?<=\s)/)) {
      if (this.gone) return;
      this.delta({ content: word });
      if (pauseMs > 0) await sleep(pauseMs);
    }
  }
  finish(reason = "stop") {
    this.delta({}, reason);
    this.event("[DONE]");
    this.response.end();
  }
}

const prose = `A skerry is a small rocky island, too small for anyone to live on. The word comes from Old Norse *sker*, a rock in the sea.

Three things follow from that:

- it stands **by itself**, and the sea goes round it;
- there are usually many of them along one coast;
- each is near something larger.

That is also how this platform is laid out: many small outposts close to the people who use them, and one region behind.`;

const code = `Here is a request in three ways. First with \`curl\`:

\`\`\`bash
curl https://localhost:8443/v1/chat/completions \\
  -H "Authorization: Bearer $SKERRY_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "skerry-demo", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
\`\`\`

The same in Python, with a retry:

\`\`\`python
from openai import OpenAI, RateLimitError

client = OpenAI(base_url="https://localhost:8443/v1", max_retries=2)

def ask(question: str) -> str:
    """Return the whole answer as one string."""
    stream = client.chat.completions.create(
        model="skerry-demo",  # the bundled model
        messages=[{"role": "user", "content": question}],
        stream=True,
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)
\`\`\`

| Client | Streams | Retries |
|:-------|:-------:|--------:|
| \`curl\` | yes | 0 |
| \`openai\` | yes | 2 |

> A key is shown once. Keep it somewhere safe.

See [the documentation](https://example.org/docs) for more.`;

const attack = `<img src=x onerror="window.attacked=1"> <script>window.attacked=2</script>

<svg onload="window.attacked=3"></svg> [press me](javascript:window.attacked=4) ![p](https://attacker.invalid/?leak=1)

<iframe srcdoc="<script>parent.attacked=5</script>"></iframe>

\`\`\`html
<script>window.attacked = 6</script>
\`\`\`

<form action="https://attacker.invalid"><button>x</button></form> <a href="javascript:window.attacked=7">y</a>

<div id="composer">z</div> <style>body { display: none }</style> end of attack`;

const scripts = {
  async Hello(wire) {
    await wire.words("Hello! I am the model of this Skerry. What would you like to know?");
    wire.finish();
  },
  async "What is a skerry"(wire) {
    await wire.words(prose, 12);
    wire.finish();
  },
  async "What is Skerry"(wire) {
    await wire.words(prose, 30);
    wire.finish();
  },
  async "Show me code"(wire) {
    await wire.words(code, 2);
    wire.finish();
  },
  async "What is 12 * 7"(wire) {
    await sleep(150);
    const call = { id: "call_1", name: "calculator" };
    wire.skerry({ type: "tool_call", ...call, arguments: '{"expression":"12*7"}' });
    await sleep(400);
    wire.skerry({ type: "tool_result", ...call, output: "84" });
    await sleep(150);
    await wire.words("12 × 7 = **84**.");
    wire.finish();
  },
  async "Call my own tool"(wire) {
    wire.delta({ tool_calls: [{ index: 0, id: "call_2", type: "function", function: { name: "weather", arguments: '{"ci' } }] });
    wire.delta({ tool_calls: [{ index: 0, function: { arguments: 'ty":"Bergen"}' } }] });
    wire.finish("tool_calls");
  },
  async Attack(wire) {
    await wire.words(attack, 2);
    wire.finish();
  },
  async Endless(wire) {
    for (let count = 0; !wire.gone; count += 1) await wire.words(`word${count} `);
  },
  async "Fail midway"(wire, { attempt }) {
    await wire.words("This begins well ");
    if (attempt === 1) {
      wire.event({ error: { message: "The engine stopped while it was answering.", type: "server_error", param: null, code: "engine_gone" } });
      return wire.response.end();
    }
    await wire.words("and ends well.");
    wire.finish();
  },
  async "Too fast"(wire, { attempt }) {
    if (attempt === 1) {
      return wire.refuse(429, "Rate limit reached for requests per minute: limit 60, used 60.", "rate_limit_exceeded", { "retry-after": "5" });
    }
    await wire.words("Now there is room.");
    wire.finish();
  },
  async "Refuse this"(wire) {
    wire.refuse(400, "Unsupported field: messages[0].secret");
  },
  async Revoked(wire, { attempt }) {
    if (attempt === 1) return wire.refuse(401, "This API key was revoked.", "invalid_api_key");
    await wire.words("The new key works.");
    wire.finish();
  },
  async "Cut off"(wire) {
    await wire.words("This was never");
    wire.response.end();
  },
  async Filtered(wire) {
    await wire.words("I would rather not");
    wire.finish("content_filter");
  },
  async "Byte by byte"(wire) {
    wire.event({ choices: [] });
    const event = JSON.stringify({ choices: [{ index: 0, delta: { content: "Grüße 👋🏽 日本語" } }] });
    for (const byte of Buffer.from(`data: ${event}\r\n\r\n`)) {
      wire.response.write(Buffer.of(byte));
      await sleep(1);
    }
    wire.finish();
  },
  async "How many messages"(wire, { body }) {
    await wire.words(`You sent ${body.messages.length} messages.`);
    wire.finish();
  },
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await startMock(Number(process.argv[2] ?? 0));
  console.log(`listening on ${url}, key ${KEY}`);
}
