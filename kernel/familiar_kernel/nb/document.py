"""A notebook as the text that it is: edits replace the values they are about, and no other byte.

nbformat writes a notebook anew, in its own style. But a notebook belongs to many programs: what
another one has written, in its style, with fields of its own or of a newer format, is to stay as it
is, for people who look at differences. So the text is only parsed to know where the cells and their
fields stand; their values are nbformat's (https://nbformat.readthedocs.io/en/latest/format_description.html).
"""

from __future__ import annotations

import copy
import json
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from json.decoder import JSONDecodeError
from typing import Any

from familiar_kernel.text import whole

KINDS = ("code", "markdown", "raw")
_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_FIRST_WITH_IDS = (4, 5)
SHORTEST = 4
"""Characters of an id that are enough, where no other begins with them."""

Span = tuple[int, int]
_Edit = tuple[Span, str]


class DocumentError(ValueError):
    """What was given is no notebook, or has no such cell; the message says what to do."""


@dataclass(frozen=True)
class Cell:
    """A cell, and where it stands in the text.

    Attributes:
        index: its place, from 0.
        id: its id; empty before nbformat 4.5.
        kind: ``code``, ``markdown``, ``raw`` or what a newer format knows.
        source: its text.
        content: all of it, as JSON has it.
        span: where it begins and ends.
        values: where the values of its fields begin and end.
    """

    index: int
    id: str
    kind: str
    source: str
    content: dict[str, Any] = field(repr=False)
    span: Span = field(repr=False)
    values: dict[str, Span] = field(repr=False)

    @property
    def count(self) -> int | None:
        """The number that it was run with."""
        count = self.content.get("execution_count")
        return count if isinstance(count, int) else None

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """What it has shown."""
        outputs = self.content.get("outputs")
        return outputs if isinstance(outputs, list) else []

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"cell {self.index}" + (f" ({self.id})" if self.id else "")


