"""What can be seen of a namespace: looks at variables, runs next to none of their code, copies
nothing large.

Everything here answers with text that is bounded in size and time. What belongs to the standard
library, numpy, pandas, polars or torch is read directly, and of large data a sample. All other
objects are asked for their ``repr`` or an attribute under a guard: in a thread that is left to
itself when it takes too long.

Standard library only, and one file for all of it: its source is sent to a kernel in a sandbox and
runs there.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import datetime
import difflib
import fnmatch
import inspect
import itertools
import linecache
import math
import pathlib
import sys
import threading
import time
import traceback
import types
import uuid
import zoneinfo
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

PAGE_SIZE = 100
"""Variables on a page."""
ITEMS = 40
"""Columns, items or attributes on a page of a description."""
FRAMES = 8
"""Frames on a page of an error."""
MAX_TEXT = 20_000
"""Characters of any answer."""
SHORT = 80
"""Characters of a short value."""
REPR_SECONDS = 1.0
"""Seconds for one piece of code that is not ours to trust."""
TOTAL_SECONDS = 2.0
"""Seconds for all such code of one answer."""
SAMPLE = 200_000
"""Values of a large array or column that are looked at."""


class ProbeError(ValueError):
    """What was asked for cannot be looked at; the message says why and what to do."""


# --------------------------------------------------------------------------------------------------
# The guard: code of the notebook's own, within bounds
# --------------------------------------------------------------------------------------------------


class _Stop(SystemExit):
    """Raised in code that took too long. A thread that ends by a SystemExit says nothing of it."""


class _Quiet:
    """Stands in for a standard stream: what one thread writes goes nowhere."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.thread: int | None = None

    def write(self, text: str) -> Any:
        if threading.get_ident() == self.thread:
            return len(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def _quietly() -> Iterator[Callable[[], None]]:
    """Put stand-ins in place of the standard streams; what it gives silences the calling thread."""
    quiet = {name: _Quiet(getattr(sys, name)) for name in ("stdout", "stderr")}

    def silence() -> None:
        for stand_in in quiet.values():
            stand_in.thread = threading.get_ident()

    for name, stand_in in quiet.items():
        setattr(sys, name, stand_in)
    try:
        yield silence
    finally:
        for name, stand_in in quiet.items():
            stand_in.thread = None  # the number of a thread that has ended is given to another
            if getattr(sys, name) is stand_in:  # else another thread has redirected it since
                setattr(sys, name, stand_in.stream)


class _Guard:
    """Runs code that may do anything, for so long and no longer, and not heard."""

    def __init__(self) -> None:
        self._left = TOTAL_SECONDS

    def call(self, work: Callable[[], Any], what: str = "it") -> Any:
        """Return what the work returns.

        Raises:
            ProbeError: it raised, or did not end in time; the message says which.
        """
        if self._left <= 0:
            raise ProbeError(f"{what} was left out, as others took all the time")
        limit = min(REPR_SECONDS, self._left)
        done: list[tuple[bool, Any]] = []

        def run() -> None:
            try:
                silence()
                done.append((True, work()))
            except BaseException as err:  # whatever it is, it is this code's and not ours
                done.append((False, _name(type(err))))  # a message may hold what is secret

        thread = threading.Thread(target=run, name="familiar-probe", daemon=True)
        began = time.monotonic()
        with _quietly() as silence:
            try:
                thread.start()
            except RuntimeError as err:  # the process has as many threads as it may have
                raise ProbeError(f"{what} was left out, as no thread could be started") from err
            thread.join(limit)
            if late := thread.is_alive():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Stop)
                )
                thread.join(0.02)  # most end at once, and print nothing any more
        self._left -= time.monotonic() - began
        if late and limit < REPR_SECONDS:
            raise ProbeError(f"{what} was left out, as others took most of the time")
        if late or not done:
            raise ProbeError(f"{what} took longer than {REPR_SECONDS:.0f} s and was left out")
        well, value = done[0]
        if not well:
            raise ProbeError(f"{what} raised {value}")
        return value

    def text(self, work: Callable[[], Any], what: str) -> str:
        """Return what the work returns, as text; or why there is none, in brackets."""
        try:
            value = self.call(work, what)
        except ProbeError as err:
            return f"({err})"
        return value if type(value) is str else f"({what} returned no text)"


