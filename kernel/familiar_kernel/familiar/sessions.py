"""The sessions on disk, as Claude Code keeps them: listed, read and copied.

The SDK reads the files; here what is in them becomes what a person would call the conversation:
prompts and answers, without what the notebook and the CLI added for Claude's eyes.
"""

from __future__ import annotations

import re
from typing import Any

from claude_agent_sdk import fork_session, get_session_info, get_session_messages, list_sessions

from .turn import OURS, tool_summary

LISTED = 50
"""Sessions of one directory that are listed, the newest first."""
_FOR_CLAUDE = re.compile(
    r"\s*(?:<(?:notebook-context|local-command-|command-name|system-reminder|task-notification)"
    r"|\[Request interrupted by user)"
)
"""How texts begin that no person wrote, though they stand where a person's words do."""
_MADE_UP = "<synthetic>"
"""The model's name in messages that the CLI puts in for an answer, such as of a turn that was
stopped."""
_SUMMARY = "This session is being continued from a previous conversation"
_FIRST_WORDS = 100


class SessionFiles:
    """The sessions that were begun in one directory.

    Args:
        directory: the CLI's working directory.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def listed(self) -> dict[str, Any]:
        """Return ``sessions``, newest first: ``id``, ``modified`` (seconds since the epoch), and
        ``words``, the first of the conversation."""
        listed = []
        for info in list_sessions(self._directory, limit=LISTED, include_worktrees=False):
            # Not its title, which the CLI has the model make up.
            words = info.first_prompt or info.summary or ""
            if _FOR_CLAUDE.match(words):
                words = next((t for _, t in self._prompts(info.session_id)), "")
            words = " ".join(words.split())[:_FIRST_WORDS]
            listed.append(
                {"id": info.session_id, "modified": info.last_modified / 1000, "words": words}
            )
        return {"sessions": listed}

    def fork(self, session_id: str) -> dict[str, Any]:
        """Copy a session, and return the copy's ``session_id``.

        Raises:
            ValueError: there is no such session, or nothing in it.
        """
        try:
            return {"session_id": fork_session(session_id, self._directory).session_id}
        except FileNotFoundError:
            raise ValueError(f"there is no session {session_id} of this directory") from None

    def messages(self, session_id: str) -> dict[str, Any]:
        """Return a session's conversation.

        Returns:
            ``turns``: how many prompts it has; ``messages``: each with ``role`` (``user`` or
            ``assistant``) and ``parts``, each with ``kind`` (``text``, ``thinking``, ``tool`` or
            ``summary``) and ``text``.

        Raises:
            ValueError: there is no such session.
        """
        if get_session_info(session_id, self._directory) is None:
            raise ValueError(f"there is no session {session_id} of this directory")
        told: list[dict[str, Any]] = []
        for message in get_session_messages(session_id, self._directory):
            if message.message.get("model") == _MADE_UP:
                continue
            parts = _parts(message.type, message.message.get("content", ""))
            if not parts:
                continue
            if told and message.type == "assistant" == told[-1]["role"]:
                told[-1]["parts"] += parts  # one answer, with tools between its stretches
            else:
                told.append({"role": message.type, "parts": parts})
        return {"messages": told, "turns": sum(m["role"] == "user" for m in told)}

    def _prompts(self, session_id: str) -> list[tuple[str, str]]:
        return [
            (part["kind"], part["text"])
            for message in get_session_messages(session_id, self._directory, limit=20)
            if message.type == "user"
            for part in _parts("user", message.message.get("content", ""))
        ]


def _parts(role: str, content: str | list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return what of a message is the conversation's."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    parts = []
    for block in blocks:
        text = str(block.get("text", ""))
        match block.get("type"):
            case "text" if role == "user" and text.startswith(_SUMMARY):
                parts.append({"kind": "summary", "text": text})
            case "text" if text.strip() and not (role == "user" and _FOR_CLAUDE.match(text)):
                parts.append({"kind": "text", "text": text})
            case "thinking" if str(block.get("thinking", "")).strip():
                parts.append({"kind": "thinking", "text": str(block["thinking"])})
            case "tool_use":
                name = str(block.get("name", "")).removeprefix(OURS)
                given: Any = block.get("input")
                told = f"{name}: {tool_summary(given or {})}"
                parts.append({"kind": "tool", "text": told})
    return parts
