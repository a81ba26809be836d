"""Asks the person before Claude acts: the CLI's permission requests, handed on to the kernel.

The CLI decides first, by the rules in Claude's own settings files and by what is harmless; only
what it would ask a person in a terminal comes here. The person is where the kernel is, so the
kernel decides and keeps the record, also of what was done without asking.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from claude_agent_sdk import (
    HookContext,
    HookInput,
    HookJSONOutput,
    PermissionResult,
    PermissionResultAllow,
    PermissionResultDeny,
    ToolPermissionContext,
)

from .protocol import PERMISSION, QUESTION
from .tools import LOOKING, Kernel

ASKING_TOOL = "AskUserQuestion"
"""Claude Code's tool by which the model asks the person; its answers go in with the permission."""
ON_RECORD = "Bash|Write|Edit|MultiEdit|WebFetch|WebSearch|mcp__.*"
"""The tools whose uses are recorded, asked for or not: those that act, or reach other machines."""
_ASKED_KEPT = 1000


class Gate:
    """Decides on one session's tools, by asking the kernel.

    Args:
        kernel: whom it asks and tells.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._asked: deque[str] = deque(maxlen=_ASKED_KEPT)

    async def may_use(
        self, tool: str, tool_input: dict[str, Any], context: ToolPermissionContext
    ) -> PermissionResult:
        """The SDK's callback: whether a tool may be used, or what the person answers."""
        self._asked.append(context.tool_use_id or "")
        if tool == ASKING_TOOL:
            told = await self._kernel.call(QUESTION, {"questions": tool_input.get("questions", [])})
            if not told.get("is_error"):
                answers = json.loads(_text(told))
                return PermissionResultAllow(updated_input={**tool_input, "answers": answers})
            return PermissionResultDeny(message=_text(told))
        asked = {"tool": tool, "input": tool_input, "title": context.title or ""}
        told = await self._kernel.call(PERMISSION, asked)
        why_not = _text(told)
        if not told.get("is_error") and not why_not:
            return PermissionResultAllow()
        return PermissionResultDeny(message=why_not)

    async def used(
        self, told: HookInput, tool_use_id: str | None, context: HookContext
    ) -> HookJSONOutput:
        """The SDK's hook after a tool was used: tells the kernel of those that nobody asked for."""
        facts: dict[str, Any] = dict(told)
        tool = str(facts.get("tool_name", ""))
        if tool_use_id not in self._asked and tool not in LOOKING:
            mode = str(facts.get("permission_mode", ""))
            self._kernel.note_use(tool, facts.get("tool_input", {}), mode)
        return {}


def _text(told: dict[str, Any]) -> str:
    return "\n".join(block.get("text", "") for block in told["content"])
