"""A client of the official Python SDK, 1.x, which speaks the versions with a handshake."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version

import httpx
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

import summary


@asynccontextmanager
async def streams(options):
    if options.command:
        command, *arguments = options.command
        async with stdio_client(StdioServerParameters(command=command, args=arguments)) as pair:
            yield pair
    else:
        async with httpx.AsyncClient(headers=options.header, timeout=options.timeout) as http:
            async with streamable_http_client(options.url, http_client=http) as (read, write, _):
                yield read, write


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def main():
    options = summary.parse()
    patience = timedelta(seconds=options.timeout)
    async with streams(options) as (read, write):
        async with ClientSession(read, write, read_timeout_seconds=patience) as session:
            greeting = await session.initialize()
            out = {
                "sdk": "python " + version("mcp"),
                "protocol_version": greeting.protocolVersion,
                "server": greeting.serverInfo.name,
                "instructions": greeting.instructions,
                "tools": [tool.name for tool in (await session.list_tools()).tools],
                "resources": [str(r.uri) for r in (await session.list_resources()).resources],
            }
            await session.send_ping()
            if options.call:
                progress = []

                async def note(_progress, _total, message):
                    progress.append(message)

                result = await session.call_tool(*options.call, progress_callback=note)
                out["call"] = summary.called(plain(result), progress)
            if options.read:
                out["read"] = summary.read(plain(await session.read_resource(options.read)))
    summary.show(out)


asyncio.run(main())
