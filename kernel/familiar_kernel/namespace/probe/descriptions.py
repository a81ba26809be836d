"""What a value holds, in pages: of large data a sample, of a foreign object its attributes."""

from __future__ import annotations

import inspect
import itertools
import math
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from ..errors import ProbeError
from .guard import Guard, cut, name_of, of_type
from .values import (
    CALLABLES,
    MAPPINGS,
    SEQUENCES,
    facts_of,
    family_of,
    is_trusted,
    short,
    type_name,
)

ITEMS = 40
"""Columns, items or attributes on a page of a description."""
SAMPLE = 200_000
"""Values of a large array or column that are looked at."""


class _Described(NamedTuple):
    """A description: its head, and items of which a page shows some."""

    head: list[str]
    items: str
    """What the items are."""
    total: int
    lines: Callable[[int, int], list[str]]
    """The lines of the items from one number up to another."""
    page: int = ITEMS
    """Items on a page."""


def _nothing(head: list[str]) -> _Described:
    return _Described(head, "items", 0, lambda start, stop: [])


def describe_value(value: Any, guard: Guard) -> _Described:
    kind = type(value)
    family = family_of(value)
    if family:
        reader = _READERS[family]
        if is_trusted(value, family):
            return reader(value, guard)
        try:
            return cast(_Described, guard.call(lambda: reader(value, guard)))
        except ProbeError:  # what it derived does not work as the library's does; its repr says why
            return _object(value, guard)
    if kind in (str, bytes, bytearray):
        return _text(value, guard)
    if kind in MAPPINGS or kind in SEQUENCES:
        return _container(value, guard)
    if issubclass(kind, type) or kind in CALLABLES:
        return _code(value, guard)
    return _object(value, guard)


def _text(value: Any, guard: Guard) -> _Described:
    size = 2000

    def lines(start: int, stop: int) -> list[str]:
        part = value[start * size : stop * size]
        return [part if type(part) is str else repr(part)]

    head = [f"{type_name(value)} of {facts_of(value, guard)}"]
    return _Described(head, f"parts of {size:,}", math.ceil(len(value) / size), lines, 1)


def _series(value: Any, guard: Guard) -> _Described:
    head = [f"{type_name(value)}: {facts_of(value, guard)}"]
    step = step_of(len(value))

    def summary() -> str:
        polars = family_of(value) == "polars.Series"
        said = _column(value.gather_every(step) if polars else rows_of(value)[::step], step)
        return said + (f" (of one in {step:,})" if step > 1 else "")

    head.append(guard.text(summary, "its summary"))
    first = guard.text(lambda: cut(str(list(rows_of(value)[:10])), 400), "its head")
    return _nothing([*head, f"First: {first}"])


def _tensor(value: Any, guard: Guard) -> _Described:
    def summary() -> str:
        sample = strided(value.detach(), value.is_contiguous())
        return _numbers(sample.float().cpu().numpy()) + _part(sample.nelement(), value.nelement())

    head = [f"{type_name(value)}: {facts_of(value, guard)}, requires_grad={value.requires_grad}"]
    return _nothing([*head, guard.text(summary, "its summary")])


def _container(value: Any, guard: Guard) -> _Described:
    kinds: dict[str, int] = {}
    held = value.values() if type(value) in MAPPINGS else value
    for item in list(itertools.islice(held, 1000)):
        kinds[type_name(item)] = kinds.get(type_name(item), 0) + 1
    common = sorted(kinds, key=lambda k: -kinds[k])[:5]
    of = f" of {', '.join(common)}" if common else ""

    def lines(start: int, stop: int) -> list[str]:
        if type(value) in MAPPINGS:
            some = list(itertools.islice(value.items(), start, stop))
            return [f"{short(k, guard)}: {short(v, guard, limit=200)}" for k, v in some]
        some = list(itertools.islice(value, start, stop))
        return [f"[{i}] {short(v, guard, limit=200)}" for i, v in enumerate(some, start)]

    head = [f"{type_name(value)} with {facts_of(value, guard)}{of}"]
    return _Described(head, "items", len(value), lines)


