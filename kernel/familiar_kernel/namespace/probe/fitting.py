"""Making a picture fit: of few enough pixels and bytes to be sent, and of a type that is known."""

from __future__ import annotations

import base64
import io
import re
import struct
import sys
import zlib
from typing import Any, NamedTuple

from ..errors import ProbeError
from .guard import Guard

MAX_SIDE = 1568
"""Pixels of a picture's longer side: models scale larger ones down themselves."""
MAX_BYTES = 2_200_000
"""Bytes of a picture: endpoints refuse those of more than 5 MB in base64."""
DRAW_SECONDS = 10.0
"""Seconds that drawing or scaling may take: a plot of a million points needs some."""
MAX_DRAWING = 20_000
"""Characters of a drawing (SVG) that is sent as its text."""
DRAWING = "image/svg+xml"
_DRAWING_SIDE = 1024
"""Pixels of the longer side of a drawing that is rastered: it has none of its own."""
_FEW_PIXELS = 25_000_000
"""Pixels of an image that may be converted as a whole, where its colours must be to be scaled."""
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
_LENGTH = r"\s*=\s*[\"']\s*([\d.]+)(?:px|pt|pc|mm|cm|in)?\s*[\"']"
_VIEW = r"\sviewBox\s*=\s*[\"']\s*[-\d.e]+[\s,]+[-\d.e]+[\s,]+([\d.]+)[\s,]+([\d.]+)\s*[\"']"


class Picture(NamedTuple):
    """A picture as it is sent.

    Attributes:
        mime: its type; ``image/svg+xml`` for a drawing, which is sent as its text.
        data: its bytes, or the drawing's text in UTF-8.
        told: what it is of, its type and size, and how it was made smaller.
    """

    mime: str
    data: bytes
    told: str

    @property
    def base64(self) -> str:
        """The bytes as base64."""
        return base64.b64encode(self.data).decode("ascii")


def fitted(data: bytes, mime: str, told: str, guard: Guard | None = None) -> Picture:
    """Return a picture that is small enough to be sent.

    Args:
        data: the picture, or a drawing's text.
        mime: what it is said to be; only of a drawing that counts.
        told: what it is of.
        guard: bounds the time that reading and scaling takes.

    Raises:
        ProbeError: it cannot be made so; the message says what to do.
    """
    guard = guard or Guard(DRAW_SECONDS, DRAW_SECONDS)
    if mime == DRAWING:
        return _of_drawing(data, told, guard)
    # By what it is and not by what it is called: an endpoint refuses the whole conversation that
    # holds a picture of another type than was said.
    mime = type_of(data)
    if not mime:
        raise ProbeError("These bytes are no PNG, JPEG, GIF or WebP.")
    size = size_of(data, mime)
    if size and max(size) <= MAX_SIDE and len(data) <= MAX_BYTES:
        _verify(data)
        return Picture(mime, data, f"{told}, {mime} of {_pixels(size)}, {len(data):,} bytes")
    shape = f"{mime} of {_pixels(size)}" if size else mime
    library = pillow()
    if library is None:
        raise ProbeError(
            f"The picture ({shape}, {len(data):,} bytes) is too large to be sent, and Pillow, "
            "which would scale it, is not installed where the notebook runs. Draw it smaller."
        )
    most = library.MAX_IMAGE_PIXELS
    if size and most and size[0] * size[1] > 2 * most:
        raise ProbeError(
            f"The picture ({shape}) has more pixels than Pillow reads, as the memory might not "
            "hold them. Draw it smaller, or read a part of it with run_python."
        )

    def scaled() -> Picture:
        image = library.open(io.BytesIO(data))
        if mime == "image/jpeg":  # it can be read at half, a quarter or an eighth of its size
            image.draft(None, (MAX_SIDE, MAX_SIDE))
        return of_image(image, f"{told}, {shape}")

    try:
        picture: Picture = guard.call(scaled)
    except ProbeError as err:
        raise ProbeError(f"The picture ({shape}) cannot be read: {err}") from None
    return picture


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]:,} x {size[1]:,} pixels"


def _verify(data: bytes) -> None:
    """Refuse a picture that is broken, where the notebook has loaded what can tell.

    Raises:
        ProbeError: it is broken.
    """
    library = sys.modules.get("PIL.Image")
    if library is None:
        return
    try:
        library.open(io.BytesIO(data)).verify()
    except Exception as err:  # Pillow raises what the format's reader raises, SyntaxError among it
        raise ProbeError(f"The picture cannot be read: {type(err).__name__}") from None


def type_of(data: bytes | bytearray) -> str:
    """Return the type of a picture's bytes, from how they begin; empty of anything else."""
    mime = next((mime for begin, mime in _BEGINNINGS if data.startswith(begin)), "")
    return "" if mime == "image/webp" and data[8:12] != b"WEBP" else mime


def size_of(data: bytes, mime: str) -> tuple[int, int] | None:
    """Return a picture's width and height in pixels, as its header has them; None without one."""
    try:
        if mime == "image/png":
            width, height = struct.unpack_from(">II", data, 16)
        elif mime == "image/gif":
            width, height = struct.unpack_from("<HH", data, 6)
        elif mime == "image/jpeg":
            width, height = _size_of_jpeg(data)
        else:
            width, height = _size_of_webp(data)
    except (struct.error, IndexError):
        return None
    return (width, height) if width and height else None


