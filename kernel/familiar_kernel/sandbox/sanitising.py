"""Takes from a hostile output what could act or load, and leaves what can be read.

The browser that shows an output has the user's rights on the Jupyter server, and a network. So what
is left here may neither run, nor lead a click to anything but another page, nor fetch anything
while it is looked at, nor leave its place, nor take the looks of the front end's own controls.
Everything that is not known is left out.

Each function takes one text and returns it safe, or None where it cannot be made safe and useful.
None raises on any text of valid Unicode, and none takes long (see :func:`_is_cheap`).
"""

from __future__ import annotations

import base64
import functools
import math
import re
import threading
from html import unescape
from typing import TYPE_CHECKING, Any

from familiar_kernel.text import whole

if TYPE_CHECKING:
    import nh3

LONGEST_PAGE = 10_000_000
"""Characters of HTML or SVG that are worked on at most: two seconds, at worst."""
LONGEST_PROSE = 1_000_000
"""Characters of Markdown or LaTeX that are worked on at most: two seconds, at worst."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# --------------------------------------------------------------------------------------------------
# HTML
# --------------------------------------------------------------------------------------------------

_TAGS = _words(
    "a abbr article aside b bdi bdo big blockquote br caption center cite code col colgroup dd "
    "del details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i "
    "img ins kbd li main mark meter nav ol p pre progress q rp rt ruby s samp section small "
    "span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr"
)
_TAGS_GONE_WITH_CONTENTS = _words(
    "script style svg math template noscript iframe frame frameset object embed applet audio "
    "video canvas map select textarea datalist title xmp noembed noframes plaintext portal"
)
_ATTRIBUTES = {
    "*": frozenset(["class", "id", "style", "title", "dir", "lang", "align"]),
    "a": frozenset({"href"}),
    "col": frozenset({"span", "width"}),
    "colgroup": frozenset({"span", "width"}),
    "details": frozenset({"open"}),
    "font": frozenset({"color"}),
    "hr": frozenset({"width"}),
    "img": frozenset({"src", "alt", "width", "height"}),
    "li": frozenset({"value"}),
    "meter": frozenset({"value", "min", "max", "low", "high", "optimum"}),
    "ol": frozenset({"start", "type", "reversed"}),
    "progress": frozenset({"value", "max"}),
    "table": frozenset({"border", "cellpadding", "cellspacing", "width"}),
    "td": frozenset({"colspan", "rowspan", "valign", "width", "height", "bgcolor"}),
    "th": frozenset({"colspan", "rowspan", "valign", "width", "height", "bgcolor", "scope"}),
    "tr": frozenset({"valign", "bgcolor"}),
}
_LINK = re.compile(r"(?:https?://|mailto:)[^\x00-\x20\\]*", re.IGNORECASE)
_BITMAP = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,")
_CLASS = re.compile(
    # pandas and its Styler, colours of a terminal, what MathJax is to leave alone.
    r"dataframe|data|blank|caption|(?:row|col|index)_(?:heading|name)|(?:row|col|level)\d{1,6}"
    r"|col_trim|row_trim|ansi-[a-z-]{1,30}|(?:mathjax|tex2jax)_ignore",
    re.ASCII,
)
_STYLER_ID = re.compile(r"T_\w{1,80}", re.ASCII)
"""The ids that pandas' Styler gives; so nothing of the page can be named by an output."""
_LONG = 500
"""Characters of an attribute that are kept at most."""
_SHORT_VALUE = re.compile(r"[\w#%.,+ -]{0,40}", re.ASCII)
_SHOWN_WITHOUT_TEXT = re.compile(r"<(?:hr|meter|progress)\b|<img\b[^>]* (?:src|alt)=\"[^\"]")
_TEXT = re.compile(r"(?:\A|>)(?:\s|&nbsp;)*+[^\s<]")
_TAG = re.compile(r"<[^>]*>")


