"""A value on one line: of large or foreign ones what can be said cheaply."""

from __future__ import annotations

import datetime
import itertools
import pathlib
import sys
import types
import uuid
import zoneinfo
from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from typing import Any

from .guard import SHORT, Guard, cut, name_of, of_type

_ATOMS = frozenset({
    type(None), bool, float, complex, type(...), datetime.date, datetime.timedelta, uuid.UUID,
    pathlib.PosixPath,
})  # fmt: skip
_ZONES = (type(None), datetime.timezone, zoneinfo.ZoneInfo)
SEQUENCES: dict[type, str] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}", deque: "[]"}
MAPPINGS = frozenset({dict, OrderedDict, defaultdict})
CALLABLES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_FAMILIES = {
    "numpy": ("ndarray",),
    "pandas": ("DataFrame", "Series", "Index"),
    "polars": ("DataFrame", "Series"),
    "torch": ("Tensor",),
}
"""The libraries whose data are read directly, where they are loaded, and the types of it."""


def _root(kind: type) -> str:
    """Return the first part of the name of a type's module."""
    try:
        module = of_type(kind, "__module__")
    except AttributeError:  # it was deleted, or made where there was no __name__
        return ""
    return module.partition(".")[0] if type(module) is str else ""


def type_name(value: object) -> str:
    """Return a type's name, with its module's first part where it is not a builtin."""
    kind = type(value)
    root = _root(kind)
    return name_of(kind) if root in ("builtins", "__main__", "") else f"{root}.{name_of(kind)}"


def family_of(value: object) -> str:
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


def is_trusted(value: object, family: str) -> bool:
    """Whether the very type is the library's, and not one that somebody derived from it."""
    kind = type(value)
    if _root(kind) != family.partition(".")[0]:
        return False
    module = sys.modules.get(of_type(kind, "__module__"))
    return (
        isinstance(module, types.ModuleType) and vars(module).get(of_type(kind, "__name__")) is kind
    )


def is_plain(value: Any) -> bool:
    """Whether the standard library alone makes a value's repr, and a short one."""
    kind = type(value)
    if kind is int:
        return bool(value.bit_length() < 1000)
    if kind in (slice, range):
        parts = (value.start, value.stop, value.step)
        return all(type(p) in (int, type(None)) and is_plain(p) for p in parts)
    if kind in (datetime.datetime, datetime.time):
        return type(value.tzinfo) in _ZONES
    return kind in _ATOMS


def short(value: object, guard: Guard, depth: int = 3, limit: int = SHORT) -> str:
    """Return a value on one line; of large or foreign ones what can be said cheaply."""
    kind = type(value)
    if is_plain(value):
        return cut(repr(value), limit)
    if kind is int:
        number: Any = value
        return f"(an int of {number.bit_length():,} bits)"
    if kind in (str, bytes, bytearray):
        text: Any = value
        return (
            cut(repr(text[:limit]), limit) if len(text) <= limit else repr(text[: limit - 8]) + "…"
        )
    if kind in SEQUENCES or kind in MAPPINGS:
        return cut(_elements(value, guard, depth, limit), limit)
    if issubclass(kind, type):
        known: Any = value
        return f"class {name_of(known)}"
    if kind in CALLABLES:
        return f"function {_callable_name(value)}"
    if kind is types.ModuleType:
        return f"module {short(vars(value).get('__name__'), guard)}".replace("'", "")
    if facts := facts_of(value, guard):
        return f"{type_name(value)} {facts}"
    if _has_no_repr(kind):
        return f"<{type_name(value)} object>"
    return cut(guard.text(lambda: repr(value)[: 4 * limit], "its repr"), limit)


def _has_no_repr(kind: type) -> bool:
    """Whether a class leaves its repr to ``object``, so that no thread is needed to read it."""
    line = of_type(kind, "__mro__")
    return next(c for c in line if "__repr__" in of_type(c, "__dict__")) is object


def _elements(value: Any, guard: Guard, depth: int, limit: int) -> str:
    kind = type(value)
    marks = SEQUENCES.get(kind, "{}")
    left, right = marks[0], marks[1]
    if not value:
        return f"{kind.__name__}()" if kind in (set, frozenset) else left + right
    if depth <= 0:
        return f"{left}…{right}"
    parts: list[str] = []
    size = 0
    # A copy of the first few: another thread may change it while it is looked at.
    first = list(itertools.islice(value.items() if kind in MAPPINGS else value, 12))
    for item in first:
        if kind in MAPPINGS:
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
        return cut(value.__qualname__)
    return cut(value.__name__) if type(value) is types.BuiltinFunctionType else type_name(value)


def facts_of(value: Any, guard: Guard) -> str:
    """Return shape and size of an array, a table or a text, as far as they cost nothing."""
    kind = type(value)
    if kind in SEQUENCES or kind in MAPPINGS:
        return f"{len(value):,} items"
    if kind in (str, bytes, bytearray):
        return f"{len(value):,} {'characters' if kind is str else 'bytes'}"
    family = family_of(value)
    if not family:
        return ""
    if not is_trusted(value, family):
        return guard.text(lambda: shape_of(value, family), "its shape")
    return shape_of(value, family)


def shape_of(value: Any, family: str) -> str:
    if family.endswith(".DataFrame"):
        rows, columns = value.shape
        size = value.estimated_size() if family[:2] == "po" else value.memory_usage().sum()
        return f"{rows:,} rows x {columns:,} columns, {_bytes(int(size))}"
    dtype = cut(str(value.dtype))
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