def _size_of_jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    while True:
        while data[at + 1] == 0xFF:  # bytes that fill up to the next marker
            at += 1
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # the frame's header
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if data[at] != 0xFF or marker == 0xDA:  # the picture begins: there is no header
            raise IndexError
        at += 2 + length


def _size_of_webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        low, high = struct.unpack_from("<IH", data, 24)
        return (low & 0xFFFFFF) + 1, (low >> 24 | high << 8) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def pillow() -> Any:
    """Return Pillow's ``Image``, where it is installed."""
    try:
        from PIL import Image  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return Image


# --------------------------------------------------------------------------------------------------
# Drawings
# --------------------------------------------------------------------------------------------------


def _of_drawing(data: bytes, told: str, guard: Guard) -> Picture:
    """Return a drawing rastered, where cairosvg is installed and can, or else its text."""
    why = ""
    try:
        import cairosvg  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except (ImportError, OSError):  # its library may be missing
        pass
    else:
        width, height = _drawing_size(data[:20_000].decode("utf-8", "replace"))
        try:
            made = guard.call(
                lambda: cairosvg.svg2png(
                    bytestring=data, unsafe=False, output_width=width, output_height=height
                ),
                "to raster it",
            )
            return fitted(made, "image/png", f"{told}, a drawing (SVG), rastered", guard)
        except ProbeError as err:
            why = f", as {err}"
    text = data.decode("utf-8", "replace")
    told += f", a drawing (SVG) of {len(text):,} characters, as its text{why}"
    if len(text) > MAX_DRAWING:
        left_out = f"\n[... {len(text) - MAX_DRAWING:,} characters left out ...]"
        text = text[:MAX_DRAWING] + left_out
    return Picture(DRAWING, text.encode(), told)


def _drawing_size(text: str) -> tuple[int, int]:
    """Return the width and height in pixels at which a drawing is rastered, in its proportions."""
    start = text.find("<svg")
    head = text[start : text.find(">", start)]
    named = [re.search(rf"\s{name}{_LENGTH}", head) for name in ("width", "height")]
    sides = [found[1] for found in named if found]
    if len(sides) < 2:
        sides = list(found.groups()) if (found := re.search(_VIEW, head)) else ["1", "1"]
    try:
        width, height = (max(float(side), 1e-9) for side in sides)
    except ValueError:  # as of "1.2.3"
        width = height = 1.0
    ratio = _DRAWING_SIDE / max(width, height)
    return max(1, round(width * ratio)), max(1, round(height * ratio))


# --------------------------------------------------------------------------------------------------
# Images and pixels
# --------------------------------------------------------------------------------------------------


def of_image(image: Any, told: str) -> Picture:
    """Return an image of Pillow's, scaled down where it is too large; the image stays as it is."""
    small = image
    if max(image.size) > MAX_SIDE:
        ratio = MAX_SIDE / max(image.size)
        size = tuple(max(1, round(side * ratio)) for side in image.size)
        told += f", scaled down to {size[0]:,} x {size[1]:,}"
        if image.mode in ("1", "P", "PA") and image.width * image.height <= _FEW_PIXELS:
            # Or thin lines and letters would be lost, as numbers of colours cannot be mixed.
            small = image.convert("L" if image.mode == "1" else "RGBA")
        if small.mode[0] in "IF":  # numbers of more than 8 bits, some of which cannot be mixed
            small = small.resize(size, 0)
        else:
            # Large steps first: a photograph of 100 megapixels would take seconds.
            small = small.resize(size, reducing_gap=2.0)
    if small.mode[0] in "IF":
        small, how = _of_numbers(small)
        told += how
    elif small.mode not in ("L", "LA", "RGB", "RGBA"):
        small = small.convert("RGBA" if "transparency" in small.info else "RGB")
    for quality in (0, 85, 50, 20):
        written = io.BytesIO()
        if quality:
            small.convert("RGB").save(written, "JPEG", quality=quality)
        else:
            small.save(written, "PNG")
        if written.tell() <= MAX_BYTES:
            break
    data = written.getvalue()
    mime = "image/jpeg" if quality else "image/png"
    return Picture(mime, data, f"{told}, sent as {mime}, {len(data):,} bytes")


def _of_numbers(image: Any) -> tuple[Any, str]:
    """Return an image of integers or floats in levels of grey, and how they were scaled.

    Pillow's own conversion would make everything above 255 white.
    """
    if image.mode != "F":
        image = image.convert("I").convert("F")
    low, high = image.getextrema()
    if low >= 0.0 and 1.0 < high <= 255.0:
        return image.convert("L"), ""
    if not abs(high - low) < float("inf"):
        return image.convert("L"), ", 0 to 255 as black to white, as some are no numbers"
    if low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    scale = 255.0 / ((high - low) or 1.0)
    levels = image.point(lambda value: value * scale - low * scale).convert("L")
    return levels, f", {low:.4g} to {high:.4g} as black to white"


def png(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    """Return pixels of 8 bits a channel as a PNG (W3C's PNG specification, third edition).

    Written here because the notebook's process may have numpy and nothing that writes pictures.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    row = width * channels
    lines = b"".join(b"\0" + pixels[at : at + row] for at in range(0, row * height, row))
    colour = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 3)) + chunk(b"IEND", b"")
    return _BEGINNINGS[0][0] + body