def step_of(count: int, most: int = SAMPLE) -> int:
    step = max(1, -(-count // most))
    return step if step == 1 else step | 1  # odd, as what repeats often does so in twos


def strided(value: Any, contiguous: bool, most: int = SAMPLE) -> Any:
    """Return a view of an array or tensor that has at most about so many values, spread over it."""
    shape = tuple(value.shape)
    if contiguous and shape:
        return value.reshape(-1)[:: step_of(math.prod(shape), most)]
    ratio = math.prod(shape) / most
    slices = []
    for size in shape:
        step = min(max(1, math.ceil(ratio)), max(1, size))
        ratio /= step
        slices.append(slice(None, None, step))
    return value[tuple(slices)] if slices else value


def _part(seen: int, count: int) -> str:
    return "" if seen == count else f" (of {seen:,} values, spread over it)"


def _array(value: Any, guard: Guard) -> _Described:
    numpy = sys.modules["numpy"]

    def summary() -> str:
        sample = strided(value, value.flags.c_contiguous)
        return _numbers(sample) + _part(sample.size, value.size)

    head = [f"{type_name(value)}: {facts_of(value, guard)}"]
    if value.dtype.kind in "biufc" and value.size:
        head.append(guard.text(summary, "its summary"))
    head.append(guard.text(
        lambda: numpy.array2string(value, threshold=20, edgeitems=3, max_line_width=100)[:2000],
        "its content",
    ))  # fmt: skip
    return _nothing(head)


def _numbers(sample: Any) -> str:
    """Return minimum, maximum, mean and how many are NaN, of a small numpy array."""
    numpy: Any = sys.modules["numpy"]
    if sample.dtype.kind == "b":
        return f"{int(sample.sum()):,} of {sample.size:,} are True"
    if sample.dtype.kind == "c":
        return f"absolute values from {abs(sample).min():.6g} to {abs(sample).max():.6g}"
    missing = int(numpy.isnan(sample).sum()) if sample.dtype.kind == "f" else 0
    good = sample[~numpy.isnan(sample)] if missing else sample
    if not good.size:
        return "all values are NaN"
    said = f"from {good.min():.6g} to {good.max():.6g}, mean {good.mean(dtype=float):.6g}"
    return said + (f", {missing:,} NaN" if missing else "")


def _column(sample: Any, step: int) -> str:
    """Return what is in a column (a pandas or polars Series): nulls and range, of a sample."""
    polars = family_of(sample) == "polars.Series"
    nulls = int(sample.null_count() if polars else sample.isna().sum())
    said = f"{nulls:,} nulls" if step == 1 else f"{nulls / max(1, len(sample)):.1%} nulls"
    good = sample.drop_nulls() if polars else sample.dropna()
    text = str(sample.dtype) in ("object", "str", "string", "String", "category", "Categorical")
    if not len(good):
        return said
    if text:
        values = [str(v) if type(v) is str else type_name(v) for v in rows_of(good)[:2000]]
        common = sorted(set(values), key=values.count if len(set(values)) < 50 else str)
        shown = ", ".join(cut(repr(v), 30) for v in reversed(common[-3:]))
        return f"{said}, {len(set(values)):,} distinct in {len(values):,}, such as {shown}"
    return f"{said}, from {cut(str(good.min()), 40)} to {cut(str(good.max()), 40)}"


def rows_of(column: Any) -> Any:
    """Return what takes slices by position: of a pandas Series a slice may go by its labels."""
    return getattr(column, "iloc", column)


def _table(
    value: Any, guard: Guard, column: Callable[[int, int], Any], head: dict[str, Callable[[], str]]
) -> _Described:
    names = list(value.columns)
    told = [f"{type_name(value)}: {facts_of(value, guard)}"]
    told += [f"{title}: {guard.text(work, 'it')}" for title, work in head.items()]
    step = step_of(value.shape[0])
    if step > 1:
        told.append(f"Nulls and ranges are those of one row in {step:,}.")

    def line(place: int) -> str:
        series = column(place, step)
        return f"{cut(str(names[place]), 60)}: {cut(str(series.dtype))}, {_column(series, step)}"

    def lines(start: int, stop: int) -> list[str]:
        return [guard.text(lambda i=n: line(i), f"column {n}") for n in range(start, stop)]  # type: ignore[misc]

    return _Described(told, "columns", len(names), lines)


def _pandas_frame(value: Any, guard: Guard) -> _Described:
    def first() -> str:
        return str("\n" + value.iloc[:5, :12].to_string(max_colwidth=40, line_width=200))

    def index() -> str:
        return cut(f"{type_name(value.index)} that begins with {list(value.index[:3])}", 200)

    def column(place: int, step: int) -> Any:
        return value.iloc[::step, place]

    return _table(value, guard, column, {"Index": index, "First rows": first})


def _polars_frame(value: Any, guard: Guard) -> _Described:
    def column(place: int, step: int) -> Any:
        # The rows first: a column of one repeated value is stored as one until it is a Series.
        return value.select(value.columns[place]).gather_every(step).to_series()

    return _table(value, guard, column, {"First rows": lambda: "\n" + str(value.head(5)[:, :12])})


_READERS: dict[str, Callable[[Any, Guard], _Described]] = {
    "numpy.ndarray": _array,
    "pandas.DataFrame": _pandas_frame,
    "pandas.Series": _series,
    "pandas.Index": _series,
    "polars.DataFrame": _polars_frame,
    "polars.Series": _series,
    "torch.Tensor": _tensor,
}


def _code(value: Any, guard: Guard) -> _Described:
    head = [short(value, guard)]
    head.append(guard.text(lambda: str(inspect.signature(value)), "its signature"))
    doc = guard.text(lambda: inspect.getdoc(value) or "(no docstring)", "its docstring")
    head.append(doc[:4000])
    source = guard.text(lambda: inspect.getsource(value), "its source")
    lines = [] if source.startswith("(its source raised") else source.splitlines()
    return _Described(
        head, "lines of source", len(lines), lambda a, b: [_cut_line(x) for x in lines[a:b]], 60
    )


def _cut_line(text: str) -> str:
    return text if len(text) <= 300 else text[:299] + "…"


def _object(value: Any, guard: Guard) -> _Described:
    line = of_type(type(value), "__mro__")[:-1]
    head = [type_name(value) + (f", a {', '.join(map(name_of, line[1:7]))}" if line[1:] else "")]
    head.append(guard.text(lambda: repr(value)[:4000], "its repr"))
    own = own_attributes(value)
    names = list(own)
    for kind in line:
        held = of_type(kind, "__dict__")
        slots = held.get("__slots__", ())
        if type(slots) in (list, tuple):
            names += [slot for slot in slots if type(slot) is str]
        names += [name for name, what in held.items() if type(what) is property]
    names = list(dict.fromkeys(name for name in names if not name.startswith("_")))

    def lines(start: int, stop: int) -> list[str]:
        said = []
        for name in names[start:stop]:
            try:
                held = own[name] if name in own else guard.call(lambda n=name: getattr(value, n))  # type: ignore[misc]
            except ProbeError as err:
                said.append(f".{cut(name)}: ({err})")
            else:
                said.append(f".{cut(name)}: {type_name(held)} = {short(held, guard)}")
        return said

    return _Described(head, "attributes", len(names), lines)


def own_attributes(value: object) -> dict[str, Any]:
    """Return an object's instance variables, without running any code of its class."""
    for kind in of_type(type(value), "__mro__"):
        held = of_type(kind, "__dict__").get("__dict__")
        if held is None:
            continue
        if type(held) not in (types.GetSetDescriptorType, types.MemberDescriptorType):
            return {}  # a property of that name, or worse
        own = held.__get__(value)
        return {k: v for k, v in list(own.items()) if type(k) is str} if type(own) is dict else {}
    return {}
