"""What Claude's tools see and do: the variables, wherever they are, and the cells that ran."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from familiar_kernel import context

from . import reading
from .errors import ProbeError
from .reading import Content, text_block

if TYPE_CHECKING:
    from familiar_kernel.cell_log import CellLog, LoggedCell

    from .place import Place

Moment = tuple[int, object]
"""What there was at a time: how many cells had begun, and what stands for the variables."""


class Namespace:
    """What Claude's tools see and do.

    Args:
        place: where the variables are.
        log: what its cells held and showed.
        cell: returns the request's id of the cell that is being executed.
    """

    def __init__(self, place: Place, log: CellLog, cell: Callable[[], str]) -> None:
        self._place = place
        self._log = log
        self._cell = cell
        self._seen_cells = 0
        self._looks: dict[str, Callable[..., Content]] = {
            "list_variables": self._list,
            "describe_variable": self._describe,
            "read_cells": self._read_cells,
            "last_error": self._last_error,
            "look_at_picture": self._look_at_picture,
            "propose_cell": self._propose,
        }

    def look(self, name: str, arguments: dict[str, Any]) -> tuple[Content, bool]:
        """Serve a tool that only looks; return what came of it, and whether it failed."""
        tool = self._looks.get(name)
        if tool is None:
            return [text_block(f"This kernel has no tool {name!r}.")], True
        try:
            return tool(**arguments), False
        except (ProbeError, ValueError) as err:
            return [text_block(str(err))], True
        except TypeError as err:
            return [text_block(f"{name} does not take these arguments: {err}")], True

    def run(self, code: str) -> tuple[Content, bool]:
        """Run code, blocking; return what it showed, and whether it failed.

        Raises:
            execution.CodeStopped: it was interrupted.
        """
        seen = self._seen()
        try:
            went_well = self._place.run(code)
        except ProbeError as err:
            return [text_block(str(err))], True
        return self._ran(seen, went_well), not went_well

    async def run_awaiting(self, code: str) -> tuple[Content, bool]:
        """Run code as :meth:`run` does, on the kernel's loop, which goes on where it awaits.

        Raises:
            execution.CodeStopped: it was interrupted.
        """
        seen = self._seen()
        went_well = await self._place.run_awaiting(code)
        return self._ran(seen, went_well), not went_well

    def moment(self) -> Moment:
        """Return what there is now, for a later :meth:`mark`."""
        return self._log.begun, self._place.moment()

    def mark(self, moment: Moment | None = None) -> None:
        """Remember cells and variables as they are now, or were at a moment: what has come since is
        new."""
        seen, variables = moment or (self._log.begun, None)
        if seen >= self._seen_cells:  # else a later turn has been told more
            self._seen_cells = seen
            self._place.mark(variables)

    def last_failure(self) -> str:
        """Return how the latest cell of the person's failed, in one line; empty where it did
        not."""
        now = self._log.get(self._cell())
        cells = [c for c in self._log.cells() if c is not now and not context.is_prompt(c.code)]
        if not cells:
            return ""
        for kind, content in cells[-1].outputs():
            if kind == "error":
                said = str(content.get("evalue", "")).strip().partition("\n")[0][:200]
                failed = f"In [{cells[-1].number}] failed with {content.get('ename', 'an error')}"
                return f"{failed}: {said}" if said else failed
        return ""

    def context(self, prompt: str, mode: str, budget: int, notes: Sequence[str] = ()) -> str:
        """Return what has happened since :meth:`mark` and what a prompt names, for Claude.

        Args:
            prompt: the prompt that it goes with.
            mode: "full", "errors" or "off".
            budget: tokens that it may have.
            notes: what Claude must know in any mode.
        """
        now = self._cell()
        cells = [
            cell
            for cell in self._log.cells()
            if cell.serial > self._seen_cells and not context.is_prompt(cell.code)
        ]
        current = self._log.get(now)
        cells = [cell for cell in cells if cell is not current]
        changes = self._place.changes() if mode == "full" else ""
        named = context.describe_named(prompt, self._place.has, self._described, self._place.file)
        return context.compose(cells, changes, named, mode, budget, notes)

    def _described(self, expression: str) -> str:
        try:
            return self._place.describe(expression)
        except ProbeError as err:
            return f"({err})"

    def _seen(self) -> int:
        cell = self._log.get(self._cell())
        return cell.seen if cell else 0

    def _ran(self, seen: int, went_well: bool) -> Content:
        cell = self._log.get(self._cell())
        if cell is None:
            return [text_block("It ran; what it showed is not known, as this cell is not logged.")]
        return reading.run_content(cell.outputs(seen), cell.dropped, went_well, self._place.fit)

    # -- the tools --

    def _list(self, pattern: str = "", page: int = 1) -> Content:
        return [text_block(self._place.variables(pattern, page))]

    def _describe(self, expression: str, page: int = 1) -> Content:
        return [text_block(self._place.describe(expression, page))]

    def _last_error(self, page: int = 1) -> Content:
        return [text_block(self._place.last_error(page))]

    def _read_cells(self, number: int | None = None, page: int = 1) -> Content:
        cells = self._log.cells()
        if number is None:
            return reading.cells_content(cells, page)
        return reading.cell_content(self._numbered(number), self._place.fit)

    def _numbered(self, number: int) -> LoggedCell:
        cells = self._log.cells()
        chosen = [cell for cell in cells if cell.number == number]
        if not chosen:
            numbers = [cell.number for cell in cells]
            known = f"{numbers[0]} to {numbers[-1]}" if numbers else "none"
            raise ValueError(f"There is no cell In [{number}] in the log; it has {known}.")
        return chosen[-1]

    def _look_at_picture(self, expression: str = "", number: int | None = None) -> Content:
        if expression:
            return reading.picture_content(self._place.picture(expression))
        if number is None:
            raise ValueError("Say of what: an expression, or the number of a cell.")
        outputs = self._numbered(number).outputs()
        found = reading.pictures(outputs, self._place.fit, told=True)
        return found or [text_block(f"The cell In [{number}] shows no picture.")]

    def _propose(self, code: str) -> Content:
        self._place.propose(code)
        return [text_block("It will be put below this cell when the turn ends.")]
