"""Makes Claude's Markdown fit to be put into a notebook: it may say anything and do nothing.

What Claude writes may quote a web page, a file or a person who means harm, and the result is stored in a file
that others open, with renderers that do not agree with each other. So the text is rewritten until every renderer
reads it the same way. The rules:

* Raw HTML is text: a ``<`` that could open a tag becomes ``&lt;``, outside code (:mod:`.inline`).
* Fences are written anew: longer than anything in them, their contents indented at least as far as they are, an
  open one closed. A fence in a list or a quotation therefore ends where its author meant it to.
* Pictures become links. A picture's address is fetched when the answer is *shown*, so an address can carry words
  of the conversation to a stranger's server. Pictures that ask no stranger stay: small ``data:`` bitmaps, and
  files beside the notebook with a picture's ending.
* A link may lead to the web, to a mail address or to a file beside the notebook; with any other scheme
  (``javascript:`` and its disguises) it is text.
* A ``$`` that begins no formula is escaped, so that two prices are not read as one formula. In a formula ``<``
  gets a space, which TeX does not see, and commands that make links or styles are taken apart.
* A mermaid diagram that could load something or that holds HTML is shown as its source.
* Characters: see :mod:`.characters`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from familiar_kernel.answer.characters import clean, clean_code
from familiar_kernel.answer.inline import safe_prose

_OPENER = re.compile(
    r"^(?P<prefix>[ \t]*(?:(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t]))[ \t]*)*)"
    r"(?:(?P<ticks>`{3,})(?P<tick_info>[^`\n]*)|(?P<tildes>~{3,})(?P<tilde_info>[^\n]*))$",
    re.MULTILINE,
)
_BLANK = re.compile(r"\n[ \t]*\n")
_NOT_INFO = re.compile(r"[^\w+#.,:={}\"' /@-]")
_ACTIVE_DIAGRAM = re.compile(
    r"<(?!br ?/?>)[a-z/!?]|//|\\\\|url\(|@import|img|icon|css|href|click|callback|%%\{|^---",
    re.IGNORECASE | re.MULTILINE,
)


def defang(text: str) -> str:
    """Return Claude's Markdown, safe to show; see the module's docstring for what that means."""
    growing = Growing()
    growing.append(text)
    return growing.read()


class Growing:
    """Markdown that arrives in pieces and is made safe as it grows.

    What lies before the last finished paragraph or fence is worked on once, so reading after every piece costs
    what the unfinished end costs.
    """

    def __init__(self) -> None:
        self._done = ""
        self._ends: list[int] = []
        self._end = ""
        self._pieces: list[str] = []
        self._safe = ""

    def append(self, text: str) -> None:
        """Add what arrived."""
        self._pieces.append(text)

    def read(self) -> str:
        """Return everything so far as complete, safe Markdown: an open fence is closed."""
        if self._pieces:
            raw = self._end + "".join(self._pieces)
            self._pieces.clear()
            raw, waiting = _without_half_character(raw)
            raw = clean(raw)
            done, unfinished, consumed, length = [], "", 0, len(self._done)
            for safe, end, finished in _blocks(raw):
                if finished:
                    done.append(safe)
                    consumed = end
                    length += len(safe)
                    if raw[end : end + 1].strip():
                        self._ends.append(length)
                else:
                    unfinished += safe
            self._done += "".join(done)
            self._end = raw[consumed:] + waiting
            self._safe = self._done + unfinished
        return self._safe

    def settled(self, start: int = 0) -> int:
        """Return how much of what :meth:`read` returned stands for good, as a length.

        It ends where what follows can be shown apart: between blocks, and not before an indented line, which
        may belong to a list item. Nothing beyond ``start`` is settled yet if ``start`` itself is returned.
        """
        return self._ends[-1] if self._ends and self._ends[-1] > start else start


def _without_half_character(raw: str) -> tuple[str, str]:
    r"""Split off the end that the next piece may change: half a surrogate pair, ``\r``, an escape sequence."""
    cut = re.search("(?:[\ud800-\udbff]|\r|\x1b[^a-zA-Z\n]{0,80})$", raw)
    return (raw[: cut.start()], cut[0]) if cut else (raw, "")


def _blocks(raw: str) -> Iterator[tuple[str, int, bool]]:
    """Yield each block made safe, where it ends in ``raw``, and whether nothing that follows can change it.

    The blocks that can still change come last.
    """
    position = 0
    while position < len(raw):
        opener = _OPENER.search(raw, position)
        fence_at = opener.start() if opener else len(raw)
        while position < fence_at:
            blank = _BLANK.search(raw, position, fence_at)
            end = blank.end() if blank else fence_at
            safe = safe_prose(raw[position:end])
            if opener and end == fence_at and not blank:
                safe += _gap(raw[position:end], opener["prefix"])
            position = end
            yield safe, end, blank is not None or (opener is not None and opener.end() < len(raw))
        if opener:
            safe, position, finished = _Fence(raw, opener).safe()
            yield safe, position, finished


def _gap(run: str, prefix: str) -> str:
    """Return the line that must part a paragraph from the fence that follows, for all to see a fence."""
    in_quote = all(line.lstrip(" \t").startswith(">") for line in run.splitlines())
    if ">" in prefix and not in_quote:
        return "\n"
    if "    " in prefix or "\t" in prefix or prefix.strip(" >"):
        return _continuation(prefix).rstrip(" ") + "\n"
    return ""


def _continuation(prefix: str) -> str:
    """Return what continues a prefix's containers on the next line: quotation marks and indentation."""
    return re.sub(r"[^>]", " ", prefix.expandtabs(4))


