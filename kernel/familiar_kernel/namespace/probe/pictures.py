"""A picture of a value: what a person would see of a figure, an image, an array.

It is made small enough to be sent: its longer side has at most :data:`MAX_SIDE` pixels, and of a
large array only so many are read. The figure is left as it was.
"""

from __future__ import annotations

import base64
import io
import struct
import sys
import zlib
from typing import Any, NamedTuple

from .guard import Guard, ProbeError
from .values import family_of, type_name

MAX_SIDE = 1568
"""Pixels of a picture's longer side: models scale larger ones down themselves."""
MAX_BYTES = 2_200_000
"""Bytes of a picture: endpoints refuse those of more than 5 MB in base64."""
DRAW_SECONDS = 10.0
"""Seconds that drawing may take: a plot of a million points needs some."""
MAX_DRAWING = 20_000
"""Characters of a drawing (SVG) that is sent as its text."""
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
_METHODS = {"_repr_png_": "image/png", "_repr_jpeg_": "image/jpeg", "_repr_svg_": "image/svg+xml"}


class Picture(NamedTuple):
    """A picture as it is sent.

    Attributes:
        mime: its type; ``image/svg+xml`` for a drawing, which is sent as its text.
        data: its bytes, or the drawing's text in UTF-8.
        told: what it is of, and how it was made smaller.
    """

    mime: str
    data: bytes
    told: str

    @property
    def base64(self) -> str:
        """The bytes as base64."""
        return base64.b64encode(self.data).decode("ascii")


def picture_of(value: Any, guard: Guard) -> Picture:
    """Return a picture of a value.

    Raises:
        ProbeError: there is none; the message says what to try.
    """
    told = type_name(value)
    if family_of(value) == "numpy.ndarray":
        return _of_array(value)
    if family_of(value) == "torch.Tensor":
        return _of_array(value.detach().cpu().numpy())
    if isinstance(value, bytes | bytearray):
        return fitted(bytes(value), "", f"{len(value):,} bytes")
    if figure := _figure_of(value):
        return guard.call(lambda: _of_figure(figure, told), "to draw it")  # type: ignore[no-any-return]
    if _is_of("PIL.Image", "Image", value):
        return guard.call(lambda: _of_image(value), "to read it")  # type: ignore[no-any-return]
    for mime, data in _shown(value, guard):
        if data:
            return fitted(data, mime, told)
    raise ProbeError(
        f"A {told} has no picture. Describe it, or draw it with run_python and look at the cell."
    )


def _figure_of(value: Any) -> Any:
    """Return matplotlib's figure that a value is, is part of, or holds; else None."""
    if _is_of("matplotlib.figure", "Figure", value):
        return value
    if _is_of("matplotlib.axes", "Axes", value) or _is_of("matplotlib.artist", "Artist", value):
        return value.figure
    if type(value) in (tuple, list) and value:  # what plt.subplots and ax.plot return
        return _figure_of(value[0])
    return None


def _is_of(module: str, name: str, value: Any) -> bool:
    """Whether a value is of a type of a library that is loaded; nothing is imported for it."""
    known = getattr(sys.modules.get(module), name, None)
    return isinstance(known, type) and issubclass(type(value), known)


def _shown(value: Any, guard: Guard) -> list[tuple[str, bytes]]:
    """Return the pictures that an object shows itself as in a notebook."""
    found: list[tuple[str, Any]] = []
    for name, mime in _METHODS.items():
        method = getattr(type(value), name, None)
        if method is not None:
            found.append((mime, guard.call(lambda m=method: m(value), name)))  # type: ignore[misc]
    if not any(data for _, data in found) and hasattr(type(value), "_repr_mimebundle_"):
        bundle = guard.call(lambda: type(value)._repr_mimebundle_(value), "_repr_mimebundle_")
        bundle = bundle[0] if isinstance(bundle, tuple) else bundle
        if isinstance(bundle, dict):
            found += [(mime, bundle.get(mime)) for mime in _METHODS.values()]
    return [(mime, _plain_bytes(data)) for mime, data in found]


