"""What has come of code, as the Model Context Protocol has it: bounded, paged, with pictures."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from mcp.types import ContentBlock, ImageContent, TextContent

from . import actions
from .facts import ran_facts
from .jobs import Job
from .terminal import safe

PAGE = 8000
"""Characters of text in an answer."""
PICTURES = 4
"""Pictures in an answer."""
LARGEST_PICTURE = 2_000_000
"""Characters of a picture, in base64."""
_PICTURES = ("image/png", "image/jpeg", "image/gif")


def job_told(job: Job, page: int) -> list[ContentBlock]:
    """Return what has come of a job so far."""
    state = "ended" if job.ended.is_set() else "running"
    facts: dict[str, Any] = {"job": job.id, "state": state}
    outputs = [] if job.ran is None else list(job.ran.outputs)
    if job.ran is not None:
        facts |= {"state": job.ran.state, **ran_facts(job.ran)}
    if job.results or job.count > 1:
        facts["cells"] = [
            {"index": r.cell.index, "id": r.cell.id or None, **ran_facts(r.ran)}
            for r in job.results
        ]
        facts["of"] = job.count
    if state == "ended" and any(actions.failed(r) or r.ran.state != "ok" for r in job.results):
        facts["state"] = "failed"
    if job.notes:
        facts["notes"] = job.notes[:10]
    if job.fault:
        facts |= {"state": "failed", "fault": job.fault}
    if state == "running":
        facts["doing"] = job.doing
    text = [json.dumps(facts, ensure_ascii=False), text_of(outputs)]
    for result in job.results:
        outputs += result.outputs
        shown = text_of(result.outputs)
        if shown:
            text.append(f"-- {result.cell.name} --\n{shown}")
    return [page_of("\n\n".join(filter(None, text)), page), *pictures(outputs)]


def page_of(text: str, page: int) -> TextContent:
    """Return a page of a text, and say how many there are."""
    pages = max(1, -(-len(text) // PAGE))
    shown = text[(page - 1) * PAGE : page * PAGE]
    if pages > 1:
        shown += f"\n\n[page {page} of {pages}]"
    return TextContent(type="text", text=shown)


def text_of(outputs: Sequence[dict[str, Any]]) -> str:
    """Return outputs as text; of pictures only that they are there."""
    parts = []
    for output in outputs:
        data = output.get("data")
        if "text" in output:
            parts.append(_joined(output["text"]))
        elif "traceback" in output:
            parts.append("\n".join(map(str, output["traceback"])))
        elif isinstance(data, dict):
            kinds = ("text/markdown", "text/plain", "text/latex", "application/json")
            kind = next((kind for kind in kinds if kind in data), "")
            pictures = [kind for kind in data if kind.startswith("image/")]
            parts.append(_joined(data[kind]) if kind else f"[{', '.join(pictures or data)}]")
    return "\n".join(safe(part, colours=False).rstrip("\n") for part in parts)


def pictures(outputs: Sequence[dict[str, Any]]) -> list[ContentBlock]:
    """Return the pictures among outputs, the first few."""
    found: list[ContentBlock] = []
    for output in outputs:
        data = output.get("data")
        if not isinstance(data, dict):
            continue
        for kind in _PICTURES:
            encoded = _joined(data.get(kind, "")).replace("\n", "")
            if not encoded or len(encoded) > LARGEST_PICTURE or len(found) == PICTURES:
                continue
            try:
                base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                continue
            found.append(ImageContent(type="image", data=encoded, mime_type=kind))
    return found


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return "".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
