// An official TypeScript client that declares MCP Apps finds the page and reads it. Arguments: the client's major
// version, how it negotiates, and the command of a server, or a URL and a token. What it saw goes to stdout as JSON.

import { getToolUiResourceUri } from "@modelcontextprotocol/ext-apps/app-bridge";

const [major, mode, ...target] = process.argv.slice(1);
const MODULES = {
  1: ["index.js", "stdio.js", "streamableHttp.js"].map((name) => `@modelcontextprotocol/sdk/client/${name}`),
  2: ["@modelcontextprotocol/client", "@modelcontextprotocol/client/stdio"],
};
const sdk = Object.assign({}, ...(await Promise.all(MODULES[major].map((name) => import(name)))));
const APPS = "io.modelcontextprotocol/ui";

function open([place, ...rest]) {
  if (!place.startsWith("http")) return new sdk.StdioClientTransport({ command: place, args: rest, env: process.env });
  const headers = { Authorization: `Bearer ${rest[0]}` };
  return new sdk.StreamableHTTPClientTransport(new URL(place), { requestInit: { headers } });
}

const capabilities = { extensions: { [APPS]: { mimeTypes: ["text/html;profile=mcp-app"] } } };
const options = { capabilities, versionNegotiation: { mode }, enforceStrictCapabilities: true };
const client = new sdk.Client({ name: "tests", version: "1" }, options);
await client.connect(open(target));
const { tools } = await client.listTools();
const uri = getToolUiResourceUri(tools.find((tool) => tool.name === "respond"));
const { contents } = await client.readResource({ uri });
const result = await client.callTool({ name: "respond", arguments: { input: "x" } });
const announced = APPS in (client.getServerCapabilities().extensions ?? {});
const spans = result._meta["mcp-responses-bridge/timeline"].timeline.length;
await client.close();
console.log(JSON.stringify({ uri, type: contents[0].mimeType, page: contents[0].text, announced, spans }));
