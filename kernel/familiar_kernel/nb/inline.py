"""Pictures in the terminal itself, where it can show them (Sixel, Kitty's protocol): textual-image
asks it. To decode a picture is a risk, so those of a sandbox are not decoded outside of it.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TextIO

FORMATS = ("PNG", "JPEG", "GIF")
HEIGHT = 0.6
"""The part of the terminal's lines that a picture may take."""
NARROW = 8
"""Pixels of a picture to a column: a small one is not blown up to the terminal's width."""


def _may_be_asked(out: TextIO) -> bool:
    """Whether a terminal may be asked what it can show: it must be the one that answers."""
    terminal = out is sys.stdout and out.isatty() and sys.stdin.isatty()
    return terminal and os.environ.get("TERM") not in (None, "", "dumb")


def show(picture: Path, out: TextIO) -> bool:
    """Show a picture on a terminal; return False where that cannot be done, and nothing was shown.

    Args:
        picture: a file of one of the :data:`FORMATS`.
        out: the terminal.
    """
    if not _may_be_asked(out):
        return False
    try:
        from PIL import Image, UnidentifiedImageError
        from rich.console import Console
        from textual_image.renderable import Image as Best
        from textual_image.renderable import SixelImage, TGPImage
    except ImportError:
        return False
    if Best not in (SixelImage, TGPImage):
        return False
    console = Console(file=out)
    try:
        with warnings.catch_warnings(), Image.open(picture, formats=FORMATS) as opened:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened.load()
            flat = Image.new("RGB", opened.size, "white")
            flat.paste(opened, mask=opened.convert("RGBA").getchannel("A"))
            lines = max(1, int(console.height * HEIGHT))
            columns = max(1, min(console.width, opened.width // NARROW))
            console.print(Best(flat, "auto", "auto"), width=columns, height=lines)
    except (
        OSError,
        ValueError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ):
        return False
    return True
