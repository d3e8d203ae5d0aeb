// A client of the official TypeScript SDK, 2.x: 2026-07-28, and the versions with a handshake.

import { readFileSync } from "node:fs";

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

import { parse, run } from "./summary.mjs";

const manifest = new URL("./node_modules/@modelcontextprotocol/client/package.json", import.meta.url);
const { version } = JSON.parse(readFileSync(manifest, "utf8"));

const options = parse();
const [command, ...args] = options.command ?? [];
const transport = command
  ? new StdioClientTransport({ command, args })
  : new StreamableHTTPClientTransport(options.url, { requestInit: { headers: options.headers } });

const named = ["auto", "legacy"].includes(options.mode);
const client = new Client(
  { name: "ephyr-sdk-tests", version: "1.0.0" },
  { versionNegotiation: { mode: named ? options.mode : { pin: options.mode } } },
);
await client.connect(transport, { timeout: options.timeout });
await run(client, options, {
  sdk: `typescript ${version}`,
  protocol_version: client.getNegotiatedProtocolVersion(),
  call: (client, request, limit) => client.callTool(request, limit),
});
