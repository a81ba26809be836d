r"""The grammar: from the text of a cell to what the kernel should do with it.

One idea carries the module: a prompt is found *before* any IPython transformer sees the cell, and
becomes one Python call that holds the prompt as a string literal; all other text stays as it was.
IPython would otherwise read ``%claude what?`` as a request for help, join lines at a backslash, and
look for magics inside the prompt.

What a prompt is:

- ``%%claude`` on the first line that is not blank makes the whole cell a prompt;
- ``%claude text`` where a statement may start, at any indentation, is a prompt to its line's end;
- ``x = %claude text`` assigns the answer.

The name ends at white space or at the end of the line: ``%claude_status``, ``%claudette`` and
``%claude.x`` are no prompts. Neither are ``%claude?`` and ``?%claude``, which ask IPython for help;
any other question mark is part of a prompt. A backslash at the end of a prompt's line is part of
the prompt as well and joins no lines: a prompt is prose, prose may end in a Windows path, and who
wants more lines has ``%%claude``. ``%claude`` inside a string, a comment, an open bracket, a line
that a backslash continues, another cell magic's body or a shell command is code.

The functions are pure; only the standard library is used. The lexer is our own because ``tokenize``
gives up at the first thing that is not Python (prompts and magics are not), reads f-strings by the
rules of the running Python, and takes seconds for a megabyte. That lexer and the options, which
share what a blank is, make the module longer than most of ours.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

PromptKind = Literal["line", "cell", "assign"]

# Blanks separate words: no line ends and no control characters, which belong to the prompt. The
# wide ones are here because an input method, or text copied from a web page, puts them after the
# name and nobody can see it.
_WIDE = r"\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_BLANK = rf"[ \t\f\v{_WIDE}]"
# What ends a line for Python. str.splitlines() knows more line ends; those may stand in a prompt.
_EOL = r"(?:\r\n|\r|\n)"
_NAME_END = rf"(?={_BLANK}|[\r\n]|\Z)"
# Lines that are blank or a comment; a line of IPython's with those that a backslash joins to it.
# Groups are not repeated possessively, "(...)*+": Python 3.11.2, which Debian 12 has, matches that
# wrongly. What is inside them is possessive, so that they stay linear.
_NOTHING = rf"(?:[ \t\f]*+(?:#[^\r\n]*+)?(?:{_EOL}|\Z))*"
_JOINED = rf"(?:[^\\\r\n]++|\\{_EOL}?)*"

_LINE_PROMPT = re.compile(rf"%claude{_NAME_END}{_BLANK}*+([^\r\n]*+)")
_CELL_PROMPT = re.compile(rf"%%claude{_NAME_END}{_BLANK}*+([^\r\n]*+)({_EOL}?)")
_CELL_MAGIC = re.compile(r"%%(?!\w+\?)")  # as in IPython, %%name? is a line that asks for help
_COMMAND_CELL = re.compile(
    rf"{_NOTHING}[ \t\f]*+%(?:claude_\w++|proxy){_NAME_END}{_JOINED}(?:{_EOL}|\Z){_NOTHING}"
)
_INDENT = re.compile(r"[ \t\f]*+")
_BLANK_LINES = re.compile(rf"(?:[^\S\r\n]*+{_EOL})*")
_NOTHING_RUNS = re.compile(_NOTHING)

# Input prompts that come along when a session is pasted; IPython strips the same ones after us.
_DOCTEST_FIRST = re.compile(r"[ \t]*+>>>[ \t]?")
_DOCTEST_ANY = re.compile(r"[ \t]*+(?:>>>|\.\.\.)[ \t]?")
_IPYTHON_ANY = re.compile(r"[ \t]*+(?:(?:\[nav\] |\[ins\] )?In \[\d+\]: |\.{3,}: ?)")


@dataclass(frozen=True, slots=True)
class PromptSpan:
    """Where one prompt stands in a cell. Offsets count characters from the start of the cell.

    ``line_start`` is where the logical line of the prompt starts, ``start`` where its first percent
    sign is, ``text_start`` the first character of its text (options included) and ``end`` the first
    one after it. ``raw`` is the text as the familiar gets it: what stands from ``text_start`` to
    ``end``, except that a ``%%claude`` prompt has a plain ``\\n`` after its first line and has lost
    the indentation, or the pasted input prompts, that the whole cell has.
    """

    kind: PromptKind
    line_start: int
    start: int
    text_start: int
    end: int
    raw: str


# --- what the kernel asks -------------------------------------------------------------------------


def transform(cell: str, *, awaitable: bool) -> str | None:
    """Replace each prompt of a cell by the Python call that runs it.

    The shell calls this with every cell before IPython's own transformers, and hands them the
    result. What stands before a prompt keeps its number of lines, so that tracebacks point at the
    lines that the user sees.

    A prompt that is the whole cell becomes an awaited call of ``prompt_cell``, any other one (and
    each, where nothing may be awaited) a call of ``prompt_line``, which is synchronous. A prompt
    that is no assignment becomes an expression with the value None: nothing is displayed or stored
    in ``Out``, whatever ``ast_node_interactivity`` says and whether or not the cell is stored in
    the history. (A ``;`` at the end silences only the last expression of a cell that is stored.)

    Args:
        cell: the text of the cell.
        awaitable: whether the cell may hold a top-level ``await``. The body of another magic, such
            as ``%%time``, may not.

    Returns:
        The new text, or None when the cell holds no prompt and must reach IPython as it is.
    """
    spans = prompts(cell)
    if not spans:
        return None
    if _is_whole(cell, spans):
        span = spans[0]
        way = "await get_ipython().familiar.prompt_cell"
        way = way if awaitable else "get_ipython().familiar.prompt_line"
        return cell[: span.line_start] + f"({way}({span.raw!r}), None)[1]" + cell[span.end :]
    parts: list[str] = []
    done = 0
    for span in spans:
        call = f"get_ipython().familiar.prompt_line({span.raw!r})"
        parts += cell[done : span.start], call if span.kind == "assign" else f"({call}, None)[1]"
        done = span.end
    return "".join(parts) + cell[done:]


def prompts(cell: str) -> list[PromptSpan]:
    """Find the prompts of a cell, first to last. An unfinished or faulty cell is no error."""
    if "%claude" not in cell:
        return []
    line_start = _end(_BLANK_LINES, cell, 0)
    head, pasted = _skip_pasted(cell, line_start)
    start = _end(_INDENT, cell, head)
    if found := _CELL_PROMPT.match(cell, start):
        raw = found[1]
        if found[2]:
            raw += "\n" + _unindented(cell[found.end() :], cell[head:start], pasted)
        return [PromptSpan("cell", line_start, start, found.start(1), len(cell), raw)]
    if _CELL_MAGIC.match(cell, start):
        return []
    return _Lexer(cell, line_start).run()


def prompt_at(cell: str, cursor: int) -> PromptSpan | None:
    """The prompt that the cursor is in or at the end of, or None. ``cursor`` counts characters."""
    return next((span for span in prompts(cell) if span.start <= cursor <= span.end), None)


def is_whole_cell_prompt(cell: str) -> bool:
    """Whether a prompt is all that the cell runs: blank lines and comments may stand around it."""
    return _is_whole(cell, prompts(cell))


def classify(cell: str) -> Literal["prompt", "command", "code"]:
    """What kind of cell this is.

    "prompt": the cell is, or contains, a prompt. "command": all it runs is one ``%claude_*`` or
    ``%proxy`` line. "code": anything else, also ``%claude?`` and ``%claude_status?``, which IPython
    answers.
    """
    if prompts(cell):
        return "prompt"
    return "command" if _COMMAND_CELL.fullmatch(cell) else "code"


def _is_whole(cell: str, spans: list[PromptSpan]) -> bool:
    if len(spans) != 1 or spans[0].kind == "assign":
        return False
    span = spans[0]
    return span.kind == "cell" or bool(
        _NOTHING_RUNS.fullmatch(cell, 0, span.line_start)
        and _NOTHING_RUNS.fullmatch(cell, span.end)
    )


def _end(pattern: re.Pattern[str], cell: str, at: int) -> int:
    """Where a match of the pattern at this place ends; the place itself if there is none."""
    found = pattern.match(cell, at)
    return found.end() if found else at


def _skip_pasted(cell: str, line_start: int) -> tuple[int, re.Pattern[str] | None]:
    """Where the code of the first line starts, and how pasted input prompts look if it has one."""
    for first, later in ((_DOCTEST_FIRST, _DOCTEST_ANY), (_IPYTHON_ANY, _IPYTHON_ANY)):
        if found := first.match(cell, line_start):
            return found.end(), later
    return line_start, None


def _unindented(body: str, indent: str, pasted: re.Pattern[str] | None) -> str:
    """The body of a prompt without what an indented, or a pasted, cell has before each line."""
    if not indent and not pasted:
        return body
    lines = re.split(rf"({_EOL})", body)
    if pasted:
        lines[::2] = [line[_end(pasted, line, 0) :] for line in lines[::2]]
    elif all(line.startswith(indent) for line in lines[::2] if line.strip()):
        lines[::2] = [line.removeprefix(indent) for line in lines[::2]]
    return "".join(lines)


# --- the lexer ------------------------------------------------------------------------------------

# What does not matter, so that the lexer need not stop for it: comments, lines that a backslash
# joins (no statement starts there), brackets with nothing special in them, equals signs before no
# prompt. In a field of an f-string a colon matters: it starts the format.
_SPECIAL = r"\"'#()\[\]{}\\"
_BRACKETS = "|".join(rf"\{o}[^{_SPECIAL}]*+\{c}" for o, c in ("()", "[]", "{}"))
_PLAIN = rf"#[^\r\n]*+|\\{_EOL}?|{_BRACKETS}"
_PLAIN_CODE = re.compile(rf"(?:[^{_SPECIAL}\r\n=]++|=(?![ \t\f]*+[%!])|{_PLAIN})*")
_PLAIN_FIELD = re.compile(rf"(?:[^{_SPECIAL}\r\n:]++|{_PLAIN})*")
_TEXT_STOPS = {
    "'": re.compile(r"[\\{}'\r\n]"),
    '"': re.compile(r'[\\{}"\r\n]'),
    "'''": re.compile(r"[\\{}]|'''"),
    '"""': re.compile(r'[\\{}]|"""'),
}
_STRING_BODY = {
    "'": re.compile(r"(?:[^\\'\r\n]++|\\(?:\r\n|[\s\S]))*"),
    '"': re.compile(r'(?:[^\\"\r\n]++|\\(?:\r\n|[\s\S]))*'),
    "'''": re.compile(r"(?:[^\\']++|\\[\s\S]|'(?!''))*"),
    '"""': re.compile(r'(?:[^\\"]++|\\[\s\S]|"(?!""))*'),
}
_STRING_PREFIX = re.compile(r"(?<!\w)(?:[bfrtu]|[bft]r|r[bft])\Z", re.IGNORECASE)
_TEXT_ESCAPE = re.compile(
    r"\\(?:\r\n|[^{}])?"
)  # braces cannot be escaped; \N{...} reads as a field
_REST_OF_LINE = re.compile(r"[^\r\n]*+")
_LINE_END = re.compile(_EOL)
_NOTHING_LINES = re.compile(rf"(?:[ \t\f]*+(?:#[^\r\n]*+)?{_EOL})*")
_JOINED_LINES = re.compile(_JOINED)


