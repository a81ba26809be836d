"""Writes ``docs/reference.md`` from the code: ``python docs/generate.py``.

Names, defaults, help and sentences are read from where they live in the code. What has no home
there, such as the meaning of a field, stands here beside its name; a name that is new or gone stops
the generation. ``tests/unit/test_docs.py`` compares the page with what this makes.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from traitlets import Dict, Enum, HasTraits, TraitType

import familiar_kernel
from familiar_kernel import app, cells, cli, commands
from familiar_kernel.answer.record import Answer
from familiar_kernel.answer.render import final
from familiar_kernel.answer.transcript import Transcript
from familiar_kernel.familiar.familiar import Familiar
from familiar_kernel.familiar.protocol import TurnFinished
from familiar_kernel.kernel import FamiliarKernel
from familiar_kernel.nb import cli as nb
from familiar_kernel.notifications import Notifications
from familiar_kernel.permissions import Permissions
from familiar_kernel.prompts import Prompts
from familiar_kernel.sandbox.configuration import Sandbox

PAGE = Path(__file__).with_name("reference.md")
PACKAGE = Path(familiar_kernel.__file__).parent
NB_COMMANDS = ("", "open", "exec")
SUBCOMMANDS = (
    "",
    "demo",
    "login",
    "logout",
    "doctor",
    "install",
    "rehearse",
    "sandbox",
    "proxy",
    "git-hooks",
)

TEMPLATE = """\
# Reference

Made from the code by `python docs/generate.py`. Do not edit it by hand: a test compares the two.
For tasks and how to do them, see the [how-to](how-to.md).

## Ways to talk

@ways@

A `?` in a prompt is a question mark. `%claude` alone shows how to use it, and so do `%claude?` and
`?%claude`. `%claude` inside a string, a comment, an open bracket or a shell command is code.

### Options of a prompt

They stand before the text, on the first line. `--` ends them.

@options@

### ask

@ask@

### Commands

Each completes with Tab and answers to `?`.

@commands@

The namespace holds `ask` and `CLAUDE_SESSION_ID`, the UUID of the session.

## The answer

What `ask(...)` and `x = %claude ...` return. `str(answer)` is its text, and an f-string takes its
text. `answer.stopped` tells whether it was stopped before its end.

@answer@

### In the notebook file

An answer is one output with `text/markdown` and `text/plain`. Its metadata has one key of ours,
`familiar`, which holds:

@metadata@

## Errors

A turn that fails raises `familiar_kernel.exceptions.FamiliarError`, and its cell fails as any
other. `error.trouble` has `kind`, `message`, `advice` and `details`. `error.answer` has what there
is of the answer, or is None. A turn that is stopped raises `TurnStopped`, a `KeyboardInterrupt`,
whose `answer` has the text so far.

@errors@

## Settings

They stand in `ipython_kernel_config.py` of the IPython profile, usually in
`~/.ipython/profile_default/`, as `c.Familiar.model = "opus"`; or among the arguments in a kernel's
`kernel.json`, as `"--Familiar.model=opus"`. A wrong value costs that setting and not the kernel;
`%claude_status` names it. The settings of ipykernel hold as well.

@settings@

Two arguments stand for a setting:

@flags@

Those of `Sandbox` can also be given as variables of the environment, such as
`FAMILIAR_SANDBOX_TMP_SIZE`. The items of a list are separated by commas there.

## Environment variables

The kernel and its host read them when they start. What a cell sets later does not reach the host
that runs. `familiar install --env` writes them into a kernelspec; `Familiar.env` gives them to the
CLI alone.

@variables@

These belong to Claude Code, which knows many more. They are named here because this package looks
at them, or sets or clears them for a rehearsal.

@claude_variables@

## The familiar command

@terminal@

## The nb command

