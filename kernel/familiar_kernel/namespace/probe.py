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
import ctypes
import datetime
import decimal
import difflib
import fnmatch
import fractions
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
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

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


class _Stop(BaseException):
    """Raised in code that took too long."""


class _Guard:
    """Runs code that may do anything, for so long and no longer."""

    def __init__(self) -> None:
        self._left = TOTAL_SECONDS

    def call(self, work: Callable[[], Any], what: str = "it") -> Any:
        """Return what the work returns.

        Raises:
            ProbeError: it raised, or did not end in time; the message says which.
        """
        if self._left <= 0:
            raise ProbeError(f"{what} was left out, as others took all the time")
        done: list[tuple[bool, Any]] = []

        def run() -> None:
            try:
                done.append((True, work()))
            except BaseException as err:  # whatever it is, it is this code's and not ours
                done.append((False, type(err).__name__))

        thread = threading.Thread(target=run, name="familiar-probe", daemon=True)
        began = time.monotonic()
        thread.start()
        thread.join(min(REPR_SECONDS, self._left))
        self._left -= time.monotonic() - began
        if thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Stop)
            )
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
    type(None), bool, float, complex, range, type(...), slice, datetime.date, datetime.datetime,
    datetime.time, datetime.timedelta, decimal.Decimal, fractions.Fraction, uuid.UUID,
    pathlib.PosixPath,
})  # fmt: skip
_SEQUENCES: dict[type, str] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}", deque: "[]"}
_MAPPINGS = frozenset({dict, OrderedDict, defaultdict})
_CALLABLES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def _is(value: object, library: str, *names: str) -> bool:
    """Whether a value is of one of a library's types, if the library is loaded at all."""
    module = sys.modules.get(library)
    known = tuple(t for name in names if isinstance(t := getattr(module, name, None), type))
    # The type and not isinstance(), which would ask the object's own __class__.
    return bool(known) and issubclass(type(value), known)


def type_name(value: object) -> str:
    """Return a type's name, with its module's first part where it is not a builtin."""
    kind = type(value)
    module = str(getattr(kind, "__module__", "")).partition(".")[0]
    name = type.__getattribute__(kind, "__qualname__")
    return str(name) if module in ("builtins", "__main__", "") else f"{module}.{name}"


def _cut(text: str, limit: int = SHORT) -> str:
    line = text if "\n" not in text else " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def short(value: object, guard: _Guard, depth: int = 3, limit: int = SHORT) -> str:
    """Return a value on one line; of large or foreign ones what can be said cheaply."""
    kind = type(value)
    if kind in _ATOMS:
        return _cut(repr(value), limit)
    if kind is int:
        number: Any = value
        bits = number.bit_length()
        return repr(value) if bits < 1000 else f"(an int of {bits:,} bits)"
    if kind in (str, bytes, bytearray):
        text: Any = value
        return (
            _cut(repr(text[:limit]), limit) if len(text) <= limit else repr(text[: limit - 8]) + "…"
        )
    if kind in _SEQUENCES or kind in _MAPPINGS:
        return _cut(_elements(value, guard, depth, limit), limit)
    if issubclass(kind, type):
        return f"class {_cut(str(type.__getattribute__(value, '__qualname__')))}"
    if kind in _CALLABLES:
        return f"function {_cut(str(getattr(value, '__qualname__', '?')))}"
    if kind is types.ModuleType:
        return f"module {_cut(str(getattr(value, '__name__', '?')))}"
    if facts := _shape(value):
        return f"{type_name(value)} {facts}"
    return _cut(guard.text(lambda: repr(value)[: 4 * limit], "its repr"), limit)


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