def safe_html(source: str) -> str | None:
    """Return HTML that can neither act nor load anything, or None where nothing of it is left to
    see.

    Tables, text, colours, links to the web and pictures that are in the HTML itself stay. So do
    the styles that pandas' Styler puts beside a table, as far as they apply to that table.
    """
    if "\x00" in source:
        source = source.replace("\x00", "\ufffd")
    if len(source) > LONGEST_PAGE or not _is_cheap(source):
        return None
    safe = _clean(source)
    if not (_TEXT.search(safe) or _SHOWN_WITHOUT_TEXT.search(safe)):
        return None
    if "\\" in safe and _COMMAND_ANYWHERE.search(_TAG.sub("", safe)):
        safe = f'<div class="{_NOT_TYPESET}">{safe}</div>'
    style = _styles(source) if "#T_" in source else ""
    return style + safe


def _clean(source: str) -> str:
    """Run the sanitiser.

    An exception in its callback would let the attribute pass, and an interrupt raises one in the
    main thread at any moment; so there it runs in another.
    """
    if threading.current_thread() is not threading.main_thread():
        return _cleaner().clean(source)
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(_cleaner().clean(source)))
    thread.start()
    thread.join()
    return results[0] if results else ""


@functools.cache
def _cleaner() -> nh3.Cleaner:
    import nh3  # only where HTML is shown: the kernel's start does not pay for it

    return nh3.Cleaner(
        tags=set(_TAGS),
        clean_content_tags=set(_TAGS_GONE_WITH_CONTENTS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=_attribute,
        generic_attribute_prefixes=set(),  # above all no data-*: some are commands to JupyterLab
        link_rel="noopener noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
        strip_comments=True,
        url_relative="deny",
        url_schemes={"http", "https", "mailto", "data"},
    )


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Return what an allowed attribute may hold, or None."""
    # Short enough that a browser, or the sanitiser, may repeat it for each paragraph.
    match name:
        case "style":
            return (safe_style(value) if len(value) <= _LONG else "") or None
        case "class":
            return " ".join(filter(_CLASS.fullmatch, value[:_LONG].split())) or None
        case "id":
            return value if _STYLER_ID.fullmatch(value) else None
        case "href":
            return value if len(value) <= 4 * _LONG and _LINK.fullmatch(value) else None
        case "src":
            bitmap = _BITMAP.match(value)
            return value if bitmap and is_base64(value[bitmap.end() :]) else None
        case "title" | "alt":
            return value[:_LONG]
        case "rel" | "target":  # the sanitiser's own
            return value
    return value if _SHORT_VALUE.fullmatch(value) else None


# --------------------------------------------------------------------------------------------------
# Styles
# --------------------------------------------------------------------------------------------------

_PROPERTIES = _words(
    "color background background-color opacity font font-family font-size font-style "
    "font-variant font-weight line-height text-align text-decoration text-transform "
    "vertical-align white-space word-break overflow-wrap border border-collapse border-spacing "
    "border-color border-style border-width border-radius border-top border-right border-bottom "
    "border-left border-top-color border-right-color border-bottom-color border-left-color "
    "border-top-style border-right-style border-bottom-style border-left-style border-top-width "
    "border-right-width border-bottom-width border-left-width padding padding-top padding-right "
    "padding-bottom padding-left margin margin-top margin-right margin-bottom margin-left width "
    "height min-width min-height max-width max-height display overflow overflow-x overflow-y "
    "table-layout caption-side empty-cells list-style-type"
)
_VALUE = re.compile(r"[\w\s.,%#+/'\"()!-]{1,500}", re.ASCII)
"""No backslash, colon, brace or asterisk: so nothing in it is escaped, and no function hidden."""
_FUNCTION = re.compile(r"([\w-]*)\(", re.ASCII)
_FUNCTIONS = frozenset({"rgb", "rgba", "hsl", "hsla", "linear-gradient", "var"})
_NEGATIVE = re.compile(r"(?<![\w-])-[\d.]")
_SELECTOR = re.compile(r"#T_\w{1,80}[\w\s.#:>()-]{0,300}", re.ASCII)
"""What is the Styler's table or in it: no ``+``, ``~`` and ``*``, which lead out of it."""


@functools.lru_cache(maxsize=1024)
def safe_style(declarations: str) -> str:
    """Return those CSS declarations that load nothing and move nothing out of its place."""
    return "; ".join(filter(None, map(_declaration, declarations.split(";"))))


def _declaration(text: str) -> str:
    name, _, value = text.partition(":")
    name, value = name.strip().lower(), " ".join(value.split())
    if name not in _PROPERTIES or not _VALUE.fullmatch(value):
        return ""
    if not all(found in _FUNCTIONS for found in _FUNCTION.findall(value.lower())):
        return ""
    if value.count("(") != value.count(")") or value.count("'") % 2 or value.count('"') % 2:
        return ""
    if name.startswith("margin") and _NEGATIVE.search(value):
        return ""  # would lie over what stands beside it
    return f"{name}: {value}"


def _styles(source: str) -> str:
    """Return a style element with the rules of Stylers in a page, or nothing.

    What is found need not be what a browser takes for style elements: the rules are written anew,
    from characters that are harmless wherever they came from.
    """
    rules: list[str] = []
    start = source.find("<style")
    while start >= 0:
        begin = source.find(">", start) + 1
        end = source.find("</style", begin)
        if not begin or end < 0:
            break
        rules += map(_rule, source[begin:end].split("}"))
        start = source.find("<style", end)
    rules = list(filter(None, rules))
    return "<style>\n" + "\n".join(rules) + "\n</style>\n" if rules else ""


def _rule(text: str) -> str:
    selectors, _, declarations = text.partition("{")
    allowed = [one.strip() for one in selectors.split(",") if _selects_styler(one.strip())]
    short = len(declarations) <= 4 * _LONG
    style = safe_style(declarations) if allowed and short else ""
    return f"{', '.join(allowed)} {{ {style} }}" if style else ""


def _selects_styler(selector: str) -> bool:
    return bool(_SELECTOR.fullmatch(selector)) and selector.count("(") == selector.count(")")


# --------------------------------------------------------------------------------------------------
# What a page costs
# --------------------------------------------------------------------------------------------------

_SHORT = 20_000
_FEW_TAGS = 100
_DEEPEST = 256
_COSTLIEST = 100_000
_VOID = _words("area base br col embed hr img input link meta source track wbr")
_ENDS_BY_ITSELF = _words("p li dt dd tr td th thead tbody tfoot option colgroup")
_FORMATS = _words("a b big code em font i nobr s small strike strong tt u")
_OPENS_TAG = re.compile(r"<[A-Za-z/!?]")
_PLAIN_COMMENT = re.compile(r"<!--(?:[^-<>]|-(?!-))*+-->|<!doctype[^<>]*+>", re.IGNORECASE)
_PLAIN_TAG = re.compile(
    r"<(/?[A-Za-z][A-Za-z0-9-]*+)"
    r"(?:\s++[A-Za-z_:@][\w:.@-]*+(?:\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+'|[^\s\"'<>=`]++))?+){0,64}+"
    r"\s*+/?>",
    re.ASCII,
)


def _is_cheap(source: str) -> bool:
    """Whether a page takes a parser time and memory in proportion to its length.

    HTML's rules for elements that are not closed make a parser work, and write, with the square of
    their number: half a megabyte of ``<div>`` takes 20 seconds. A short page cannot cost much; any
    other must be written as programs write it: plain tags, closed in the order they were opened.
    """
    if len(source) <= _SHORT and source.count("<") <= _FEW_TAGS:
        return True
    source = _PLAIN_COMMENT.sub("", source)
    names = _PLAIN_TAG.findall(source)
    if len(names) != len(_OPENS_TAG.findall(source)):
        return False
    stack: list[str] = []
    formats = cost = 0
    for name in names:
        name = name.lower()
        if name[0] != "/":
            cost += formats  # each may be opened anew for what comes here
            if cost > _COSTLIEST:
                return False
            if name in _VOID or (name in _ENDS_BY_ITSELF and stack and stack[-1] == name):
                continue
            formats += name in _FORMATS
            stack.append(name)
            if len(stack) > _DEEPEST:
                return False
        elif name[1:] not in _VOID:
            while stack and stack[-1] != name[1:] and stack[-1] in _ENDS_BY_ITSELF:
                stack.pop()
            if not stack or stack.pop() != name[1:]:
                return False
            formats -= name[1:] in _FORMATS
    return True


# --------------------------------------------------------------------------------------------------
# Formulas, Markdown and pictures
# --------------------------------------------------------------------------------------------------

_NOT_TYPESET = "mathjax_ignore tex2jax_ignore"
_NAMES = (
    # That link, load, style or name; that change what formulas elsewhere on the page mean.
    r"href|url|html|class|style|cssId|data|require|unicode|includegraphics|bbox|mmlToken|csname"
    r"|[gex]?def|let|futurelet|(?:re)?new(?:command|environment)|providecommand|Declare|Newextarrow"
    r"|definecolor|catcode|special|input|include|usepackage|setOptions"
)
_COMMAND = re.compile(rf"\\(?:(?:{_NAMES})(?![A-Za-z])|html|Declare)", re.IGNORECASE)
_COMMAND_ANYWHERE = re.compile(rf"\\(?:{_NAMES})", re.IGNORECASE)
"""Also where more letters follow: elements may have stood between them."""


def safe_latex(source: str) -> str | None:
    """Return LaTeX if it only typesets: no links, no styles, no definitions."""
    if len(source) > LONGEST_PROSE or not source.strip() or _COMMAND.search(source):
        return None
    return source


def safe_markdown(source: str) -> str | None:
    """Return Markdown in which raw HTML is text and pictures of other places are links.

    Formulas with commands that link, load or define are not typeset, and with them no other.
    """
    if len(source) > LONGEST_PROSE or not source.strip():
        return None
    from familiar_kernel.answer.markdown import defang

    safe = defang(source)
    # Entities may spell a command, also where defang has put something between.
    if _COMMAND_ANYWHERE.search(unescape(safe.replace("<span></span>", ""))):
        return f'<div class="{_NOT_TYPESET}">\n\n{safe}\n\n</div>\n'
    return safe


_SVG = re.compile(r"<svg\b(?P<attributes>[^>]*)", re.IGNORECASE)


def safe_svg(source: str) -> str | None:
    """Return HTML that shows an SVG as a picture: there it runs no script and loads nothing."""
    root = _SVG.search(source)
    if len(source) > LONGEST_PAGE or not root or "<!ENTITY" in source:
        return None
    if "xmlns=" not in root["attributes"]:
        at = root.start("attributes")
        source = f'{source[:at]} xmlns="http://www.w3.org/2000/svg"{source[at:]}'
    encoded = base64.b64encode(source.encode()).decode("ascii")
    return f'<img src="data:image/svg+xml;base64,{encoded}" alt="a drawing">'


_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n\r \t"


def is_base64(text: str) -> bool:
    """Whether a text holds only what base64 is written with."""
    return text.isascii() and not text.encode("ascii").translate(None, _BASE64)


# --------------------------------------------------------------------------------------------------
# Sound values
# --------------------------------------------------------------------------------------------------

_DEEPEST_JSON = 64


def text_of(value: Any) -> str | None:
    """Return a text as valid Unicode, or None if it is no text."""
    return whole(value) if isinstance(value, str) else None


class _Unsound(Exception):
    """A value that JSON cannot express, or that is too deep for those who read it."""


def json_or_none(value: Any) -> Any:
    """Return a value as JSON that everybody can read, or None."""
    try:
        return _json(value, 0)
    except _Unsound:
        return None


def _json(value: Any, depth: int) -> Any:
    if depth > _DEEPEST_JSON:
        raise _Unsound
    match value:
        case str():
            return whole(value)
        case None | bool():
            return value
        case int() if value.bit_length() <= 1024:
            return value
        case float() if math.isfinite(value):
            return value
        case list() | tuple():
            return [_json(one, depth + 1) for one in value]
        case dict() if all(isinstance(name, str) for name in value):
            return {whole(name): _json(one, depth + 1) for name, one in value.items()}
    raise _Unsound
