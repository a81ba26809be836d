"""``ask``: what it takes, wherever the code runs that calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exceptions import AskTypeError, AskValueError

if TYPE_CHECKING:
    from .answer.record import Answer

EFFORTS = ("low", "medium", "high", "xhigh", "max")
"""How much effort Claude can put into an answer."""


class Ways:
    """The ways to talk that a cell's code has; :meth:`_ask` does it."""

    def _ask(self, text: str, options: dict[str, Any]) -> Answer:
        raise NotImplementedError

    def ask(
        self,
        prompt: str,
        *,
        model: str | None = None,
        effort: str | None = None,
        thinking: bool | None = None,
        context: bool | None = None,
    ) -> Answer:
        """Ask Claude; the answer streams into this cell and is returned.

        Args:
            prompt: what to ask, sent literally.
            model: another model for this turn.
            effort: "low", "medium", "high", "xhigh" or "max", for this turn.
            thinking: whether Claude thinks before it answers this turn.
            context: with False, what happened in the notebook since the last prompt is not sent.

        Returns:
            The answer, with ``text``, ``thinking``, ``usage``, ``cost_usd``, ``session_id`` and
            ``number``.

        Raises:
            FamiliarError: the turn failed; the error says why and what to do.
            KeyboardInterrupt: it was stopped; the text so far is kept.
        """
        if not isinstance(prompt, str):
            raise AskTypeError(
                f"ask() takes the prompt as a str, not {type(prompt).__name__}; try ask(str(...))"
            )
        if not prompt.strip():
            raise AskValueError('the prompt is empty; ask("what you want to know")')
        if effort is not None and effort not in EFFORTS:
            raise AskValueError(f"effort cannot be {effort!r}; it is one of {', '.join(EFFORTS)}")
        for name, value, wanted in (
            ("model", model, str),
            ("thinking", thinking, bool),
            ("context", context, bool),
        ):
            if not isinstance(value, wanted | None):
                given = type(value).__name__
                raise AskTypeError(f"ask() takes {name} as a {wanted.__name__}, not {given}")
        options = {"model": model, "effort": effort, "thinking": thinking, "context": context}
        return self._ask(
            prompt, {name: value for name, value in options.items() if value is not None}
        )