@dataclass(slots=True)
class _Frame:
    """A level of nesting: code, an f- or t-string's text, a field in it, or that field's format."""

    kind: Literal["code", "text", "field", "format"]
    quote: str = ""
    depth: int = 0  # open brackets, of code and of fields


class _Lexer:
    """Walks through a cell of code and notes the prompts at statement starts and in assignments.

    f-strings nest by the rules of Python 3.12 on every Python: what is valid by the older rules
    reads the same. Where the code is faulty the lexer goes on; a single quote that nothing closes
    ends with its line, as in Python.
    """

    def __init__(self, cell: str, first_line: int) -> None:
        self._cell = cell
        self._at = self._line_start = first_line
        self._frames = [_Frame("code")]
        self._spans: list[PromptSpan] = []
        self._doctest = False
        # IPython strips its own input prompts when it finds one on the first two lines
        second_line = _end(_LINE_END, cell, _end(_REST_OF_LINE, cell, first_line))
        self._ipython = any(_IPYTHON_ANY.match(cell, at) for at in (first_line, second_line))

    def run(self) -> list[PromptSpan]:
        last = self._cell.rfind("%claude")
        self._statement()
        while self._at <= last:
            frame = self._frames[-1]
            if frame.kind in ("code", "field"):
                self._code(frame)
            else:
                self._text(frame)
        return self._spans

    def _code(self, frame: _Frame) -> None:
        """Go past the next character of code, or of a field, that matters."""
        cell = self._cell
        found = (_PLAIN_CODE if frame.kind == "code" else _PLAIN_FIELD).match(cell, self._at)
        at = found.end() if found else self._at
        self._at = at + 1
        if at == len(cell):
            return
        char = cell[at]
        if char in "\"'":
            self._string(at)
        elif char in "\r\n":
            if frame.kind == "code" and not frame.depth:
                self._at = _end(_LINE_END, cell, at)
                self._statement()
        elif char in "([{":
            frame.depth += 1
        elif char in ")]}":
            if frame.depth:
                frame.depth -= 1
            elif frame.kind == "field" and char == "}":
                self._frames.pop()
        elif frame.depth:
            pass
        elif char == ":":
            self._frames.append(_Frame("format", self._frames[-2].quote))
        elif cell[at - 1 : at] not in "=!<>:+-*/%&|^@":
            self._at = _end(_INDENT, cell, self._at)
            self._not_python("assign", "%!")

    def _statement(self) -> None:
        """Look at the start of the next line that is neither blank nor a comment."""
        at = self._line_start = _end(_NOTHING_LINES, self._cell, self._at)
        if found := _DOCTEST_FIRST.match(self._cell, at):
            self._doctest = True
        elif self._doctest:
            found = _DOCTEST_ANY.match(self._cell, at)
        elif self._ipython:
            found = _IPYTHON_ANY.match(self._cell, at)
        self._at = _end(_INDENT, self._cell, found.end() if found else at)
        self._not_python("line", "%!?,;/")

    def _not_python(self, kind: PromptKind, escapes: str) -> None:
        """Go past a prompt, or a line of IPython's, whose quotes and brackets mean nothing."""
        cell, at = self._cell, self._at
        if found := _LINE_PROMPT.match(cell, at):
            span = PromptSpan(kind, self._line_start, at, found.start(1), found.end(), found[1])
            self._spans.append(span)
            self._at = found.end()
        elif cell[at : at + 1] and cell[at] in escapes:
            self._at = _end(_JOINED_LINES, cell, at)

    def _string(self, at: int) -> None:
        """Go past a plain string, or into the text of one that may hold fields."""
        cell = self._cell
        quote = cell[at] * 3 if cell.startswith(cell[at] * 3, at) else cell[at]
        self._at = at + len(quote)
        prefix = _STRING_PREFIX.search(cell[max(0, at - 3) : at])
        letters = prefix[0].lower() if prefix else ""
        if "f" in letters or "t" in letters:
            self._frames.append(_Frame("text", quote))
            return
        self._at = _end(_STRING_BODY[quote], cell, self._at)
        if cell.startswith(quote, self._at):
            self._at += len(quote)

    def _text(self, frame: _Frame) -> None:
        """Go past the next character that matters in an f-string's text, or in a field's format."""
        cell = self._cell
        found = _TEXT_STOPS[frame.quote].search(cell, self._at)
        if not found:
            self._at = len(cell)
            return
        stop, self._at = found[0], found.end()
        if stop == "\\":
            self._at = _end(_TEXT_ESCAPE, cell, found.start())
        elif stop == "{":
            if frame.kind == "text" and cell.startswith("{", self._at):
                self._at += 1
            else:
                self._frames.append(_Frame("field"))
        elif stop == "}":
            if frame.kind == "format":
                del self._frames[-2:]
        elif stop in "\r\n":
            self._at = found.start()  # a statement may start after it: code has to see it
            self._frames.pop()
        else:
            while self._frames.pop().kind != "text":
                pass


