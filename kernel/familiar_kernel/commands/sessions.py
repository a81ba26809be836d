"""Earlier sessions: listed, resumed and copied; and this one: summed up, and written to a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.error import UsageError

from .showing import STATUS_TIMEOUT, cell, markdown_table, plain_table, show, usage_error

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel

RESUMED = (
    "The person has resumed this session in a new kernel: the variables, imports and files in use "
    "of earlier turns are not there unless the tools show that they are. Look before you rely on "
    "them."
)
_TAB_TIMEOUT = 3.0
_WORDS = 60
_SHOWN = 20


class Earlier(NamedTuple):
    """One session on disk. ``modified``: seconds since the epoch; ``held``: another kernel has it
    now."""

    id: str
    modified: float
    words: str
    notebook: str
    held: bool


def resume(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_resume [ID|last]``."""
    if not rest:
        _show_list(kernel)
        return
    _refuse_while_working(kernel)
    if len(rest) >= 8 and kernel.familiar.session_id.startswith(rest):
        raise usage_error("that is this kernel's own session: it goes on with the next prompt")
    chosen = _chosen(kernel, rest)
    if chosen.held:
        raise usage_error(
            f"the session {chosen.id[:8]} is held by another kernel; "
            f"%claude_fork {chosen.id[:8]} goes on in a copy of it"
        )
    _go_on(kernel, chosen.id, "Resumed")


