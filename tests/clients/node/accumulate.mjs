// Stdin is a JSON array of answers: { dialect, stream }, the stream an event stream as text. Stdout is
// what the SDKs' stream helpers put together of each: { final } or { error }. There is no network.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { readFileSync } from "node:fs";

const HELPERS = {
  "openai.chat": async (fetch) => {
    const helper = new OpenAI({ apiKey: "k", fetch }).chat.completions.stream({ model: "m", messages: [] });
    const thoughts = [];
    // A field that the SDK does not know is the last piece's in its message, so a client joins it itself.
    helper.on("chunk", ({ choices }) => thoughts.push(choices[0]?.delta.reasoning_content ?? ""));
    const final = structuredClone(await helper.finalChatCompletion());
    final.choices[0].message.reasoning_content = thoughts.join("");
    return final;
  },
  "openai.responses": async (fetch) => {
    const helper = new OpenAI({ apiKey: "k", fetch }).responses.stream({ model: "m", input: "" });
    return structuredClone(await helper.finalResponse());
  },
  "anthropic.messages": async (fetch) => {
    const helper = new Anthropic({ apiKey: "k", fetch }).messages.stream({
      model: "m",
      messages: [],
      max_tokens: 1,
    });
    return structuredClone(await helper.finalMessage());
  },
};

async function accumulate({ dialect, stream }) {
  const headers = { "content-type": "text/event-stream" };
  try {
    return { final: await HELPERS[dialect](async () => new Response(stream, { headers })) };
  } catch (error) {
    return { error: `${error.constructor.name}: ${error.message}` };
  }
}

const answers = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(await Promise.all(answers.map(accumulate))));
