// The Node SDK's WebSocket mode of Responses: one question on stdin (JSON), what came of it on stdout.
// The SDK takes its socket from a package; here it is Node's own, behind the adapter that the SDK has
// for browsers. Everything above the socket is the SDK as it is shipped.

import OpenAI from "openai";
import { BrowserWebSocket } from "./node_modules/openai/internal/ws-adapter-browser.mjs";
import { ResponsesWSBase } from "openai/resources/responses/ws-base.mjs";

class Connection extends ResponsesWSBase {
  constructor(client, options) {
    super(client, options);
    this._connectInitial();
  }

  _createSocket(url, headers) {
    return new BrowserWebSocket(new WebSocket(url, { headers }));
  }
}

const { url, key, creates, resumes } = JSON.parse(await new Response(process.stdin).text());
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
const heard = { messages: [], errors: [], closes: [] };
const open = new Map(); // by lane: the id of its response, and the last number that came
let left = creates.length;

const connection = new Connection(client, {
  reconnect: {
    onReconnecting: ({ closeCode }) => {
      heard.closes.push(closeCode);
      for (const [lane, { id, last }] of open) {
        const named = lane === "" ? {} : { stream_id: lane };
        connection.send({ type: "response.resume", response_id: id, starting_after: last, ...named });
      }
    },
  },
});
for (const fields of creates) connection.send({ type: "response.create", ...fields });

for await (const event of connection) {
  if (event.type === "error") {
    heard.errors.push(event.error.error ?? String(event.error));
    left -= 1;
  } else if (event.type === "message") {
    const { message } = event;
    const lane = message.stream_id ?? "";
    heard.messages.push(message);
    if (message.type === "response.created") open.set(lane, { id: message.response.id });
    if (open.has(lane)) open.get(lane).last = message.sequence_number;
    if (resumes && heard.messages.length === resumes) console.log("cut");
    if (["response.completed", "response.failed"].includes(message.type)) {
      open.delete(lane);
      left -= 1;
    }
  }
  if (left === 0) break;
}
connection.close();
console.log(JSON.stringify(heard));
process.exit(0);
