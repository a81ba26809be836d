"""What Claude wants to know from the person: a few questions, each with answers to choose from.

The form is that of Claude Code's AskUserQuestion. A person answers with the number of an answer or
with words of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

WHOSE = "Claude"


class Choice(NamedTuple):
    """One answer to choose."""

    label: str
    description: str


class Question(NamedTuple):
    """One question. ``several``: more than one answer may be chosen."""

    text: str
    choices: tuple[Choice, ...]
    several: bool

    @property
    def prompt(self) -> str:
        """What stands before the field for the answer."""
        if not self.choices:
            return "Your answer: "
        number = "Numbers, with commas," if self.several else "A number,"
        return f"{number} or your own words: "

    def answer(self, written: str) -> str:
        """Return the answer that a person wrote, with the labels in place of numbers."""
        parts = [part.strip() for part in written.split(",")] if self.several else [written.strip()]
        known = {str(number): choice.label for number, choice in enumerate(self.choices, 1)}
        if all(part in known for part in parts):
            return ", ".join(known[part] for part in parts)
        return written.strip()


class Questions:
    """Some questions of Claude's, and how they look.

    Args:
        questions: as AskUserQuestion has them; what is wrongly formed is left out.
    """

    name = "AskUserQuestion"

    def __init__(self, questions: Any) -> None:
        self.questions = tuple(_read(questions))

    @classmethod
    def of(cls, question: Question) -> Questions:
        """Return one question alone."""
        alone = cls([])
        alone.questions = (question,)
        return alone

    @property
    def what(self) -> str:
        """The questions, for the record."""
        return " / ".join(question.text for question in self.questions)

    def bundle(self) -> dict[str, Any]:
        """Return the questions as a person sees them."""
        from .answer.inline import literal

        blocks = []
        for question in self.questions:
            blocks.append(f"**{WHOSE} asks: {literal(question.text)}**")
            lines = [
                f"{number}. {literal(choice.label)}"
                + (f" \u2014 {literal(choice.description)}" if choice.description else "")
                for number, choice in enumerate(question.choices, 1)
            ]
            blocks.append("\n".join(lines))
        return {"text/markdown": "\n\n".join(filter(None, blocks)), "text/plain": self.plain()}

    def plain(self) -> str:
        """Return the questions as plain text."""
        from .answer.characters import clean

        blocks = []
        for question in self.questions:
            lines = [f"{WHOSE} asks: {question.text}"]
            for number, choice in enumerate(question.choices, 1):
                told = f" ({choice.description})" if choice.description else ""
                lines.append(f"  {number}. {choice.label}{told}")
            blocks.append("\n".join(map(clean, lines)))
        return "\n\n".join(blocks)

    def decided(self, decision: str) -> dict[str, Any]:
        """Return what stays of the questions once they are answered, or not."""
        from .answer.characters import clean
        from .answer.inline import literal

        told = f"{WHOSE} asked: {self.what} It {decision}"
        return {"text/markdown": f"*{literal(told)}*", "text/plain": f"[{clean(told)}]"}


def _read(questions: Any) -> Iterator[Question]:
    for question in questions if isinstance(questions, list) else ():
        if not isinstance(question, dict) or not str(question.get("question", "")).strip():
            continue
        options = question.get("options")
        choices = tuple(
            Choice(str(option.get("label", "")), str(option.get("description", "")))
            for option in (options if isinstance(options, list) else ())
            if isinstance(option, dict)
        )
        yield Question(str(question["question"]), choices, bool(question.get("multiSelect")))
