"""The table of the commands: name, help, completion, and where each one's action is."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel


class Command(NamedTuple):
    """One ``%claude_*`` command, or a kin of theirs.

    Attributes:
        name: without the percent sign.
        summary: one line that says what it does.
        usage: how it is written.
        runs: what runs it: ``module.function`` in this package, which takes the kernel and the rest
            of the line.
        choices: what may follow the name, for completion.
        choices_now: ``module.function`` that returns more of them, given the kernel.
    """

    name: str
    summary: str
    usage: str
    runs: str
    choices: tuple[str, ...] = ()
    choices_now: str = ""

    @property
    def help(self) -> str:
        """What ``?`` shows."""
        return f"{self.usage}\n\n{self.summary[0].upper()}{self.summary[1:]}."

    def action(self, kernel: FamiliarKernel, rest: str) -> None:
        """Run it.

        Raises:
            IPython.core.error.UsageError: it was written wrongly, or cannot be done now.
        """
        _found(self.runs)(kernel, rest)

    def all_choices(self, kernel: FamiliarKernel) -> list[str]:
        """Return what may follow the name just now."""
        more: Sequence[str] = _found(self.choices_now)(kernel) if self.choices_now else ()
        return [*self.choices, *more]


def _found(name: str) -> Any:
    module, _, function = name.partition(".")
    return getattr(import_module(f"{__package__}.{module}"), function)


WAYS = (
    ("%claude text", "ask on one line, alone or among code"),
    ("answer = %claude text", "the same, and keep the answer"),
    ("%%claude", "ask with all that stands below, literally"),
    ('ask("text")', "ask from Python; returns the answer"),
)
"""The ways to talk, each with what it does."""
_WRITTEN_WIDTH = 23
"""Columns for what is written, in plain text; what it does stands behind it or below."""


def sections() -> tuple[tuple[str, Sequence[tuple[str, str]]], ...]:
    """Return what a person may write, as titles with rows of how and what."""
    from familiar_kernel import cells

    return (
        ("Talk to Claude from any cell", WAYS),
        (
            "Options stand before the text, on the first line",
            [(option.usage, option.help) for option in cells.OPTIONS],
        ),
        ("Commands", [(command.usage, command.summary) for command in COMMANDS]),
    )


def usage_text() -> str:
    """Return how to talk to the familiar, as plain text that fits 80 columns."""
    parts = []
    for title, rows in sections():
        lines = [f"{title}:", ""]
        for written, told in rows:
            if len(written) > _WRITTEN_WIDTH:
                lines.append(f"  {written}")
                written = ""
            lines.append(f"  {written:<{_WRITTEN_WIDTH}}  {told}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


COMMANDS: tuple[Command, ...] = (
    Command(
        "claude_help",
        "the ways to talk, the options and these commands",
        "%claude_help",
        "helping.show_help",
    ),
    Command(
        "claude_status",
        "session, model, sign-in, versions, context, tokens and cost",
        "%claude_status",
        "status.status",
    ),
    Command(
        "claude_auth",
        "sign in from the notebook",
        "%claude_auth [login] [--console]",
        "signing_in.auth",
        ("login", "--console"),
    ),
    Command(
        "claude_model",
        "show or choose the model",
        "%claude_model [NAME|default]",
        "settings.model",
        ("default", "opus", "sonnet", "haiku"),
    ),
    Command(
        "claude_effort",
        "show or choose how much effort goes into answers",
        "%claude_effort [LEVEL|default]",
        "settings.effort",
        ("default", "low", "medium", "high", "xhigh", "max"),
    ),
    Command(
        "claude_thinking",
        "show or choose whether Claude thinks before it answers",
        "%claude_thinking [on|off]",
        "settings.thinking",
        ("on", "off"),
    ),
    Command(
        "claude_context",
        "show or choose what a prompt carries by itself",
        "%claude_context [full|errors|off]",
        "settings.context",
        ("full", "errors", "off"),
    ),
    Command(
        "claude_permissions",
        "show or choose what Claude may do; revoke what it may always",
        "%claude_permissions [MODE|revoke [TOOL]]",
        "settings.permissions",
        ("ask", "accept-edits", "plan", "bypass", "revoke"),
        "settings.always_allowed",
    ),
    Command(
        "claude_budget",
        "show or choose how many US dollars this kernel may spend",
        "%claude_budget [DOLLARS|none]",
        "settings.budget",
        ("none",),
    ),
    Command(
        "claude_endpoint",
        "show or choose who answers: another server that speaks the Messages API",
        "%claude_endpoint [URL [--key-env NAME]|default]",
        "endpoint.endpoint",
        (
            "default",
            "http://localhost:11434",
            "http://localhost:8080",
            "http://localhost:8000",
            "--key-env",
        ),
    ),
    Command(
        "claude_turns",
        "list the turns that run in the background, or show one's answer",
        "%claude_turns [N]",
        "turns.turns",
        choices_now="turns.numbers",
    ),
    Command(
        "claude_stop",
        "stop a turn: the one under way, or the one with this number",
        "%claude_stop [N]",
        "turns.stop",
        choices_now="turns.running",
    ),
    Command(
        "claude_allow",
        "show what waits for your permission, or allow one such request",
        "%claude_allow [N [always]]",
        "turns.allow",
        choices_now="turns.requests",
    ),
    Command(
        "claude_deny",
        "refuse a request that waits for your permission, and tell Claude why",
        "%claude_deny N [WHY]",
        "turns.deny",
        choices_now="turns.requests",
    ),
    Command(
        "claude_reset",
        "forget the conversation: a fresh session in this kernel",
        "%claude_reset",
        "settings.reset",
    ),
    Command(
        "claude_resume",
        "list earlier sessions, or go on with one",
        "%claude_resume [ID|last]",
        "sessions.resume",
        ("last",),
        "sessions.ids",
    ),
    Command(
        "claude_fork",
        "go on in a copy of this session, or of another one",
        "%claude_fork [ID|last]",
        "sessions.fork",
        ("last",),
        "sessions.ids",
    ),
    Command(
        "claude_compact",
        "have the conversation summed up, to make room in the model's context",
        "%claude_compact [WHAT TO KEEP]",
        "sessions.compact",
    ),
    Command(
        "claude_export",
        "write the conversation into a Markdown file",
        "%claude_export [FILE]",
        "sessions.export",
    ),
    Command(
        "claude_notify",
        "show how you are told when you are needed, or try it",
        "%claude_notify [test]",
        "notifying.notify",
        ("test",),
    ),
    Command(
        "sandbox_status",
        "the container in which the code runs: its image, limits, workspace",
        "%sandbox_status",
        "sandbox.status",
    ),
    Command(
        "sandbox_restart",
        "end that container and start a fresh one; the conversation goes on",
        "%sandbox_restart",
        "sandbox.restart",
    ),
    Command(
        "proxy",
        "show or choose the proxy that your code goes through",
        "%proxy [mullvad [N]|tor|off|status]",
        "proxying.proxy",
        ("mullvad", "tor", "off", "status"),
    ),
    Command(
        "claude_version",
        "the versions of this package, its image, the SDK and the CLI",
        "%claude_version",
        "status.version",
    ),
)
