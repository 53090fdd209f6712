// An official TypeScript client that calls `respond` of a service whose tokens come from an issuer.
// Arguments: the client's major version, the service's URL and a token; without one it signs in as the service says.
// What it saw goes to stdout as one JSON object.

const [major, url, token] = process.argv.slice(1);
const MODULES = {
  1: ["index.js", "streamableHttp.js"].map((name) => `@modelcontextprotocol/sdk/client/${name}`),
  2: ["@modelcontextprotocol/client"],
};
const sdk = Object.assign({}, ...(await Promise.all(MODULES[major].map((name) => import(name)))));
const kept = {};
const callback = "http://127.0.0.1:9/callback"; // nobody listens: the browser below reads where it is sent
const provider = {
  redirectUrl: callback,
  clientMetadata: { client_name: "tests", redirect_uris: [callback], token_endpoint_auth_method: "none" },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => (kept.tokens = tokens),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => (kept.verifier = verifier),
  redirectToAuthorization: async (page) => {
    const reply = await fetch(page, { redirect: "manual" });
    kept.answer = new URL(reply.headers.get("location")).searchParams;
  },
};

function open() {
  const headers = { Authorization: `Bearer ${token}` };
  return new sdk.StreamableHTTPClientTransport(
    new URL(url),
    token ? { requestInit: { headers } } : { authProvider: provider },
  );
}

async function connect() {
  const client = new sdk.Client({ name: "tests", version: "1" });
  await client.connect(open());
  return client;
}

async function signIn(error) {
  if (token || !kept.answer) throw error;
  const answer = major === "1" ? kept.answer.get("code") : kept.answer;
  await open().finishAuth(answer);
  return await connect();
}

try {
  const client = await connect().catch(signIn);
  const parameters = { name: "respond", arguments: { input: "What is 123.5 + 456.7?" } };
  const { structuredContent } = await client.callTool(parameters);
  await client.close();
  console.log(JSON.stringify({ answer: structuredContent.output_text, scope: kept.tokens?.scope ?? null }));
} catch (error) {
  console.log(JSON.stringify({ refused: `${error.name} ${error.code ?? ""} ${error.message}` }));
}
process.exit(0);