def _plain_bytes(data: Any) -> bytes:
    """Return what a ``_repr_*_`` method gave as bytes: it may be text, base64, or have metadata."""
    data = data[0] if isinstance(data, tuple) and data else data
    if isinstance(data, str):
        if data.lstrip().startswith("<"):
            return data.encode()
        try:
            return base64.b64decode(data, validate=True)
        except ValueError:
            return b""
    return bytes(data) if isinstance(data, bytes | bytearray) else b""


# --------------------------------------------------------------------------------------------------
# Making a picture fit
# --------------------------------------------------------------------------------------------------


def fitted(data: bytes, mime: str, told: str) -> Picture:
    """Return a picture that is small enough to be sent.

    Args:
        data: the picture, or a drawing's text.
        mime: what it is said to be; only of a drawing that counts.
        told: what it is of.

    Raises:
        ProbeError: it cannot be made so.
    """
    if mime == "image/svg+xml":
        return _drawing(data, told)
    # By what it is and not by what it is called: an endpoint refuses the whole conversation that
    # holds a picture of another type than was said.
    mime = _type_of(data)
    if not mime:
        raise ProbeError("These bytes are no PNG, JPEG, GIF or WebP.")
    side = max(_size_of_png(data) or (0, 0)) if mime == "image/png" else 0
    if len(data) <= MAX_BYTES and side <= MAX_SIDE and (side or mime != "image/png"):
        _verify(data)
        return Picture(mime, data, f"{told}, {mime}, {len(data):,} bytes")
    library = _pillow()
    if library is None:
        raise ProbeError(
            f"The picture ({mime}, {len(data):,} bytes) is too large to be sent, and Pillow, which "
            "would scale it, is not installed where the notebook runs. Draw it smaller."
        )
    try:
        image = library.open(io.BytesIO(data))
        return _of_image(image, told)
    except (OSError, ValueError) as err:
        raise ProbeError(f"The picture cannot be read: {type(err).__name__}") from None


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


def _type_of(data: bytes) -> str:
    mime = next((mime for begin, mime in _BEGINNINGS if data.startswith(begin)), "")
    return "" if mime == "image/webp" and data[8:12] != b"WEBP" else mime


def _size_of_png(data: bytes) -> tuple[int, int] | None:
    """Return a PNG's width and height in pixels, which its header holds."""
    if len(data) < 24 or not data.startswith(_BEGINNINGS[0][0]):
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _pillow() -> Any:
    """Return Pillow's ``Image``, where it is installed."""
    try:
        from PIL import Image  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return Image


