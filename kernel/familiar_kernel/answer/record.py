"""What ``ask()`` returns: the answer as a value, which a program can read, keep and show again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from familiar_kernel.answer.transcript import Transcript
    from familiar_kernel.familiar.protocol import Outcome


@dataclass(frozen=True, eq=False, repr=False)
class Answer:
    """One answer of the familiar. ``str(answer)`` is its text.

    As the last value of the cell that asked, it shows nothing, since it has been shown already; as
    the last value of a later cell it shows as it did then.
    """

    text: str
    thinking: str
    outcome: Outcome
    usage: dict[str, int]
    """Tokens: ``input_tokens``, ``output_tokens``, ``cache_read_input_tokens``,
    ``cache_creation_input_tokens``.
    """
    cost_usd: float | None
    seconds: float
    session_id: str
    turn: str
    """The turn's UUID."""
    number: int
    """Which turn of the session this was, from 1."""
    model: str
    rehearsal: bool
    _data: dict[str, Any] = field(default_factory=dict)
    _metadata: dict[str, Any] = field(default_factory=dict)
    _is_on_show: Callable[[], bool] | None = None

    @classmethod
    def from_transcript(
        cls, transcript: Transcript, is_on_show: Callable[[], bool] | None = None
    ) -> Answer:
        """Make the value of a turn that has ended.

        Args:
            transcript: the turn.
            is_on_show: tells whether the cell that runs now is the one in which the answer was
                streamed.

        Raises:
            ValueError: the turn has not ended.
        """
        # Here, since the value alone is also made inside a sandbox, from what is sent there.
        from familiar_kernel.answer.render import final
        from familiar_kernel.text import whole

        data, metadata = final(transcript)
        end = transcript.finished
        assert end is not None  # or final() had raised
        return cls(
            text=whole(transcript.text),
            thinking=whole(transcript.thinking),
            outcome=end.outcome,
            usage=dict(end.usage),
            cost_usd=end.cost_usd,
            seconds=end.seconds,
            session_id=end.session_id,
            turn=transcript.turn,
            number=end.number,
            model=end.model,
            rehearsal=end.rehearsal,
            _data=data,
            _metadata=metadata,
            _is_on_show=is_on_show,
        )

    @property
    def stopped(self) -> bool:
        """Whether a person stopped the turn, so that the text may break off."""
        return self.outcome == "stopped"

    def __str__(self) -> str:
        return self.text

    def __format__(self, spec: str) -> str:
        return format(self.text, spec)

    def __repr__(self) -> str:
        words = " ".join(self.text.split())
        words = words if len(words) <= 60 else words[:59] + "…"
        marks = [f"{len(self.text):,} characters", f"{self.seconds:.1f} s"]
        if self.outcome != "complete":
            marks.append(self.outcome)
        if self.rehearsal:
            marks.append("rehearsal, not Claude")
        return f"<Answer {self.number}: {words!r}, {', '.join(marks)}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_is_on_show": None}  # a copy, or one from a file, has not been shown

    def _ipython_display_(self) -> None:
        if not (self._is_on_show and self._is_on_show()):
            raise NotImplementedError  # IPython then goes on to the other ways of showing

    def _repr_markdown_(self) -> str:
        return str(self._data["text/markdown"])

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        return dict(self._data), dict(self._metadata)
