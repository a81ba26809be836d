"""A picture of a value: what a person would see of a figure, an image, an array.

Of a large array only so much is read as is shown, and a figure is left as it was.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from typing import Any

from ..errors import ProbeError
from .fitting import (
    DRAWING,
    MAX_BYTES,
    MAX_SIDE,
    Picture,
    fitted,
    of_image,
    pillow,
    png,
    type_of,
)
from .guard import Guard
from .values import family_of, type_name

_METHODS = {"_repr_png_": "image/png", "_repr_jpeg_": "image/jpeg", "_repr_svg_": DRAWING}
_SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", DRAWING)
"""The pictures that an object may show itself as, the best first."""


def picture_of(value: Any, guard: Guard) -> Picture:
    """Return a picture of a value.

    Args:
        value: anything.
        guard: bounds the time that drawing, reading and scaling takes. An object's own methods have
            the time that any code has that is not ours to trust.

    Raises:
        ProbeError: there is none; the message says what to try.
    """
    told = type_name(value)
    if figure := _figure_of(value):
        drawn, how = guard.call(lambda: _drawn(figure), "to draw it")
        return fitted(drawn, "image/png", f"{told}, {how}", guard)
    if family_of(value) == "numpy.ndarray":
        return _of_array(_plain_array(value), guard)
    if family_of(value) == "torch.Tensor":
        return _of_array(value, guard)
    if issubclass(type(value), bytes | bytearray):
        if not type_of(value):  # before it is copied
            raise ProbeError(f"These {len(value):,} bytes are no PNG, JPEG, GIF or WebP.")
        return fitted(bytes(value), "", told, guard)
    if _is_of("PIL.Image", "Image", value):
        told = f"{told} of {value.width:,} x {value.height:,} pixels, mode {value.mode}"
        return guard.call(lambda: of_image(value, told), "to read it")  # type: ignore[no-any-return]
    failed = ""
    own = Guard()
    for mime, data in _shown(value, own):
        if isinstance(data, ProbeError):
            failed = failed or f": {data}"
        elif data:
            return fitted(data, mime, told, guard)
    raise ProbeError(
        f"{told} has no picture{failed}. Describe it, or draw it with run_python and look at the "
        "cell."
    )


def _is_of(module: str, name: str, value: Any) -> bool:
    """Whether a value is of a type of a library that is loaded; nothing is imported for it."""
    known = getattr(sys.modules.get(module), name, None)
    return isinstance(known, type) and issubclass(type(value), known)


# --------------------------------------------------------------------------------------------------
# Figures
# --------------------------------------------------------------------------------------------------


def _figure_of(value: Any, depth: int = 3) -> Any:
    """Return matplotlib's figure that a value is, is part of, or holds; else None."""
    if "matplotlib" not in sys.modules or not depth:
        return None
    if _is_of("matplotlib.figure", "FigureBase", value):
        return value
    if _is_of("matplotlib.artist", "Artist", value):
        return value.figure
    first: list[Any] = []  # of what plt.subplots, ax.plot, ax.bar and ax.hist return
    if type(value) in (tuple, list) or _is_of("matplotlib.container", "Container", value):
        first = list(value[:4])
    elif family_of(value) == "numpy.ndarray":
        plain = _plain_array(value)
        first = list(plain.flat[:1]) if plain.dtype.kind == "O" else []
    return next((found for held in first if (found := _figure_of(held, depth - 1))), None)


def _drawn(figure: Any) -> tuple[bytes, str]:
    """Return a figure as a PNG, with fewer dots per inch where it is large, and how it was drawn.

    The figure keeps its canvas, size, resolution, and whether it is yet to be drawn for the person.
    """
    while getattr(figure, "figure", figure) is not figure:  # a subfigure's figure
        figure = figure.figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    width, height = (float(side) for side in figure.get_size_inches())
    dots = min(100.0, MAX_SIDE / max(width, height, 0.01))
    canvas, stale, callback = figure.canvas, figure.stale, figure.stale_callback
    written = io.BytesIO()
    figure.stale_callback = None  # or a window of the person's would be drawn, and from this thread
    try:
        # Drawn by a canvas of its own: the person's may be a window's. With its own edges: where
        # the person's settings want them tight, a text far out makes it as large as it is far.
        FigureCanvasAgg(figure).print_figure(
            written, format="png", dpi=dots, bbox_inches=Bbox.from_bounds(0, 0, width, height)
        )
    finally:
        figure.set_canvas(canvas)
        figure.stale = stale
        figure.stale_callback = callback
    return written.getvalue(), f"{width:g} x {height:g} inches at {dots:.0f} dots an inch"


