"""Makes Claude's Markdown fit to be put into a notebook: it may say anything and do nothing.

What Claude writes may quote a web page, a file or a person who means harm, and the result is stored
in a file that others open, with renderers that do not agree with each other. So the text is
rewritten until every renderer reads it the same way. The rules:

* Raw HTML is text: a ``<`` that could open a tag becomes ``&lt;``, outside code (:mod:`.inline`).
* Fences are written anew: longer than anything in them, at the margin or where a list item has its
  contents, with everything in them indented as far, an open one closed. So each begins and ends
  where its author meant it to.
* Pictures become links. A picture's address is fetched when the answer is *shown*, so an address
  can carry words of the conversation to a stranger's server. Pictures that ask no stranger stay:
  small ``data:`` bitmaps, and files beside the notebook with a picture's ending.
* A link may lead to the web, to a mail address or to a file beside the notebook; with any other
  scheme (``javascript:`` and its disguises) it is text.
* A ``$`` that begins no formula is escaped, so that two prices are not read as one formula. In a
  formula ``<`` gets a space, which TeX does not see, and commands that make links or styles are
  taken apart.
* A mermaid diagram that could load something or that holds HTML is shown as its source.
* Prose that goes on for pages without a blank line gets one now and then, so that making it safe
  while it grows stays cheap; a table is headed anew there.
* Characters: see :mod:`.characters`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from familiar_kernel.answer.characters import clean, clean_code
from familiar_kernel.answer.inline import safe_prose

_OPENER = re.compile(
    r"^(?P<prefix>[ \t]*(?:(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t]))[ \t]*)*)"
    r"(?:(?P<ticks>`{3,})(?P<tick_info>[^`\n]*)|(?P<tildes>~{3,})(?P<tilde_info>[^\n]*))$",
    re.MULTILINE,
)
_ITEM = re.compile(r"(?P<lead>[ \t]*)(?P<marker>[-+*]|\d{1,9}[.)])(?P<gap>[ \t]+|$)")
_HAS_ITEM = re.compile(r"^[ \t]*(?:[-+*]|\d{1,9}[.)])(?:[ \t]|$)", re.MULTILINE)
_PLAIN_QUOTE = re.compile(r" ?>(?! ?(?:[-+*]|\d+[.)]|    |\t))")
_HALF = re.compile(
    "(?:[\ud800-\udbff]|\r|\x1b|(?:\x1b\\[|\x9b)[0-?]*[ -/]*"
    "|(?:\x1b\\]|\x9d)[^\x07\x1b\x9c\x9d\n]{0,80}\x1b?)\\Z"
)
_HALF_LENGTH = 200
"""Characters of the longest escape that is waited for."""
_OPENS_FORMULA = re.compile(r"\\begin\{|\\\\[\[(]")
_SPACE = re.compile(r"[ \t]*")
_EMPTY = re.compile(r"^[ \t]+$", re.MULTILINE)
_BLANK = re.compile(r"\n[ \t]*\n")
_NOT_INFO = re.compile(r"[^\w+#.,:={}\"' /@-]")
_ACTIVE_DIAGRAM = re.compile(
    r"<(?!br ?/?>)[a-z/!?]|//|\\\\|url\(|@import|img|icon|css|href|click|callback|%%\{|^---",
    re.IGNORECASE | re.MULTILINE,
)


_AT_ONCE = 4096
"""Characters that are made safe at once, at most about."""
_LONGEST = 8192
"""Characters of prose without a blank line (four pages) that stay together. What is unfinished is
made safe anew with each update: this many cost 2 ms."""
_LONGEST_HEADER = 1024
"""Characters of a table's first lines that are worth repeating where the table is cut."""

