// Bundles a script for a browser, with the packages that are here. Arguments: the script, and the file to write.

import { rolldown } from "rolldown";

const [input, file] = process.argv.slice(1);
const bundle = await rolldown({ input, platform: "browser", resolve: { modules: [process.cwd()] }, logLevel: "silent" });
await bundle.write({ file, format: "esm" });