def _shape(value: Any) -> str:
    """Return shape and size of an array, a table or a text, as far as they cost nothing."""
    if _is(value, "numpy", "ndarray"):
        return f"{_times(value.shape)} {value.dtype}, {_bytes(value.nbytes)}"
    if _is(value, "pandas", "DataFrame"):
        size = int(value.memory_usage(index=True, deep=False).sum())
        return f"{value.shape[0]:,} rows x {value.shape[1]:,} columns, {_bytes(size)}"
    if _is(value, "pandas", "Series", "Index"):
        return f"{len(value):,} x {value.dtype}, {_bytes(int(value.nbytes))}"
    if _is(value, "polars", "DataFrame"):
        size = int(value.estimated_size())
        return f"{value.shape[0]:,} rows x {value.shape[1]:,} columns, {_bytes(size)}"
    if _is(value, "polars", "Series"):
        return f"{len(value):,} x {value.dtype}, {_bytes(int(value.estimated_size()))}"
    if _is(value, "torch", "Tensor"):
        size = value.element_size() * value.nelement()
        return f"{_times(tuple(value.shape))} {value.dtype} on {value.device}, {_bytes(size)}"
    if type(value) in _SEQUENCES or type(value) in _MAPPINGS:
        return f"{len(value):,} items"
    if type(value) in (str, bytes, bytearray):
        return f"{len(value):,} {'characters' if type(value) is str else 'bytes'}"
    return ""


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
    if _is(value, "pandas", "DataFrame"):
        return _pandas_frame(value, guard)
    if _is(value, "polars", "DataFrame"):
        return _polars_frame(value, guard)
    if _is(value, "pandas", "Series", "Index") or _is(value, "polars", "Series"):
        head = [f"{type_name(value)}: {_shape(value)}"]
        head.append(guard.text(lambda: _column(value), "its summary"))
        head.append("First: " + guard.text(lambda: _cut(str(list(value[:10])), 400), "its head"))
        return _nothing(head)
    if _is(value, "numpy", "ndarray"):
        return _nothing([f"{type_name(value)}: {_shape(value)}", *_array(value, guard)])
    if _is(value, "torch", "Tensor"):
        head = [f"{type_name(value)}: {_shape(value)}, requires_grad={value.requires_grad}"]
        sample = _strided(value.detach(), tuple(value.shape))
        head.append(guard.text(lambda: _numbers(sample.float().cpu().numpy()), "its summary"))
        return _nothing(head)
    if kind in (str, bytes, bytearray):
        size = 2000
        return _Described(
            [f"{kind.__name__} of {_shape(value)}"],
            f"parts of {size:,}",
            math.ceil(len(value) / size),
            lambda start, stop: [
                value[start * size : stop * size] if kind is str
                else repr(bytes(value[start * size : stop * size]))
            ],
            1,
        )  # fmt: skip
    if kind in _MAPPINGS or kind in _SEQUENCES:
        return _container(value, guard)
    if issubclass(kind, type) or kind in _CALLABLES:
        return _code(value, guard)
    return _object(value, guard)


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

    return _Described([f"{type_name(value)} with {_shape(value)}{of}"], "items", len(value), lines)


