"""Asks the person before Claude acts: the CLI's permission requests, handed on to the kernel.

The CLI decides first, by the rules in Claude's own settings files and by what is harmless; only
what it would ask a person in a terminal comes here. The person is where the kernel is, so the
kernel decides and keeps the record.
"""

from __future__ import annotations

from typing import Any

from claude_agent_sdk import (
    CanUseTool,
    PermissionResult,
    PermissionResultAllow,
    PermissionResultDeny,
    ToolPermissionContext,
)

from .protocol import PERMISSION
from .tools import CallKernel


def may_use(call: CallKernel) -> CanUseTool:
    """Return the SDK's callback, which asks the kernel over ``call``."""

    async def decide(
        tool: str, tool_input: dict[str, Any], context: ToolPermissionContext
    ) -> PermissionResult:
        asked = {"tool": tool, "input": tool_input, "title": context.title or ""}
        told = await call(PERMISSION, asked)
        why_not = "\n".join(block.get("text", "") for block in told["content"])
        if not told.get("is_error") and not why_not:
            return PermissionResultAllow()
        return PermissionResultDeny(message=why_not)

    return decide
