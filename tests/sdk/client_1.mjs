// A client of the official TypeScript SDK, 1.x, which speaks the versions with a handshake.

import { readFileSync } from "node:fs";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { parse, run } from "./summary.mjs";

const manifest = new URL("./node_modules/@modelcontextprotocol/sdk/package.json", import.meta.url);
const { version } = JSON.parse(readFileSync(manifest, "utf8"));

const options = parse();
const [command, ...args] = options.command ?? [];
const transport = command
  ? new StdioClientTransport({ command, args })
  : new StreamableHTTPClientTransport(options.url, { requestInit: { headers: options.headers } });

// On stdio the transport keeps no version to ask for, so the handshake's is noted as it passes.
let negotiated;
transport.setProtocolVersion = ((inner) => (chosen) => {
  negotiated = chosen;
  inner?.call(transport, chosen);
})(transport.setProtocolVersion);

const client = new Client({ name: "ephyr-sdk-tests", version: "1.0.0" });
await client.connect(transport, { timeout: options.timeout });
await client.ping();
await run(client, options, {
  sdk: `typescript ${version}`,
  protocol_version: negotiated,
  call: (client, request, limit) => client.callTool(request, undefined, limit),
});
