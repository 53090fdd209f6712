// The official package for tasks calls `respond`: it checks each message against the extension's own schemas.
// Arguments: a URL and a token. What it saw goes to stdout as one JSON object. The person says yes to everything.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { createTaskSessionFromClient } from "@modelcontextprotocol/ext-tasks/client";

const [url, token] = process.argv.slice(1);
const extensions = { "io.modelcontextprotocol/tasks": {} };
const framing = {
  protocolVersion: "2026-07-28",
  clientInfo: { name: "tasks", version: "1" },
  clientCapabilities: { elicitation: {}, extensions },
};
const client = new Client(framing.clientInfo, {
  versionNegotiation: { mode: "auto" },
  capabilities: framing.clientCapabilities,
});
const sent = [];
let number = 0;

// The SDK's client drops what it does not know of a task, so the package wants its messages sent as they are.
async function rawDispatch(request, { signal } = {}) {
  sent.push(request.method);
  const { name, taskId } = request.params;
  const reply = await fetch(url, {
    method: "POST",
    signal,
    headers: {
      Authorization: `Bearer ${token}`,
      "Content-Type": "application/json",
      Accept: "application/json, text/event-stream",
      "MCP-Protocol-Version": framing.protocolVersion,
      "Mcp-Method": request.method,
      "Mcp-Name": taskId ?? name,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: `raw-${++number}`, ...request }),
  });
  const { result, error } = JSON.parse((await reply.text()).replace(/^[^]*^data: (?={)/m, ""));
  return error ? { kind: "error", error } : { kind: "result", result };
}

const headers = { Authorization: `Bearer ${token}` };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
const asked = [];
const session = createTaskSessionFromClient(client, {
  endpointId: "bridge",
  rawDispatch,
  v2RequestFraming: framing,
  onInputRequest: async ({ kind, params }) => {
    asked.push([kind, params.message]);
    return { action: "accept", content: { answer: "run it" } };
  },
});

const begin = (input) => session.callTool("respond", { input });

async function finish(execution) {
  const { outcome } = await execution.settle();
  return [execution.kind, outcome.status, outcome.result.structuredContent.output_text];
}

const first = await finish(await begin("hello"));
const begun = await begin("slow");
await finish(await begin("let it go on"));
const slow = await finish(begun);
const asking = await finish(await begin("ask"));
await session.close();
await client.close();
console.log(JSON.stringify({ first, slow, asking, asked, sent: [...new Set(sent)] }));