def _step(count: int, most: int = SAMPLE) -> int:
    step = max(1, -(-count // most))
    return step if step == 1 else step | 1  # odd, as what repeats often does so in twos


def _strided(value: Any, shape: Sequence[int]) -> Any:
    """Return a view of an array that has at most about :data:`SAMPLE` values, spread over it."""
    ratio = math.prod(shape) / SAMPLE
    slices = []
    for size in shape:
        step = min(max(1, math.ceil(ratio)), max(1, size))
        ratio /= step
        slices.append(slice(None, None, step))
    return value[tuple(slices)] if slices else value


def _array(value: Any, guard: _Guard) -> list[str]:
    numpy = sys.modules["numpy"]
    sample = _strided(value, value.shape)
    of = "" if sample.size == value.size else f" (of {sample.size:,} values, spread over it)"
    lines = []
    if value.dtype.kind in "biufc" and value.size:
        lines.append(guard.text(lambda: _numbers(sample), "its summary") + of)
    lines.append(guard.text(
        lambda: numpy.array2string(value, threshold=20, edgeitems=3, max_line_width=100)[:2000],
        "its values",
    ))  # fmt: skip
    return lines


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


def _column(column: Any) -> str:
    """Return what is in a column (a pandas or polars Series): nulls and range, of a sample."""
    polars = _is(column, "polars", "Series")
    step = _step(len(column))
    sample = column.gather_every(step) if polars else column[::step]
    nulls = int(sample.null_count() if polars else sample.isna().sum())
    said = f"{nulls:,} nulls" if step == 1 else f"{nulls / max(1, len(sample)):.1%} nulls"
    good = sample.drop_nulls() if polars else sample.dropna()
    text = str(column.dtype) in ("object", "str", "string", "String", "category", "Categorical")
    if not len(good):
        return said
    if text:
        values = [str(v) if type(v) is str else type_name(v) for v in good[:2000]]
        common = sorted(set(values), key=values.count if len(set(values)) < 50 else str)
        shown = ", ".join(_cut(repr(v), 30) for v in reversed(common[-3:]))
        return f"{said}, {len(set(values)):,} distinct in {len(values):,}, such as {shown}"
    return f"{said}, from {_cut(str(good.min()), 40)} to {_cut(str(good.max()), 40)}"


def _table(
    value: Any, guard: _Guard, names: list[Any], column: Callable[[int], Any], head: list[str]
) -> _Described:
    rows = value.shape[0]
    if (step := _step(rows)) > 1:
        head.append(f"Nulls and ranges are those of one row in {step:,}.")

    def lines(start: int, stop: int) -> list[str]:
        said = []
        for place in range(start, min(stop, len(names))):
            series = column(place)
            what = guard.text(lambda series=series: _column(series), "its summary")  # type: ignore[misc]
            said.append(f"{_cut(str(names[place]), 60)}: {series.dtype}, {what}")
        return said

    return _Described(head, "columns", len(names), lines)


def _pandas_frame(value: Any, guard: _Guard) -> _Described:
    first = guard.text(
        lambda: value.iloc[:5, :12].to_string(max_colwidth=40, line_width=200), "its head"
    )
    index = guard.text(lambda: _cut(repr(value.index[:5]), 200), "its index")
    head = [f"{type_name(value)}: {_shape(value)}", f"Index: {index}", "First rows:", first]
    return _table(value, guard, list(value.columns), lambda i: value.iloc[:, i], head)


def _polars_frame(value: Any, guard: _Guard) -> _Described:
    first = guard.text(lambda: str(value[:5, :12]), "its head")
    head = [f"{type_name(value)}: {_shape(value)}", "First rows:", first]
    return _table(value, guard, list(value.columns), lambda i: value.to_series(i), head)


def _code(value: Any, guard: _Guard) -> _Described:
    head = [short(value, guard)]
    head.append(guard.text(lambda: str(inspect.signature(value)), "its signature"))
    doc = guard.text(lambda: inspect.getdoc(value) or "(no docstring)", "its docstring")
    head.append(doc[:4000])
    source = guard.text(lambda: inspect.getsource(value), "its source")
    lines = [] if source.startswith("(its source raised") else source.splitlines()
    return _Described(head, "lines of source", len(lines), lambda a, b: lines[a:b], 60)


def _object(value: Any, guard: _Guard) -> _Described:
    bases = [type.__getattribute__(c, "__qualname__") for c in type(value).__mro__[1:-1]]
    head = [f"{type_name(value)}" + (f", a {', '.join(map(str, bases[:6]))}" if bases else "")]
    if facts := _shape(value):
        head.append(facts)
    head.append(guard.text(lambda: repr(value)[:4000], "its repr"))
    own = _own_attributes(value)
    slots = [s for c in type(value).__mro__ for s in _slots(c)]
    names = [*own, *(n for n in slots if n not in own)]
    names += [
        name
        for name, held in vars(type(value)).items()
        if isinstance(held, property) and not name.startswith("_") and name not in own
    ]

    def lines(start: int, stop: int) -> list[str]:
        said = []
        for name in names[start:stop]:
            try:
                held = own[name] if name in own else guard.call(lambda n=name: getattr(value, n))  # type: ignore[misc]
            except ProbeError as err:
                said.append(f".{name}: ({err})")
            else:
                said.append(f".{name}: {type_name(held)} = {short(held, guard)}")
        return said

    return _Described(head, "attributes", len(names), lines)


def _own_attributes(value: object) -> dict[str, Any]:
    """Return an object's instance variables, without running any code of its class."""
    try:
        own = object.__getattribute__(value, "__dict__")
    except (AttributeError, TypeError):
        return {}
    return {str(k): v for k, v in list(own.items())} if type(own) is dict else {}


def _slots(kind: type) -> list[str]:
    slots = vars(kind).get("__slots__", ())
    return [slots] if isinstance(slots, str) else [s for s in slots if isinstance(s, str)]


# --------------------------------------------------------------------------------------------------
# What has changed
# --------------------------------------------------------------------------------------------------


def fingerprint(value: Any) -> object:
    """Return something small that differs when a value does, as far as can be seen cheaply.

    It holds no reference to the value. A change deep inside, or between the samples of a large
    array, is not seen.
    """
    kind = type(value)
    if kind in _ATOMS or kind is int:
        return kind.__name__, hash(value) if kind is not slice else repr(value)
    if kind in (str, bytes):
        return kind.__name__, len(value), hash(value)
    if kind in _SEQUENCES or kind in _MAPPINGS:
        held = list(itertools.islice(value.values() if kind in _MAPPINGS else value, 32))
        ends = list(value[-32:]) if kind in (list, tuple) else []
        return kind.__name__, id(value), len(value), tuple(map(id, held + ends))
    try:
        return kind.__name__, id(value), _shape(value), _sampled(value)
    except Exception as err:  # what a library raises here is its own affair; it has no fingerprint
        return kind.__name__, id(value), type(err).__name__


def _sampled(value: Any) -> object:
    if _is(value, "numpy", "ndarray"):
        if value.dtype.hasobject or not value.size:
            return None
        small = value[tuple(slice(None, None, _step(n, 8)) for n in value.shape[:2])]
        return hash(small.ravel()[:64].tobytes()) if small.size <= 4096 else None
    if _is(value, "pandas", "DataFrame"):
        step = _step(len(value), 8)
        columns = range(min(8, value.shape[1]))
        names = tuple(map(str, value.columns[:50]))
        return names, tuple(str(list(value.iloc[::step, i])) for i in columns if _plain(value, i))
    if _is(value, "pandas", "Series"):
        return str(list(value.iloc[:: _step(len(value), 16)])) if value.dtype != object else None
    own = _own_attributes(value)
    return tuple((name, id(held)) for name, held in list(own.items())[:32])


def _plain(frame: Any, place: int) -> bool:
    return str(frame.dtypes.iloc[place]) != "object"


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
        if not chosen:
            return "No variable matches." if pattern else "There are no variables yet."
        guard = _Guard()
        start, where = _page_of(len(chosen), PAGE_SIZE, page, "variables")
        lines = [
            self._line(name, value, guard) for name, value in chosen[start : start + PAGE_SIZE]
        ]
        return _bounded("\n".join([*where, *lines]))

    def _own(self, pattern: str = "") -> Iterator[tuple[str, Any]]:
        hidden = self._hidden()
        for name, value in sorted(self._snapshot().items()):
            if name == pattern or not (
                name in hidden or name.startswith("_") or type(value) is types.ModuleType
            ):
                yield name, value

    def _snapshot(self) -> dict[str, Any]:
        return {k: v for k, v in list(self._namespace().items()) if type(k) is str}

    def _line(self, name: str, value: Any, guard: _Guard) -> str:
        mark = ""
        if self._marks is not None:
            before = self._marks.get(name)
            mark = " (new)" if before is None else ""
            if before is not None and before != fingerprint(value):
                mark = " (changed)"
        facts = _shape(value)
        shown = short(value, guard)
        if facts and shown == f"{type_name(value)} {facts}":
            return f"{name}: {shown}{mark}"
        return f"{name}: {type_name(value)}{facts and f' of {facts}'} = {shown}{mark}"

    def mark(self) -> None:
        """Remember what the variables are like now."""
        self._marks = {name: fingerprint(value) for name, value in self._own()}

    def changes(self, limit: int = 30) -> str:
        """Return a line for each variable that is new, changed or gone since :meth:`mark`."""
        guard = _Guard()
        before = self._marks or {}
        lines: list[str] = []
        now: set[str] = set()
        for name, value in self._own():
            now.add(name)
            if name not in before or before[name] != fingerprint(value):
                told = self._line(name, value, guard) if len(lines) < limit else name
                lines.append(told if self._marks is not None else f"{told} (new)")
        lines += [f"{name} (gone)" for name in before if name not in now]
        if len(lines) > limit:
            lines[limit:] = [f"and {len(lines) - limit:,} more"]
        return "\n".join(lines)

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
        return _bounded("\n".join([*head, *where, *lines]))

    def _resolve(self, expression: str, guard: _Guard) -> Any:
        try:
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
        if node.id not in names:
            close = difflib.get_close_matches(node.id, names, n=3)
            hint = f" Did you mean {', '.join(close)}?" if close else " list_variables shows them."
            raise ProbeError(f"There is no variable {node.id!r}.{hint}")
        value = names[node.id]
        for step in reversed(steps):
            what = ast.unparse(step)
            if isinstance(step, ast.Attribute):
                value = guard.call(lambda v=value, n=step.attr: getattr(v, n), what)  # type: ignore[misc]
                continue
            try:
                key = ast.literal_eval(step.slice)
            except ValueError:
                raise ProbeError(_ONLY) from None
            value = guard.call(lambda v=value, k=key: v[k], what)  # type: ignore[misc]
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
        chain: list[BaseException] = []
        link: BaseException | None = exc
        while link is not None and not any(link is c for c in chain) and len(chain) < 10:
            chain.append(link)
            link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        lines = []
        for number, raised in enumerate(chain):
            message = guard.text(lambda r=raised: str(r)[:2000], "its message")  # type: ignore[misc]
            lines.append(f"{'which came of ' if number else ''}{type_name(raised)}: {message}")
        frames = [
            (frame, line)
            for raised in chain
            for frame, line in reversed(list(traceback.walk_tb(raised.__traceback__)))
            if not _internal(frame.f_code.co_filename)
        ]
        start, where = _page_of(len(frames), FRAMES, page, "frames, innermost first")
        for frame, line in frames[start : start + FRAMES]:
            where += ["", *_frame(frame, line, guard)]
        return _bounded("\n".join([*lines, *where]))


_ONLY = (
    "Only a name with attributes and constant subscripts can be described, such as df['x'].values; "
    "for anything else run code."
)


def _internal(filename: str) -> bool:
    parts = pathlib.PurePath(filename).parts
    return any(part in ("IPython", "ipykernel", "familiar_kernel") for part in parts)


def _frame(frame: types.FrameType, line: int, guard: _Guard) -> list[str]:
    code = frame.f_code
    said = [f"{code.co_filename}, line {line}, in {code.co_name}:"]
    for number in range(max(1, line - 2), line + 3):
        source = linecache.getline(code.co_filename, number, frame.f_globals).rstrip()
        if source:
            said.append(f"{'->' if number == line else '  '} {number:4} {_cut(source, 160)}")
    held = list(frame.f_locals.items())
    if code.co_name == "<module>":  # all of the notebook's variables: those that it uses will do
        held = [(name, value) for name, value in held if name in code.co_names]
    for name, value in held[:25]:
        if not name.startswith("__") and type(value) is not types.ModuleType:
            said.append(f"     {name}: {type_name(value)} = {short(value, guard)}")
    if len(held) > 25:
        said.append(f"     and {len(held) - 25} more")
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


def _bounded(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    told = "\n[cut here; ask for a part of it by name, or for a pattern]"
    return text[: MAX_TEXT - len(told)] + told