@notebooks@
"""

FIELDS = {
    "text": "what Claude wrote, as Markdown",
    "thinking": "what Claude thought, as far as it was shown",
    "outcome": '`"complete"`, `"stopped"` or `"failed"`',
    "usage": "tokens: `input_tokens`, `output_tokens`, `cache_read_input_tokens` and "
    "`cache_creation_input_tokens`; empty where the CLI did not say",
    "cost_usd": "US dollars that the turn cost; None where that is unknown, and of a rehearsal",
    "seconds": "how long the turn took",
    "session_id": "the session's UUID",
    "turn": "the turn's UUID",
    "number": "which turn of the session this was, from 1",
    "model": "the model that answered, by the name that it gave",
    "rehearsal": "whether the rehearsal answered, and not Claude",
    "version": "the version of this list of keys",
    "thinking_seconds": "how long Claude thought",
}
"""What is told of a turn: attributes of an Answer, keys in the notebook."""

OWNERS: tuple[type[HasTraits], ...] = (
    Familiar,
    FamiliarKernel,
    Permissions,
    Notifications,
    Sandbox,
)
"""The classes whose settings the page lists."""

VARIABLES = {
    "FAMILIAR_REHEARSAL": "`1`: the rehearsal answers, not Claude; sets `Familiar.rehearsal`",
    "FAMILIAR_REHEARSAL_SCRIPT": "the rehearsal's script; sets `Familiar.rehearsal_script`",
    "FAMILIAR_CLAUDE_CLI": "the Claude Code CLI's path, in place of claude-agent-sdk's own",
    "FAMILIAR_EVENT": "set for `Notifications.command`: the kind of event",
    "FAMILIAR_LOG_LEVEL": "how much the host logs, `WARNING` by default; shown where a host dies",
    "FAMILIAR_PROXY": "set by `%proxy`: what was chosen, and what the other variables held before",
    "FAMILIAR_TOR_PROXY": "where tor listens, `socks5h://127.0.0.1:9050` by default",
    "FAMILIAR_PROXY_STATUS_URL": "what `%proxy status` asks, `https://api.ipify.org` by default",
    "IMAGE_VERSION": "the container image's version, for the banner and `%claude_version`",
    "IMAGE_TAG": "the container image's tag, for the same",
    "IMAGE_SHA": "the commit that the container image was built from, for the same",
}
"""What only this package reads."""

CLAUDE_VARIABLES = {
    "ANTHROPIC_API_KEY": "an API key, in place of a sign-in",
    "ANTHROPIC_AUTH_TOKEN": "a bearer token, for a gateway or a local server",
    "ANTHROPIC_BASE_URL": "the endpoint, in place of Anthropic's own",
    "ANTHROPIC_CUSTOM_HEADERS": "more HTTP headers for the endpoint",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL": "what `haiku` means; set with `Familiar.endpoint`",
    "ANTHROPIC_DEFAULT_OPUS_MODEL": "what `opus` means; set with `Familiar.endpoint`",
    "ANTHROPIC_DEFAULT_SONNET_MODEL": "what `sonnet` means; set with `Familiar.endpoint`",
    "ANTHROPIC_MODEL": "the model, where `Familiar.model` is empty",
    "ANTHROPIC_SMALL_FAST_MODEL": "the model for small things; set with `Familiar.endpoint`",
    "CLAUDE_CODE_OAUTH_TOKEN": "a long-lived token, made by `claude setup-token`",
    "CLAUDE_CODE_USE_BEDROCK": "`1`: Claude on Amazon Bedrock",
    "CLAUDE_CODE_USE_FOUNDRY": "`1`: Claude on Microsoft Foundry",
    "CLAUDE_CODE_USE_VERTEX": "`1`: Claude on Google Vertex AI",
    "CLAUDE_CONFIG_DIR": "where sign-in, settings and conversations are, in place of `~/.claude`",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "`1`: no requests but those to the endpoint",
    "DISABLE_AUTOUPDATER": "`1`: the CLI looks for no newer version of itself",
    "DISABLE_TELEMETRY": "`1`: the CLI sends no telemetry",
    "NO_PROXY": "hosts that are reached without the proxy, separated by commas",
}
"""What Claude Code reads and the code of this package names."""

_VARIABLE = re.compile(r"(?:FAMILIAR|IMAGE|ANTHROPIC|CLAUDE)_[A-Z_]*[A-Z]|DISABLE_[A-Z]+|NO_PROXY")
_TYPES = {"Bool": "yes or no", "Dict": "texts by name", "Float": "number", "Unicode": "text"}
_TYPES |= {"List": "list of texts"}
_TYPES |= {"Int": "whole number", "Integer": "whole number"}


def reference() -> str:
    """Return the page.

    Raises:
        ValueError: the code has a field or a variable whose meaning is not given here, or no longer
            has one whose meaning is.
    """
    ways, found, _ = commands.usage_text().partition("Options stand before")
    signature = str(inspect.signature(Prompts.ask)).replace("(self, ", "(").replace("'", "")
    public = [f for f in dataclasses.fields(Answer) if not f.name.startswith("_")]
    transcript = Transcript()
    transcript.add(TurnFinished("", "complete"))
    metadata: dict[str, Any] = final(transcript)[1]["familiar"]
    _same("the fields", set(FIELDS), {f.name for f in public} | set(metadata))
    named = {text for text in _strings() if _VARIABLE.fullmatch(text)} - {"CLAUDE_SESSION_ID"}
    _same("the variables", set(VARIABLES) | set(CLAUDE_VARIABLES), named)
    _same("the usage text's parts", {True}, {bool(found)})
    parts = {
        "ways": _block(ways.partition("\n")[2].strip("\n")),
        "options": _table("option | what for", ((f"`{o.usage}`", o.help) for o in cells.OPTIONS)),
        "ask": _block(f"ask{signature}\n\n{inspect.getdoc(Prompts.ask)}"),
        "commands": _table(
            "command | what it does", ((f"`{c.usage}`", c.summary) for c in commands.COMMANDS)
        ),
        "answer": _table(
            "attribute | type | what it is",
            (
                (f"`{f.name}`", str(f.type).replace("Outcome", "str"), FIELDS[f.name])
                for f in public
            ),
        ),
        "metadata": _table("key | what it is", ((f"`{k}`", FIELDS[k]) for k in metadata)),
        "errors": _table(
            "kind | message | advice", ((f"`{kind}`", *told) for kind, *told in troubles())
        ),
        "settings": _table("setting | type | default | what it is", _settings()),
        "flags": _table(
            "argument | what it does",
            ((f"`--{name}`", app.flags[name][1]) for name in ("rehearsal", "sandboxed")),
        ),
        "variables": _table("variable | meaning", _quoted(VARIABLES)),
        "claude_variables": _table("variable | meaning", _quoted(CLAUDE_VARIABLES)),
        "terminal": "\n\n".join(
            f"### familiar {name}".rstrip() + "\n\n" + _block(help_of(name)) for name in SUBCOMMANDS
        ),
        "notebooks": "\n\n".join(
            f"### nb {name}".rstrip() + "\n\n" + _block(help_of(name, nb.main))
            for name in NB_COMMANDS
        ),
    }
    return re.sub(r"@(\w+)@", lambda mark: parts[mark[1]], TEMPLATE)


def help_of(subcommand: str, main: Callable[[list[str]], int] = cli.main) -> str:
    """Return what a command's ``--help`` prints in a terminal of 80 columns."""
    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "80", "NO_COLOR": "1"}),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main([*subcommand.split(), "--help"])
    return printed.getvalue().replace(sys.executable, "/path/to/this/python").strip("\n")