_MARGIN_BREAK = re.compile(r"\n(?=\S)")
_LINE_BREAK = re.compile(r"\n")
_CJK_END = r"\u3002\uff01\uff1f"  # full stop, exclamation mark, question mark
_SENTENCE_BREAK = re.compile(rf"(?<=[.!?:])[ \t]+(?=[^\W\d_])|(?<=[{_CJK_END}])(?=[^\W\d_])")
_WORD_BREAK = re.compile(r"(?<=\S)[ \t]+(?=[^\W\d_])|(?<=[\u3001\uff0c])(?=[^\W\d_])")
_TABLE_HEADER = re.compile(
    r"^(?P<header>[^\n]*\|[^\n]*\n[ \t>]*[|:-][ \t|:-]*-[ \t|:-]*\n)(?:[^\n]*\|[^\n]*\n)*\Z",
    re.MULTILINE,
)


def defang(text: str) -> str:
    """Return Claude's Markdown, safe to show; see the module's docstring for what that means."""
    growing = Growing()
    growing.append(text)
    return growing.read()


class Growing:
    """Markdown that arrives in pieces and is made safe as it grows.

    What lies before the last finished paragraph or fence is worked on once, so reading after every
    piece costs what the unfinished end costs.
    """

    def __init__(self) -> None:
        self._done = ""
        self._ends: list[int] = []
        self._open = _Open()
        self._end = ""
        self._pieces: list[str] = []
        self._waiting = 0
        self._safe = ""

    def append(self, text: str) -> None:
        """Add what arrived."""
        self._pieces.append(text)
        self._waiting += len(text)
        if self._waiting > max(_AT_ONCE, len(self._end)):
            # Worked on as it comes, so that no single update has much left to do; but a paragraph
            # that does not end is not worked on again and again.
            self.read()

    def read(self) -> str:
        """Return everything so far as complete, safe Markdown: an open fence is closed."""
        if self._pieces:
            raw, waiting = _without_half_character(self._end + "".join(self._pieces))
            self._pieces.clear()
            self._waiting = 0
            raw = clean(raw)
            done, unfinished, consumed, length = [], "", 0, len(self._done)
            stands = True
            for block in _blocks(raw + clean(waiting), self._open, len(raw)):
                # What follows a block that may change stands no more than that one: the line that
                # ends a quoted fence may be a paragraph that is cut before its own end.
                stands = stands and block.finished and block.end <= len(raw)
                if stands:
                    done.append(block.safe)
                    consumed, self._open = block.end, block.open
                    length += len(block.safe)
                    if raw[consumed : consumed + 1].strip():
                        self._ends.append(length)
                else:
                    unfinished += block.safe
            self._done += "".join(done)
            self._end = raw[consumed:] + waiting
            self._safe = self._done + unfinished
        return self._safe

    def settled(self, start: int = 0) -> int:
        """Return how much of what :meth:`read` returned stands for good, as a length.

        It ends where what follows can be shown apart: between blocks, and not before an indented
        line, which may belong to a list item. Nothing beyond ``start`` is settled yet if ``start``
        itself is returned.
        """
        return self._ends[-1] if self._ends and self._ends[-1] > start else start


def _without_half_character(raw: str) -> tuple[str, str]:
    r"""Split off an end that the next piece may complete: half a pair, ``\r``, an escape."""
    cut = _HALF.search(raw, max(0, len(raw) - _HALF_LENGTH))
    return (raw[: cut.start()], cut[0]) if cut else (raw, "")


# --------------------------------------------------------------------------------------------------
# Blocks: runs of prose, and fences
# --------------------------------------------------------------------------------------------------

Lists = tuple[int, ...]
"""The list items that are open, outermost first, each as the column at which its contents begin."""


class _Open(NamedTuple):
    """What is open between two blocks, and may go on with the next."""

    lists: Lists = ()
    header: str = ""
    """The first two lines of a table that was cut in two."""


class _Block(NamedTuple):
    safe: str
    end: int
    """Where the block ends in the raw text."""
    finished: bool
    """Whether nothing that follows can change it."""
    open: _Open
    """What is open after it."""


