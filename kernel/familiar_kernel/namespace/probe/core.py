"""The probe of one namespace."""

from __future__ import annotations

import ast
import difflib
import fnmatch
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import ProbeError
from .changes import fingerprint
from .descriptions import describe_value
from .errors import post_mortem
from .fitting import DRAW_SECONDS, Picture
from .guard import Guard, bounded, cut, page_of
from .pictures import picture_of
from .values import CALLABLES, facts_of, family_of, short, type_name

PAGE_SIZE = 100
"""Variables on a page."""
_ONLY = (
    "Only a name with attributes and constant subscripts can be described, such as df['x'].values; "
    "for anything else run code."
)


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
        start, where = page_of(len(chosen), PAGE_SIZE, page, "variables")
        if not chosen:
            return "No variable matches." if pattern else "There are no variables yet."
        guard = Guard()
        lines = [
            self._line(name, value, guard) for name, value in chosen[start : start + PAGE_SIZE]
        ]
        return bounded([*where, *lines], "give a pattern that fewer names match")

    def _own(self, pattern: str = "") -> Iterator[tuple[str, Any]]:
        hidden = self._hidden()
        for name, value in sorted(self._snapshot().items()):
            if name == pattern or not (
                name in hidden or name.startswith("_") or issubclass(type(value), types.ModuleType)
            ):
                yield name, value

    def _snapshot(self) -> dict[str, Any]:
        return {k: v for k, v in list(self._namespace().items()) if type(k) is str}

    def _line(self, name: str, value: Any, guard: Guard) -> str:
        mark = ""
        if self._marks is not None:
            before = self._marks.get(name)
            mark = " (new)" if before is None else ""
            if before is not None and before != fingerprint(value, guard):
                mark = " (changed)"
        facts = facts_of(value, guard)
        kind = type(value)
        name = cut(name)
        if facts and family_of(value):
            return f"{name}: {type_name(value)} {facts}{mark}"
        shown = short(value, guard)
        if kind in CALLABLES or kind is types.ModuleType or issubclass(kind, type):
            return f"{name}: {shown}{mark}"
        return f"{name}: {type_name(value)}{facts and f' of {facts}'} = {shown}{mark}"

    def moment(self) -> dict[str, object]:
        """Return what stands for the variables as they are now, for :meth:`mark`."""
        guard = Guard()
        return {name: fingerprint(value, guard) for name, value in self._own()}

    def mark(self, moment: dict[str, object] | None = None) -> None:
        """Remember what the variables are like now, or were at a moment."""
        self._marks = self.moment() if moment is None else moment

    def changes(self, limit: int = 30) -> str:
        """Return a line for each variable that is new, changed or gone since :meth:`mark`."""
        guard = Guard()
        before = self._marks or {}
        lines: list[str] = []
        now: set[str] = set()
        for name, value in self._own():
            now.add(name)
            if name not in before or before[name] != fingerprint(value, guard):
                told = self._line(name, value, guard) if len(lines) < limit else ""
                lines.append(told if self._marks is not None else f"{told} (new)")
        lines += [f"{cut(name)} (gone)" for name in before if name not in now]
        if len(lines) > limit:
            lines[limit:] = [f"and {len(lines) - limit:,} more"]
        return bounded(lines, "list the variables to see the others")

    # -- one of them --

    def describe(self, expression: str, page: int = 1) -> str:
        """Return what a variable holds, or an attribute or item of one.

        Args:
            expression: a name, with attributes and constant subscripts.
            page: which page of its columns, items or attributes, from 1.

        Raises:
            ProbeError: there is no such thing, or the expression is more than that.
        """
        guard = Guard()
        found = describe_value(self._resolve(expression, guard), guard)
        start, where = page_of(found.total, found.page, page, found.items)
        lines = found.lines(start, min(start + found.page, found.total))
        head = found.head if page == 1 else found.head[:1]
        return bounded([*head, *where, *lines], "describe a part of it by its name or subscript")

    def picture(self, expression: str) -> Picture:
        """Return a picture of a variable, or of an attribute or item of one.

        Args:
            expression: a name, with attributes and constant subscripts.

        Raises:
            ProbeError: there is no such thing, or no picture of it.
        """
        value = self._resolve(expression, Guard())
        return picture_of(value, Guard(DRAW_SECONDS, DRAW_SECONDS))

    def _resolve(self, expression: str, guard: Guard) -> Any:
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

    def last_error(self, exc: BaseException | None, page: int = 1) -> str:
        """Return an exception post mortem; see :func:`.errors.post_mortem`."""
        return post_mortem(exc, page)


def _item(value: Any, key: Any) -> Any:
    if type(value) is defaultdict and key not in value:
        raise KeyError(key)  # to ask it would put the key in
    return value[key]