# --------------------------------------------------------------------------------------------------
# What shows itself
# --------------------------------------------------------------------------------------------------


def _shown(value: Any, guard: Guard) -> Iterator[tuple[str, bytes | ProbeError]]:
    """Yield the pictures that an object shows itself as in a notebook, or why there is none."""
    for name, mime in _METHODS.items():
        try:
            yield mime, _plain_bytes(guard.call(lambda n=name: _ask(value, n), name))  # type: ignore[misc]
        except ProbeError as err:
            yield mime, err
    name = "_repr_mimebundle_"
    try:
        bundle = guard.call(lambda: _ask(value, name, include=None, exclude=None), name)
    except ProbeError as err:
        yield "", err
        return
    bundle = bundle[0] if type(bundle) is tuple and bundle else bundle
    if type(bundle) is dict:
        for mime in _SHOWN:
            yield mime, _plain_bytes(bundle.get(mime))


def _ask(value: Any, name: str, **named: Any) -> Any:
    """Return what a method says that an object's class may have, called as IPython calls it."""
    method = getattr(type(value), name, None)
    return None if method is None else method(value, **named)


def _plain_bytes(data: Any) -> bytes:
    """Return what a ``_repr_*_`` method gave as bytes: it may be text, base64, or have metadata."""
    data = data[0] if type(data) is tuple and data else data
    if isinstance(data, str):
        if data.lstrip().startswith("<"):
            return data.encode("utf-8", "replace")
        try:
            return base64.b64decode("".join(data.split()), validate=True)
        except ValueError:
            return b""
    return bytes(data) if isinstance(data, bytes | bytearray) else b""


# --------------------------------------------------------------------------------------------------
# Arrays
# --------------------------------------------------------------------------------------------------


def _plain_array(value: Any) -> Any:
    """Return an array as numpy's own, which shares its memory: a subclass's code may do anything.

    A masked array stays one, or what is masked would be shown.
    """
    if _is_of("numpy.ma", "MaskedArray", value) and type(value).__module__.startswith("numpy."):
        return value
    array = sys.modules["numpy"].ndarray
    return array.view(value, array)


def _of_array(value: Any, guard: Guard) -> Picture:
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
    step = -(-max(shape[:2]) // MAX_SIDE)
    while True:
        few = value[::step, ::step]  # no copy: a view of what is read
        if family_of(few) == "torch.Tensor":
            few = guard.call(lambda part=few: part.detach().cpu().numpy(), "to read it")  # type: ignore[misc]
        if few.dtype.kind not in "buif":
            raise ProbeError(f"An array of {few.dtype} is no image; draw it with run_python.")
        levels, how = _levels(few)
        height, width = levels.shape[:2]
        channels = 1 if levels.ndim == 2 else levels.shape[2]
        data = png(levels.tobytes(), width, height, channels)
        if len(data) <= MAX_BYTES or pillow() is not None:  # which makes a JPEG of it
            break
        step *= 2
    told = f"an array of {' x '.join(map(str, shape))}, {value.dtype}"
    if step > 1:
        told += f", one row and column in {step}"
    return fitted(data, "image/png", f"{told}{how}", guard)


def _levels(few: Any) -> tuple[Any, str]:
    """Return an array's values as levels from 0 to 255, and how they were scaled."""
    kind = few.dtype.kind
    masked = hasattr(few, "filled")
    if not masked and kind == "b":
        return few.astype("uint8") * 255, ""
    if not masked and few.dtype.name == "uint8":
        return few, ""
    values = few.astype("float64")
    if masked:
        values = values.filled(float("nan"))
    low, high = _range(values)
    if kind == "f" and low >= 0.0 and high <= 1.0:
        low, high, how = 0.0, 1.0, ", 0 to 1 as black to white"
    elif kind == "b":
        low, high, how = 0.0, 1.0, ""
    elif kind in "ui" and low >= 0 and high <= 255:
        low, high, how = 0.0, 255.0, ""
    else:
        how = f", {low:.4g} to {high:.4g} as black to white"
    scaled = (values - low) * (255.0 / ((high - low) or 1.0))
    scaled[~(scaled >= 0.0)] = 0.0  # also what is no number
    scaled[scaled > 255.0] = 255.0
    return scaled.astype("uint8"), how + (", what is masked black" if masked else "")


def _range(values: Any) -> tuple[float, float]:
    """Return the least and the largest finite value; (0, 0) where there is none."""
    finite = values[abs(values) < float("inf")]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