# --- options --------------------------------------------------------------------------------------


class Option(NamedTuple):
    """One option of a prompt: how it is written, what it sets, and what it is for.

    ``metavar`` stands for the value and is None for an option without one, which sets ``constant``.
    ``choices`` are the values that are allowed, None for any.
    """

    name: str
    key: str
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    constant: bool = True

    @property
    def usage(self) -> str:
        """How to write it: ``--model NAME``, ``--thinking``."""
        return self.name if self.metavar is None else f"{self.name} {self.metavar}"


_EFFORTS = ("low", "medium", "high", "xhigh", "max")

OPTIONS: tuple[Option, ...] = (
    Option("--model", "model", "the model that answers this prompt", "NAME"),
    Option("--effort", "effort", "low, medium, high, xhigh or max", "LEVEL", _EFFORTS),
    Option("--thinking", "thinking", "think before the answer"),
    Option("--no-thinking", "thinking", "answer without thinking first", constant=False),
    Option(
        "--no-context",
        "context",
        "without what happened in the notebook since the last prompt",
        constant=False,
    ),
    Option("--bg", "background", "answer in the background, while other cells run"),
    Option("--help", "help", "show how to write a prompt (-h for short)"),
)

_WORD = re.compile(rf"[^\s{_WIDE}]++")
_BLANKS = re.compile(rf"{_BLANK}*+")
_BLANK_FIRST_LINE = re.compile(rf"{_BLANK}*+\r?\n")
_OPTION_WORD = re.compile(r"--[^\W\d_]|-h\Z")


