"""Whether Claude may: what the person has decided, and the record of every decision.

The CLI asks only about what the rules in Claude's own settings and the mode leave open. Here the
person answers, in the cell that asked; where nobody can be asked, the answer is no.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_core.paths import jupyter_data_dir
from traitlets import Enum, Unicode, default
from traitlets.config import Configurable

if TYPE_CHECKING:
    from .familiar.protocol import Call

log = logging.getLogger(__name__)

MODES = {
    "ask": "default",
    "accept-edits": "acceptEdits",
    "plan": "plan",
    "bypass": "default",
}
"""The modes, with the CLI's names for them. In bypass the CLI asks as well, and hears yes each
time: so what was done is on record, and rules in Claude's settings that deny something still do."""

_SHOWN = 400
"""Characters of what was to be done that a record keeps."""
_SECRET = (
    r"(?i)((?:[\w-]*(?:key|token|secret|passw(?:or)?d|credential|authorization)[\w-]*|\w*_pass)"
    r"[\"']?\s*[=:]\s*(?:(?:bearer|basic)\s+)?|--?(?:api-?key|token|secret|password)\s+"
    r"|\bbearer\s+|\s-u\s+[^\s:]+:)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s\"',;]+)"
    r"|(://)[^\s/@]+(?=@)"
    r"|\b(?:sk-|ghp_|gho_|github_pat_|glpat-|xox[bap]-|hf_|AKIA|AIza|eyJ[\w-]+\.)[A-Za-z0-9._-]{8,}"
)


class PermissionFault(ValueError):
    """A mode that cannot be had; the message says why, in one sentence."""


class Decision(NamedTuple):
    """What the person decided. ``why``: what they told Claude instead."""

    allowed: bool
    how: str
    why: str = ""


def decision_of(answer: str) -> Decision:
    """Return what an answer to :data:`QUESTION` means. Only a plain yes is one."""
    match answer.strip().lower():
        case "y" | "yes":
            return Decision(True, "once")
        case "a" | "always":
            return Decision(True, "always")
        case "" | "n" | "no":
            return Decision(False, "no")
    return Decision(False, "no", answer.strip())


QUESTION = "Allow? [y]es, [n]o, [a]lways for {name}, or tell Claude why not: "


class Permissions(Configurable):
    """What Claude may do in one kernel."""

    mode = Enum(
        tuple(MODES),
        "ask",
        help="ask: you are asked in the cell before Claude acts. accept-edits: files in the working"
        " directory may be edited without asking. plan: Claude only looks and plans. bypass: nobody"
        " is asked about anything; for containers that hold nothing of value.",
    ).tag(config=True)
    audit_log = Unicode(
        help="The file that keeps one line of JSON for each decision; default: in Jupyter's data"
        " directory."
    ).tag(config=True)

    @default("audit_log")
    def _audit_log_in_data_dir(self) -> str:
        return str(Path(jupyter_data_dir()) / "familiar" / "audit.jsonl")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.always: list[str] = []
        """Tools that need no permission for the rest of this session, in the order of consent."""
        self.sandboxed = False
        """Whether Claude's tools act in a sandbox only: then root may have bypass too."""
        fault = fault_of_mode(self.mode)
        if fault:
            log.warning("%s The mode is ask.", fault)
            self.mode = "ask"

    def choose(self, mode: str) -> None:
        """Choose a mode.

        Raises:
            PermissionFault: there is no such mode, or it cannot be had here.
        """
        fault = fault_of_mode(mode, self.sandboxed)
        if fault:
            raise PermissionFault(fault)
        self.mode = mode

    @property
    def cli_mode(self) -> str:
        """The mode, as the CLI calls it."""
        return MODES[self.mode]

    def is_free(self, tool: str) -> bool:
        """Whether a tool may be used without asking. What is always allowed is not so while Claude
        is to plan only."""
        return self.mode == "bypass" or (self.mode != "plan" and tool in self.always)

    def record(self, session_id: str, tool: str, what: str, decision: Decision) -> None:
        """Append a decision to the audit log. A log that cannot be written is said in the kernel's
        log, and nothing else fails."""
        entry = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "session": session_id,
            "pid": os.getpid(),
            "tool": tool,
            "what": without_secrets(what)[:_SHOWN],
            "allowed": decision.allowed,
            "how": decision.how,
        }
        if decision.why:
            entry["why"] = without_secrets(decision.why)[:_SHOWN]
        path = Path(self.audit_log)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
            # One write to a file opened for appending: kernels that share it do not mix lines.
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)
        except OSError:
            log.exception("a decision could not be written to %s", path)


