"""A whole conversation as one Markdown text, to keep or to send to somebody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from familiar_kernel.answer.inline import code_span, literal
from familiar_kernel.answer.markdown import defang
from familiar_kernel.answer.render import details


def conversation(messages: Sequence[dict[str, Any]], session_id: str, *, rehearsal: bool) -> str:
    """Return a conversation as Markdown; what people and Claude wrote cannot bring HTML or scripts.

    Args:
        messages: each with ``role`` (``user`` or ``assistant``) and ``parts``, each with ``kind``
            (``text``, ``thinking``, ``tool`` or ``summary``) and ``text``.
        session_id: the session's UUID.
        rehearsal: whether a script answered, and not Claude.
    """
    who = "Rehearsal, not Claude" if rehearsal else "Claude"
    blocks = [f"# A conversation with {who}", f"Session `{session_id}`"]
    for message in messages:
        summary = all(part["kind"] == "summary" for part in message["parts"])
        if not summary:
            blocks.append(f"## {'You' if message['role'] == 'user' else who}")
        tools: list[str] = []
        for part in message["parts"]:
            if part["kind"] == "tool":
                name, _, what = part["text"].partition(": ")
                tools.append(f"- **{literal(name)}** {code_span(what) if what else ''}".rstrip())
                continue
            if tools:
                blocks.append("\n".join(tools))
                tools = []
            text = defang(part["text"]).strip("\n")
            if part["kind"] == "thinking":
                text = details("Thinking", text)
            elif part["kind"] == "summary":
                text = details("What came before, summed up", text)
            blocks.append(text)
        if tools:
            blocks.append("\n".join(tools))
    return "\n\n".join(blocks) + "\n"
