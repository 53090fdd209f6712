// One connection of an official TypeScript client: it calls, lists, gives a call up and hears of a change.
// Arguments: the client's major version, how it negotiates, and the command of a server, or a URL and a token.
// What it saw goes to stdout as one JSON object.

const [major, mode, ...target] = process.argv.slice(1);
const MODULES = {
  1: ["index.js", "stdio.js", "sse.js", "streamableHttp.js"].map((name) => `@modelcontextprotocol/sdk/client/${name}`),
  2: ["@modelcontextprotocol/client", "@modelcontextprotocol/client/stdio"],
};
const sdk = Object.assign({}, ...(await Promise.all(MODULES[major].map((name) => import(name)))));

let noteTools = () => {};
const client = new sdk.Client(
  { name: "tests", version: "1" },
  { versionNegotiation: { mode }, listChanged: { tools: { onChanged: (error, tools) => error ?? noteTools(tools) } } },
);

const standing = Promise.withResolvers(); // the stream on which a handshake-era server tells what nobody asked for

async function watch(url, init) {
  const reply = await fetch(url, init);
  if (init?.method === "GET") standing.resolve();
  return reply;
}

function open([place, ...rest]) {
  if (!place.startsWith("http")) return new sdk.StdioClientTransport({ command: place, args: rest, env: process.env });
  const Transport = place.endsWith("/sse") ? sdk.SSEClientTransport : sdk.StreamableHTTPClientTransport;
  const headers = { Authorization: `Bearer ${rest[0]}` };
  return new Transport(new URL(place), { fetch: watch, requestInit: { headers } });
}

function call(input, options = {}) {
  const parameters = { name: "respond", arguments: { input }, _meta: { "mcp-responses-bridge/text": true } };
  return major === "1" ? client.callTool(parameters, undefined, options) : client.callTool(parameters, options);
}

function describe(tools) {
  return tools.find((tool) => tool.name === "respond").description;
}

async function giveUp(heard) {
  const giving = new AbortController();
  const onprogress = ({ progress, message }) => {
    heard.push([progress, message.trim()]);
    if (message === "waiting!") giving.abort("the user pressed stop");
  };
  // The upstream stops in mid-answer: a client drops progress that it reads in one go with the result.
  return await call("use and hang", { signal: giving.signal, onprogress }).then(
    () => "answered",
    (error) => String(error),
  );
}

async function change(before) {
  const changed = Promise.withResolvers();
  noteTools = (tools) => describe(tools) !== before && changed.resolve(describe(tools));
  await call("grow");
  return await changed.promise;
}

await client.connect(open(target));
if (target[0].endsWith("/mcp") && mode === "legacy") await standing.promise;
const answer = await call("hello");
const { tools } = await client.listTools();
const heard = [];
const seen = {
  version: client.getNegotiatedProtocolVersion?.() ?? null,
  server: client.getServerVersion().name,
  listChanged: client.getServerCapabilities().tools.listChanged,
  tools: tools.map((tool) => tool.name),
  answer: [answer.content[0].text, answer.structuredContent.output_text],
  givenUp: await giveUp(heard),
  heard,
  before: describe(tools),
  after: await change(describe(tools)),
};
await client.close();
console.log(JSON.stringify(seen));
