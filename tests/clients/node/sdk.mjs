// Each line of stdin is a batch of questions (JSON). All are asked at once, and a line of stdout says
// what the SDK made of the answers. Batches overlap, so a line carries its batch's number.

import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import OpenAI from "openai";
import { createInterface } from "node:readline";

const WAYS = {
  openai: {
    create: async (client, body, heard) => {
      heard.final = await client.chat.completions.create(body);
    },
    stream: async (client, body, heard) => {
      for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
        heard.events.push(chunk);
      }
    },
    helper: async (client, body, heard) => {
      const helper = client.chat.completions.stream(body);
      helper.on("chunk", (chunk) => heard.events.push(structuredClone(chunk)));
      for (const name of ["content.delta", "content.done", "tool_calls.function.arguments.done"]) {
        helper.on(name, (event) => heard.events.push(structuredClone({ name, event })));
      }
      heard.final = await helper.finalChatCompletion();
    },
    models: async (client, _, heard) => {
      for await (const model of client.models.list()) heard.events.push(model);
    },
    model: async (client, { model }, heard) => {
      heard.final = await client.models.retrieve(model);
    },
    agent: async (client, { model, text, given }, heard) => {
      const tools = schemas(given).map(([name, parameters]) => ({
        type: "function",
        function: { name, parameters, parse: JSON.parse, function: () => given[name] },
      }));
      const messages = [{ role: "user", content: text }];
      const runner = client.chat.completions.runTools({ model, messages, tools, stream: true });
      heard.final = await runner.finalContent();
    },
    embeddings: async (client, body, heard) => {
      heard.final = await client.embeddings.create(body);
    },
  },
  responses: {
    create: async (client, body, heard) => {
      heard.final = await client.responses.create(body);
    },
    stream: async (client, body, heard) => {
      for await (const event of await client.responses.create({ ...body, stream: true })) {
        heard.events.push(event);
      }
    },
    helper: async (client, body, heard) => {
      const helper = client.responses.stream(body);
      for await (const event of helper) heard.events.push(structuredClone(event));
      heard.final = await helper.finalResponse();
    },
    retrieve: async (client, { id, ...query }, heard) => {
      heard.final = await client.responses.retrieve(id, query);
    },
    resume: async (client, { id, ...query }, heard) => {
      for await (const event of await client.responses.retrieve(id, { ...query, stream: true })) {
        heard.events.push(event);
      }
    },
    replay: async (client, { id, ...query }, heard) => {
      const helper = client.responses.stream({ response_id: id, ...query });
      for await (const event of helper) heard.events.push(structuredClone(event));
      heard.final = await helper.finalResponse();
    },
    cancel: async (client, { id }, heard) => {
      heard.final = await client.responses.cancel(id);
    },
    delete: async (client, { id }, heard) => {
      await client.responses.delete(id);
    },
  },
  anthropic: {
    create: async (client, body, heard) => {
      heard.final = await client.messages.create(body);
    },
    stream: async (client, body, heard) => {
      for await (const event of await client.messages.create({ ...body, stream: true })) {
        heard.events.push(event);
      }
    },
    helper: async (client, body, heard) => {
      const helper = client.messages.stream(body);
      helper.on("text", (delta, snapshot) => heard.events.push({ name: "text", delta, snapshot }));
      helper.on("contentBlock", (block) => heard.events.push(structuredClone({ name: "block", block })));
      for await (const event of helper) heard.events.push(structuredClone(event));
      heard.final = await helper.finalMessage();
    },
    models: async (client, _, heard) => {
      for await (const model of client.models.list()) heard.events.push(model);
    },
    model: async (client, { model }, heard) => {
      heard.final = await client.models.retrieve(model);
    },
    agent: async (client, { model, text, given }, heard) => {
      const tools = schemas(given).map(([name, inputSchema]) =>
        betaTool({ name, inputSchema, description: name, run: () => given[name] }),
      );
      const messages = [{ role: "user", content: text }];
      const body = { model, max_tokens: 1024, messages, tools, stream: true };
      for await (const stream of client.beta.messages.toolRunner(body)) {
        heard.final = (await stream.finalMessage()).content.findLast(({ type }) => type === "text")?.text;
      }
    },
    count_tokens: async (client, body, heard) => {
      heard.final = await client.messages.countTokens(body);
    },
  },
};

// The tools of an agent: what each gives is known, and one takes an argument.
function schemas(given) {
  return Object.keys(given).map((name, place) => [
    name,
    { type: "object", properties: place ? {} : { city: { type: "string" } } },
  ]);
}

// What both SDKs say of a failure, under the names that the Python SDKs have for it.
function failure(error) {
  return {
    name: error.constructor.name,
    status: error.status ?? null,
    code: error.code ?? null,
    type: error.type ?? null,
    message: String(error.message),
    retry_after: error.headers?.get("retry-after") ?? null,
    stream: error.headers?.get("midstream-stream") ?? null,
  };
}

async function ask(client, kind, { how, body }) {
  const heard = { events: [], final: null, error: null };
  try {
    await WAYS[kind][how](client, body, heard);
  } catch (error) {
    heard.error = failure(error);
  }
  return heard;
}

async function answer({ number, kind, url, key, max_retries: maxRetries, questions }) {
  const settings = { apiKey: key, maxRetries, timeout: 30_000, logLevel: "off" };
  const client =
    kind === "anthropic"
      ? new Anthropic({ ...settings, baseURL: url })
      : new OpenAI({ ...settings, baseURL: `${url}/v1` });
  const heard = await Promise.all(questions.map((question) => ask(client, kind, question)));
  process.stdout.write(`${JSON.stringify({ number, heard })}\n`);
}

createInterface({ input: process.stdin })
  .on("line", (line) => answer(JSON.parse(line)))
  .on("close", () => process.exit(0)); // whatever timers the SDKs have left
