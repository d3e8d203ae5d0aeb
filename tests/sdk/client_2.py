"""A client of the official Python SDK, 2.x: 2026-07-28, and the versions with a handshake."""

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import version

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

import summary


@asynccontextmanager
async def connected(options):
    mode = {"mode": options.mode, "read_timeout_seconds": options.timeout}
    if options.command:
        command, *arguments = options.command
        server = StdioServerParameters(command=command, args=arguments)
        async with Client(server, **mode) as client:
            yield client
    else:
        async with httpx2.AsyncClient(headers=options.header, timeout=options.timeout) as http:
            transport = streamable_http_client(options.url, http_client=http)
            async with Client(transport, **mode) as client:
                yield client


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def main():
    options = summary.parse()
    async with connected(options) as client:
        out = {
            "sdk": "python " + version("mcp"),
            "protocol_version": client.protocol_version,
            "server": client.server_info.name if client.server_info else None,
            "instructions": client.instructions,
            "tools": [tool.name for tool in (await client.list_tools()).tools],
            "resources": [str(r.uri) for r in (await client.list_resources()).resources],
        }
        if options.call:
            progress = []

            async def note(_progress, _total, message):
                progress.append(message)

            result = await client.call_tool(*options.call, progress_callback=note)
            out["call"] = summary.called(plain(result), progress)
        if options.read:
            out["read"] = summary.read(plain(await client.read_resource(options.read)))
    summary.show(out)


asyncio.run(main())
