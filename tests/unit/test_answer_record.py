"""The answer as a value: readable, kept whole by copies and pickles, shown once."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from familiar_kernel.answer.record import Answer
from familiar_kernel.answer.transcript import Transcript
from familiar_kernel.familiar.protocol import TextDelta, ThinkingDelta, TurnFinished

USAGE = {"input_tokens": 12, "output_tokens": 34}


def answer(text: str, is_on_show: Callable[[], bool] | None = None, **end: object) -> Answer:
    transcript = Transcript(clock=lambda: 0.0)
    transcript.add(ThinkingDelta("uuid", "Hm."))
    transcript.add(TextDelta("uuid", text))
    facts = {
        "outcome": "complete", "number": 2, "session_id": "s", "model": "m", "usage": USAGE,
        "cost_usd": 0.5, "seconds": 1.25,
    } | end  # fmt: skip
    transcript.add(TurnFinished("uuid", **facts))  # type: ignore[arg-type]
    return Answer.from_transcript(transcript, is_on_show)


def test_it_is_its_text_and_its_facts() -> None:
    made = answer("Two *words*")
    assert str(made) == made.text == "Two *words*"
    assert f"{made:>12}" == " Two *words*"
    assert f"{made}!" == "Two *words*!"
    assert (made.thinking, made.turn, made.session_id, made.model) == ("Hm.", "uuid", "s", "m")
    assert (made.number, made.usage, made.cost_usd, made.seconds) == (2, USAGE, 0.5, 1.25)
    assert (made.outcome, made.stopped, made.rehearsal) == ("complete", False, False)
    assert answer("x", outcome="stopped").stopped
    with pytest.raises(FrozenInstanceError):
        made.text = "other"  # type: ignore[misc]


def test_a_turn_that_goes_on_has_no_value_yet() -> None:
    with pytest.raises(ValueError, match="not ended"):
        Answer.from_transcript(Transcript())


def test_its_repr_is_one_short_line() -> None:
    assert repr(answer("Short.")) == "<Answer 2: 'Short.', 6 characters, 1.2 s>"
    long = repr(answer("many words\n\n" * 200, outcome="stopped", rehearsal=True))
    assert "\n" not in long
    assert len(long) < 160
    assert long.endswith("stopped, rehearsal, not Claude>")


def test_copies_and_pickles_are_whole_and_not_yet_shown() -> None:
    made = answer("text", is_on_show=lambda: True)
    made._ipython_display_()  # shows nothing, and says so by not raising
    for other in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other.text == "text"
        assert other._repr_mimebundle_() == made._repr_mimebundle_()
        with pytest.raises(NotImplementedError):
            other._ipython_display_()


def test_it_shows_in_a_later_cell_and_not_twice_in_its_own() -> None:
    """With IPython's own display machinery: the last value of a cell, and display()."""
    own_cell = True
    shell = InteractiveShell.instance()
    try:
        shell.user_ns["made"] = answer("Some **bold** words", is_on_show=lambda: own_cell)
        with capture_output() as first:
            shell.run_cell("made")
        assert first.outputs == []
        assert "bold" not in first.stdout

        own_cell = False
        shell.run_cell("from IPython.display import display")
        with capture_output() as later:
            shell.run_cell("made")
            shell.run_cell("display(made)")
        # A plain shell prints a last value as text; display() takes the whole bundle.
        assert later.stdout.count("Some **bold** words") == 1
        (output,) = later.outputs
        assert "Some **bold** words" in output.data["text/markdown"]
        assert output.metadata["familiar"]["number"] == 2
    finally:
        InteractiveShell.clear_instance()


def test_half_characters_become_whole_ones() -> None:
    made = answer("\ud83d\ude00 \ud83d")
    assert made.text == "😀 \ufffd"
    assert "😀 \ufffd" in made._repr_markdown_()