@dataclass(frozen=True, slots=True)
class ParsedPrompt:
    """What a prompt asks for: options by key, text, and whether help is wanted and no answer."""

    options: dict[str, str | bool]
    text: str
    help: bool


class PromptSyntaxError(ValueError):
    """The options of a prompt cannot be read. The message is one sentence for the user."""


def parse(raw: str) -> ParsedPrompt:
    """Split the raw text of a prompt into its options and its text.

    Options stand at the very start, on the first line; ``--`` ends them. A word that only resembles
    one (``-1``, ``---``, ``- item``) is text. Of an option that is given twice the last one counts.
    The blanks between options and text go away; the text is literal. From a prompt of many lines, a
    first line that holds no text goes away, and so does the line end after the last line, which
    belongs to the cell and not to the text. All else stays, blank lines and indentation included.

    Args:
        raw: what follows ``%claude`` or ``%%claude`` and its blanks, as ``transform`` gives it.

    Raises:
        PromptSyntaxError: for an unknown option, and for a value that is missing, not allowed or
            not wanted.
    """
    options: dict[str, str | bool] = {}
    at = 0
    while (word := _WORD.match(raw, at)) and (word[0] == "--" or _OPTION_WORD.match(word[0])):
        at = _end(_BLANKS, raw, word.end())
        if word[0] == "--":
            break
        name, equals, value = word[0].partition("=")
        option = _find_option(name)
        if option.metavar is None:
            if equals:
                raise PromptSyntaxError(f"Option {option.name} takes no value.")
            options[option.key] = option.constant
            continue
        following = None if equals else _WORD.match(raw, at)
        if following and not following[0].startswith("-"):
            value = following[0]
            at = _end(_BLANKS, raw, following.end())
        options[option.key] = _checked(option, value)
    text = raw[at:]
    if "\n" in raw:
        text = text[_end(_BLANK_FIRST_LINE, text, 0) :]
        text = text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
    return ParsedPrompt(options, text, bool(options.pop("help", False)))


def _find_option(name: str) -> Option:
    known = {option.name: option for option in OPTIONS}
    known["-h"] = known["--help"]
    if name in known:
        return known[name]
    written = ", ".join(option.usage for option in OPTIONS)
    raise PromptSyntaxError(
        f"Unknown option {name}{_did_you_mean(name, tuple(known))}: the options are {written}, and "
        "-- before a text that starts like one."
    )


def _checked(option: Option, value: str) -> str:
    if not value:
        known = f", one of {', '.join(option.choices)}" if option.choices else ""
        raise PromptSyntaxError(f"Option {option.name} needs a value: write {option.usage}{known}.")
    if option.choices and value not in option.choices:
        hint = _did_you_mean(value, option.choices)
        raise PromptSyntaxError(
            f"Option {option.name} cannot be {value}{hint}: it is {', '.join(option.choices)}."
        )
    return value


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    # Without the dashes, which would make any two options alike.
    bare = {name.lstrip("-"): name for name in known}
    close = difflib.get_close_matches(word.lower().lstrip("-"), list(bare), n=1)
    return f" (did you mean {bare[close[0]]}?)" if close else ""
