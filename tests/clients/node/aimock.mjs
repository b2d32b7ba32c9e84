// A mock of OpenAI and Anthropic, until stdin closes. Prints its address.

import { LLMock } from "@copilotkit/aimock";

const [key] = process.argv.slice(2);
const mock = new LLMock({ host: "127.0.0.1", port: 0, strict: true, auth: { apiKeys: [key] } });
await mock.start();
process.stdout.write(`${mock.url}\n`);
process.stdin.on("end", () => mock.stop().then(() => process.exit(0)));
process.stdin.resume();