class Document:
    """A notebook's text; an edit returns another document.

    Raises:
        DocumentError: the text is no notebook of format 4.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        top, inside, cells, self._list = _taken_apart(text)
        major, minor = top.get("nbformat"), top.get("nbformat_minor", 0)
        if not isinstance(major, int) or not isinstance(minor, int):
            raise DocumentError("It is JSON, but no notebook: it names no nbformat.")
        if major != 4:
            raise DocumentError(
                f"It is a notebook of format {major}, and nb knows 4. Convert it: jupyter nbconvert"
                " --to notebook --inplace FILE"
            )
        if self._list is None:
            raise DocumentError("It is no notebook: it has no list of cells.")
        self.version = (major, minor)
        inner, self._metadata = top.get("metadata"), inside
        self.metadata: dict[str, Any] = inner if isinstance(inner, dict) else {}
        self.cells: tuple[Cell, ...] = tuple(cells)

    @property
    def kernel_name(self) -> str:
        """The kernelspec that the notebook names; empty where it names none."""
        spec = self.metadata.get("kernelspec")
        name = spec.get("name") if isinstance(spec, dict) else None
        return name if isinstance(name, str) else ""

    # -- which cells --

    def cell(self, reference: str) -> Cell:
        """Return the one cell that an id, the beginning of one, or an index names.

        Raises:
            DocumentError: there is none, or more than one.
        """
        for cell in self.cells:
            if cell.id and cell.id == reference:
                return cell
        if re.fullmatch(r"-?\d{1,7}", reference):
            index = int(reference)
            if -len(self.cells) <= index < len(self.cells):
                return self.cells[index]
            if len(reference) < SHORTEST:
                raise DocumentError(f"There is no cell {index}: {self._extent}.")
        if len(reference) >= SHORTEST:
            found = [cell for cell in self.cells if cell.id.startswith(reference)]
            if len(found) == 1:
                return found[0]
            if found:
                ids = ", ".join(cell.id for cell in found[:5])
                raise DocumentError(f"{reference} begins the id of {len(found)} cells: {ids}.")
        raise DocumentError(f"There is no cell {reference}: {self._extent}; nb cells lists them.")

    def chosen(self, references: Iterable[str]) -> list[Cell]:
        """Return the cells that indexes, ids and ranges (``2:5``, as Python slices) name, in the
        order in which they are named, each once.

        Raises:
            DocumentError: one names nothing.
        """
        found: dict[int, Cell] = {}
        for reference in references:
            if match := re.fullmatch(r"(-?\d{0,7}):(-?\d{0,7})", reference):
                first, last = (int(edge) if edge else None for edge in match.groups())
                cells = self.cells[slice(first, last)]
                if not cells:
                    raise DocumentError(f"{reference} names no cell: {self._extent}.")
            else:
                cells = (self.cell(reference),)
            found.update((cell.index, cell) for cell in cells)
        return list(found.values())

    @property
    def _extent(self) -> str:
        count = len(self.cells)
        return "the notebook has none" if not count else f"they go from 0 to {count - 1}"

    # -- edits --

    def with_run(
        self, cell: Cell, outputs: Sequence[dict[str, Any]], count: int | None
    ) -> Document:
        """Return it with a cell's outputs and number, as a run has left them."""
        return self.with_runs([(cell, {"outputs": outputs, "count": count})])

    def with_runs(self, runs: Sequence[tuple[Cell, dict[str, Any]]]) -> Document:
        """Return it with the ``outputs`` and the number (``count``) of several cells."""
        edits: list[_Edit] = []
        for cell, run in runs:
            outputs = _as_in_files(run["outputs"]) if run["outputs"] else []
            edits += self._edits(cell, {"execution_count": run["count"], "outputs": outputs})
        return self._edited(edits)

    def with_metadata(self, name: str, value: Any) -> Document:
        """Return it with another value in its metadata."""
        if self._metadata is None or self.metadata.get(name) == value:
            return self
        fields, (start, _) = self._metadata
        if name in fields:
            span = fields[name][1]
            return self._edited([(span, self._written(value, _depth(self.text, span[0]), 2))])
        step = self._step
        between = "" if step is None else f"{self._newline}{step * 2}"
        last = "," if fields else "" if step is None else f"{self._newline}{step}"
        written = f"{between}{json.dumps(name)}: {self._written(value, None, 2)}{last}"
        end = start + 1 if fields else self._metadata[1][1] - 1
        return self._edited([((start + 1, end), written)])

    def with_source(self, cell: Cell, source: str) -> Document:
        """Return it with another text of a cell. A code cell's outputs, which are of the old one,
        go."""
        changed: dict[str, Any] = {"source": source.splitlines(keepends=True)}
        if cell.kind == "code":
            changed |= {"execution_count": None, "outputs": []}
        return self._edited(self._edits(cell, changed))

    def inserted(self, index: int, kind: str, source: str) -> Document:
        """Return it with a new cell before the one that now has this index."""
        made: dict[str, Any] = {"cell_type": kind, "metadata": {}}
        if kind == "code":
            made |= {"execution_count": None, "outputs": []}
        if self.version >= _FIRST_WITH_IDS:
            taken = {cell.id for cell in self.cells}
            made["id"] = next(i for i in iter(_new_id, "") if i not in taken)
        made["source"] = source.splitlines(keepends=True)
        blocks = [self._block(cell) for cell in self.cells]
        depth = _depth(self.text, self.cells[0].span[0]) if self.cells else None
        blocks.insert(index, self._written(dict(sorted(made.items())), depth, 2))
        return self._with_blocks(blocks)

    def deleted(self, cell: Cell) -> Document:
        """Return it without a cell."""
        return self._with_blocks([self._block(other) for other in self.cells if other != cell])

    def moved(self, cell: Cell, index: int) -> Document:
        """Return it with a cell at another index."""
        blocks = [self._block(other) for other in self.cells]
        blocks.insert(index, blocks.pop(cell.index))
        return self._with_blocks(blocks)

    # -- text --

    def _block(self, cell: Cell) -> str:
        return self.text[slice(*cell.span)]

    def _edits(self, cell: Cell, changed: dict[str, Any]) -> list[_Edit]:
        """Return what gives a cell's fields other values."""
        edits: list[_Edit] = []
        for name, value in changed.items():
            span = cell.values.get(name)
            if span is not None:
                if cell.content[name] != value:
                    depth = _depth(self.text, span[0])
                    edits.append((span, self._written(value, depth, 3)))
            else:
                start = cell.span[0] + 1
                comma = "," if cell.values else ""
                written = self._written(value, None, 3)
                edits.append(((start, start), f"{json.dumps(name)}: {written}{comma}"))
        return edits

    def _edited(self, edits: Sequence[_Edit]) -> Document:
        """Replace some places of the text, and nothing beside them."""
        if not edits:
            return self
        pieces, at = [], 0
        for (start, end), written in sorted(edits, key=lambda edit: edit[0]):
            pieces += [self.text[at:start], written]
            at = end
        return Document("".join([*pieces, self.text[at:]]))

    def _with_blocks(self, blocks: list[str]) -> Document:
        """Put other cells into the list, parted as they are now."""
        assert self._list is not None
        start, end = self._list
        if self.cells:
            before = self.text[start + 1 : self.cells[0].span[0]]
            after = self.text[self.cells[-1].span[1] : end - 1]
        elif (step := self._step) is None:
            before = after = ""
        else:
            before, after = f"{self._newline}{step * 2}", f"{self._newline}{step}"
        between = "," + (before or " " if self._step is None else before)
        inside = f"{before}{between.join(blocks)}{after}" if blocks else ""
        return Document(f"{self.text[: start + 1]}{inside}{self.text[end - 1 :]}")

    @property
    def _newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    @property
    def _step(self) -> str | None:
        """One step of the text's indentation, or None where it is all in one line."""
        found = re.match(r"\ufeff?\{\r?\n([ \t]*)", self.text)
        return found[1] if found else None

    def _written(self, value: Any, depth: str | None, level: int) -> str:
        """Return a value in the style of the text.

        Args:
            value: what to write.
            depth: the white space before the line where it stands; None where that is not known.
            level: how deep it stands then.
        """
        step = self._step
        keep = not self.text.isascii() or "\\u" not in self.text
        if step is None:
            return whole(json.dumps(value, ensure_ascii=not keep, sort_keys=True))
        text = whole(json.dumps(value, ensure_ascii=not keep, indent=step, sort_keys=True))
        return text.replace("\n", self._newline + (step * level if depth is None else depth))