def fork(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_fork [ID|last]``."""
    familiar = kernel.familiar
    if not rest and not familiar.number:
        raise usage_error("there is nothing to copy yet: this session has had no turn")
    _refuse_while_working(kernel)
    source = _chosen(kernel, rest, held=True).id if rest else familiar.session_id
    told = _told(kernel, "fork", session_id=source)
    _go_on(kernel, told["session_id"], f"A copy of {source[:8]}", same_kernel=not rest)


def _refuse_while_working(kernel: FamiliarKernel) -> None:
    """Keep a turn from being ended by a change of session that was not meant to end it."""
    if kernel.familiar.turns():
        raise usage_error("a turn is under way; wait for it, or end it with %claude_stop")


def _go_on(kernel: FamiliarKernel, session_id: str, how: str, same_kernel: bool = False) -> None:
    familiar = kernel.familiar
    told = _told(kernel, "messages", session_id=session_id)
    familiar.resume(session_id, told["turns"])
    known = same_kernel or session_id in kernel.shell.familiar.sessions
    kernel.shell.familiar.begin_session(*([] if known else [RESUMED]))
    turns = f"{told['turns']} turn{'' if told['turns'] == 1 else 's'}"
    plain = [f"{how}: session {session_id}, {turns}."]
    markdown = [f"{how}: session `{session_id}`, {turns}."]
    if last := _last_exchange(told["messages"]):
        plain += last
        markdown += ["\n".join(f"> {cell(line)}" for line in last)]
    show(kernel, "\n".join(plain), "\n\n".join(markdown))


def _last_exchange(messages: list[dict[str, Any]]) -> list[str]:
    """Return the beginnings of the last prompt and of its answer."""
    lines = []
    for role, name in (("user", "You"), ("assistant", "Claude")):
        texts = [
            part["text"]
            for message in messages
            if message["role"] == role
            for part in message["parts"]
            if part["kind"] == "text"
        ]
        if texts:
            lines.append(f"{name}: {_short(texts[-1], 200)}")
    return lines


def _show_list(kernel: FamiliarKernel) -> None:
    sessions = _earlier(kernel)
    if not sessions:
        text = "There is no earlier session of this directory."
        show(kernel, text, text)
        return
    heading = ("Session", "Last used", "Begins with", "Notebook")
    rows = [
        (
            session.id[:8],
            "in use now" if session.held else _ago(time.time() - session.modified),
            _short(session.words, _WORDS),
            Path(session.notebook).name,
        )
        for session in sessions[:_SHOWN]
    ]
    told = "%claude_resume ID goes on with one of them, %claude_resume last with the newest."
    if len(sessions) > _SHOWN:
        told += f" {len(sessions) - _SHOWN} older ones are not listed; Tab knows their IDs."
    plain = plain_table(heading, rows)
    show(kernel, f"{plain}\n\n{told}", f"{markdown_table(heading, rows)}\n\n{cell(told)}")


def _earlier(kernel: FamiliarKernel, timeout: float = STATUS_TIMEOUT) -> list[Earlier]:
    """Return the other sessions of this directory, newest first, those of this notebook before
    all."""
    register = kernel.shell.familiar.register
    here = kernel.shell.familiar.notebook
    sessions = []
    for found in _told(kernel, "sessions", timeout)["sessions"]:
        if found["id"] == kernel.familiar.session_id:
            continue
        facts = register.facts(found["id"])
        notebook = str(facts.get("notebook", ""))
        held = bool(facts.get("held"))
        sessions.append(Earlier(found["id"], found["modified"], found["words"], notebook, held))
    return sorted(sessions, key=lambda s: (not (here and s.notebook == here), -s.modified))


def _chosen(kernel: FamiliarKernel, wanted: str, held: bool = False) -> Earlier:
    """Return the session that an ID, its beginning or ``last`` stands for.

    Args:
        kernel: the kernel.
        wanted: what the person wrote.
        held: whether ``last`` may be one that another kernel has.

    Raises:
        UsageError: none or several.
    """
    sessions = _earlier(kernel)
    if wanted == "last":
        free = [session for session in sessions if held or not session.held]
        if not free:
            raise usage_error("there is no earlier session of this directory to go on with")
        return free[0]
    found = [session for session in sessions if session.id.startswith(wanted)]
    if not found:
        raise usage_error(
            f"there is no earlier session {wanted} of this directory; %claude_resume lists them"
        )
    if len(found) > 1:
        raise usage_error(f"{len(found)} sessions begin with {wanted}; write more of the ID")
    return found[0]


def _told(
    kernel: FamiliarKernel, what: str, timeout: float = STATUS_TIMEOUT, **arguments: Any
) -> dict[str, Any]:
    told = kernel.familiar.question(what, timeout, **arguments)
    if told.get("error"):
        raise usage_error(str(told["error"]))
    return told


def compact(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_compact [WHAT TO KEEP]``."""
    if not kernel.familiar.number:
        raise usage_error("there is nothing to sum up yet: this session has had no turn")
    kernel.shell.familiar.command(f"/compact {rest}".strip())


def export(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_export [FILE]``."""
    from familiar_kernel.answer.conversation import conversation

    familiar = kernel.familiar
    if not familiar.number:
        raise usage_error("there is nothing to write yet: this session has had no turn")
    path = _file(rest or f"claude-{familiar.session_id[:8]}.md")
    told = _told(kernel, "messages", session_id=familiar.session_id)
    text = conversation(told["messages"], familiar.session_id, rehearsal=familiar.rehearsal)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise usage_error(f"{path} exists already; name another file") from None
    except OSError as err:
        raise usage_error(f"{path} cannot be written: {err.strerror}") from None
    turns = f"{told['turns']} turn{'' if told['turns'] == 1 else 's'}"
    show(kernel, f"{turns} written to {path}", f"{turns} written to {cell(str(path))}")


def _file(written: str) -> Path:
    """Return the file that a person wrote, in quotes or without."""
    if len(written) > 2 and written[0] == written[-1] and written[0] in "'\"":
        written = written[1:-1]
    try:
        return Path(written).expanduser()
    except RuntimeError:
        raise usage_error(f"there is no home for {written}; write the whole path") from None


def ids(kernel: FamiliarKernel) -> list[str]:
    """Return the IDs of earlier sessions, for completion; none where that would take a while."""
    if kernel.familiar.state == "asleep":
        return []
    try:
        return [session.id for session in _earlier(kernel, _TAB_TIMEOUT)]
    except UsageError:
        return []


def _short(text: str, length: int) -> str:
    words = " ".join(text.split())
    return words if len(words) <= length else words[: length - 1] + "…"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "just now"
