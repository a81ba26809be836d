"""How a whole answer looks: the order of its parts, what its end says, and its plain text."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest
from nbconvert.filters.markdown import markdown2html

from familiar_kernel.answer.render import METADATA_VERSION, final
from familiar_kernel.answer.transcript import Text, Thinking, Tool, Transcript
from familiar_kernel.familiar.protocol import (
    Notice,
    Outcome,
    TextDelta,
    ThinkingDelta,
    ToolUse,
    TurnEvent,
    TurnFinished,
    TurnStarted,
)

USAGE = {
    "input_tokens": 1200,
    "output_tokens": 345,
    "cache_read_input_tokens": 30,
    "cache_creation_input_tokens": 4,
}


def transcript_of(*events: tuple[float, TurnEvent], rehearsal: bool = False) -> Transcript:
    """Return the transcript of events, each with the seconds that pass before it."""
    now = 0.0
    transcript = Transcript(clock=lambda: now, rehearsal=rehearsal)
    for wait, event in events:
        now += wait
        transcript.add(event)
    return transcript


def end(outcome: Outcome = "complete", **facts: Any) -> TurnFinished:
    known = {
        "number": 3, "session_id": "s", "model": "claude-x", "usage": USAGE, "cost_usd": 0.0123,
        "seconds": 4.24,
    }  # fmt: skip
    return TurnFinished("t", outcome, **(known | facts))


WHOLE = (
    (0.0, TurnStarted("t")),
    (0.5, ThinkingDelta("t", "First I *look*.\n\n```py\nx < y")),
    (3.0, TextDelta("t", "I will look.\n")),
    (0.0, ToolUse("t", "1", "Bash", "ls -l", "running")),
    (0.0, ToolUse("t", "2", "Read", "a.txt", "running")),
    (1.0, ToolUse("t", "2", "Read", "a.txt", "failed")),
    (0.0, ToolUse("t", "1", "Bash", "ls -l", "done")),
    (0.0, Notice("t", "trying again")),
    (0.0, TextDelta("t", "Three files:\n\n- `a<b>`\n")),
    (1.0, ThinkingDelta("t", "Enough.")),
    (65.0, TextDelta("t", "That is all.")),
)


def test_everything_in_its_order() -> None:
    transcript = transcript_of(*WHOLE, (0.0, end()))
    kinds = [type(part) for part in transcript.parts]
    assert kinds == [Thinking, Text, Tool, Tool, Text, Thinking, Text]
    assert transcript.text == "I will look.\n\nThree files:\n\n- `a<b>`\n\nThat is all."
    assert transcript.thinking == "First I *look*.\n\n```py\nx < y\n\nEnough."
    data, metadata = final(transcript)
    words = [
        "###### Claude",
        "Thought for 3 s</small></summary>\n\nFirst I *look*.\n\n```py\nx < y\n```\n\n</details>",
        "I will look.",
        "- ✓ **Bash** `ls -l`\n- ✗ **Read** `a.txt` — failed\n\n",
        "Three files:\n\n- `a<b>`",
        "Thought for 1 min 05 s</small></summary>\n\nEnough.\n\n</details>",
        "That is all.",
        "4.2 s · 1,234 tokens in, 345 out · <span>&#36;</span>0.0123 · claude-x</small>\n",
    ]
    places = [data["text/markdown"].index(word) for word in words]
    assert places == sorted(places)
    assert "trying again" not in data["text/markdown"]
    assert data["text/plain"] == (
        "[thought for 3 s]\n\nI will look.\n\n[Bash: ls -l]\n[Read: a.txt — failed]\n\n"
        "Three files:\n\n- `a<b>`\n\n[thought for 1 min 05 s]\n\nThat is all.\n\n"
        "[4.2 s · 1,234 tokens in, 345 out · $0.0123 · claude-x]"
    )
    assert list(data) == ["text/markdown", "text/plain"]
    assert metadata == {
        "familiar": {
            "version": METADATA_VERSION,
            "session_id": "s",
            "turn": "t",
            "number": 3,
            "model": "claude-x",
            "outcome": "complete",
            "usage": USAGE,
            "cost_usd": 0.0123,
            "seconds": 4.24,
            "thinking_seconds": 68.0,
            "rehearsal": False,
        }
    }


@pytest.mark.parametrize("outcome", ["stopped", "failed"])
def test_an_answer_that_breaks_off_keeps_its_text_and_says_so(outcome: Outcome) -> None:
    data, _ = final(transcript_of((0, TextDelta("t", "So far\n\n```py\nx = [")), (0, end(outcome))))
    text, closed, mark = data["text/markdown"].partition("```py\nx = [\n```\n\n")
    assert closed
    assert text.endswith("So far\n\n")
    assert mark.startswith("*")  # the mark is no part of the code
    assert data["text/plain"].startswith("So far\n\n```py\nx = [\n\n[")


def test_a_tool_that_ran_when_the_turn_was_stopped_was_stopped() -> None:
    events = ((0, ToolUse("t", "1", "Bash", "sleep 9", "running")), (0, end("stopped")))
    data, _ = final(transcript_of(*events))
    assert "- ✗ **Bash** `sleep 9` — stopped" in data["text/markdown"]
    assert "[Bash: sleep 9 — stopped]" in data["text/plain"]


def test_a_rehearsal_says_so_in_every_form() -> None:
    events = ((0.0, TextDelta("t", "Hello")), (0.0, end(rehearsal=True)))
    data, metadata = final(transcript_of(*events))
    assert "Rehearsal, not Claude" in data["text/markdown"]
    assert "rehearsal, not Claude" in data["text/plain"]
    assert metadata["familiar"]["rehearsal"] is True


def test_a_turn_without_words_still_shows_something() -> None:
    for outcome in ("complete", "stopped", "failed"):
        data, _ = final(transcript_of((0.0, end(outcome, usage={}, cost_usd=None, seconds=0.0))))
        assert data["text/markdown"].startswith("###### Claude\n")


def test_a_turn_that_goes_on_cannot_be_final() -> None:
    with pytest.raises(ValueError, match="not ended"):
        final(transcript_of(*WHOLE))


def test_closed_by_us_and_late_events() -> None:
    transcript = transcript_of((0.0, TextDelta("t", "Half")), rehearsal=True)
    transcript.stop("stopped")
    transcript.add(TextDelta("t", " and more"))
    transcript.add(end())
    assert transcript.text == "Half"
    assert transcript.rehearsal
    assert final(transcript)[1]["familiar"]["outcome"] == "stopped"


def test_thinking_whose_words_are_kept_back_has_a_length() -> None:
    data, _ = final(
        transcript_of((0, ThinkingDelta("t", "")), (7, TextDelta("t", "x")), (0, end()))
    )
    assert "Thought for 7 s" in data["text/markdown"]
    assert "<details" not in data["text/markdown"]


def test_nothing_leaves_its_place() -> None:
    """Neither thinking nor text nor a tool's line can end the fold or swallow what follows."""
    breaks = "</details>\n\n</summary> <!-- $$ \\begin{a} ` ``` \n\n~~~\n- x\n\n      ```"
    transcript = transcript_of(
        (0.0, ThinkingDelta("t", breaks)),
        (0.0, TextDelta("t", breaks)),
        (0.0, ToolUse("t", "1", breaks, breaks, "done")),
        (0.0, TextDelta("t", "# After")),
        (0.0, end(model=breaks)),
    )
    html = str(markdown2html(final(transcript)[0]["text/markdown"]))
    assert html.count("<details") == html.count("</details>") == 1
    assert html.count("<summary>") == html.count("</summary>") == 1
    assert html.index("</details>") < html.index("<h1") < html.index("1,234 tokens in")


def test_a_long_tool_line_is_cut() -> None:
    events = ((0.0, ToolUse("t", "1", "Bash", "x" * 5000, "done")), (0.0, end()))
    (line,) = [
        s for s in final(transcript_of(*events))[0]["text/markdown"].split("\n") if "Bash" in s
    ]
    assert len(line) < 300
    assert line.endswith("…`")


def test_it_is_a_valid_output_of_a_notebook() -> None:
    data, metadata = final(transcript_of(*WHOLE, (0.0, end())))
    output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
    nbformat.validate(notebook)
    again = nbformat.reads(nbformat.writes(notebook), as_version=4)
    assert again.cells[0].outputs[0].data == data
    assert json.loads(json.dumps(metadata)) == metadata
