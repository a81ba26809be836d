"""Where the variables are: what must be done in the process that holds them, and nothing else.

In a kernel on the host that is the kernel itself (:mod:`.local`). In a sandboxed one it is the
inner kernel: there :mod:`.local` does the same, asked through :mod:`.remote`. All else that
Claude's tools need, the log of cells and the wording, stays with whoever serves the tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .probe.fitting import Picture


class Place(Protocol):
    """Looks at one namespace and runs code in it.

    Its looks raise :class:`.probe.ProbeError` where there is nothing to see, with a sentence for
    Claude.
    """

    def variables(self, pattern: str = "", page: int = 1) -> str:
        """Return one line for each variable; see :meth:`.probe.Probe.variables`."""

    def describe(self, expression: str, page: int = 1) -> str:
        """Return what a variable holds; see :meth:`.probe.Probe.describe`."""

    def last_error(self, page: int = 1) -> str:
        """Return the last exception, post mortem."""

    def picture(self, expression: str) -> Picture:
        """Return a picture of a variable; see :meth:`.probe.Probe.picture`."""

    def fit(self, data: bytes, mime: str, told: str) -> Picture:
        """Return a picture that is small enough to be sent; see :func:`.probe.fitting.fitted`."""

    def changes(self) -> str:
        """Return a line for each variable that changed since :meth:`mark`."""

    def moment(self) -> object:
        """Return something that stands for the variables as they are now, for :meth:`mark`."""

    def mark(self, moment: object | None) -> None:
        """Remember what the variables were like at a moment; None is now."""

    def has(self, name: str) -> bool:
        """Whether there is a variable of this name."""

    def file(self, path: str) -> str:
        """Return the beginning of a text file, or in brackets why there is none."""

    def run(self, code: str) -> bool:
        """Run code, blocking; return whether it went well.

        Raises:
            ProbeError: the code awaits, which is not possible here.
            execution.CodeStopped: it was interrupted.
        """

    async def run_awaiting(self, code: str) -> bool:
        """Run code as :meth:`run` does, on the kernel's loop, which goes on where it awaits."""

    def propose(self, code: str) -> None:
        """Put code into a cell below the one that runs, when that has ended."""

    # -- completion --

    def names(self, stem: str) -> list[str]:
        """Return the names of the person's variables that begin so."""

    def attributes(self, owner: str) -> list[str]:
        """Return the attributes of a variable, or of an attribute of one; none of its code runs."""

    def files(self, typed: str, quoted: bool) -> list[str]:
        """Return the paths that begin like this, folders with a slash, in quotes where they need
        them or the first is there already."""