def fault_of_mode(mode: str, sandboxed: bool = False) -> str:
    """Return why a mode cannot be had, as one sentence, or nothing."""
    if mode not in MODES:
        return f"There is no mode {mode!r}; the modes are {', '.join(MODES)}."
    sandboxed = sandboxed or os.environ.get("IS_SANDBOX") == "1"
    if mode == "bypass" and os.geteuid() == 0 and not sandboxed:
        return (
            "The mode bypass is refused for root, since nothing would hold Claude back;"
            " run the kernel as another user, or set IS_SANDBOX=1 in a container."
        )
    return ""


_EDITS = ("Write", "Edit", "MultiEdit")


def how_unasked(tool: str, cli_mode: str) -> str:
    """Return how a tool came to be used without asking, given the CLI's mode: by the mode, or by a
    rule in Claude's settings."""
    by_mode = cli_mode == MODES["accept-edits"] and tool in _EDITS
    return "accept-edits" if by_mode else "rules"


_OURS = "mcp__notebook__"


def tool_name(tool: str) -> str:
    """Return a tool's name as people know it, given the CLI's: the notebook's own without their
    server, others with it."""
    return tool.removeprefix(_OURS)


def without_secrets(text: str) -> str:
    """Return a text with what looks like a key, token or password left out."""
    # Compiled when it is first used, and kept by re: most kernels decide nothing.
    return re.sub(_SECRET, lambda m: f"{m[1] or m[2] or ''}***", text)


class Request:
    """What Claude asks to be allowed.

    Args:
        tool: the CLI's name of the tool.
        tool_input: what it would be used on.
    """

    def __init__(self, tool: str, tool_input: dict[str, Any]) -> None:
        self.tool = tool
        self.name = tool_name(tool)
        self.what, self.language = _what(tool_input)

    @classmethod
    def of(cls, call: Call) -> Request:
        """Return the request that a call makes."""
        return cls(call.arguments.get("tool", ""), call.arguments.get("input", {}))

    def bundle(self) -> dict[str, Any]:
        """Return the request as a person sees it: the tool's name and exactly what it would do.

        The fence is longer than any in it, so nothing in it can end it.
        """
        from .answer.characters import exact

        what = exact(self.what)
        ticks = "`" * (max((len(run) for run in re.findall("`{3,}", what)), default=2) + 1)
        markdown = (
            f"**Claude asks to use {self._literal}:**\n\n{ticks}{self.language}\n{what}\n{ticks}"
        )
        return {"text/markdown": markdown, "text/plain": self.plain()}

    def plain(self) -> str:
        """Return the request as plain text."""
        from .answer.characters import exact

        return f"Claude asks to use {self.name}:\n\n{exact(self.what)}"

    def decided(self, decision: str) -> dict[str, Any]:
        """Return what stays of the request once it is decided."""
        return {
            "text/markdown": f"*{self._literal} {decision}.*",
            "text/plain": f"[{self.name} {decision}]",
        }

    @property
    def _literal(self) -> str:
        from .answer.inline import literal

        return literal(self.name)


def _what(tool_input: dict[str, Any]) -> tuple[str, str]:
    """Return what a tool would do, whole, and the language that it is written in."""
    rest = dict(tool_input)
    path = str(rest.get("file_path", ""))
    if isinstance(code := rest.get("code"), str):
        del rest["code"]
        told, language = code, "python"
    elif isinstance(command := rest.get("command"), str):
        del rest["command"]
        rest.pop("description", None)  # Claude's words on it, and no part of what it does
        told, language = command, "bash"
    elif path and "old_string" in rest and "new_string" in rest:
        told = _diff(path, str(rest.pop("old_string")), str(rest.pop("new_string")))
        language = "diff"
        del rest["file_path"]
    elif path and isinstance(content := rest.get("content"), str):
        told, language = _diff(path, "", content), "diff"
        del rest["content"], rest["file_path"]
    else:
        return json.dumps(tool_input, ensure_ascii=False, indent=2), "json"
    if rest:
        told += f"\n\n{json.dumps(rest, ensure_ascii=False, indent=2)}"
    return told, language


def _diff(path: str, old: str, new: str) -> str:
    """Return a change as a unified diff below the file's path; where it shows none, in words."""
    import difflib

    lines = difflib.unified_diff(old.split("\n"), new.split("\n"), path, path, n=3, lineterm="")
    changed = "\n".join(lines)
    if not old:
        return f"--- writes {len(new.encode()):,} bytes to {path}, whatever is there\n{changed}"
    return changed or f"--- {path}\n{old!r}\n+++\n{new!r}"
