"""The peer of a prompt cell: claude-agent-sdk's client and nothing else, in a process of its own.

``python -m benchmarks.bare_client OPTIONS`` connects one client, then takes a line of JSON with a
prompt from its standard input for every turn, and answers with a line of JSON that says how long
the turn took. It measures itself: from its call of ``query()`` to the first text, so no pipe is
between the client and its clock.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

import asyncio  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

from claude_agent_sdk import (  # noqa: E402
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ResultMessage,
    StreamEvent,
)

from familiar_kernel.familiar.tools import LOOKING, SERVER, server  # noqa: E402


async def turn(client: ClaudeSDKClient, prompt: str) -> dict[str, Any]:
    """Run one turn; return the seconds to its ``first`` text and to its ``end``."""
    first = 0.0
    sent = time.perf_counter()
    await client.query(prompt)
    async for message in client.receive_response():
        if not first and isinstance(message, StreamEvent) and first_text(message.event):
            first = time.perf_counter() - sent
        if isinstance(message, ResultMessage) and message.is_error:
            raise RuntimeError(f"the turn failed: {message.result}")
    return {"first": first, "end": time.perf_counter() - sent}


def first_text(event: dict[str, Any]) -> str:
    """Return the text that a stream event brings; empty where it brings none."""
    delta = event.get("delta") or {}
    return str(delta.get("text") or "") if event.get("type") == "content_block_delta" else ""


class NoKernel:
    """Serves tools that no turn of the benchmarks uses here."""

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Fail."""
        raise RuntimeError(f"the bare client was to use {name} with {arguments}")

    def note_use(self, tool: str, tool_input: dict[str, Any], mode: str) -> None:
        """Fail."""
        raise RuntimeError(f"the bare client has used {tool}")


async def serve(options: dict[str, Any]) -> None:
    """Connect, say so, and run a turn for every line.

    The notebook's tools are in its requests as in the kernel's: they make them longer.
    """
    tools: dict[str, Any] = {"mcp_servers": {SERVER: server(NoKernel())}, "allowed_tools": LOOKING}
    async with ClaudeSDKClient(ClaudeAgentOptions(**options, **tools)) as client:
        print(json.dumps({"connected": time.perf_counter() - BEGAN}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await turn(client, json.loads(line)["prompt"])), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
