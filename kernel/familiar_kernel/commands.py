"""The commands: ``%claude_status`` and its kin, one table of name, help, completion and action.

They are line magics of IPython's, so that Tab, ``?`` and ``%lsmagic`` know them as any other magic.
``%claude`` and ``%%claude`` are registered as well, for the same reasons and for code that runs
magics by name; a prompt in a cell has been taken out of it before IPython sees it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from traitlets import TraitError

from ._version import __version__
from .exceptions import wrapped
from .familiar.auth import SignIn, SignInError
from .familiar.cli_path import find_cli
from .familiar.familiar import EFFORTS
from .permissions import MODES, PermissionFault, tool_name

if TYPE_CHECKING:
    from .kernel import FamiliarKernel

STATUS_TIMEOUT = 20.0
"""Seconds that %claude_status waits for the host; what the kernel knows itself it shows in any
case."""

Action = Callable[["FamiliarKernel", str], None]


@dataclass(frozen=True)
class Command:
    """One ``%claude_*`` command.

    Attributes:
        name: without the percent sign.
        summary: one line that says what it does.
        usage: how it is written.
        action: runs it, given the kernel and the rest of its line.
        choices: what may follow the name, for completion.
    """

    name: str
    summary: str
    usage: str
    action: Action
    choices: tuple[str, ...] = ()


# -- what people see --


def show(kernel: FamiliarKernel, plain: str, markdown: str) -> None:
    """Display a text in both its forms."""
    kernel.shell.display_pub.publish({"text/plain": plain, "text/markdown": markdown}, {})


def _table(rows: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return rows of name and value as aligned text and as a Markdown table."""
    width = max(len(name) for name, _ in rows)
    plain = "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows]
    return plain, "\n".join(["| Familiar | |", "| :--- | :--- |", *lines])


def _cell(value: str) -> str:
    for special in "\\`*_{}[]<>|$":
        value = value.replace(special, "\\" + special)
    return value.replace("\n", " ")


def banner(kernel: FamiliarKernel) -> str:
    """Return the familiar's lines of the kernel's banner."""
    familiar = kernel.familiar
    image = " · ".join(f"{name} {value}" for name, value in image_facts() if value)
    lines = [
        f"familiar-kernel {__version__}{image and f' ({image})'} · session {familiar.session_id}",
        'Talk to Claude: %claude text · %%claude and many lines · ask("text") · help: %claude_help',
    ]
    if familiar.rehearsal:
        lines.append("This is a rehearsal: a script answers, not Claude.")
    return "\n".join([*lines, *kernel.configuration_faults, ""])


def image_facts() -> list[tuple[str, str]]:
    """Return what the container image says of itself: version, tag and commit, each possibly
    empty."""
    return [
        (label, os.environ.get(variable, ""))
        for label, variable in (
            ("image", "IMAGE_VERSION"),
            ("tag", "IMAGE_TAG"),
            ("commit", "IMAGE_SHA"),
        )
    ]


WAYS = (
    ("%claude text", "ask on one line, alone or among code"),
    ("answer = %claude text", "the same, and keep the answer"),
    ("%%claude", "ask with all that stands below, literally"),
    ('ask("text")', "ask from Python; returns the answer"),
)
"""The ways to talk, each with what it does."""
_WRITTEN_WIDTH = 23
"""Columns for what is written, in plain text; what it does stands behind it or below."""