def _blocks(raw: str, still: _Open, certain: int) -> Iterator[_Block]:
    """Yield the blocks of a text, each made safe.

    Args:
        raw: clean Markdown that begins where a block begins.
        still: what is open there.
        certain: how many characters of it nothing that follows can change.
    """
    position = 0
    while position < len(raw):
        opener = _OPENER.search(raw, position)
        fence_at = opener.start() if opener else len(raw)
        while position < fence_at:
            blank = _BLANK.search(raw, position, fence_at)
            end = blank.end() if blank else fence_at
            lists, header = still
            limit = position + _LONGEST
            cut = 0
            if limit <= certain and not (
                (blank and end <= limit) or (opener and opener.end() < limit)
            ):
                cut = _cut(raw, position, min(limit, fence_at + 1))
            end = cut or end
            run = _EMPTY.sub("", raw[position:end])  # to marked a tab makes a line
            lists = _lists_after(run, lists)
            if "|" in run.partition("\n")[0]:
                run = header + run
            if cut:
                run = run.rstrip(" \t\n") + "\n\n"
            safe = safe_prose(run)
            if opener and not blank and not cut:
                safe += _gap(run, opener["prefix"], lists)
            finished = bool(blank or cut) or (opener is not None and opener.end() < len(raw))
            position, still = end, _Open(lists, _table_header(run) if cut else "")
            yield _Block(safe, end, finished, still)
        if opener:
            block = _Fence(raw, opener, still.lists).block()
            position, still = block.end, block.open
            yield block


def _cut(raw: str, start: int, limit: int) -> int:
    """Return where prose that goes on for too long is cut in two, or 0 where it cannot be.

    That is before a line that begins at the margin, or else a line, a sentence or a word that
    begins with a letter (which opens no block, so nothing changes its meaning). It depends on the
    characters up to the limit alone, however much has come.
    """
    for places in (_MARGIN_BREAK, _LINE_BREAK, _SENTENCE_BREAK, _WORD_BREAK):
        last = 0
        for found in places.finditer(raw, start + _LONGEST // 2, limit):
            last = found.end()
        if last:
            return last
    return 0


def _table_header(run: str) -> str:
    """Return the first two lines of the table with which a run ends, or nothing."""
    found = _TABLE_HEADER.search(run.rstrip("\n") + "\n")
    if not found or len(found["header"]) > _LONGEST_HEADER or _HAS_ITEM.match(found["header"]):
        return ""
    return found["header"]


def _lists_after(run: str, lists: Lists) -> Lists:
    """Return which list items are open after a run of prose."""
    for line in run.split("\n"):
        if not line or line.isspace():
            continue
        column = _column(line)
        lists = _lists_at(column, lists)
        item = _ITEM.match(line)
        while item and len(lists) < 100 and column - (lists[-1] if lists else 0) <= 3:
            gap = len(item["gap"].expandtabs(4))
            column += len(item["marker"]) + (gap if 1 <= gap <= 4 else 1)
            lists = (*lists, column)
            item = _ITEM.match(line, item.end())
        if line.lstrip(" \t")[0] == ">":
            lists = ()
    return lists


def _lists_at(column: int, lists: Lists) -> Lists:
    """Return which list items go on with a line that begins at a column."""
    return tuple(offset for offset in lists if offset <= column)


def _column(line: str) -> int:
    """Return the column at which a line's text begins."""
    return len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(4))


def _gap(run: str, prefix: str, lists: Lists) -> str:
    """Return a blank line where some renderer may not see the fence that follows a run directly."""
    if ">" in run or ">" in prefix:
        plain = all(_PLAIN_QUOTE.match(line) for line in run.split("\n") if line)
        return "" if plain and re.fullmatch(" ?> ?", prefix) else "\n"
    at_margin = not _lists_at(_column(prefix + "."), lists)
    if prefix.strip() or len(prefix.expandtabs(4)) > 3 or (at_margin and _HAS_ITEM.search(run)):
        return "\n"
    return ""


