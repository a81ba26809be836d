"""What can go wrong with a turn, told to people: one sentence, and what to do next.

The kinds are few and each asks something different of the person who reads it; what the CLI and the
API report is mapped onto them in :mod:`.classify`.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Trouble(NamedTuple):
    """A failure of the familiar, as the link carries it and the notebook shows it.

    Attributes:
        kind: the stable name of the failure, for programs.
        message: what happened, one sentence.
        advice: what to do next, one sentence or two.
        details: what the CLI wrote to stderr and the like; may be empty.
    """

    kind: str
    message: str
    advice: str = ""
    details: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the form in which the link carries it."""
        return self._asdict()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Trouble:
        """Return what :meth:`as_dict` wrote; fields that are missing are empty."""
        return cls(**{k: str(data.get(k, "")) for k in ("kind", "message", "advice", "details")})

    def with_details(self, details: str) -> Trouble:
        """Return the same trouble with these details, or with its own where these are empty."""
        return self._replace(details=details.strip()) if details.strip() else self


class TroubleError(Exception):
    """Carries a :class:`Trouble` to whoever runs the turn."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


NO_CLI = Trouble(
    "no_cli",
    "The Claude Code CLI was not found.",
    "Install the package `claude-agent-sdk`, which brings it, or set FAMILIAR_CLAUDE_CLI to its "
    "path; `familiar doctor` shows where it is looked for.",
)
NOT_SIGNED_IN = Trouble(
    "not_signed_in",
    "You are not signed in to Claude.",
    "Run %claude_auth here or `familiar login` in a terminal, or set ANTHROPIC_API_KEY before the "
    "kernel starts. "
    "To try it without an account, start the kernel with --rehearsal.",
)
REFUSED = Trouble(
    "refused",
    "The endpoint refused the request.",
    "Check the model's name and the sign-in with %claude_status.",
)
NO_PERMISSION = Trouble(
    "no_permission",
    "This account may not use the model or the endpoint.",
    "Choose another model with %claude_model, or sign in with another account: %claude_auth.",
)
BILLING = Trouble(
    "billing",
    "The account has no credit left.",
    "Add credit to it, or sign in with another account: %claude_auth.",
)
RATE_LIMITED = Trouble(
    "rate_limited",
    "The account's rate limit is reached.",
    "Wait a little and run the cell again; a smaller model has a limit of its own (%claude_model).",
)
OVERLOADED = Trouble(
    "overloaded",
    "Claude's servers are overloaded.",
    "Wait a minute and run the cell again; the conversation is kept.",
)
SERVER_ERROR = Trouble(
    "server_error",
    "The endpoint failed with an error of its own.",
    "Run the cell again; the conversation is kept.",
)
UNREACHABLE = Trouble(
    "unreachable",
    "The endpoint could not be reached.",
    "Check the network, the proxy and ANTHROPIC_BASE_URL (%claude_status shows the endpoint), then "
    "run the cell again.",
)
BROKEN_STREAM = Trouble(
    "broken_stream",
    "The connection broke in the middle of the answer.",
    "The text so far is kept; run the cell again.",
)
CONTEXT_TOO_LONG = Trouble(
    "context_too_long",
    "The conversation no longer fits into the model's context.",
    "Begin a fresh one with %claude_reset, or shorten the prompt.",
)
BUDGET_REACHED = Trouble(
    "budget_reached",
    "The budget for this kernel's familiar is used up.",
    "Raise it with %claude_budget DOLLARS, or lift it with %claude_budget none.",
)
NO_HOST = Trouble(
    "no_host",
    "The familiar's host process ended before it was ready.",
    "Run the cell again; if it stays so, `familiar doctor` in a terminal shows what is missing.",
)
LATE = Trouble(
    "late",
    "The familiar did not start in time.",
    "Run the cell again; if the machine is busy, a longer `Familiar.start_timeout` helps.",
)
FORKED = Trouble(
    "forked",
    "The familiar belongs to the kernel's own process; this one was forked off it.",
    "Ask from a cell, or from a thread of the kernel.",
)
CLAUDES_OWN = Trouble(
    "nested",
    "Claude's own code cannot ask Claude.",
    "Ask from a cell of yours; in its code Claude is to do without.",
)
NO_START = Trouble(
    "no_start",
    "The familiar could not start.",
    "Run the cell again; if it stays so, `familiar doctor` in a terminal shows what is missing.",
)
NO_REHEARSAL = Trouble(
    "no_rehearsal",
    "The rehearsal could not be started.",
    "Check its script with `familiar rehearse --check --script FILE`, then restart the kernel.",
)
HOST_DIED = Trouble(
    "host_died",
    "The familiar's host process ended in the middle of the turn.",
    "Run the cell again: a new host takes the conversation up where it was.",
)
CLI_DIED = Trouble(
    "cli_died",
    "The Claude Code CLI ended in the middle of the turn.",
    "Run the cell again: it starts anew and takes the conversation up where it was.",
)
PROMPT_TOO_LONG = Trouble(
    "prompt_too_long", "The prompt is too long.", "Put the text into a file and name the file."
)
UNKNOWN = Trouble(
    "unknown",
    "The turn failed.",
    "Run the cell again; `familiar doctor` in a terminal checks the installation.",
)