class _Fence:
    """A fenced code block, from its opening line to its closing line or to the end of the text."""

    def __init__(self, raw: str, opener: re.Match[str]) -> None:
        self._raw = raw
        self._opener = opener
        self._mark: str = opener["ticks"] or opener["tildes"]
        self._info = _NOT_INFO.sub("", opener["tick_info"] or opener["tilde_info"] or "").strip()
        self._prefix = opener["prefix"].expandtabs(4)
        self._margin = _continuation(self._prefix)
        self._indent = len(self._margin) - self._margin.rfind(">") - 1
        self._quotes = self._margin.count(">")
        self._closing = rf"[ \t]{{0,{self._indent + 3}}}{self._mark[0]}{{{len(self._mark)},}}[ \t]*"

    def safe(self) -> tuple[str, int, bool]:
        """Return the block, where it ends in the raw text, and whether it is complete."""
        body, end, finished = self._whole() if not self._margin else self._line_by_line()
        body = clean_code(body)
        if body and not body.endswith("\n"):
            body += "\n"
        info = self._info
        if info.lower().startswith("mermaid") and _ACTIVE_DIAGRAM.search(body):
            info = "text"
        longest = max(map(len, re.findall(f"{self._mark[0]}{{3,}}", body)), default=0)
        fence = self._mark[0] * max(len(self._mark), longest + 1)
        return f"{self._prefix}{fence}{info}\n{body}{self._margin}{fence}\n", end, finished

    def _whole(self) -> tuple[str, int, bool]:
        """The ordinary fence, at the left margin: its contents stay as they are."""
        start = min(self._opener.end() + 1, len(self._raw))
        closer = re.compile(f"^{self._closing}$", re.MULTILINE).search(self._raw, start)
        if not closer:
            return self._raw[start:], len(self._raw), False
        complete = closer.end() < len(self._raw)
        return self._raw[start : closer.start()], min(closer.end() + 1, len(self._raw)), complete

    def _line_by_line(self) -> tuple[str, int, bool]:
        """A fence in a list or a quotation: its contents get the margin that they lack."""
        closes = re.compile(self._closing).fullmatch
        into_quote = re.compile(r"[ \t]*>" * self._quotes).match
        quote = self._margin[: self._margin.rfind(">") + 1]
        body: list[str] = []
        position = min(self._opener.end() + 1, len(self._raw))
        while position < len(self._raw):
            newline = self._raw.find("\n", position)
            end = newline if newline >= 0 else len(self._raw)
            line = self._raw[position:end]
            inside = into_quote(line)
            if inside:
                line = line[inside.end() :]
            if closes(line):
                return "".join(body), min(end + 1, len(self._raw)), newline >= 0
            if not inside:  # a line outside the quotation ends it, and with it the fence
                return "".join(body), position, newline >= 0
            body.append(f"{quote}{_indented(line, self._indent)}\n")
            position = min(end + 1, len(self._raw))
        return "".join(body), position, False


def _indented(line: str, indent: int) -> str:
    """Return the line with at least that indentation; blank lines may stay blank."""
    text = line.lstrip(" \t")
    if not text:
        return ""
    lead = line[: len(line) - len(text)].expandtabs(4)
    return " " * max(indent - len(lead), 0) + lead + text