# --------------------------------------------------------------------------------------------------
# Short values
# --------------------------------------------------------------------------------------------------

_ATOMS = frozenset({
    type(None), bool, float, complex, type(...), datetime.date, datetime.timedelta, uuid.UUID,
    pathlib.PosixPath,
})  # fmt: skip
_ZONES = (type(None), datetime.timezone, zoneinfo.ZoneInfo)
_SEQUENCES: dict[type, str] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}", deque: "[]"}
_MAPPINGS = frozenset({dict, OrderedDict, defaultdict})
_CALLABLES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_FAMILIES = {
    "numpy": ("ndarray",),
    "pandas": ("DataFrame", "Series", "Index"),
    "polars": ("DataFrame", "Series"),
    "torch": ("Tensor",),
}
"""The libraries whose data are read directly, where they are loaded, and the types of it."""


def _of_type(kind: type, name: str) -> Any:
    """Return a type's own ``__mro__``, ``__dict__``, ...; a metaclass has no say in it."""
    return type.__dict__[name].__get__(kind)


def _name(kind: type) -> str:
    return _cut(str(_of_type(kind, "__qualname__")))


def _root(kind: type) -> str:
    """Return the first part of the name of a type's module."""
    try:
        module = _of_type(kind, "__module__")
    except AttributeError:  # it was deleted, or made where there was no __name__
        return ""
    return module.partition(".")[0] if type(module) is str else ""


def type_name(value: object) -> str:
    """Return a type's name, with its module's first part where it is not a builtin."""
    kind = type(value)
    root = _root(kind)
    return _name(kind) if root in ("builtins", "__main__", "") else f"{root}.{_name(kind)}"


def _family(value: object) -> str:
    """Return of which of the libraries' types a value is, such as "numpy.ndarray", or ""."""
    kind = type(value)  # and not isinstance(), which would ask the object's own __class__
    for library, names in _FAMILIES.items():
        module = sys.modules.get(library)
        if isinstance(module, types.ModuleType):
            for name in names:
                known = vars(module).get(name)
                if isinstance(known, type) and issubclass(kind, known):
                    return f"{library}.{name}"
    return ""


def _trusted(value: object, family: str) -> bool:
    """Whether the very type is the library's, and not one that somebody derived from it."""
    kind = type(value)
    if _root(kind) != family.partition(".")[0]:
        return False
    module = sys.modules.get(_of_type(kind, "__module__"))
    return (
        isinstance(module, types.ModuleType)
        and vars(module).get(_of_type(kind, "__name__")) is kind
    )


def _plain(value: Any) -> bool:
    """Whether the standard library alone makes a value's repr, and a short one."""
    kind = type(value)
    if kind is int:
        return bool(value.bit_length() < 1000)
    if kind in (slice, range):
        parts = (value.start, value.stop, value.step)
        return all(type(p) in (int, type(None)) and _plain(p) for p in parts)
    if kind in (datetime.datetime, datetime.time):
        return type(value.tzinfo) in _ZONES
    return kind in _ATOMS


def _cut(text: str, limit: int = SHORT) -> str:
    line = text if "\n" not in text else " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def short(value: object, guard: _Guard, depth: int = 3, limit: int = SHORT) -> str:
    """Return a value on one line; of large or foreign ones what can be said cheaply."""
    kind = type(value)
    if _plain(value):
        return _cut(repr(value), limit)
    if kind is int:
        number: Any = value
        return f"(an int of {number.bit_length():,} bits)"
    if kind in (str, bytes, bytearray):
        text: Any = value
        return (
            _cut(repr(text[:limit]), limit) if len(text) <= limit else repr(text[: limit - 8]) + "…"
        )
    if kind in _SEQUENCES or kind in _MAPPINGS:
        return _cut(_elements(value, guard, depth, limit), limit)
    if issubclass(kind, type):
        known: Any = value
        return f"class {_name(known)}"
    if kind in _CALLABLES:
        return f"function {_callable_name(value)}"
    if kind is types.ModuleType:
        return f"module {short(vars(value).get('__name__'), guard)}".replace("'", "")
    if facts := _facts(value, guard):
        return f"{type_name(value)} {facts}"
    if _has_no_repr(kind):
        return f"<{type_name(value)} object>"
    return _cut(guard.text(lambda: repr(value)[: 4 * limit], "its repr"), limit)


