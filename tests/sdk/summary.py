"""What the Python clients share: the arguments they take and the summary they print."""

import argparse
import json
import sys


def parse():
    """The command line. `--command` takes everything after it."""
    parser = argparse.ArgumentParser(
        description="Connects, lists, calls and reads; prints one JSON summary.",
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--url", help="the endpoint, for HTTP")
    way.add_argument("--command", nargs=argparse.REMAINDER, help="the server, for stdio")
    parser.add_argument("--header", action="append", default=[], help="`Name: value`, for HTTP")
    parser.add_argument("--call", nargs=2, metavar=("TOOL", "JSON"), help="a tool to call")
    parser.add_argument("--read", metavar="URI", help="a resource to read")
    parser.add_argument("--mode", default="auto", help="2.x: auto, legacy or a version")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for each request")
    options = parser.parse_args()
    options.header = dict(line.split(": ", 1) for line in options.header)
    if options.call:
        options.call = (options.call[0], json.loads(options.call[1]))
    return options


def called(result, progress):
    """What a call gave. `result` is in the protocol's own form."""
    text = [block["text"] for block in result["content"] if block["type"] == "text"]
    return {
        "is_error": result.get("isError", False),
        "structured": result.get("structuredContent"),
        "text": "\n".join(text),
        "progress": progress,
    }


def read(result):
    """What a resource holds."""
    first = result["contents"][0]
    return {"uri": first["uri"], "mime_type": first.get("mimeType"), "text": first["text"]}


def show(summary):
    """The one line of output."""
    json.dump(summary, sys.stdout, sort_keys=True)
    sys.stdout.write("\n")
