// The official TypeScript client gives calls up after a while, and repeats each after a pause.
// Arguments: how it negotiates, a URL, a token, how many calls, their time, and the pauses, in milliseconds.
// What it was answered goes to stdout as JSON: the texts, by pause.

import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [mode, place, token, tries, timeout, ...pauses] = process.argv.slice(1);
const Transport = place.endsWith("/sse") ? SSEClientTransport : StreamableHTTPClientTransport;
const client = new Client({ name: "tests", version: "1" }, { versionNegotiation: { mode } });
await client.connect(new Transport(new URL(place), { requestInit: { headers: { Authorization: `Bearer ${token}` } } }));

function call(input, options) {
  return client.callTool({ name: "respond", arguments: { input } }, options);
}

async function repeat(key, pause) {
  const given = await call(key, { timeout: Number(timeout) }).then(
    () => "answered",
    () => "given up",
  );
  if (given === "answered") return given;
  if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
  return (await call(key)).content[0].text.split("\n")[0]; // the others are notices
}

const answers = Object.fromEntries(pauses.map((pause) => [pause, []]));
for (let number = 0; number < Number(tries); number += 10) {
  const batch = pauses.flatMap((pause) => Array.from({ length: 10 }, (_, next) => [pause, number + next]));
  await Promise.all(
    batch.map(async ([pause, number]) => {
      answers[pause][number] = await repeat(`${pause} ms, ${number}`, Number(pause));
    }),
  );
}
await client.close();
console.log(JSON.stringify(answers));
