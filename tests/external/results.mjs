// What the validators of the official TypeScript clients say of results: [fault, ...] for each, as JSON on stdout.
// Arguments: a file with {schema, results}.

import { readFile } from "node:fs/promises";

const { schema, results } = JSON.parse(await readFile(process.argv[1], "utf-8"));
const modules = [
  "@modelcontextprotocol/sdk/validation/ajv",
  "@modelcontextprotocol/client/validators/ajv",
  "@modelcontextprotocol/client/validators/cf-worker",
];
const faults = {};
for (const name of modules) {
  const provider = Object.entries(await import(name)).find(([key]) => key.endsWith("JsonSchemaValidator"))[1];
  const validate = new provider().getValidator(schema);
  faults[name] = results.map((result) => validate(result)).filter((said) => !said.valid).map((said) => said.errorMessage);
}
console.log(JSON.stringify(faults));