def _new_id() -> str:
    return uuid.uuid4().hex[:8]


def _depth(text: str, position: int) -> str:
    """Return the white space that begins the line of a position."""
    start = max(text.rfind("\n", 0, position), text.rfind("\r", 0, position)) + 1
    found = re.compile(r"[ \t]*").match(text, start)
    return found[0] if found else ""


def _as_in_files(outputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return outputs as nbformat writes them: long texts as lists of lines, fields by name."""
    from nbformat import from_dict
    from nbformat.v4.rwbase import split_lines

    cell = {"cell_type": "code", "source": "", "outputs": copy.deepcopy(list(outputs))}
    made = split_lines(from_dict({"metadata": {}, "cells": [cell]}))
    return list(made.cells[0].outputs)


# -- parsing ---------------------------------------------------------------------------------------

_Fields = dict[str, tuple[Any, Span]]


_Inside = tuple[_Fields, Span]


def _taken_apart(
    text: str,
) -> tuple[dict[str, Any], _Inside | None, list[Cell], Span | None]:
    """Return the fields of a notebook, those of its metadata and where that stands, its cells, and
    where the list of them stands."""
    try:
        at = _after_blank(text, 1 if text.startswith("\ufeff") else 0)
        if text[at : at + 1] != "{":
            raise JSONDecodeError("a notebook is a JSON object", text, at)
        fields, end = _object(text, at, {"cells": _cells, "metadata": _metadata})
        if _after_blank(text, end) != len(text):
            raise JSONDecodeError("something follows it", text, end)
    except JSONDecodeError as err:
        raise DocumentError(
            f"It is no notebook: its JSON breaks off or is wrong in line {err.lineno}, column "
            f"{err.colno} ({err.msg})."
        ) from None
    except RecursionError:
        raise DocumentError("It is no notebook: its JSON is nested too deeply.") from None
    found, span = fields.pop("cells", ([], None))
    top = {name: value for name, (value, _) in fields.items()}
    inside = None
    if "metadata" in fields and text[fields["metadata"][1][0]] == "{":
        inside = fields["metadata"]
        top["metadata"] = {name: value for name, (value, _) in inside[0].items()}
    if span is None or text[span[0]] != "[":
        return top, inside, [], None
    return top, inside, [_cell(index, *entry) for index, entry in enumerate(found)], span


def _cell(index: int, fields: _Fields, span: Span) -> Cell:
    content = {name: value for name, (value, _) in fields.items()}
    source = content.get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str) or not isinstance(content.get("cell_type"), str):
        raise DocumentError(f"It is no valid notebook: cell {index} has no type or no text.")
    id = content.get("id")
    return Cell(
        index,
        id if isinstance(id, str) else "",
        content["cell_type"],
        source,
        content,
        span,
        {name: where for name, (_, where) in fields.items()},
    )


def _object(text: str, at: int, inner: dict[str, Any]) -> tuple[_Fields, int]:
    """Return the fields of the JSON object that begins here, with the places of their values, and
    its end; ``inner`` are functions that read the values of some."""
    fields: _Fields = {}
    at = _after_blank(text, at + 1)
    if text[at : at + 1] == "}":
        return fields, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise JSONDecodeError("a name in quotation marks was expected", text, at)
        name, at = _DECODER.raw_decode(text, at)
        at = _after_blank(text, at)
        if text[at : at + 1] != ":":
            raise JSONDecodeError("a colon was expected", text, at)
        start = _after_blank(text, at + 1)
        value, end = inner.get(name, _DECODER.raw_decode)(text, start)
        fields[name] = (value, (start, end))
        at = _after_blank(text, end)
        if text[at : at + 1] == "}":
            return fields, at + 1
        at = _comma(text, at)


def _metadata(text: str, start: int) -> tuple[Any, int]:
    """Return the fields of the metadata with their places, and its end."""
    if text[start : start + 1] != "{":
        return _DECODER.raw_decode(text, start)
    return _object(text, start, {})


def _cells(text: str, start: int) -> tuple[Any, int]:
    """Return the fields and the place of each cell, and the end of the list."""
    if text[start : start + 1] != "[":
        return _DECODER.raw_decode(text, start)
    cells: list[tuple[_Fields, Span]] = []
    at = _after_blank(text, start + 1)
    if text[at : at + 1] == "]":
        return cells, at + 1
    while True:
        if text[at : at + 1] != "{":
            raise JSONDecodeError("a cell was expected", text, at)
        fields, end = _object(text, at, {})
        cells.append((fields, (at, end)))
        at = _after_blank(text, end)
        if text[at : at + 1] == "]":
            return cells, at + 1
        at = _comma(text, at)


def _comma(text: str, at: int) -> int:
    if text[at : at + 1] != ",":
        raise JSONDecodeError("a comma was expected", text, at)
    return _after_blank(text, at + 1)


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
