"""Which characters a stored answer may hold: none that a file, a terminal or a reader stumbles
over.

Control characters are made visible and terminal sequences dropped; half surrogates become U+FFFD,
because a notebook file is UTF-8. Of the bidirectional controls the overrides are made visible
everywhere, and all of them in code, where reordering can make a program read as another ("Trojan
Source"). In prose embeddings and isolates stay: Arabic and Hebrew need them, and each ends with its
paragraph.
"""

from __future__ import annotations

import re
import unicodedata

from familiar_kernel.text import whole

_BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202d\u202e]")
_TERMINAL = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    "|(?:\x1b\\]|\x9d)[^\x07\x1b\x9c\x9d\n]*(?:\x07|\x1b\\\\|\x9c)"  # window titles, links
)
_BIDI = {
    0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF", 0x202D: "LRO", 0x202E: "RLO",
    0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
}  # fmt: skip
_BIDI_VISIBLE = {code: f"\u27e6{name}\u27e7" for code, name in _BIDI.items()}
_BIDI_ANY = re.compile("[\u202a-\u202e\u2066-\u2069]")
_VISIBLE: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: "\u2421",
    **{code: f"\u27e6{code:02X}\u27e7" for code in range(0x80, 0xA0)},
    0x202D: _BIDI_VISIBLE[0x202D],
    0x202E: _BIDI_VISIBLE[0x202E],
}


def clean(text: str) -> str:
    r"""Return the text fit to be stored and shown: valid Unicode, ``\n`` line ends, controls
    visible.
    """
    if not _BAD.search(text):
        return text
    text = _TERMINAL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return whole(text).translate(_VISIBLE)


def clean_code(text: str) -> str:
    """Return clean text fit for code: every bidirectional control visible as well."""
    if text.isascii() or not _BIDI_ANY.search(text):
        return text
    return text.translate(_BIDI_VISIBLE)


def exact(text: str) -> str:
    """Return text of which a person decides what it does: nothing is left out, and what cannot be
    seen is made visible, terminal sequences and characters without a width among it."""
    text = whole(text.replace("\r\n", "\n")).translate(_VISIBLE | _BIDI_VISIBLE)
    if text.isascii():
        return text
    return "".join(
        f"\u27e6U+{ord(c):04X}\u27e7" if c in _BLANK or unicodedata.category(c) == "Cf" else c
        for c in text
    )


_BLANK = frozenset("\u3164\u115f\u1160\u2800\uffa0")
"""Letters and signs that show nothing."""


def one_line(text: str) -> str:
    """Return clean text on one line, white space collapsed."""
    return " ".join(clean(text).split())
