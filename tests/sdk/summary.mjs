// What the TypeScript SDKs' clients share: the arguments they take and the summary they print.

/** The command line. `--command` takes everything after it. */
export function parse(argv = process.argv.slice(2)) {
  const options = { headers: {}, mode: "auto", timeout: 30_000 };
  const words = [...argv];
  const next = (flag) => {
    if (words.length === 0) throw new Error(`${flag} wants a value`);
    return words.shift();
  };
  while (words.length > 0) {
    const flag = words.shift();
    if (flag === "--url") options.url = new URL(next(flag));
    else if (flag === "--command") options.command = words.splice(0);
    else if (flag === "--call") options.call = { name: next(flag), arguments: JSON.parse(next(flag)) };
    else if (flag === "--read") options.read = next(flag);
    else if (flag === "--mode") options.mode = next(flag);
    else if (flag === "--timeout") options.timeout = Number(next(flag)) * 1000;
    else if (flag === "--header") {
      const line = next(flag);
      const colon = line.indexOf(": ");
      options.headers[line.slice(0, colon)] = line.slice(colon + 2);
    } else throw new Error(`unknown option ${flag}`);
  }
  if (!options.url === !options.command) throw new Error("give either --url or --command");
  return options;
}

/** Lists, calls and reads with a connected client; prints one JSON summary. */
export async function run(client, options, about) {
  const limit = { timeout: options.timeout };
  const out = {
    ...about,
    server: client.getServerVersion()?.name ?? null,
    instructions: client.getInstructions() ?? null,
    tools: (await client.listTools(undefined, limit)).tools.map((tool) => tool.name),
    resources: (await client.listResources(undefined, limit)).resources.map((r) => r.uri),
  };
  if (options.call) {
    const progress = [];
    const onprogress = ({ message }) => progress.push(message);
    const result = await about.call(client, options.call, { ...limit, onprogress });
    out.call = {
      is_error: result.isError ?? false,
      structured: result.structuredContent ?? null,
      text: result.content.filter((b) => b.type === "text").map((b) => b.text).join("\n"),
      progress,
    };
  }
  if (options.read) {
    const [first] = (await client.readResource({ uri: options.read }, limit)).contents;
    out.read = { uri: first.uri, mime_type: first.mimeType ?? null, text: first.text };
  }
  await client.close();
  process.stdout.write(JSON.stringify(out) + "\n");
}
