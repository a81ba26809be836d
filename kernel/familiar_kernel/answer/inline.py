r"""Makes prose safe: a paragraph, list, table or heading, that is, anything between blank lines and
fences.

Renderers agree on most of Markdown and disagree at its edges, and at every edge a ``<`` that one of
them takes for code is a tag to another. So two rules:

* Outside code nothing opens a tag, loads a picture or leads to a script.
* Code spans stay as Claude wrote them where no renderer can disagree. At the first doubt in a
  paragraph (a lone backtick, one behind a backslash, a span with ``|`` in a table, one that could
  end a link or a formula, ...) its code is written as ``<code>`` with entities, which leaves
  nothing to disagree about.
"""

from __future__ import annotations

import re
from html import unescape

from familiar_kernel.answer.characters import clean_code, one_line

_CANDIDATE = re.compile(r"[`$<!\]\\:&]|[hH][tT][tT][pP][sS]?://|[fF][tT][pP]://|[wW]{3}\.")
"""Where a token may begin: found ten times as fast, as each way to begin is a plain character."""
_ACTING = (
    r"href|url|style|class|cssId|data|require|includegraphics|bbox|mmlToken|unicode|csname"
    r"|html[a-z]*"
)
"""What in a formula links, loads, names or makes up a command."""
_ENTITY = r"&(?:#[0-9x]|[a-z][a-z0-9]*;)"
_TOKEN = re.compile(
    r"(?P<ticks>`+)"
    r"|(?P<dollars>\$+)"
    r"|(?P<angle><)"
    r"|(?P<image>(?<!!)!+\[)"
    r"|(?P<bang>(?<!!)!+(?=\\+\[))"
    r"|(?P<link>\]\()"
    r"|(?P<definition>\]:)"
    r"|(?P<term>(?<![^ \t\n>]):(?=[ \t\n]))"
    r"|(?P<address>https?://|ftp://|www\.)"
    r"|(?P<double>(?<!\\)\\{2,})(?=[\[(])"
    r"|(?P<single>\\)(?=[\[(])"
    r"|(?P<environment>(?<!\\)\\+(?:begin|end))(?=\{)"
    rf"|(?P<command>\\(?:{_ACTING})(?![a-z]))"
    rf"|(?P<spelt>(?:(?<!\\)(?:\\\\)+|\\[a-z]+)(?={_ENTITY}))"
    r"|(?P<escaped>\\(?:[\\`$<\]]|!+))"
    r"|(?P<dollar>&(?:#0*36|#x0*24|dollar)(?:;|(?![0-9a-z])))"
    r"|(?P<backslash>&(?:#0*92|#x0*5c|bsol)(?:;|(?![0-9a-z])))",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(r"[A-Za-z/!?]")
_AUTOLINK = re.compile(r"<(?:https?://|mailto:)[A-Za-z0-9\-._~:/?#@%&=+,;]+>", re.IGNORECASE)
_WORD = re.compile(r"[^ \t\n]*")
_DELIMITER_ROW = re.compile(r"^[ \t>*+\d.)|:-]*[|:-][ \t|:-]*$", re.MULTILINE)
_HAZARD = re.compile(r"\$\$|\\\\[\[(]|\\begin|~~")
"""What some renderer looks for inside code as well."""

_PATH = r"[^ \t\n()<>`\"'\\$\[\]]*"
_SIMPLE_LINK = re.compile(rf"\]\({_PATH}(?:\({_PATH}\){_PATH})*(?: +\"[^\"`\\\n<$\[\]]*\")?\)")
_OPEN_LABEL = re.compile(
    r"^(?P<lead>[ \t>]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*)\[(?=(?:\\.|[^\[\]\\])*\Z)",
    re.MULTILINE | re.DOTALL,
)
_ABBREVIATION = re.compile(r"^(?P<lead>[ \t>]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*\*)\[", re.MULTILINE)
_SURE_DEFINITION = re.compile(
    # Words that no renderer takes for a definition, or a definition that ends with its line.
    r"\]:[ \t]+(?:[^\s<]\S*[ \t]+[^\s\"'(]"
    r"|[^\s<\"'(`][^\s`]*(?:[ \t]+\"[^\"`\n]*\")?[ \t]*(?:\n(?![ \t>]*[\"'(])|\Z))"
)
_TARGET = re.compile(r"\][(:][ \t\n>]*(?P<to>[^ \t\n]{0,120})")
_SCHEME = re.compile(r"[^/?#]*?:")
_GOOD_SCHEME = re.compile(r"(?:https?|mailto):", re.IGNORECASE)
_ALT = re.compile(r"[^\[\]\n]*\](?:\(|\[[^\]])")
_KEPT_IMAGE = re.compile(
    r"!\[[^\[\]`<>!\\$\n]*\]\("
    r"(?:data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]{0,65536}"
    r"|(?:\./)?[A-Za-z0-9_][A-Za-z0-9_./-]*\.(?:png|jpe?g|gif|webp))\)"
)

_FORMULA = {
    # A dollar opens a formula before a non-space, and closes it after one and not before a digit,
    # as pandoc has it: two prices in a sentence are no formula.
    "$": re.compile(r"\$(?=[^\s$])((?:[^$`\\]|\\[^`])+)(?<![\s\\])\$(?![\d$])"),
    "$$": re.compile(r"\$\$((?:[^$`\\]|\\[^`])+)(?<!\\)\$\$(?!\$)"),
    "\\(": re.compile(r"\\\(((?:(?!\\\()[^$`\n])+?)\\\)"),
    "\\[": re.compile(r"\\\[((?:(?!\\\[)[^$`])+?)\\\](?=[ \t]*$)", re.MULTILINE),
    "\\\\(": re.compile(r"\\\\\(((?:(?!\\\\[\[(])[^$`])+?)(?<!\\)\\\\\)"),
    "\\\\[": re.compile(r"\\\\\[((?:(?!\\\\[\[(])[^$`])+?)(?<!\\)\\\\\]"),
    "\\begin": re.compile(
        r"\\begin\{(?P<name>[a-z]+\*?)\}((?:(?!\\begin)[^$`])*?)\\end\{(?P=name)\}"
    ),
}
_ADDRESS = re.compile(r"://|www\.", re.IGNORECASE)
_ENVIRONMENT = re.compile(r"\\(?P<edge>begin|end)\{(?P<name>[a-z]*\*?)\}", re.IGNORECASE)
_OPENS_LINE = re.compile(r"\n[ \t>]*(?:\$\$|\\\\[\[(]|\\begin)")
_FORMULA_UNSAFE = re.compile(
    r"<(?=[A-Za-z/!?])|!(?=\\*\[)|\](?=[(:])"
    rf"|\\(?=(?:{_ACTING})(?![a-z]))|\\[a-z]*(?={_ENTITY})",
    re.IGNORECASE,
)
_PUNCTUATION = re.compile(r"[!#$&()*:<>@\[\\\]^_`{|}~]")
_MARKUP = re.compile(r"[\\`*_\[\]|~$!&<]")


def literal(text: str) -> str:
    """Return one line of Markdown that shows the plain text as it is."""
    # Only in an element of its own a dollar opens no formula on the finished page.
    return _MARKUP.sub(_entity, one_line(text)).replace("&#36;", "<span>&#36;</span>")


def code_span(text: str) -> str:
    """Return a code span that shows the plain text on one line, whatever it contains."""
    text = clean_code(one_line(text))
    doubtful = "`" in text or "](" in text or "][" in text or _HAZARD.search(text) is not None
    return _html_code(text) if doubtful or not text else f"`{text}`"


def safe_prose(run: str) -> str:
    """Return clean Markdown without fences and without blank lines inside, made safe."""
    if _next_token(run, 0):
        try:
            run = _Prose(run, as_html=False).safe()
        except _Doubt:
            run = _Prose(run, as_html=True).safe()
    return _without_open_labels(run) if "[" in run else run


def _next_token(run: str, position: int) -> re.Match[str] | None:
    """Return the first token at or behind a position."""
    while candidate := _CANDIDATE.search(run, position):
        if token := _TOKEN.match(run, candidate.start()):
            return token
        position = candidate.start() + 1
    return None


def _without_open_labels(run: str) -> str:
    """Return the run with no "[" that could begin a definition and is not closed in it.

    To marked and to nbconvert a definition's label may go on over blank lines and into code.
    """
    last = run.rfind("]")
    run = _ABBREVIATION.sub(lambda m: m[0] if m.end() <= last else f"{m['lead']}&#91;", run)
    return _OPEN_LABEL.sub(r"\g<lead>&#91;", run)


class _Doubt(Exception):
    """Two renderers may disagree on which part of a paragraph is code."""


class _Prose:
    """One pass over a run of prose, from token to token."""

    def __init__(self, run: str, as_html: bool) -> None:
        self._run = run
        self._as_html = as_html
        self._position = 0
        self._table: bool | None = None
        self._bracket = False  # whether a "[" has come outside code
        self._address_end = 0  # where the address ends that came last
        self._word_end = 0  # up to where words that begin with an address are known
        self._formulas = 0
        self._dollars_at: list[int] = []  # which pieces are dollars that open no formula

    def safe(self) -> str:
        """Return the run, safe.

        Raises:
            _Doubt: what is code is not certain, and code was not to be written as HTML.
        """
        run, out = self._run, []
        while found := _next_token(run, self._position):
            text = run[self._position : found.start()]
            self._bracket = self._bracket or "[" in text or "[" in found[0]
            out.append(text)
            self._position = found.end()
            kind = found.lastgroup or ""
            out.append(getattr(self, "_" + kind)(found[0], found.start()))
            if kind == "dollars" and out[-1].startswith("\\"):
                self._dollars_at.append(len(out) - 1)
        out.append(run[self._position :])
        if len(self._dollars_at) + self._formulas > 1:
            # MathJax looks at the finished page, where a backslash before a dollar is gone. It does
            # not look across elements.
            for at in self._dollars_at:
                out[at] = f"<span>{out[at]}</span>"
        return "".join(out)

    def _doubt(self, doubtful: bool = True) -> None:
        if doubtful and not self._as_html:
            raise _Doubt

    def _doubt_address(self, start: int) -> None:
        """A bare address goes on to the next space, by GitHub's rules, also over a backtick."""
        if start >= self._word_end:
            word = _WORD.match(self._run, start)
            self._word_end = self._address_end = word.end() if word else start
            self._doubt("`" in self._run[start : self._word_end])

    def _in_table(self) -> bool:
        if self._table is None:
            self._table = _DELIMITER_ROW.search(self._run) is not None
        return self._table

    def _ticks(self, token: str, at: int) -> str:
        self._doubt(self._run[at - 1 : at] == "~")  # marked takes "~`" for two plain characters
        close = re.compile(rf"(?<!`){token}(?!`)").search(self._run, self._position)
        if not close:
            self._doubt()
            return "&#96;" * len(token)
        inside = self._run[self._position : close.start()]
        self._position = close.end()
        # marked pairs backticks in its own way when it looks for emphasis, links and the like.
        self._doubt("`" in inside or (len(token) > 1 and re.search(r"[*_]", inside) is not None))
        self._doubt("\n" in inside or _HAZARD.search(inside) is not None)
        self._doubt(self._bracket and ("](" in inside or "][" in inside))
        if "|" in inside and self._in_table():
            self._doubt()
            inside = inside.replace("\\|", "|")  # how a cell spells it
        if not self._as_html:
            return f"{token}{clean_code(inside)}{token}"
        inside = inside.replace("\n", " ")
        if inside[0] == inside[-1] == " " and inside.strip():
            inside = inside[1:-1]
        return _html_code(clean_code(inside))

    def _dollars(self, token: str, at: int) -> str:
        if at < self._address_end:
            return "%24" * len(token)
        return self._formula(token, at) or r"\$" * len(token)

    def _single(self, token: str, at: int) -> str:
        r"""``\(`` and ``\[``: formulas as TeX writes them; Jupyter knows them with dollars only."""
        opening = self._run[at : at + 2]
        found = _FORMULA[opening].match(self._run, at)
        if not found or not found[1].strip() or not _is_closed(found[1], opening):
            return token
        if opening == "\\[" and not (
            re.search(r"[=^_\\]", found[1])
            and self._run[:at].rpartition("\n")[2].strip(" \t>") == ""
        ):
            return token  # brackets that were escaped for Markdown's sake
        body = self._laid_out(found[1].strip(), at)
        if not body or body[-1] == "\\":
            return token
        self._position = found.end()
        self._formulas += 1
        mark = "$" if opening == "\\(" else "$$"
        return f"{mark}{self._safe_formula(body)}{mark}"

    def _double(self, token: str, at: int) -> str:
        bracket = self._run[self._position]
        formula = self._formula("\\\\" + bracket, at) if len(token) == 2 else ""
        if formula:
            return formula
        self._position += 1
        return token[: len(token) // 2 * 2] + ("&#91;" if bracket == "[" else "&#40;")

    def _environment(self, token: str, at: int) -> str:
        word = token.lstrip("\\")
        shown = (len(token) - len(word) + 1) // 2  # Markdown shows two backslashes as one
        return self._formula(token.lower(), at) or "&#92;" * shown + word

    def _formula(self, mark: str, at: int) -> str:
        """Return the formula that begins here, or nothing."""
        found = _FORMULA[mark].match(self._run, at) if mark in _FORMULA else None
        if not found or self._run[at - 1 : at] == "\\" or not _is_closed(found[0], mark):
            return ""
        formula = self._laid_out(found[0], at)
        if formula:
            self._position = found.end()
            self._formulas += 1
        return self._safe_formula(formula)

    def _laid_out(self, formula: str, at: int) -> str:
        """Return the formula in as many lines as it may have, or nothing where that is not sure.

        To nbconvert some marks at the beginning of a line open a formula, wherever they are, unless
        they are in one that began at the margin.
        """
        if not _OPENS_LINE.search(formula) or self._run[at - 1 : at] in ("", "\n"):
            return formula
        return "" if "%" in formula else re.sub(r"[ \t]*\n[ \t>]*", " ", formula)

    def _safe_formula(self, formula: str) -> str:
        """Return a formula that is one for TeX and nothing else for anybody else."""
        if "|" in formula and self._in_table():
            formula = re.sub(r"(?<!\\)\|", r"\\vert ", formula)
        # Jupyter puts formulas into finished HTML, where a quotation mark could end an attribute.
        return _FORMULA_UNSAFE.sub(lambda m: m[0] + " ", formula).replace('"', "''")

    def _angle(self, token: str, at: int) -> str:
        link = _AUTOLINK.match(self._run, at)
        if link:
            self._position = link.end()
            return link[0]
        return "&lt;" if _TAG.match(self._run, self._position) else token

    def _image(self, token: str, at: int) -> str:
        kept = _KEPT_IMAGE.match(self._run, self._position - 2)
        if kept:
            self._doubt_address(self._position)
            self._position = kept.end()
            return kept[0]
        return "[image: " if _ALT.match(self._run, self._position) else "["

    def _bang(self, token: str, at: int) -> str:
        return "&#33;" * len(token)  # in a link's text marked takes "!\[" for "!["

    def _link(self, token: str, at: int) -> str:
        if self._leads_astray(at):
            return "]&#40;"
        simple = _SIMPLE_LINK.match(self._run, at)
        if simple:
            self._doubt_address(self._position)
            self._position = simple.end()
            return simple[0]
        target = _TARGET.match(self._run, at)
        self._address_end = max(self._address_end, target.end() if target else 0)
        # A title or an odd address may hide a backtick from those who see a link here.
        tick = self._run.find("`", self._position)
        if tick >= 0:
            between = self._run[self._position : tick]
            self._doubt(")" not in between or re.search(r"[\"'(<\\]", between) is not None)
        return token

    def _definition(self, token: str, at: int) -> str:
        return (
            token
            if _SURE_DEFINITION.match(self._run, at) and not self._leads_astray(at)
            else "]&#58;"
        )

    def _leads_astray(self, at: int) -> bool:
        target = _TARGET.match(self._run, at)
        raw = target["to"] if target else ""
        if _GOOD_SCHEME.match(raw):
            return False
        if len(raw) == 120 and "&" in raw:
            return True  # entities may spell a scheme at any length
        where = re.sub(r"[\x00-\x20\\]", "", unescape(raw))
        return _SCHEME.match(where) is not None and not _GOOD_SCHEME.match(where)

    def _term(self, token: str, at: int) -> str:
        """A line that some renderers take for a definition, which may hold any other block."""
        line = self._run[self._run.rfind("\n", 0, at) + 1 : at]
        return token if line.strip(" \t>") else "&#58;"

    def _address(self, token: str, at: int) -> str:
        self._doubt_address(at)
        return token

    def _command(self, token: str, at: int) -> str:
        return "\\ " + token[1:]

    def _spelt(self, token: str, at: int) -> str:
        """A backslash, and behind it entities that may spell what it begins, on a finished page."""
        return f"{token}<span></span>"

    def _dollar(self, token: str, at: int) -> str:
        """One that is no formula's edge, on a finished page neither."""
        return "%24" if at < self._address_end else "<span>&#36;</span>"

    def _backslash(self, token: str, at: int) -> str:
        return "%5C" if at < self._address_end else "<span>&#92;</span>"

    def _escaped(self, token: str, at: int) -> str:
        if token == r"\<":
            return "&lt;"
        if token == r"\`":
            self._doubt()
            return "&#96;"
        if token[1] == "!":
            return self._bang(token[1:], at + 1)
        if token == r"\]":
            self._position -= 1  # marked takes the backslash away in a link's text
            return "\\"
        return token


def _is_closed(formula: str, mark: str) -> bool:
    """Whether nothing that begins in a formula ends behind it for some renderer."""
    if _ADDRESS.search(formula) or (mark in ("$", "\\(") and re.search(r"\\\\[\[(]", formula)):
        return False
    last = {found["name"]: found["edge"] for found in _ENVIRONMENT.finditer(formula)}
    return all(edge.lower() == "end" for edge in last.values())


def _html_code(text: str) -> str:
    return f"<code>{_PUNCTUATION.sub(_entity, text)}</code>" if text else ""


def _entity(character: re.Match[str]) -> str:
    return f"&#{ord(character[0])};"