class _Fence:
    """A fenced code block, from its opening line to its closing line or to the end of the text.

    It is written where its author meant it: in the list item for which it is indented, in its
    quotation, or else at the margin.
    """

    def __init__(self, raw: str, opener: re.Match[str], lists: Lists) -> None:
        self._raw = raw
        self._start = min(opener.end() + 1, len(raw))
        self._mark: str = opener["ticks"] or opener["tildes"]
        self._info = _NOT_INFO.sub("", opener["tick_info"] or opener["tilde_info"] or "").strip()
        prefix = opener["prefix"].expandtabs(4)
        self._quotes = prefix.count(">")
        if self._quotes:
            self._lists: Lists = ()
            self._prefix = self._margin = "> " * self._quotes
            self._indent = max(len(prefix) - prefix.rfind(">") - 2, 0)
        else:
            self._lists = _lists_at(_column(prefix + "."), lists)
            self._prefix = " " * (self._lists[-1] if self._lists else 0)
            self._indent = len(prefix)
            if prefix.strip():  # the fence is on a list item's first line
                self._prefix += prefix.lstrip(" ")
                self._lists = _lists_after(self._prefix + ".", self._lists)
            self._margin = " " * len(self._prefix)
        mark, longest = re.escape(self._mark[0]), self._indent + 3
        self._closing = rf"[ \t]{{0,{longest}}}{mark}{{{len(self._mark)},}}[ \t]*"

    def block(self) -> _Block:
        """Return the fence, made safe."""
        simple = self._indent == 0 and not self._margin
        body, end, finished, after = self._as_it_is() if simple else self._moved()
        body = clean_code(body)
        if body and not body.endswith("\n"):
            body += "\n"
        info = self._info
        if info.lower().startswith("mermaid") and _ACTIVE_DIAGRAM.search(body):
            info = "text"
        if _OPENS_FORMULA.search(body) or (self._margin and "$" in body):
            # Jupyter looks for formulas in such code, but not beyond a blank line.
            rest = _SPACE.match(self._raw, end)
            following = self._raw[rest.end() : rest.end() + 1] if rest else ""
            after = "\n" if following not in ("", "\n") else after
            finished = finished and following != ""
        mark, longest = self._mark[0], 0
        if mark * 3 in body:
            longest = max(map(len, re.findall(f"{mark}{{3,}}", body)))
        fence = mark * max(len(self._mark), longest + 1)
        safe = f"{self._prefix}{fence}{info}\n{body}{self._margin}{fence}\n{after}"
        return _Block(safe, end, finished, _Open(self._lists))

    def _as_it_is(self) -> tuple[str, int, bool, str]:
        """Return the contents of a fence at the margin: the ordinary case, in one go."""
        raw = self._raw
        closer = re.compile(f"^{self._closing}$", re.MULTILINE).search(raw, self._start)
        if not closer:
            return raw[self._start :], len(raw), False, ""
        end = min(closer.end() + 1, len(raw))
        return raw[self._start : closer.start()], end, closer.end() < len(raw), ""

    def _moved(self) -> tuple[str, int, bool, str]:
        """Return the contents of any other fence: moved with it, and at least at its margin.

        Also where they end, whether they are complete, and what must follow the fence.
        """
        raw, position = self._raw, self._start
        closes = re.compile(self._closing).fullmatch
        quote = r"[ \t]*>" * self._quotes + (" ?" if self._quotes else "")
        into_quote = re.compile(quote).match
        body: list[str] = []
        while position < len(raw):
            newline = raw.find("\n", position)
            end = newline if newline >= 0 else len(raw)
            line = raw[position:end]
            inside = into_quote(line)
            if inside:
                line = line[inside.end() :]
            if closes(line):
                return "".join(body), min(end + 1, len(raw)), newline >= 0, ""
            if not inside:  # a line outside the quotation ends it, and with it the fence
                return "".join(body), position, newline >= 0, "\n"
            body.append(self._line(line) + "\n")
            position = min(end + 1, len(raw))
        return "".join(body), position, False, ""

    def _line(self, line: str) -> str:
        text = line.lstrip(" \t")
        if not text:
            return self._margin.rstrip(" ")
        column = _column(line)
        if not self._quotes and column >= self._indent == len(self._margin):
            return line
        return self._margin + " " * max(column - self._indent, 0) + text
