"""Text that any file and any message can carry."""

from __future__ import annotations


def whole(text: str) -> str:
    """Return the text with U+FFFD for each half of a surrogate pair, as any text file would have
    it."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
