"""The shell: IPython's, but prompts are taken out of a cell before IPython looks at it.

:meth:`FamiliarShell.transform_cell` is the one hook that runs before all of IPython's own
transformers, and what it returns is executed as any code: so In and Out, the count, history,
``silent``, errors, ``stop_on_error`` and interrupts stay IPython's business. What is a prompt,
:mod:`.cells` says; what happens with it, :mod:`.prompts`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.interactiveshell import _asyncio_runner  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from .prompts import Prompts

_cell_under_way: ContextVar[str | None] = ContextVar("familiar_cell_under_way", default=None)


class FamiliarShell(ZMQInteractiveShell):
    """A shell whose cells may hold prompts.

    Attributes:
        familiar: what the transformed cells call; set by the kernel.
    """

    familiar: Prompts
    _last_traceback: list[str] | None = None

    @contextlib.contextmanager
    def executing(self, cell: str) -> Iterator[None]:
        """Mark a cell as the one that the kernel's loop executes, so that its prompt may be
        awaited.

        Code that a magic or a function hands to the shell meanwhile may not: nobody would await it.
        """
        # ipykernel reports this with every error, but IPython sets it only for those that have a
        # traceback; of a usage error the reply would carry an earlier cell's, or never be sent.
        self._last_traceback = None
        token = _cell_under_way.set(cell)
        try:
            yield
        finally:
            _cell_under_way.reset(token)

    def transform_cell(self, raw_cell: str) -> str:
        """Return the Python code of a cell, its prompts replaced by calls."""
        if "%claude" not in raw_cell:
            return str(super().transform_cell(raw_cell))
        from . import cells  # its many patterns are for those cells only that may hold a prompt

        awaitable = (
            raw_cell == _cell_under_way.get()
            and self.autoawait
            and self.loop_runner is _asyncio_runner
        )
        with_calls = cells.transform(raw_cell, awaitable=awaitable)
        code: str = super().transform_cell(raw_cell if with_calls is None else with_calls)
        return code

    def init_user_ns(self) -> None:
        """Fill the namespace; ``%reset`` comes here too, and leaves the ways to talk in place."""
        super().init_user_ns()
        familiar: Any = getattr(self, "familiar", None)
        if familiar is not None:
            familiar.enter_namespace()