def _sections() -> tuple[tuple[str, Sequence[tuple[str, str]]], ...]:
    from . import cells

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
    for title, rows in _sections():
        lines = [f"{title}:", ""]
        for written, told in rows:
            if len(written) > _WRITTEN_WIDTH:
                lines.append(f"  {written}")
                written = ""
            lines.append(f"  {written:<{_WRITTEN_WIDTH}}  {told}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def show_usage(kernel: FamiliarKernel) -> None:
    """Show how to talk to the familiar as the output of the cell."""
    parts = []
    for title, rows in _sections():
        lines = [f"**{title}**", "", "| You write | What it does |", "| :--- | :--- |"]
        lines += [
            "| `{}` | {} |".format(written.replace("|", "\\|"), told) for written, told in rows
        ]
        parts.append("\n".join(lines))
    show(kernel, usage_text(), "\n\n".join(parts))


# -- what the commands do --


def _status(kernel: FamiliarKernel, rest: str) -> None:
    _no_arguments("claude_status", rest)
    familiar = kernel.familiar
    told = familiar.question("status", STATUS_TIMEOUT)
    finished = familiar.finished
    tokens_in = sum(
        n for f in finished for name, n in f.usage.items() if name.endswith("input_tokens")
    )
    tokens_out = sum(f.usage.get("output_tokens", 0) for f in finished)
    sign_in = told.get("sign_in", {})
    context = told.get("context", {})
    rows = [
        ("Session", familiar.session_id),
        ("State", familiar.state),
        ("Turns", str(familiar.number)),
        (
            "Model",
            familiar.model
            or context.get("model")
            or (finished[-1].model if finished else "")
            or "the default",
        ),
        ("Thinking", "on" if familiar.thinking else "off"),
        ("Permissions", kernel.permissions.mode),
        ("Audit log", kernel.permissions.audit_log),
        ("Signed in", _sign_in_text(sign_in, familiar.rehearsal)),
        ("Endpoint", str(told.get("endpoint") or familiar.facts.get("endpoint") or "unknown")),
        ("Claude Code CLI", str(told.get("cli_version") or "unknown")),
        ("Path of the CLI", str(told.get("cli") or "not found")),
        ("claude-agent-sdk", str(told.get("sdk") or familiar.facts.get("sdk") or "unknown")),
        ("Context used", _context_text(context)),
        ("Tokens so far", f"{tokens_in:,} in, {tokens_out:,} out"),
        ("Cost so far", f"${sum(f.cost_usd or 0 for f in finished):.4f}"),
        ("Host's memory", f"{told['memory'] / 1e6:.0f} MB" if told.get("memory") else "unknown"),
    ]
    if familiar.effort:
        rows.insert(5, ("Effort", familiar.effort))
    if familiar.rehearsal:
        rows.append(("Rehearsal", "a script answers, not Claude"))
    if familiar.trouble is not None:
        rows.append(("Trouble", f"{familiar.trouble.message} {familiar.trouble.advice}"))
    if told.get("error"):
        rows.append(("Trouble", f"The host could not be asked: {told['error']}"))
    rows += [("Configuration", fault) for fault in kernel.configuration_faults]
    show(kernel, *_table(rows))


def _sign_in_text(sign_in: dict[str, Any], rehearsal: bool) -> str:
    if rehearsal:
        return "not needed for a rehearsal"
    if sign_in.get("error"):
        return f"unknown: {sign_in['error']}"
    if not sign_in.get("signed_in"):
        return "no: run %claude_auth"
    how = f"{sign_in.get('method', 'unknown').replace('_', ' ')} {sign_in.get('source', '')}"
    return f"yes, by {how.strip()}"


def _context_text(context: dict[str, Any]) -> str:
    if not context.get("most"):
        return "unknown until the session is connected"
    return f"{context['tokens']:,} of {context['most']:,} tokens ({context['percent']:.0f} %)"


def _reset(kernel: FamiliarKernel, rest: str) -> None:
    _no_arguments("claude_reset", rest)
    session_id = kernel.familiar.reset()
    kernel.shell.familiar.enter_namespace()
    show(kernel, f"A fresh session: {session_id}", f"A fresh session: `{session_id}`")


def _version(kernel: FamiliarKernel, rest: str) -> None:
    _no_arguments("claude_version", rest)
    rows = [("familiar-kernel", __version__), *((k.capitalize(), v) for k, v in image_facts() if v)]
    facts = kernel.familiar.question("status", STATUS_TIMEOUT)
    labels = {"sdk": "claude-agent-sdk", "cli_version": "Claude Code CLI"}
    rows += [(label, str(facts[key])) for key, label in labels.items() if facts.get(key)]
    show(kernel, *_table(rows))


def _thinking(kernel: FamiliarKernel, rest: str) -> None:
    if rest:
        if rest not in ("on", "off"):
            raise UsageError(f"%claude_thinking takes on or off, not {rest!r}")
        kernel.familiar.configure(thinking=rest == "on")
    state = "on" if kernel.familiar.thinking else "off"
    show(kernel, f"Thinking is {state}.", f"Thinking is **{state}**.")


def _model(kernel: FamiliarKernel, rest: str) -> None:
    if rest:
        kernel.familiar.configure(model="" if rest == "default" else rest)
    name = kernel.familiar.model or "the CLI's default"
    show(kernel, f"The model is {name}.", f"The model is **{_cell(name)}**.")


def _effort(kernel: FamiliarKernel, rest: str) -> None:
    if rest:
        try:
            kernel.familiar.configure(effort="" if rest == "default" else rest)
        except TraitError:
            raise UsageError(f"%claude_effort takes default, {', '.join(EFFORTS)}") from None
    effort = kernel.familiar.effort or "the model's default"
    show(kernel, f"The effort is {effort}.", f"The effort is **{effort}**.")


def _context(kernel: FamiliarKernel, rest: str) -> None:
    if rest:
        try:
            kernel.familiar.context = rest
        except TraitError:
            raise UsageError(f"%claude_context takes full, errors or off, not {rest!r}") from None
    mode = kernel.familiar.context
    text = f"A prompt carries by itself: {CONTEXTS[mode]}."
    show(kernel, text, text)


CONTEXTS = {
    "full": "cells that ran since the last one, what they showed, and which variables changed",
    "errors": "cells that failed since the last one",
    "off": "nothing but what it names with @",
}


def _permissions(kernel: FamiliarKernel, rest: str) -> None:
    permissions = kernel.permissions
    first, _, tool = rest.partition(" ")
    if first == "revoke":
        kept = [name for name in permissions.always if tool and tool_name(name) != tool.strip()]
        if tool and len(kept) == len(permissions.always):
            raise UsageError(f"{tool.strip()} is not always allowed, so there is nothing to revoke")
        permissions.always[:] = kept
    elif rest:
        try:
            permissions.choose(rest)
        except PermissionFault as err:
            raise UsageError("\n".join(wrapped(str(err)))) from None
        kernel.familiar.configure(permission_mode=permissions.cli_mode)
    always = ", ".join(tool_name(name) for name in permissions.always) or "nothing yet"
    rows = [
        ("Mode", permissions.mode),
        ("Always allowed", always),
        ("Audit log", permissions.audit_log),
    ]
    show(kernel, *_table(rows))


def _help(kernel: FamiliarKernel, rest: str) -> None:
    _no_arguments("claude_help", rest)
    show_usage(kernel)


def _auth(kernel: FamiliarKernel, rest: str) -> None:
    words = rest.split()
    if set(words) - {"login", "--console"}:
        raise UsageError(
            "%claude_auth takes login (sign in anew) and --console (an Anthropic Console account)"
        )
    familiar = kernel.familiar
    if familiar.rehearsal:
        show(kernel, *["This kernel runs a rehearsal, which needs no sign-in."] * 2)
        return
    state = familiar.question("auth", STATUS_TIMEOUT)
    if state.get("signed_in") and not words:
        text = f"Signed in: {_sign_in_text(state, False)}. To sign in anew: %claude_auth login"
        show(kernel, text, text)
        return
    if not kernel._allow_stdin:
        raise UsageError(
            "this front end cannot ask for the code; run `familiar login` in a terminal "
            "on the kernel's machine"
        )
    cli = find_cli(familiar.cli_path)
    if not cli:
        raise UsageError("the Claude Code CLI was not found; run `familiar doctor` in a terminal")
    sign_in = SignIn(str(cli), console="--console" in words, env=dict(familiar.env))
    try:
        link = sign_in.link()
        show(
            kernel,
            f"Open this address, sign in, and copy the code that it shows:\n{link}",
            f"[Open this page, sign in]({link}), and copy the code that it shows.",
        )
        # Not echoed: until it is used, the code is as good as the sign-in itself.
        sign_in.submit(kernel.getpass("Code (empty if the page said that you are signed in): "))
    except SignInError as err:
        raise UsageError(str(err)) from None
    finally:
        sign_in.close()
    familiar.reconnect()
    show(kernel, "Signed in.", "**Signed in.**")


def _no_arguments(name: str, rest: str) -> None:
    if rest:
        raise UsageError(f"%{name} takes no arguments, but got {rest!r}")


COMMANDS: tuple[Command, ...] = (
    Command(
        "claude_help", "the ways to talk, the options and these commands", "%claude_help", _help
    ),
    Command(
        "claude_status",
        "session, model, sign-in, versions, context, tokens and cost",
        "%claude_status",
        _status,
    ),
    Command(
        "claude_reset",
        "forget the conversation: a fresh session in this kernel",
        "%claude_reset",
        _reset,
    ),
    Command(
        "claude_auth",
        "sign in from the notebook",
        "%claude_auth [login] [--console]",
        _auth,
        ("login", "--console"),
    ),
    Command(
        "claude_model",
        "show or choose the model",
        "%claude_model [NAME|default]",
        _model,
        ("default", "opus", "sonnet", "haiku"),
    ),
    Command(
        "claude_effort",
        "show or choose how much effort goes into answers",
        "%claude_effort [LEVEL|default]",
        _effort,
        ("default", *EFFORTS),
    ),
    Command(
        "claude_thinking",
        "show or choose whether Claude thinks before it answers",
        "%claude_thinking [on|off]",
        _thinking,
        ("on", "off"),
    ),
    Command(
        "claude_context",
        "show or choose what a prompt carries by itself",
        "%claude_context [full|errors|off]",
        _context,
        tuple(CONTEXTS),
    ),
    Command(
        "claude_permissions",
        "show or choose what Claude may do; revoke what it may always",
        "%claude_permissions [MODE|revoke [TOOL]]",
        _permissions,
        (*MODES, "revoke"),
    ),
    Command(
        "claude_version",
        "the versions of this package, its image, the SDK and the CLI",
        "%claude_version",
        _version,
    ),
)


class _Claude:
    """``%claude`` and ``%%claude`` as magics. An object, whose help is made when it is asked
    for."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def __call__(self, line: str, cell: str | None = None) -> object:
        return self._shell.familiar.prompt_line(line if cell is None else f"{line}\n{cell}")

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return usage_text()


def register(kernel: FamiliarKernel) -> None:
    """Make the commands, and ``%claude`` itself, magics of the kernel's shell."""
    shell: Any = kernel.shell

    def magic(command: Command) -> Callable[[str], None]:
        def run(line: str) -> None:
            command.action(kernel, line.strip())

        run.__doc__ = f"{command.usage}\n\n{command.summary[0].upper()}{command.summary[1:]}."
        return run

    for command in COMMANDS:
        shell.register_magic_function(magic(command), "line", command.name)

    shell.register_magic_function(_Claude(shell), "line_cell", "claude")


# -- completion and inspection --


def complete(kernel: FamiliarKernel, code: str, cursor: int) -> dict[str, Any] | None:
    """Return a complete_reply where the cursor is in a prompt or behind a command's name; else
    None."""
    if "%claude" not in code:
        return None
    from . import cells

    span = cells.prompt_at(code, cursor)
    if span is not None and cursor >= span.text_start:
        return _complete_prompt(kernel, code, span.text_start, cursor)
    line_start = code.rfind("\n", 0, cursor) + 1
    name, blank, typed = code[line_start:cursor].lstrip().partition(" ")
    for command in COMMANDS:
        if blank and name == f"%{command.name}":
            word = typed.split(" ")[-1]
            return _matches(
                [c for c in command.choices if c.startswith(word)], cursor - len(word), cursor
            )
    return None


def _complete_prompt(
    kernel: FamiliarKernel, code: str, text_start: int, cursor: int
) -> dict[str, Any]:
    from . import cells

    words = code[text_start:cursor].split(" ")
    word = words[-1].rsplit("\n", 1)[-1]
    start = cursor - len(word)
    options = {o.name: o for o in cells.OPTIONS}
    before = words[-2] if len(words) > 1 else ""
    if before in options and options[before].choices:
        return _matches(
            [c for c in options[before].choices or () if c.startswith(word)], start, cursor
        )
    if word.startswith("-"):
        return _matches([name for name in options if name.startswith(word)], start, cursor)
    # A name of the user's own, as a word of the prompt.
    stem = word.lstrip("@`(\"'")
    hidden = kernel.shell.user_ns_hidden
    names = [
        n
        for n in kernel.shell.user_ns
        if stem and n.startswith(stem) and n not in hidden and n[0] != "_"
    ]
    return _matches(sorted(names), cursor - len(stem), cursor)


def _matches(matches: list[str], start: int, end: int) -> dict[str, Any]:
    return {
        "status": "ok",
        "matches": matches,
        "cursor_start": start,
        "cursor_end": end,
        "metadata": {},
    }


def inspect(kernel: FamiliarKernel, code: str, cursor: int) -> dict[str, Any] | None:
    """Return an inspect_reply where the cursor is on the name of a command or of ``%claude``; else
    None."""
    line_start = code.rfind("\n", 0, cursor) + 1
    line = code[line_start:].split("\n", 1)[0]
    indent = len(line) - len(line.lstrip())
    name = line.strip().split(" ")[0].lstrip("%")
    if (
        not line.lstrip().startswith("%")
        or not indent <= cursor - line_start <= indent + len(name) + 2
    ):
        return _inspect_prompt(kernel, code, cursor)
    texts = {c.name: f"{c.usage}\n\n{c.summary[0].upper()}{c.summary[1:]}." for c in COMMANDS}
    text = usage_text() if name == "claude" else texts.get(name)
    if text is None:
        return None
    return _inspected(text)


def _inspect_prompt(kernel: FamiliarKernel, code: str, cursor: int) -> dict[str, Any] | None:
    """Show what would be sent, where the cursor is in the text of a prompt."""
    if "%claude" not in code:
        return None
    from . import cells, context

    span = cells.prompt_at(code, cursor)
    if span is None or cursor < span.text_start:
        return None
    try:
        parsed = cells.parse(span.raw)
    except cells.PromptSyntaxError as err:
        return _inspected(str(err))
    if not parsed.text.strip():
        return None
    with_context = parsed.options.get("context", True)
    added = kernel.shell.familiar.preview(parsed.text) if with_context else ""
    told = (
        f"This would be sent, about {context.tokens(added + parsed.text):,} tokens beside the "
        "conversation so far:\n\n"
    )
    return _inspected(told + "\n\n".join(filter(None, (added, parsed.text))))


def _inspected(text: str) -> dict[str, Any]:
    return {"status": "ok", "found": True, "data": {"text/plain": text}, "metadata": {}}
