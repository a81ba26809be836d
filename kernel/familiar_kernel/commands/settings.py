"""What holds from the next prompt on: model, effort, thinking, context, permissions, session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traitlets import TraitError

from familiar_kernel.permissions import PermissionFault, tool_name
from familiar_kernel.ways import EFFORTS

from .showing import cell, dollars, no_arguments, show, table, usage_error

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel

_MOST = 1e6
"""US dollars: more is a slip of the keyboard."""


def reset(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_reset``."""
    no_arguments("claude_reset", rest)
    session_id = kernel.familiar.reset()
    kernel.shell.familiar.begin_session()
    show(kernel, f"A fresh session: {session_id}", f"A fresh session: `{session_id}`")


def thinking(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_thinking [on|off]``."""
    if rest:
        if rest not in ("on", "off"):
            raise usage_error(f"%claude_thinking takes on or off, not {rest!r}")
        kernel.familiar.configure(thinking=rest == "on")
    state = "on" if kernel.familiar.thinking else "off"
    show(kernel, f"Thinking is {state}.", f"Thinking is **{state}**.")


def model(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_model [NAME|default]``."""
    if rest:
        kernel.familiar.configure(model="" if rest == "default" else rest)
    name = kernel.familiar.model or "the CLI's default"
    show(kernel, f"The model is {name}.", f"The model is **{cell(name)}**.")


def effort(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_effort [LEVEL|default]``."""
    if rest:
        try:
            kernel.familiar.configure(effort="" if rest == "default" else rest)
        except TraitError:
            raise usage_error(f"%claude_effort takes default, {', '.join(EFFORTS)}") from None
    effort = kernel.familiar.effort or "the model's default"
    show(kernel, f"The effort is {effort}.", f"The effort is **{effort}**.")


def context(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_context [MODE]``."""
    if rest:
        try:
            kernel.familiar.context = rest
        except TraitError:
            raise usage_error(f"%claude_context takes full, errors or off, not {rest!r}") from None
    mode = kernel.familiar.context
    text = f"A prompt carries by itself: {CONTEXTS[mode]}."
    show(kernel, text, text)


CONTEXTS = {
    "full": "cells that ran since the last one, what they showed, and which variables changed",
    "errors": "cells that failed since the last one",
    "off": "nothing but what it names with @",
}


def budget(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_budget [DOLLARS|none]``."""
    familiar = kernel.familiar
    if rest:
        try:
            amount = 0.0 if rest == "none" else float(rest.removeprefix("$"))
        except ValueError:
            amount = -1.0
        if not 0.0 <= amount <= _MOST or (not amount and rest != "none"):
            raise usage_error(f"%claude_budget takes US dollars, such as 2.00, or none, not {rest}")
        familiar.configure(max_budget_usd=amount)
    spent = f"{dollars(familiar.spent)} spent so far"
    left = familiar.budget_left
    if left is None:
        text = f"No budget is set; {spent}."
    else:
        budget = dollars(familiar.max_budget_usd)
        text = f"The budget is {budget}; {spent}, {dollars(left)} left."
    show(kernel, text, text.replace("$", "\\$"))


def always_allowed(kernel: FamiliarKernel) -> list[str]:
    """Return the tools that ``%claude_permissions revoke`` takes, for completion."""
    return [tool_name(name) for name in kernel.permissions.always]


def permissions(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_permissions [MODE|revoke [TOOL]]``."""
    permissions = kernel.permissions
    first, _, tool = rest.partition(" ")
    if first == "revoke":
        kept = [name for name in permissions.always if tool and tool_name(name) != tool.strip()]
        if tool and len(kept) == len(permissions.always):
            raise usage_error(
                f"{tool.strip()} is not always allowed, so there is nothing to revoke"
            )
        permissions.always[:] = kept
    elif rest:
        try:
            permissions.choose(rest)
        except PermissionFault as err:
            raise usage_error(str(err)) from None
        kernel.familiar.configure(permission_mode=permissions.cli_mode)
    always = ", ".join(tool_name(name) for name in permissions.always) or "nothing yet"
    rows = [
        ("Mode", permissions.mode),
        ("Always allowed", always),
        ("Audit log", permissions.audit_log),
    ]
    show(kernel, *table(rows))
