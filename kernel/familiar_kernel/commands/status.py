"""What there is: the banner, ``%claude_status``, ``%claude_version``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from familiar_kernel._version import __version__

from .showing import STATUS_TIMEOUT, dollars, no_arguments, show, table

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel


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


def status(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_status``."""
    no_arguments("claude_status", rest)
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
        ("Signed in", sign_in_text(sign_in, familiar.rehearsal)),
        ("Endpoint", str(told.get("endpoint") or familiar.facts.get("endpoint") or "unknown")),
        ("Claude Code CLI", str(told.get("cli_version") or "unknown")),
        ("Path of the CLI", str(told.get("cli") or "not found")),
        ("claude-agent-sdk", str(told.get("sdk") or familiar.facts.get("sdk") or "unknown")),
        ("Context used", _context_text(context)),
        ("Tokens so far", f"{tokens_in:,} in, {tokens_out:,} out"),
        ("Cost so far", f"${familiar.spent:.4f}"),
        ("Host's memory", f"{told['memory'] / 1e6:.0f} MB" if told.get("memory") else "unknown"),
    ]
    if familiar.effort:
        rows.insert(5, ("Effort", familiar.effort))
    if familiar.budget_left is not None:
        left, budget = dollars(familiar.budget_left), dollars(familiar.max_budget_usd)
        rows.append(("Budget", f"{left} left of {budget}"))
    under_way = ", ".join(str(turn.prompt.number) for turn in familiar.turns())
    if under_way:
        rows.append(("Turns under way", under_way))
    if waiting := kernel.shell.familiar.background.waiting():
        numbers = ", ".join(str(request.number) for request in waiting)
        rows.append(("Waiting for you", f"request {numbers}: %claude_allow"))
    if familiar.rehearsal:
        rows.append(("Rehearsal", "a script answers, not Claude"))
    if familiar.trouble is not None:
        rows.append(("Trouble", f"{familiar.trouble.message} {familiar.trouble.advice}"))
    if told.get("error"):
        rows.append(("Trouble", f"The host could not be asked: {told['error']}"))
    rows += [("Configuration", fault) for fault in kernel.configuration_faults]
    show(kernel, *table(rows))


def sign_in_text(sign_in: dict[str, Any], rehearsal: bool) -> str:
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


def version(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_version``."""
    no_arguments("claude_version", rest)
    rows = [("familiar-kernel", __version__), *((k.capitalize(), v) for k, v in image_facts() if v)]
    facts = kernel.familiar.question("status", STATUS_TIMEOUT)
    labels = {"sdk": "claude-agent-sdk", "cli_version": "Claude Code CLI"}
    rows += [(label, str(facts[key])) for key, label in labels.items() if facts.get(key)]
    show(kernel, *table(rows))