def own_settings(owner: type[HasTraits]) -> dict[str, TraitType[Any, Any]]:
    """Return the settings that a class itself brings, by name."""
    traits: dict[str, TraitType[Any, Any]] = owner.class_traits(config=True)
    ours = [c for c in owner.__mro__ if c.__module__.startswith("familiar_kernel")]
    own = {name for c in ours for name in vars(c)}
    return {name: trait for name, trait in sorted(traits.items()) if name in own}


def troubles() -> list[tuple[str, str, str]]:
    """Return kind, message and advice of every Trouble that the code spells out."""
    found = []
    for node in _nodes():
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Trouble":
            told = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
            if len(told) == len(node.args) == 3:
                found.append((told[0], told[1], told[2]))
    return sorted(found)


def _settings() -> Iterator[tuple[str, str, str, str]]:
    for owner in OWNERS:
        for name, trait in own_settings(owner).items():
            least = getattr(trait, "min", None)
            kind = (
                " or ".join(f"`{value!r}`" for value in trait.values or ())
                if isinstance(trait, Enum)
                else _TYPES[type(trait).__name__]
                + ("" if least is None else f", {least:g} or more")
            )
            default = "{}" if isinstance(trait, Dict) else trait.default_value_repr()
            yield f"`{owner.__name__}.{name}`", kind, f"`{default}`", trait.help


def _nodes() -> Iterator[ast.AST]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _strings() -> Iterator[str]:
    for node in _nodes():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _same(what: str, here: set[Any], in_code: set[Any]) -> None:
    if here != in_code:
        raise ValueError(
            f"docs/generate.py and the code do not agree about {what}: "
            f"only here {sorted(here - in_code)}, only in the code {sorted(in_code - here)}"
        )


def _quoted(meanings: dict[str, str]) -> Iterator[tuple[str, str]]:
    return ((f"`{name}`", meaning) for name, meaning in sorted(meanings.items()))


def _table(head: str, rows: Iterable[Iterable[str]]) -> str:
    names = head.split(" | ")
    lines = [names, [":---"] * len(names), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _block(text: str) -> str:
    return f"```text\n{text}\n```"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
