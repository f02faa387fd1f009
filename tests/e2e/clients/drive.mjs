// Drives one JavaScript client as a program would: a task a line in, what it saw a line out, in
// the same words as drive.py. `node drive.mjs official|ai-sdk`
import { createInterface } from "node:readline";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, generateText, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const QUESTION = "When does the tide turn?";
const WEATHER_QUESTION = "How is the weather in Oslo and in Bergen?";
const REPORT_QUESTION = "Report the weather.";
const TIMEOUT_MS = 30_000;

// Its properties are in no alphabet's order.
const Report = z.object({
  wind: z.object({ speed: z.number(), direction: z.string() }),
  city: z.string(),
  celsius: z.number(),
  alerts: z.array(z.string()),
});

const parameters = {
  type: "object",
  properties: {
    unit: { type: "string", enum: ["celsius", "fahrenheit"] },
    city: { type: "string", description: "Such as Oslo" },
  },
  required: ["unit", "city"],
  additionalProperties: false,
};
const description = "Tells the weather of a city.";
const weather = { type: "function", function: { name: "get_weather", description, parameters } };
const resultOf = (call) => `${call.arguments.city}: 7 °C`;

class Official {
  constructor({ base_url: baseURL, api_key: apiKey, model }) {
    this.completions = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: TIMEOUT_MS }).chat.completions;
    this.model = model;
  }

  create(content, more = {}) {
    return this.completions.create({ model: this.model, messages: [{ role: "user", content }], ...more });
  }

  async chat() {
    return this.seen(await this.create(QUESTION));
  }

  stream() {
    return this.streamed(QUESTION);
  }

  async tools() {
    return this.seen(await this.create(WEATHER_QUESTION, { tools: [weather] }));
  }

  tools_streamed() {
    return this.streamed(WEATHER_QUESTION, { tools: [weather] });
  }

  async conversation() {
    const asked = await this.create(WEATHER_QUESTION, { tools: [weather] });
    const results = this.seen(asked).calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: resultOf(call) }));
    const messages = [{ role: "user", content: WEATHER_QUESTION }, asked.choices[0].message, ...results];
    return this.seen(await this.completions.create({ model: this.model, messages, tools: [weather] }));
  }

  async structured() {
    const response_format = zodResponseFormat(Report, "report");
    const messages = [{ role: "user", content: REPORT_QUESTION }];
    const parsed = await this.completions.parse({ model: this.model, messages, response_format });
    return { ...this.seen(parsed), object: parsed.choices[0].message.parsed };
  }

  /** The client's own helper puts the stream together. */
  async streamed(content, more = {}) {
    let pieces = 0;
    const messages = [{ role: "user", content }];
    const stream = this.completions.stream({ model: this.model, messages, stream_options: { include_usage: true }, ...more });
    stream.on("content", () => (pieces += 1));
    return { ...this.seen(await stream.finalChatCompletion()), pieces };
  }

  seen(completion) {
    const [choice] = completion.choices;
    const { prompt_tokens, completion_tokens, total_tokens } = completion.usage ?? {};
    const calls = (choice.message.tool_calls ?? []).map((call) => ({
      id: call.id,
      name: call.function.name,
      arguments: JSON.parse(call.function.arguments),
    }));
    return {
      text: choice.message.content ?? "",
      finish_reason: choice.finish_reason,
      usage: completion.usage ? [prompt_tokens, completion_tokens, total_tokens] : null,
      calls,
    };
  }
}

class AiSdk {
  constructor({ base_url: baseURL, api_key: apiKey, model }) {
    const options = { name: "skerry", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true };
    this.options = { model: createOpenAICompatible(options)(model), maxRetries: 0, timeout: TIMEOUT_MS };
    const inputSchema = z.object({ unit: z.enum(["celsius", "fahrenheit"]), city: z.string() });
    this.asked = { get_weather: tool({ description, inputSchema }) };
    const execute = async (input) => resultOf({ arguments: input });
    this.executed = { get_weather: tool({ description, inputSchema, execute }) };
  }

  async chat() {
    return this.seen(await generateText({ ...this.options, prompt: QUESTION }));
  }

  stream() {
    return this.streamed({ prompt: QUESTION });
  }

  async tools() {
    return this.seen(await generateText({ ...this.options, prompt: WEATHER_QUESTION, tools: this.asked }));
  }

  tools_streamed() {
    return this.streamed({ prompt: WEATHER_QUESTION, tools: this.asked });
  }

  async conversation() {
    const stopWhen = stepCountIs(3);
    return this.seen(await generateText({ ...this.options, prompt: WEATHER_QUESTION, tools: this.executed, stopWhen }));
  }

  async structured() {
    const output = Output.object({ schema: Report });
    const result = await generateText({ ...this.options, prompt: REPORT_QUESTION, output });
    return { ...(await this.seen(result)), object: result.output };
  }

  async streamed(options) {
    let pieces = 0;
    // What goes wrong is a part of the stream; the default is to print it.
    const result = streamText({ ...this.options, ...options, onError: () => {} });
    for await (const part of result.fullStream) {
      if (part.type === "error") throw part.error;
      if (part.type === "text-delta") pieces += 1;
    }
    return { ...(await this.seen(result)), pieces };
  }

  async seen(result) {
    const usage = await result.usage;
    const calls = (await result.toolCalls).map((call) => {
      if (call.invalid) throw call.error;
      return { id: call.toolCallId, name: call.toolName, arguments: call.input };
    });
    return {
      text: await result.text,
      finish_reason: (await result.finishReason).replace("-", "_"),
      usage: [usage.inputTokens, usage.outputTokens, usage.totalTokens],
      calls,
    };
  }
}

const errorOf = (error) => {
  const status = error.status ?? error.statusCode ?? null;
  const message = APICallError.isInstance(error) ? `${error.message} ${error.responseBody}` : String(error.message);
  return { class: error.constructor.name, status, message };
};

const Client = { official: Official, "ai-sdk": AiSdk }[process.argv[2]];
// Whatever a library logs must not be taken for an answer.
const say = process.stdout.write.bind(process.stdout);
console.log = console.info = console.warn = console.error;
for await (const line of createInterface({ input: process.stdin })) {
  const { task, ...order } = JSON.parse(line);
  const seen = await Promise.resolve()
    .then(() => new Client(order)[task]())
    .catch((error) => ({ error: errorOf(error) }));
  say(`${JSON.stringify(seen)}\n`);
}