def _drawing(data: bytes, told: str) -> Picture:
    """Return a drawing rastered, where cairosvg is installed, or else its text."""
    try:
        import cairosvg  # type: ignore[import-not-found,unused-ignore]
    except (ImportError, OSError):  # its library may be missing
        text = data.decode("utf-8", "replace")
        if len(text) > MAX_DRAWING:
            left_out = f"\n[... {len(text) - MAX_DRAWING:,} characters left out ...]"
            text = text[:MAX_DRAWING] + left_out
        return Picture("image/svg+xml", text.encode(), f"{told}, a drawing (SVG), as its text")
    made: bytes = cairosvg.svg2png(bytestring=data, unsafe=False, output_width=MAX_SIDE // 2)
    return fitted(made, "image/png", f"{told}, a drawing (SVG), rastered")


def _of_image(image: Any, told: str = "") -> Picture:
    """Return an image of Pillow's, scaled down where it is too large; the image stays as it is."""
    told = told or f"an image of {image.width:,} x {image.height:,} pixels, mode {image.mode}"
    small = image
    if max(image.size) > MAX_SIDE:
        ratio = MAX_SIDE / max(image.size)
        size = tuple(max(1, round(side * ratio)) for side in image.size)
        told += f", scaled down to {size[0]:,} x {size[1]:,}"
        # Large steps first: a photograph of 100 megapixels would take seconds.
        small = image.resize(size, reducing_gap=2.0)
    if small.mode not in ("L", "LA", "RGB", "RGBA"):
        small = small.convert("RGBA" if "transparency" in small.info else "RGB")
    for kind, options in (("PNG", {"optimize": False}), ("JPEG", {"quality": 85})):
        written = io.BytesIO()
        (small.convert("RGB") if kind == "JPEG" else small).save(written, kind, **options)
        if written.tell() <= MAX_BYTES:
            break
    data = written.getvalue()
    return Picture(f"image/{kind.lower()}", data, f"{told}, {len(data):,} bytes")


def _of_figure(figure: Any, told: str) -> Picture:
    """Return a figure as it would be saved, with fewer dots per inch where it is large."""
    while getattr(figure, "figure", figure) is not figure:  # a subfigure's figure
        figure = figure.figure
    width, height = (float(side) for side in figure.get_size_inches())
    dots = min(100.0, MAX_SIDE / max(width, height, 0.01))
    canvas, written = figure.canvas, io.BytesIO()
    try:
        # Drawn by a canvas of its own: the person's may be a window's.
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        FigureCanvasAgg(figure).print_figure(written, format="png", dpi=dots)
    finally:
        figure.set_canvas(canvas)
    size = f"{width:g} x {height:g} inches"
    return fitted(written.getvalue(), "image/png", f"{told}, {size} at {dots:.0f} dots an inch")


# --------------------------------------------------------------------------------------------------
# Arrays
# --------------------------------------------------------------------------------------------------


def _of_array(value: Any) -> Picture:
    """Return an array as an image: (height, width), or with 1, 3 or 4 channels behind.

    Raises:
        ProbeError: it has another shape or type.
    """
    shape = tuple(value.shape)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)) or 0 in shape:
        raise ProbeError(
            f"An array of shape {shape} is no image: that has height, width, and 1, 3 or 4 "
            "channels. Name a part of it, or draw it with run_python."
        )
    if value.dtype.kind not in "buif":
        raise ProbeError(f"An array of {value.dtype} is no image; draw it with run_python.")
    step = -(-max(shape[:2]) // MAX_SIDE)
    few = value[::step, ::step]  # no copy: a view of what is read
    told = f"an array of {' x '.join(map(str, shape))}, {value.dtype}"
    if step > 1:
        told += f", each {step}th row and column"
    levels, how = _levels(few)
    height, width = levels.shape[:2]
    channels = 1 if levels.ndim == 2 else levels.shape[2]
    data = _png(levels.tobytes(), width, height, channels)
    return fitted(data, "image/png", f"{told}{how}")


def _levels(few: Any) -> tuple[Any, str]:
    """Return an array's values as levels from 0 to 255, and how they were scaled."""
    kind = few.dtype.kind
    if kind == "b":
        return few.astype("uint8") * 255, ""
    if few.dtype.name == "uint8":
        return few, ""
    values = few.astype("float64")
    low, high = _range(values)
    if kind == "f" and low >= 0.0 and high <= 1.0:
        low, high, how = 0.0, 1.0, ", 0 to 1 as black to white"
    elif kind in "ui" and low >= 0 and high <= 255:
        low, high, how = 0.0, 255.0, ""
    else:
        how = f", {low:.4g} to {high:.4g} as black to white"
    scaled = (values - low) * (255.0 / ((high - low) or 1.0))
    scaled[~(scaled >= 0.0)] = 0.0  # also what is no number
    scaled[scaled > 255.0] = 255.0
    return scaled.astype("uint8"), how


def _range(values: Any) -> tuple[float, float]:
    """Return the least and the largest finite value; (0, 0) where there is none."""
    finite = values[abs(values) < float("inf")]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _png(pixels: bytes, width: int, height: int, channels: int) -> bytes:
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
