"""Makes Claude's Markdown fit to be put into a notebook: it may say anything and do nothing.

What Claude writes may quote a web page, a file or a person who means harm, and the result is stored in a
file that others open, with renderers that do not agree with each other. So the text is rewritten until every
renderer reads it the same way, and what is not understood for certain is shown as text. The rules:

* Raw HTML is text. A ``<`` that could open a tag becomes ``&lt;``, except in code that every renderer sees as
  code: a fence, or a span that opens and closes on one line and that nothing before it in its paragraph can
  shift. Elsewhere in doubtful code ``&lt;`` may show as it is: ugly, and safe.
* Fences are written anew: longer than anything in them, their contents indented at least as far as they are,
  an open one closed. A fence in a list or a quotation therefore ends where its author meant it to.
* Pictures become links. A picture's address is fetched when the answer is *shown*, so an address can carry
  words of the conversation to a stranger's server. Pictures that ask nobody stay: small ``data:`` bitmaps, and
  files beside the notebook with a picture's ending.
* A link may lead to the web, to a mail address or to a file beside the notebook; with any other scheme
  (``javascript:`` and its disguises) it is text.
* A ``$`` that begins no formula is escaped, so that two prices are not read as one formula, and a formula's
  ``<`` gets a space, which TeX does not see. TeX commands that make links or styles are taken apart.
* A mermaid diagram that could load something or that holds HTML is shown as its source.
* Control characters are made visible (terminal colours are dropped), half surrogates become U+FFFD, because a
  notebook file is UTF-8. Of the bidirectional controls the overrides are made visible everywhere and the
  others in code, where reordering can make a program read as another ("Trojan Source"); in prose embeddings and
  isolates stay, since Arabic and Hebrew need them and each ends with its paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

# ---------------------------------------------------------------------------------------------------------
# Characters
# ---------------------------------------------------------------------------------------------------------

_BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202d\u202e]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TERMINAL = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    "|(?:\x1b\\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\\\|\x9c)"  # window titles, links
)
_VISIBLE: dict[int, str] = (
    {c: chr(0x2400 + c) for c in range(0x20) if c not in (0x09, 0x0A)}
    | {0x7F: "\u2421"}
    | {c: f"\u27e6{c:02X}\u27e7" for c in range(0x80, 0xA0)}
    | {0x202D: "\u27e6LRO\u27e7", 0x202E: "\u27e6RLO\u27e7"}
)
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_BIDI_NAMES = {
    0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF", 0x202D: "LRO", 0x202E: "RLO",
    0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
}  # fmt: skip
_BIDI_VISIBLE = {c: f"\u27e6{name}\u27e7" for c, name in _BIDI_NAMES.items()}


def clean(text: str) -> str:
    """Return the text with what no file or terminal should hold removed or made visible.

    Line ends become ``\\n``, terminal sequences go, other control characters show as their pictures, surrogate
    pairs are joined and halves become U+FFFD.
    """
    if not _BAD.search(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _TERMINAL.sub("", text)
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.translate(_VISIBLE)


def _code(text: str) -> str:
    """Return text for a place that is code: every bidirectional control visible."""
    return text.translate(_BIDI_VISIBLE) if _BIDI.search(text) else text


# ---------------------------------------------------------------------------------------------------------
# Small pieces of Markdown around plain text
# ---------------------------------------------------------------------------------------------------------

_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$>:@/\"'=^])")


def literal(text: str) -> str:
    """Return one line of Markdown that shows the plain text as it is."""
    text = _one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return _PUNCTUATION.sub(lambda m: f"&#{ord(m[0])};", text)


def code_span(text: str) -> str:
    """Return a code span that shows the plain text on one line, whatever it contains."""
    text = _code(_one_line(text))
    if not text:
        return ""
    fence = "`" * (_longest_run(text, "`") + 1)
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _one_line(text: str) -> str:
    return " ".join(clean(text).split())


def _longest_run(text: str, char: str) -> int:
    return max((len(m) for m in re.findall(f"{re.escape(char)}+", text)), default=0)


# ---------------------------------------------------------------------------------------------------------
# The whole text
# ---------------------------------------------------------------------------------------------------------


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
        self._end = ""
        self._pieces: list[str] = []
        self._safe: str | None = ""

    def append(self, text: str) -> None:
        """Add what arrived."""
        self._pieces.append(text)
        self._safe = None

    def read(self) -> str:
        """Return everything so far as complete, safe Markdown: an open fence is closed."""
        if self._safe is None:
            raw = clean(self._end + "".join(self._pieces))
            self._pieces.clear()
            finished: list[str] = []
            last = ""
            consumed = 0
            for safe, end, closed in _blocks(raw):
                if closed and not last:
                    finished.append(safe)
                    consumed = end
                else:
                    last += safe
            self._done += "".join(finished)
            self._end = raw[consumed:]
            self._safe = self._done + last
        return self._safe


# ---------------------------------------------------------------------------------------------------------
# Blocks: fences and what lies between them
# ---------------------------------------------------------------------------------------------------------

_OPENER = re.compile(
    r"^(?P<prefix>[ \t]*(?:(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t]))[ \t]*)*)"
    r"(?:(?P<ticks>`{3,})(?P<tick_info>[^`\n]*)|(?P<tildes>~{3,})(?P<tilde_info>[^\n]*))$",
    re.MULTILINE,
)
_BLANK = re.compile(r"\n[ \t]*(?=\n)")
_NOT_INFO = re.compile(r"[^\w+#.,:={}\"' /@-]")
_LIVE_DIAGRAM = re.compile(r"<(?!br ?/?>)[a-z/!?]|//|\\\\|url\(|@import|img|icon|css|href|callback|%%\{|^---",
                           re.IGNORECASE | re.MULTILINE)  # fmt: skip


def _blocks(raw: str) -> Iterator[tuple[str, int, bool]]:
    """Yield each block made safe, where it ends in ``raw``, and whether nothing that follows can change it."""
    position = 0
    while position < len(raw):
        opener = _OPENER.search(raw, position)
        start = opener.start() if opener else len(raw)
        while position < start:
            blank = _BLANK.search(raw, position, start)
            end = blank.end() + 1 if blank and blank.end() < start else start
            closed = end < len(raw) or (blank is not None and blank.end() < start)
            yield _prose(raw[position:end]), end, closed and end != start or opener is not None
            position = end
        if opener:
            safe, position, closed = _fence(raw, opener)
            yield safe, position, closed


def _fence(raw: str, opener: re.Match[str]) -> tuple[str, int, bool]:
    prefix = opener["prefix"].expandtabs(4)
    mark = opener["ticks"] or opener["tildes"]
    info = _NOT_INFO.sub("", opener["tick_info"] or opener["tilde_info"] or "").strip()
    inner = re.sub(r"[^>]", " ", prefix)  # what continues the containers on the following lines
    quotes = prefix.count(">")
    indent = len(inner) - inner.rfind(">") - 1
    is_closer = re.compile(rf"[ \t]{{0,{indent + 3}}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*").fullmatch
    into_quote = re.compile(r"[ \t]*>" * quotes + " ?").match

    if not quotes and not indent:
        # The ordinary case, in one go: nothing to strip and nothing to indent.
        closer = re.compile(rf"^ {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$", re.MULTILINE).search(
            raw, opener.end() + 1)  # fmt: skip
        body = raw[opener.end() + 1 : closer.start() if closer else len(raw)]
        position = min(closer.end() + 1, len(raw)) if closer else len(raw)
        closed = closer is not None and closer.end() < len(raw)
    else:
        lines: list[str] = []
        position = opener.end() + 1
        closed = False
        while position < len(raw):
            end = raw.find("\n", position)
            end = len(raw) if end < 0 else end
            line = raw[position:end]
            if quotes:
                inside = into_quote(line)
                if not inside:
                    closed = True  # a line outside the quotation ends it, and with it the fence
                    break
                line = line[inside.end() :]
                line = " " * max(indent - 1, 0) + line[min(indent - 1, len(line) - len(line.lstrip(" "))) :] \
                    if indent > 1 else line  # fmt: skip
            if is_closer(line):
                position = min(end + 1, len(raw))
                closed = end < len(raw)
                break
            if not quotes:
                line = line.expandtabs(4) if line[: indent + 1].strip(" ") != line[: indent + 1].strip() else line
                missing = indent - (len(line) - len(line.lstrip(" ")))
                line = " " * max(missing, 0) + line if line.strip() else line
            lines.append(line)
            position = min(end + 1, len(raw))
        if quotes:
            before = inner[: inner.rfind(">") + 1]
            lines = [f"{before} {line}" if line else before for line in lines]
        body = "".join(f"{line}\n" for line in lines)

    body = _code(body)
    if body and not body.endswith("\n"):
        body += "\n"
    if info.lower().startswith("mermaid") and _LIVE_DIAGRAM.search(body):
        info = "text"
    fence = mark[0] * max(len(mark), _longest_run(body, mark[0]) + 1)
    if len(mark) == _longest_run(body, mark[0]) + 1 or _longest_run(body, mark[0]) < 3:
        fence = mark
    previous = raw[: opener.start()].rstrip(" \t>")
    apart = "" if previous == "" or previous.endswith("\n\n") else "\n"
    if apart and prefix and "\n" + prefix.replace(" ", "") != "\n" and not _needs_gap(prefix):
        apart = ""
    return f"{apart}{prefix}{fence}{info}\n{body}{inner}{fence}\n", position, closed


def _needs_gap(prefix: str) -> bool:
    """Whether a fence behind this prefix is surely one only after a blank line."""
    return len(prefix) - len(prefix.lstrip(" ")) > 3 or prefix.strip(" ") != ""


# ---------------------------------------------------------------------------------------------------------
# Prose: a paragraph, list, table, heading
# ---------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"\\(?P<escaped>[\\`$<!\]])"
    r"|(?P<ticks>`+)"
    r"|(?P<dollars>\$+)"
    r"|(?P<angle><)"
    r"|(?P<image>!+\[)"
    r"|(?P<link>\]\()"
    r"|(?P<definition>\]:)"
    r"|(?P<url>(?:https?://|ftp://|www\.)\S*)"
    r"|\\(?P<tex>begin(?=\{)|end(?=\{)|href|url|style|class|cssId|data|require|includegraphics|bbox|html\w*)(?![a-zA-Z])",
    re.IGNORECASE,
)
_TAG = re.compile(r"[A-Za-z/!?]")
_AUTOLINK = re.compile(r"<(?:https?://|mailto:)[A-Za-z0-9\-._~:/?#@%&=+,;]+>", re.IGNORECASE)
_DELIMITER_ROW = re.compile(r"^[ \t>*+\d.)|:-]*-[ \t|:-]*$", re.MULTILINE)
_SIMPLE_LINK = re.compile(r"\]\((?P<to>[^\s()<>`\"'\\$]*(?:\([^\s()<>`\"'\\$]*\)[^\s()<>`\"'\\$]*)*)"
                          r"(?:[ ]+\"[^\"`\\\n<$]*\")?\)")  # fmt: skip
_TARGET = re.compile(r"\](?:\(|:)[\s>]*(?P<to>[^\s)]*)")
_SCHEME = re.compile(r"[^/?#]*?:")
_GOOD_SCHEME = re.compile(r"(?:https?|mailto):", re.IGNORECASE)
_KEPT_IMAGE = re.compile(
    r"!\[[^\[\]`<>!\\$\n]*\]\("
    r"(?:data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]{0,65536}"
    r"|(?:\./)?[A-Za-z0-9_][A-Za-z0-9_./-]*\.(?:png|jpe?g|gif|webp))\)"
)
_ALT = re.compile(r"[^\[\]\n]*\](?:\(|\[[^\]])")
_FORMULA = re.compile(r"\$(?![\s$])(?:[^$`\\]|\\[^`])*?(?<!\s)\$(?![\d$])|\$\$(?:[^$`\\]|\\[^`])+\$\$")
_IN_FORMULA = re.compile(r"<(?=[A-Za-z/!?])|!(?=\[)|\](?=[(:])|\\(?=(?:href|url|style|class|cssId|data|require"
                         r"|includegraphics|bbox|html[A-Za-z]*)(?![A-Za-z]))")  # fmt: skip


def _prose(run: str) -> str:
    """Return a piece of text between two blank lines or fences, made safe."""
    table: bool | None = None
    out: list[str] = []
    sure = True  # whether every renderer agrees with us on what is code from here on
    position = 0
    while found := _TOKEN.search(run, position):
        at = found.start()
        out.append(run[position:at])
        position = found.end()
        token = found[0]
        kind = found.lastgroup
        if kind == "ticks":
            close = re.compile(rf"(?<!`){token}(?!`)").search(run, position) if sure else None
            inside = run[position : close.start()] if close else ""
            if close and "\n" not in inside:
                if "|" in inside and table is None:
                    table = _DELIMITER_ROW.search(run) is not None
                if not (table and "|" in inside):
                    out.append(f"{token}{_code(inside)}{token}")
                    position = close.end()
                    continue
            sure = False
            out.append(token)
        elif kind == "angle":
            link = _AUTOLINK.match(run, at)
            if link:
                out.append(link[0])
                position = link.end()
            else:
                out.append("&lt;" if _TAG.match(run, position) else "<")
        elif kind == "dollars":
            formula = _FORMULA.match(run, at)
            if formula:
                out.append(_IN_FORMULA.sub(lambda m: m[0] + " ", formula[0]))
                position = formula.end()
            else:
                out.append(r"\$" * len(token))
        elif kind == "image":
            kept = _KEPT_IMAGE.match(run, position - 2)
            if kept:
                out.append(kept[0])
                position = kept.end()
            else:
                out.append("[image: " if _ALT.match(run, position) else "[")
        elif kind in ("link", "definition"):
            target = _TARGET.match(run, at)
            where = unescape(target["to"]) if target else ""
            where = re.sub(r"[\x00-\x20\\]", "", where)
            scheme = _SCHEME.match(where)
            if scheme and not _GOOD_SCHEME.match(where):
                out.append("]&#40;" if kind == "link" else "]&#58;")
                continue
            simple = _SIMPLE_LINK.match(run, at)
            if simple:
                out.append(simple[0])
                position = simple.end()
                continue
            out.append(token)
            until = run.find("`", position)
            if until >= 0:
                between = run[position:until]
                sure = sure and ")" in between and not re.search(r"[\"'(<]", between)
        elif kind == "url":
            if "`" in token:
                sure = False
            scheme_end = at + re.compile(r"https?://|ftp://|www\.", re.IGNORECASE).match(token).end()  # type: ignore[union-attr]
            out.append(run[at:scheme_end])
            position = scheme_end
        elif kind == "tex":
            out.append("\\ " + token[1:])
        elif token == r"\<":
            out.append("&lt;" if _TAG.match(run, position) else token)
        elif token in (r"\!", r"\]"):
            out.append("\\")
            position -= 1
        else:
            if token == r"\`":
                sure = False
            out.append(token)
    out.append(run[position:])
    return "".join(out)
