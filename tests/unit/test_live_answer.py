"""A growing answer: what shows when, in how many outputs, and what it costs on the wire."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from familiar_kernel.answer.live import THOUGHT_SHOWN
from familiar_kernel.answer.pace import OVERHEAD
from familiar_kernel.answer.view import AnswerView
from familiar_kernel.familiar.protocol import (
    MessageBegan,
    Notice,
    TextDelta,
    ThinkingDelta,
    ToolUse,
    TurnFinished,
    TurnStarted,
)

DONE = TurnFinished("t", "complete", seconds=1.0)


class Screen:
    """The outputs of one cell, as a front end keeps them, and every message that changed them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.outputs: list[dict[str, Any]] = []
        self.messages: list[tuple[float, int]] = []
        self.shared = False
        self.most = 0

    def alone(self) -> bool:
        return not self.shared

    def add(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        self.outputs.append(data)
        self.most = max(self.most, len(self.outputs))
        self._count(data)

    def update(self, number: int, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        self.outputs[number] = data
        self._count(data)

    def replace_all(self, data: dict[str, Any], metadata: dict[str, Any]) -> bool:
        if self.shared:
            return False
        self.outputs.clear()
        self.add(data, metadata)
        return True

    def _count(self, data: dict[str, Any]) -> None:
        size = sum(len(text.encode()) for text in data.values()) + OVERHEAD
        self.messages.append((self.now, size))

    @property
    def markdown(self) -> str:
        return "\n".join(o.get("text/markdown", "") for o in self.outputs)


class Stream:
    """Feeds a view as the link's thread does, on a clock of its own."""

    def __init__(self) -> None:
        self.screen = Screen()
        self.view = AnswerView(self.screen, clock=lambda: self.screen.now)
        self.view.on_event(TurnStarted("t"))

    def wait(self, seconds: float) -> None:
        until = self.screen.now + seconds
        while (due := self.view.next_due()) is not None and due < until:
            self.screen.now = max(self.screen.now, due)
            self.view.tick()
        self.screen.now = until

    def type(self, text: str, rate: float, piece: int = 16, kind: type = TextDelta) -> None:
        for start in range(0, len(text), piece):
            self.wait(piece / rate)
            self.view.on_event(kind("t", text[start : start + piece]))


def prose(length: int) -> str:
    return ("lorem ipsum dolor sit amet " * 14 + "\n\n") * (length // 380 + 1)


def code(length: int) -> str:
    return "Here it is:\n\n```python\n" + "x = compute(y, z)  # a line\n" * (length // 28) + "```\n"


@pytest.mark.parametrize("rate", [100, 350, 2000, 20_000, 1_000_000])
@pytest.mark.parametrize("text", [prose(100_000), code(100_000)], ids=["prose", "code"])
def test_a_long_answer_costs_less_than_four_times_its_length(rate: float, text: str) -> None:
    stream = Stream()
    stream.type(text, rate)
    stream.view.on_event(DONE)
    assert sum(size for _, size in stream.screen.messages) <= 4 * len(text)
    assert len(stream.screen.outputs) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_no_way_of_arriving_costs_more(seed: int) -> None:
    chance = random.Random(seed)
    text = chance.choice([prose, code])(100_000)[:100_000]
    stream = Stream()
    position = 0
    while position < len(text):
        piece = chance.choice([1, 7, 40, 400, 4000])
        stream.wait(chance.choice([0, 0, 0.001, 0.05, 2.0]))
        stream.view.on_event(TextDelta("t", text[position : position + piece]))
        position += piece
    stream.view.on_event(DONE)
    assert sum(size for _, size in stream.screen.messages) <= 4 * len(text)


def test_updates_come_at_most_fifteen_times_a_second() -> None:
    stream = Stream()
    stream.type(prose(20_000), 5000)
    times = [at for at, _ in stream.screen.messages]
    # A paragraph that is complete and the one behind it may come together.
    moments = sorted(set(times))
    for start in moments:
        assert sum(1 for at in moments if start <= at < start + 1) <= 15


@pytest.mark.parametrize(("length", "longest"), [(2000, 0.6), (5000, 4), (20_000, 4)])
def test_at_claude_s_pace_an_answer_never_stands_still_for_long(
    length: int, longest: float
) -> None:
    stream = Stream()
    stream.type(prose(length)[:length], 350)
    times = [at for at, _ in stream.screen.messages]
    assert max(b - a for a, b in pairwise(times)) <= longest


def test_the_first_words_show_at_once() -> None:
    stream = Stream()
    stream.type("hm " * 40, 300, kind=ThinkingDelta)
    stream.view.on_event(TextDelta("t", "Yes"))
    assert "Yes" in stream.screen.markdown


def test_everything_that_is_complete_has_been_shown() -> None:
    paragraphs = [f"Paragraph number {n}: " + "words " * 60 for n in range(40)]
    stream = Stream()
    stream.type("\n\n".join(paragraphs) + "\n\nThe end", 350)
    stream.wait(5)
    assert stream.screen.most > 5
    for paragraph in paragraphs[:-4]:
        assert stream.screen.markdown.count(paragraph.strip()) == 1


def test_a_long_code_block_is_cut_into_whole_ones() -> None:
    lines = [f"line_{n} = {n}" for n in range(400)]
    stream = Stream()
    stream.type("```python\n" + "\n".join(lines) + "\n", 700)
    stream.wait(5)
    outputs = [o["text/markdown"] for o in stream.screen.outputs]
    assert len(outputs) > 3
    for number, output in enumerate(outputs):
        fences = [line for line in output.split("\n") if line.startswith("```")]
        assert fences == ["```python", "```"], (number, output)
    for line in lines[:300]:
        assert stream.screen.markdown.split("\n").count(line) == 1


def test_where_others_show_something_the_answer_is_one_output_throughout() -> None:
    stream = Stream()
    stream.screen.shared = True
    stream.type(prose(20_000), 2000)
    assert stream.screen.most == 1
    stream.view.on_event(DONE)
    assert len(stream.screen.outputs) == 1


def test_others_output_in_the_middle_is_not_cleared() -> None:
    stream = Stream()
    stream.type(prose(5000), 2000)
    count = len(stream.screen.outputs)
    assert count > 1
    stream.screen.shared = True
    stream.view.on_event(DONE)
    assert len(stream.screen.outputs) == count
    assert "text/plain" in stream.screen.outputs[0]
    assert all(output == {} for output in stream.screen.outputs[1:])


def test_a_message_that_is_told_anew_replaces_what_it_had_shown() -> None:
    stream = Stream()
    stream.view.on_event(MessageBegan("t"))
    stream.type("First version. " * 300, 2000)
    stream.view.on_event(MessageBegan("t", again=True))
    stream.type("Second version.\n\n" * 300, 2000)
    assert "First version" not in stream.screen.markdown
    stream.view.on_event(DONE)
    assert "First version" not in stream.screen.markdown
    assert stream.screen.outputs[0]["text/plain"].count("Second version.") == 300


def test_a_long_thought_shows_its_end_and_is_whole_in_the_end() -> None:
    sentences = [f"Thought number {n} goes on for a while. " for n in range(300)]
    stream = Stream()
    stream.type("".join(sentences), 400, kind=ThinkingDelta)
    stream.wait(10)
    shown = stream.screen.markdown
    assert "<details open" in shown
    assert len(shown) < THOUGHT_SHOWN + 250
    assert any(f"number {n} " in shown for n in range(260, 300))
    stream.type("Answer.", 350)
    stream.view.on_event(DONE)
    final = stream.screen.markdown
    assert "<details open" not in final
    assert "Thought for" in final
    assert "number 0 " in final
    assert "number 150 " in final


def test_a_thought_leaves_the_answer_enough_to_grow() -> None:
    stream = Stream()
    stream.type("thinking about it, " * 500, 350, kind=ThinkingDelta)
    before = len(stream.screen.messages)
    stream.type(prose(3000)[:3000], 350)
    times = [at for at, _ in stream.screen.messages[before:]]
    assert max(b - a for a, b in pairwise(times)) < 3.5


def test_seconds_count_while_claude_thinks() -> None:
    stream = Stream()
    stream.view.on_event(ThinkingDelta("t", "hm"))
    stream.wait(4.5)
    assert "Thinking… 4 s" in stream.screen.markdown


def test_seconds_count_while_nothing_comes() -> None:
    stream = Stream()
    stream.wait(31)
    assert "Waiting for the first words… 30 s" in stream.screen.markdown


def test_a_tool_that_runs_for_hours_has_a_heartbeat_all_the_time() -> None:
    stream = Stream()
    stream.type(prose(2000), 2000)
    stream.view.on_event(ToolUse("t", "1", "run_python", "fit()", "running"))
    stream.wait(4)
    assert "4 s" not in stream.screen.markdown
    stream.wait(28)
    assert "running 3" in stream.screen.markdown
    before = len(stream.screen.messages)
    stream.wait(10 * 3600)
    assert (
        "running 599 min" in stream.screen.markdown or "running 600 min" in stream.screen.markdown
    )
    assert 500 < len(stream.screen.messages) - before < 700
    stream.view.on_event(ToolUse("t", "1", "run_python", "fit()", "done"))
    stream.wait(1)
    assert "600 min" in stream.screen.markdown
    stream.type(prose(4000), 350)
    assert "lorem" in stream.screen.markdown.split("600 min")[1]


def test_tools_show_their_state_one_line_each() -> None:
    stream = Stream()
    stream.view.on_event(ToolUse("t", "1", "Bash", "ls", "running"))
    stream.view.on_event(ToolUse("t", "2", "Read", "a.py", "running"))
    stream.wait(5)
    assert stream.screen.markdown.count("running") == 2
    stream.view.on_event(ToolUse("t", "1", "Bash", "ls", "done"))
    stream.wait(5)
    assert stream.screen.markdown.count("running") == 1
    stream.view.on_event(ToolUse("t", "2", "Read", "a.py", "failed"))
    stream.view.on_event(DONE)
    lines = [line for line in stream.screen.markdown.split("\n") if line.startswith("- ")]
    assert [line.split(" ")[1] for line in lines] == ["✓", "✗"]


def test_a_notice_shows_while_it_lasts() -> None:
    stream = Stream()
    stream.view.on_event(Notice("t", "trying again in 2 s"))
    stream.wait(5)
    assert "trying again in 2 s" in stream.screen.markdown
    stream.view.on_event(TextDelta("t", "Here."))
    stream.wait(5)
    assert "trying again" not in stream.screen.markdown


def test_a_view_that_is_not_live_shows_the_answer_once() -> None:
    screen = Screen()
    view = AnswerView(screen, live=False)
    for event in (TurnStarted("t"), TextDelta("t", "Yes."), DONE):
        view.on_event(event)
    assert len(screen.messages) == 1
    assert "Yes." in screen.markdown


def test_closing_ends_an_answer_once() -> None:
    stream = Stream()
    stream.type("Some text", 350)
    stream.view.close()
    count = len(stream.screen.messages)
    stream.view.close()
    stream.view.on_event(TextDelta("t", "late"))
    stream.view.on_event(DONE)
    assert len(stream.screen.messages) == count
    assert "Stopped" in stream.screen.markdown
    assert "late" not in stream.screen.markdown
