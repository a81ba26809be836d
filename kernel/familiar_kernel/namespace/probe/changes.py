"""What has changed: something small for each value that differs when the value does."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from typing import Any

from .descriptions import own_attributes, rows_of, step_of, strided
from .guard import Guard, name_of
from .values import MAPPINGS, SEQUENCES, family_of, is_plain, is_trusted, shape_of


def fingerprint(value: Any, guard: Guard | None = None) -> object:
    """Return something small that differs when a value does, as far as can be seen cheaply.

    It holds no reference to the value. A change deep inside, or between the samples of a large
    array, is not seen.
    """
    kind = type(value)
    if is_plain(value):
        return name_of(kind), repr(value)
    if kind is int:
        return "int", value.bit_length(), hash(value)
    if kind in (str, bytes, bytearray):
        few = value if len(value) <= 10_000 else value[:99] + value[:: len(value) // 999]
        return (
            name_of(kind),
            len(value),
            hash(bytes(few) if kind is bytearray else few + value[-99:]),
        )
    if kind in SEQUENCES or kind in MAPPINGS:
        return name_of(kind), id(value), len(value), tuple(map(_token, _ends(value)))
    family = family_of(value)
    seen: object
    try:
        if not family:
            seen = _tokens(itertools.islice(own_attributes(value).items(), 32))
        elif is_trusted(value, family):
            seen = _sampled(value, family)
        else:
            seen = (guard or Guard()).call(lambda: _sampled(value, family))
    except Exception as err:  # what a library raises here is its own affair; it has no fingerprint
        seen = name_of(type(err))
    return name_of(kind), id(value), seen


def _ends(value: Any) -> list[Any]:
    """Return the first and the last 32 elements of a container; of a mapping keys and values."""
    if type(value) in MAPPINGS:
        pairs = [*itertools.islice(value.items(), 32)]
        if len(value) > 32:
            pairs += itertools.islice(reversed(value.items()), 32)
        return list(itertools.chain.from_iterable(pairs))
    few = list(itertools.islice(value, 32))
    if len(value) > 32 and type(value) not in (set, frozenset):
        few += itertools.islice(reversed(value), 32)
    return few


def _token(value: Any) -> object:
    """Return what stands for an element: of small constants the value, else the identity.

    An id alone would not do: a number that is replaced can leave its id to the next.
    """
    kind = type(value)
    if kind is int:
        return value if value.bit_length() < 64 else hash(value)
    if kind is float:
        return value if value == value else "NaN"
    if kind is str:
        return hash(value) if len(value) < 1000 else (len(value), id(value))
    return id(value)


def _cell(value: Any) -> object:
    """Return what stands for a cell of a table, which may be made anew each time it is read."""
    kind = type(value)
    if kind is str:  # most are: to ask which library's they are would cost ten times as much
        return _token(value)
    if is_plain(value):
        return repr(value)
    if kind is tuple:
        return tuple(_token(part) for part in value[:9])
    small = name_of(kind) not in ("ndarray", "void", "object_", "DataFrame", "Series")
    fresh = small and any(is_trusted(value, library) for library in ("numpy", "pandas", "decimal"))
    return repr(value) if fresh else _token(value)


def _tokens(pairs: Iterable[tuple[str, Any]]) -> object:
    return tuple((name, _token(value)) for name, value in pairs)


def _sampled(value: Any, family: str) -> object:
    """Return the shape and what stands for about 64 values of an array or a table."""
    if family == "pandas.DataFrame":
        return _sampled_frame(value)
    facts = shape_of(value, family)
    if family == "numpy.ndarray":
        sample = strided(value, value.flags.c_contiguous, 64)
        if sample.dtype.kind == "O":
            return facts, _cells(sample.flat)
        return facts, None if sample.dtype.hasobject else hash(sample.tobytes())
    if family == "torch.Tensor":
        return facts, str(strided(value.detach(), value.is_contiguous(), 64).tolist())
    step = step_of(len(value), 8 if family.endswith("DataFrame") else 64)
    if family == "polars.DataFrame":
        few = value.gather_every(step)[:, :: step_of(value.shape[1], 8)]
        return facts, tuple(value.columns[:64]), tuple(_cells(row) for row in few.rows())
    if family == "polars.Series":
        return facts, _cells(value.gather_every(step).to_list())
    return facts, _cells(rows_of(value)[::step])


def _sampled_frame(value: Any) -> object:
    """Return the same of a pandas frame, from the arrays that hold its columns.

    A notebook may have a thousand frames: through pandas' own ways each would take 0.4 ms. Its
    ``_mgr.blocks`` are private, and have been what they are since pandas 1.1; where they are not
    there, the frame's own ways serve.
    """
    rows, columns = len(value), len(value.columns)
    step = step_of(rows, 8)
    blocks = getattr(getattr(value, "_mgr", None), "blocks", None)
    if type(blocks) is not tuple:
        few = value.iloc[::step]  # the rows first, which copies nothing
        few = few.iloc[:, :: step_of(columns, 8)].to_numpy(dtype=object)
        return rows, columns, _cells(value.columns[:64]), tuple(_cells(row) for row in few)
    labels = value.columns if columns <= 64 else value.columns[:64]
    seen = tuple(
        _sampled_block(block.values, step) for block in blocks[:: step_of(len(blocks), 16)]
    )
    return rows, columns, _cells(labels.tolist()), seen


def _sampled_block(held: Any, step: int) -> object:
    """Return the type and what stands for a few values of what holds columns of a pandas frame.

    It is an array with a row for each column, or pandas' own of one column or of several. What
    pandas' own hold is read from the arrays behind where these can be had: a slice of pandas' own
    costs thirty times as much as one of an array.
    """
    if isinstance(held, sys.modules["numpy"].ndarray):
        few = held[..., ::step]
        if few.ndim == 2:
            few = few[:: step_of(few.shape[0], 8)]
        return held.dtype.str, _cells(few.flat) if few.dtype.hasobject else hash(few.tobytes())
    kind = str(held.dtype)
    if (moments := getattr(held, "asi8", None)) is not None:
        return kind, hash(moments[..., ::step].tobytes())
    if kind == "category":
        codes, known = held.codes[::step], held.categories.values
        # The code of what is missing, -1, is told from the last category's by the codes themselves.
        return kind, codes.tobytes(), _cells(known[codes]) if len(known) else ()
    return kind, _cells(held[..., ::step].to_numpy(dtype=object))


def _cells(values: Iterable[Any]) -> tuple[object, ...]:
    return tuple(map(_cell, values))