def _has_no_repr(kind: type) -> bool:
    """Whether a class leaves its repr to ``object``, so that no thread is needed to read it."""
    line = _of_type(kind, "__mro__")
    return next(c for c in line if "__repr__" in _of_type(c, "__dict__")) is object


def _elements(value: Any, guard: _Guard, depth: int, limit: int) -> str:
    kind = type(value)
    marks = _SEQUENCES.get(kind, "{}")
    left, right = marks[0], marks[1]
    if not value:
        return f"{kind.__name__}()" if kind in (set, frozenset) else left + right
    if depth <= 0:
        return f"{left}…{right}"
    parts: list[str] = []
    size = 0
    # A copy of the first few: another thread may change it while it is looked at.
    first = list(itertools.islice(value.items() if kind in _MAPPINGS else value, 12))
    for item in first:
        if kind in _MAPPINGS:
            key, held = (short(part, guard, depth - 1, limit // 2) for part in item)
            parts.append(f"{key}: {held}")
        else:
            parts.append(short(item, guard, depth - 1, limit // 2))
        size += len(parts[-1])
        if size > limit:
            break
    more = ", …" if len(parts) < len(value) else ""
    return f"{left}{', '.join(parts)}{more}{right}"


def _callable_name(value: Any) -> str:
    while type(value) is types.MethodType:
        value = value.__func__
    if type(value) is types.FunctionType:
        return _cut(value.__qualname__)
    return _cut(value.__name__) if type(value) is types.BuiltinFunctionType else type_name(value)


def _facts(value: Any, guard: _Guard) -> str:
    """Return shape and size of an array, a table or a text, as far as they cost nothing."""
    kind = type(value)
    if kind in _SEQUENCES or kind in _MAPPINGS:
        return f"{len(value):,} items"
    if kind in (str, bytes, bytearray):
        return f"{len(value):,} {'characters' if kind is str else 'bytes'}"
    family = _family(value)
    if not family:
        return ""
    if not _trusted(value, family):
        return guard.text(lambda: _shape(value, family), "its shape")
    return _shape(value, family)


def _shape(value: Any, family: str) -> str:
    if family.endswith(".DataFrame"):
        rows, columns = value.shape
        size = value.estimated_size() if family[:2] == "po" else value.memory_usage().sum()
        return f"{rows:,} rows x {columns:,} columns, {_bytes(int(size))}"
    dtype = _cut(str(value.dtype))
    if family == "torch.Tensor":
        size = value.element_size() * value.nelement()
        return f"{_times(tuple(value.shape))} {dtype} on {value.device}, {_bytes(size)}"
    size = value.estimated_size() if family == "polars.Series" else value.nbytes
    counted = _times(value.shape) if family == "numpy.ndarray" else f"{len(value):,} x"
    return f"{counted} {dtype}, {_bytes(int(size))}"


def _times(shape: Sequence[int]) -> str:
    return " x ".join(f"{n:,}" for n in shape) or "scalar"


def _bytes(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


# --------------------------------------------------------------------------------------------------
# Descriptions
# --------------------------------------------------------------------------------------------------


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


def _describe(value: Any, guard: _Guard) -> _Described:
    kind = type(value)
    family = _family(value)
    if family:
        reader = _READERS[family]
        if _trusted(value, family):
            return reader(value, guard)
        try:
            return cast(_Described, guard.call(lambda: reader(value, guard)))
        except ProbeError:  # what it derived does not work as the library's does; its repr says why
            return _object(value, guard)
    if kind in (str, bytes, bytearray):
        return _text(value, guard)
    if kind in _MAPPINGS or kind in _SEQUENCES:
        return _container(value, guard)
    if issubclass(kind, type) or kind in _CALLABLES:
        return _code(value, guard)
    return _object(value, guard)


def _text(value: Any, guard: _Guard) -> _Described:
    size = 2000

    def lines(start: int, stop: int) -> list[str]:
        part = value[start * size : stop * size]
        return [part if type(part) is str else repr(part)]

    head = [f"{type_name(value)} of {_facts(value, guard)}"]
    return _Described(head, f"parts of {size:,}", math.ceil(len(value) / size), lines, 1)


def _series(value: Any, guard: _Guard) -> _Described:
    head = [f"{type_name(value)}: {_facts(value, guard)}"]
    step = _step(len(value))

    def summary() -> str:
        polars = _family(value) == "polars.Series"
        said = _column(value.gather_every(step) if polars else _rows(value)[::step], step)
        return said + (f" (of one in {step:,})" if step > 1 else "")

    head.append(guard.text(summary, "its summary"))
    first = guard.text(lambda: _cut(str(list(_rows(value)[:10])), 400), "its head")
    return _nothing([*head, f"First: {first}"])


def _tensor(value: Any, guard: _Guard) -> _Described:
    def summary() -> str:
        sample = _strided(value.detach(), value.is_contiguous())
        return _numbers(sample.float().cpu().numpy()) + _part(sample.nelement(), value.nelement())

    head = [f"{type_name(value)}: {_facts(value, guard)}, requires_grad={value.requires_grad}"]
    return _nothing([*head, guard.text(summary, "its summary")])


def _container(value: Any, guard: _Guard) -> _Described:
    kinds: dict[str, int] = {}
    held = value.values() if type(value) in _MAPPINGS else value
    for item in list(itertools.islice(held, 1000)):
        kinds[type_name(item)] = kinds.get(type_name(item), 0) + 1
    common = sorted(kinds, key=lambda k: -kinds[k])[:5]
    of = f" of {', '.join(common)}" if common else ""

    def lines(start: int, stop: int) -> list[str]:
        if type(value) in _MAPPINGS:
            some = list(itertools.islice(value.items(), start, stop))
            return [f"{short(k, guard)}: {short(v, guard, limit=200)}" for k, v in some]
        some = list(itertools.islice(value, start, stop))
        return [f"[{i}] {short(v, guard, limit=200)}" for i, v in enumerate(some, start)]

    head = [f"{type_name(value)} with {_facts(value, guard)}{of}"]
    return _Described(head, "items", len(value), lines)


def _step(count: int, most: int = SAMPLE) -> int:
    step = max(1, -(-count // most))
    return step if step == 1 else step | 1  # odd, as what repeats often does so in twos


def _strided(value: Any, contiguous: bool, most: int = SAMPLE) -> Any:
    """Return a view of an array or tensor that has at most about so many values, spread over it."""
    shape = tuple(value.shape)
    if contiguous and shape:
        return value.reshape(-1)[:: _step(math.prod(shape), most)]
    ratio = math.prod(shape) / most
    slices = []
    for size in shape:
        step = min(max(1, math.ceil(ratio)), max(1, size))
        ratio /= step
        slices.append(slice(None, None, step))
    return value[tuple(slices)] if slices else value


def _part(seen: int, count: int) -> str:
    return "" if seen == count else f" (of {seen:,} values, spread over it)"


def _array(value: Any, guard: _Guard) -> _Described:
    numpy = sys.modules["numpy"]

    def summary() -> str:
        sample = _strided(value, value.flags.c_contiguous)
        return _numbers(sample) + _part(sample.size, value.size)

    head = [f"{type_name(value)}: {_facts(value, guard)}"]
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
    polars = _family(sample) == "polars.Series"
    nulls = int(sample.null_count() if polars else sample.isna().sum())
    said = f"{nulls:,} nulls" if step == 1 else f"{nulls / max(1, len(sample)):.1%} nulls"
    good = sample.drop_nulls() if polars else sample.dropna()
    text = str(sample.dtype) in ("object", "str", "string", "String", "category", "Categorical")
    if not len(good):
        return said
    if text:
        values = [str(v) if type(v) is str else type_name(v) for v in _rows(good)[:2000]]
        common = sorted(set(values), key=values.count if len(set(values)) < 50 else str)
        shown = ", ".join(_cut(repr(v), 30) for v in reversed(common[-3:]))
        return f"{said}, {len(set(values)):,} distinct in {len(values):,}, such as {shown}"
    return f"{said}, from {_cut(str(good.min()), 40)} to {_cut(str(good.max()), 40)}"


def _rows(column: Any) -> Any:
    """Return what takes slices by position: of a pandas Series a slice may go by its labels."""
    return getattr(column, "iloc", column)


def _table(
    value: Any, guard: _Guard, column: Callable[[int, int], Any], head: dict[str, Callable[[], str]]
) -> _Described:
    names = list(value.columns)
    told = [f"{type_name(value)}: {_facts(value, guard)}"]
    told += [f"{title}: {guard.text(work, 'it')}" for title, work in head.items()]
    step = _step(value.shape[0])
    if step > 1:
        told.append(f"Nulls and ranges are those of one row in {step:,}.")

    def line(place: int) -> str:
        series = column(place, step)
        return f"{_cut(str(names[place]), 60)}: {_cut(str(series.dtype))}, {_column(series, step)}"

    def lines(start: int, stop: int) -> list[str]:
        return [guard.text(lambda i=n: line(i), f"column {n}") for n in range(start, stop)]  # type: ignore[misc]

    return _Described(told, "columns", len(names), lines)


def _pandas_frame(value: Any, guard: _Guard) -> _Described:
    def first() -> str:
        return str("\n" + value.iloc[:5, :12].to_string(max_colwidth=40, line_width=200))

    def index() -> str:
        return _cut(f"{type_name(value.index)} that begins with {list(value.index[:3])}", 200)

    def column(place: int, step: int) -> Any:
        return value.iloc[::step, place]

    return _table(value, guard, column, {"Index": index, "First rows": first})


def _polars_frame(value: Any, guard: _Guard) -> _Described:
    def column(place: int, step: int) -> Any:
        # The rows first: a column of one repeated value is stored as one until it is a Series.
        return value.select(value.columns[place]).gather_every(step).to_series()

    return _table(value, guard, column, {"First rows": lambda: "\n" + str(value.head(5)[:, :12])})


_READERS: dict[str, Callable[[Any, _Guard], _Described]] = {
    "numpy.ndarray": _array,
    "pandas.DataFrame": _pandas_frame,
    "pandas.Series": _series,
    "pandas.Index": _series,
    "polars.DataFrame": _polars_frame,
    "polars.Series": _series,
    "torch.Tensor": _tensor,
}


def _code(value: Any, guard: _Guard) -> _Described:
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


def _object(value: Any, guard: _Guard) -> _Described:
    line = _of_type(type(value), "__mro__")[:-1]
    head = [type_name(value) + (f", a {', '.join(map(_name, line[1:7]))}" if line[1:] else "")]
    head.append(guard.text(lambda: repr(value)[:4000], "its repr"))
    own = _own_attributes(value)
    names = list(own)
    for kind in line:
        held = _of_type(kind, "__dict__")
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
                said.append(f".{_cut(name)}: ({err})")
            else:
                said.append(f".{_cut(name)}: {type_name(held)} = {short(held, guard)}")
        return said

    return _Described(head, "attributes", len(names), lines)


def _own_attributes(value: object) -> dict[str, Any]:
    """Return an object's instance variables, without running any code of its class."""
    for kind in _of_type(type(value), "__mro__"):
        held = _of_type(kind, "__dict__").get("__dict__")
        if held is None:
            continue
        if type(held) not in (types.GetSetDescriptorType, types.MemberDescriptorType):
            return {}  # a property of that name, or worse
        own = held.__get__(value)
        return {k: v for k, v in list(own.items()) if type(k) is str} if type(own) is dict else {}
    return {}


# --------------------------------------------------------------------------------------------------
# What has changed
# --------------------------------------------------------------------------------------------------


def fingerprint(value: Any, guard: _Guard | None = None) -> object:
    """Return something small that differs when a value does, as far as can be seen cheaply.

    It holds no reference to the value. A change deep inside, or between the samples of a large
    array, is not seen.
    """
    kind = type(value)
    if _plain(value):
        return _name(kind), repr(value)
    if kind is int:
        return "int", value.bit_length(), hash(value)
    if kind in (str, bytes, bytearray):
        few = value if len(value) <= 10_000 else value[:99] + value[:: len(value) // 999]
        return _name(kind), len(value), hash(bytes(few) if kind is bytearray else few + value[-99:])
    if kind in _SEQUENCES or kind in _MAPPINGS:
        return _name(kind), id(value), len(value), tuple(map(_token, _ends(value)))
    family = _family(value)
    seen: object
    try:
        if not family:
            seen = _tokens(itertools.islice(_own_attributes(value).items(), 32))
        elif _trusted(value, family):
            seen = _sampled(value, family)
        else:
            seen = (guard or _Guard()).call(lambda: _sampled(value, family))
    except Exception as err:  # what a library raises here is its own affair; it has no fingerprint
        seen = _name(type(err))
    return _name(kind), id(value), seen


def _ends(value: Any) -> list[Any]:
    """Return the first and the last 32 elements of a container; of a mapping keys and values."""
    if type(value) in _MAPPINGS:
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
    if type(value) is tuple:
        return tuple(_token(part) for part in value[:9])
    small = _name(type(value)) not in ("ndarray", "void", "object_", "DataFrame", "Series")
    fresh = small and any(_trusted(value, library) for library in ("numpy", "pandas", "decimal"))
    return repr(value) if fresh or _plain(value) else _token(value)


def _tokens(pairs: Iterable[tuple[str, Any]]) -> object:
    return tuple((name, _token(value)) for name, value in pairs)


def _sampled(value: Any, family: str) -> object:
    """Return the shape and what stands for about 64 values of an array or a table."""
    facts = _shape(value, family)
    if family == "numpy.ndarray":
        sample = _strided(value, value.flags.c_contiguous, 64)
        if sample.dtype.kind == "O":
            return facts, _cells(sample.flat)
        return facts, None if sample.dtype.hasobject else hash(sample.tobytes())
    if family == "torch.Tensor":
        return facts, str(_strided(value.detach(), value.is_contiguous(), 64).tolist())
    step = _step(len(value), 8 if family.endswith("DataFrame") else 64)
    if family == "polars.DataFrame":
        few = value.gather_every(step)[:, :: _step(value.shape[1], 8)]
        return facts, tuple(value.columns[:64]), tuple(_cells(row) for row in few.rows())
    if family == "pandas.DataFrame":
        few = value.iloc[::step]  # the rows first, which copies nothing
        few = few.iloc[:, :: _step(value.shape[1], 8)].to_numpy(dtype=object)
        return facts, _cells(value.columns[:64]), tuple(_cells(row) for row in few)
    if family == "polars.Series":
        return facts, _cells(value.gather_every(step).to_list())
    return facts, _cells(_rows(value)[::step])


def _cells(values: Iterable[Any]) -> tuple[object, ...]:
    return tuple(map(_cell, values))


# --------------------------------------------------------------------------------------------------
# The probe
# --------------------------------------------------------------------------------------------------


class Probe:
    """Looks at one namespace.

    Args:
        namespace: returns the variables as they are now.
        hidden: returns the names that are not the user's own.
    """

    def __init__(
        self, namespace: Callable[[], dict[str, Any]], hidden: Callable[[], set[str]]
    ) -> None:
        self._namespace = namespace
        self._hidden = hidden
        self._marks: dict[str, object] | None = None

    # -- all of them --

    def variables(self, pattern: str = "", page: int = 1) -> str:
        """Return one line for each variable: name, type, shape and size, value, new or changed.

        Args:
            pattern: only names that match, as file names do; upper and lower case are the same.
            page: which page, from 1.

        Raises:
            ProbeError: there is no such page.
        """
        chosen = [
            (name, value)
            for name, value in self._own(pattern)
            if not pattern or fnmatch.fnmatch(name.lower(), pattern.lower())
        ]
        start, where = _page_of(len(chosen), PAGE_SIZE, page, "variables")
        if not chosen:
            return "No variable matches." if pattern else "There are no variables yet."
        guard = _Guard()
        lines = [
            self._line(name, value, guard) for name, value in chosen[start : start + PAGE_SIZE]
        ]
        return _bounded([*where, *lines], "give a pattern that fewer names match")

    def _own(self, pattern: str = "") -> Iterator[tuple[str, Any]]:
        hidden = self._hidden()
        for name, value in sorted(self._snapshot().items()):
            if name == pattern or not (
                name in hidden or name.startswith("_") or issubclass(type(value), types.ModuleType)
            ):
                yield name, value

    def _snapshot(self) -> dict[str, Any]:
        return {k: v for k, v in list(self._namespace().items()) if type(k) is str}

    def _line(self, name: str, value: Any, guard: _Guard) -> str:
        mark = ""
        if self._marks is not None:
            before = self._marks.get(name)
            mark = " (new)" if before is None else ""
            if before is not None and before != fingerprint(value, guard):
                mark = " (changed)"
        facts = _facts(value, guard)
        kind = type(value)
        name = _cut(name)
        if facts and _family(value):
            return f"{name}: {type_name(value)} {facts}{mark}"
        shown = short(value, guard)
        if kind in _CALLABLES or kind is types.ModuleType or issubclass(kind, type):
            return f"{name}: {shown}{mark}"
        return f"{name}: {type_name(value)}{facts and f' of {facts}'} = {shown}{mark}"

    def mark(self) -> None:
        """Remember what the variables are like now."""
        guard = _Guard()
        self._marks = {name: fingerprint(value, guard) for name, value in self._own()}

    def changes(self, limit: int = 30) -> str:
        """Return a line for each variable that is new, changed or gone since :meth:`mark`."""
        guard = _Guard()
        before = self._marks or {}
        lines: list[str] = []
        now: set[str] = set()
        for name, value in self._own():
            now.add(name)
            if name not in before or before[name] != fingerprint(value, guard):
                told = self._line(name, value, guard) if len(lines) < limit else ""
                lines.append(told if self._marks is not None else f"{told} (new)")
        lines += [f"{_cut(name)} (gone)" for name in before if name not in now]
        if len(lines) > limit:
            lines[limit:] = [f"and {len(lines) - limit:,} more"]
        return _bounded(lines, "list the variables to see the others")

    # -- one of them --

    def describe(self, expression: str, page: int = 1) -> str:
        """Return what a variable holds, or an attribute or item of one.

        Args:
            expression: a name, with attributes and constant subscripts.
            page: which page of its columns, items or attributes, from 1.

        Raises:
            ProbeError: there is no such thing, or the expression is more than that.
        """
        guard = _Guard()
        found = _describe(self._resolve(expression, guard), guard)
        start, where = _page_of(found.total, found.page, page, found.items)
        lines = found.lines(start, min(start + found.page, found.total))
        head = found.head if page == 1 else found.head[:1]
        return _bounded([*head, *where, *lines], "describe a part of it by its name or subscript")

    def _resolve(self, expression: str, guard: _Guard) -> Any:
        try:
            if len(expression) > 1000:  # what is nested too deeply costs more than an error
                raise ProbeError(_ONLY)
            node = ast.parse(expression.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ProbeError(_ONLY) from None
        steps: list[ast.Attribute | ast.Subscript] = []
        while isinstance(node, ast.Attribute | ast.Subscript):
            steps.append(node)
            node = node.value
        if not isinstance(node, ast.Name):
            raise ProbeError(_ONLY)
        names = self._snapshot()
        if len(steps) > 50:
            raise ProbeError(_ONLY)
        if node.id not in names:
            close = difflib.get_close_matches(node.id, names, n=3)
            hint = f" Did you mean {', '.join(close)}?" if close else " list_variables shows them."
            raise ProbeError(f"There is no variable {node.id!r}.{hint}")
        value = names[node.id]
        for step in reversed(steps):
            try:
                what = ast.unparse(step)
            except RecursionError:
                raise ProbeError(_ONLY) from None
            if isinstance(step, ast.Attribute):
                value = guard.call(lambda v=value, n=step.attr: getattr(v, n), what)  # type: ignore[misc]
                continue
            try:
                key = ast.literal_eval(step.slice)
            except (ValueError, TypeError, RecursionError, MemoryError):
                raise ProbeError(_ONLY) from None
            value = guard.call(lambda v=value, k=key: _item(v, k), what)  # type: ignore[misc]
        return value

    # -- the last error --

    def last_error(self, exc: BaseException | None, page: int = 1) -> str:
        """Return an exception post mortem: its chain, and each frame with source and locals.

        Args:
            exc: the exception, or None where there was none.
            page: which page of frames, from 1, which has the innermost.

        Raises:
            ProbeError: there is no such page.
        """
        if exc is None:
            return "No exception has been raised yet."
        guard = _Guard()
        chain = _chain(exc)
        lines: list[str] = []
        for number, raised in enumerate(chain):
            size = 300 if number else 2000
            message = guard.text(lambda e=raised, n=size: str(e)[:n], "its message")  # type: ignore[misc]
            lines.append(f"{'which came of ' if number else ''}{type_name(raised)}: {message}")
        frames = [
            (raised, frame, line)
            for raised in chain
            for frame, line in reversed(list(traceback.walk_tb(_of_error(raised, "traceback"))))
            if not _internal(frame.f_code.co_filename)
        ]
        start, where = _page_of(len(frames), FRAMES, page, "frames, the innermost on page 1")
        told: BaseException | None = None
        for raised, frame, line in reversed(frames[start : start + FRAMES]):
            where += ["", f"Frames of the {type_name(raised)}:"] if raised is not told else [""]
            where += _frame(frame, line, guard)
            told = raised
        return _bounded([*lines, *where], "describe a variable by its name")


def _of_error(exc: BaseException, name: str) -> Any:
    """Return an error's cause, context or traceback, which its class may have hidden."""
    return BaseException.__dict__[f"__{name}__"].__get__(exc)


def _chain(exc: BaseException) -> list[BaseException]:
    """Return an error and what it came of, at most ten in all."""
    chain: list[BaseException] = []
    link: BaseException | None = exc
    while link is not None and not any(link is c for c in chain) and len(chain) < 10:
        chain.append(link)
        hides = _of_error(link, "suppress_context")
        link = _of_error(link, "cause") or (None if hides else _of_error(link, "context"))
    return chain


def _item(value: Any, key: Any) -> Any:
    if type(value) is defaultdict and key not in value:
        raise KeyError(key)  # to ask it would put the key in
    return value[key]


_FRAME_TEXT = 1300
"""Characters of a frame after which no more of its variables are shown: eight go in an answer."""
_ONLY = (
    "Only a name with attributes and constant subscripts can be described, such as df['x'].values; "
    "for anything else run code."
)


def _internal(filename: str) -> bool:
    parts = pathlib.PurePath(filename).parts
    return any(part in ("IPython", "ipykernel", "familiar_kernel") for part in parts)


def _frame(frame: types.FrameType, line: int, guard: _Guard) -> list[str]:
    """Return a frame's place, source and variables, in a share of an answer's characters."""
    code = frame.f_code
    said = [f"{code.co_filename[-200:]}, line {line}, in {_cut(code.co_name)}:"]
    with contextlib.suppress(ProbeError):  # no source, as with code that a file no longer holds
        said += guard.call(lambda: _source(frame, line))
    try:
        held = guard.call(lambda: list(frame.f_locals.items()), "what is in it")
    except ProbeError as err:  # code can be run with a mapping of anybody's for its variables
        return [*said, f"     ({err})"]
    if code.co_name == "<module>":  # all of the notebook's variables: those that it uses will do
        held = [(name, value) for name, value in held if name in code.co_names]
    held = [(n, v) for n, v in held if type(n) is str and not n.startswith("__")]
    held = [(n, v) for n, v in held if not issubclass(type(v), types.ModuleType)]
    size = sum(map(len, said))
    for number, (name, value) in enumerate(held):
        if number == 25 or size > _FRAME_TEXT:
            said.append(f"     and {len(held) - number} more")
            break
        said.append(f"     {_cut(name)}: {type_name(value)} = {short(value, guard)}")
        size += len(said[-1])
    return said


def _source(frame: types.FrameType, line: int) -> list[str]:
    name = frame.f_code.co_filename
    said = []
    for number in range(max(1, line - 2), line + 3):
        if source := linecache.getline(name, number, frame.f_globals).rstrip():
            said.append(f"{'->' if number == line else '  '} {number:4} {source[:150]}")
    return said


def _page_of(count: int, size: int, page: int, what: str) -> tuple[int, list[str]]:
    """Return where a page begins, and a line that says so where there are several."""
    pages = max(1, math.ceil(count / size))
    if type(page) is not int or not 1 <= page <= pages:
        raise ProbeError(f"There is no page {page!r}; there {_are(pages)} of {count:,} {what}.")
    if pages == 1:
        return 0, []
    return (page - 1) * size, [f"Page {page} of {pages} ({count:,} {what})."]


def _are(pages: int) -> str:
    return "is one page" if pages == 1 else f"are {pages:,} pages"


def _bounded(lines: list[str], more: str) -> str:
    """Return lines as text that any channel carries, and what to do to see what had no room."""
    text = "\n".join(lines).encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= MAX_TEXT:
        return text
    room = MAX_TEXT - 200
    return f"{text[:room]}\n[{len(text) - room:,} characters were cut here: {more}]"
