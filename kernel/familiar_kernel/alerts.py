"""When a person is to be told: what happens in turns, put as events for the notifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .familiar.errors import BUDGET_REACHED
from .permissions import Request, without_secrets

if TYPE_CHECKING:
    from .familiar.protocol import TurnFinished
    from .familiar.turns import Turn
    from .kernel import FamiliarKernel
    from .notifications import Kind
    from .questions import Questions

_WORDS = 200
"""Characters of a prompt, a request or a failure that a notice shows."""


class Alerts:
    """Tells the notifiers of one kernel what happens in its turns."""

    def __init__(self, kernel: FamiliarKernel) -> None:
        self._kernel = kernel

    def asked(self, turn: Turn, what: Request | Questions, key: str) -> Callable[[], None]:
        """Tell that the person is asked something, unless they answer in time.

        Args:
            turn: whose request it is.
            what: what is asked.
            key: what tells this request from others of the turn.

        Returns:
            What is to be called when they have answered.
        """
        if isinstance(what, Request):
            return self._pending(
                "permission", turn, f"Claude asks to use {what.name}", what.what, key
            )
        return self._pending("question", turn, "Claude has a question", what.what, key)

    def _pending(
        self, kind: Kind, turn: Turn, title: str, text: str, key: str
    ) -> Callable[[], None]:
        from .notifications import Event

        event = Event(kind, turn.prompt.number, self._session, title, _short(text), 0.0, key)
        return self._kernel.notifications.pending(event)

    def ended(self, turn: Turn, finished: TurnFinished) -> None:
        """Tell that a turn has ended, but not if the person has ended it themselves."""
        if finished.outcome == "stopped" or not self._kernel.notifications.wanted:
            return
        from .notifications import Event

        kind: Kind = "finished"
        title, text = "Claude has answered", f"Turn {finished.number}: {turn.prompt.text}"
        if finished.outcome == "failed":
            error = finished.error or {}
            over = error.get("kind") == BUDGET_REACHED.kind
            kind, title = (
                ("budget", "The budget is used up") if over else ("failed", "A turn failed")
            )
            text = f"{error.get('message', '')} {text}"
        event = Event(kind, finished.number, self._session, title, _short(text), finished.seconds)
        self._kernel.notifications.notify(event)

    @property
    def _session(self) -> str:
        return self._kernel.familiar.session_id


def _short(text: str) -> str:
    words = " ".join(without_secrets(text).split())
    return words if len(words) <= _WORDS else words[: _WORDS - 1] + "…"
