"""Keeps a notebook trusted that was: a front end runs no script of outputs that nobody has signed.

Jupyter signs what a person's own kernel has shown. What ``nb`` runs is that too; so a notebook that
was trusted before, or showed nothing that needs it, is signed again, by nbformat's notary. One that
came from somebody else stays untrusted, whatever is run in it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from nbformat.sign import NotebookNotaryContext

    from .document import Document


log = logging.getLogger(__name__)


class Trust:
    """What is known of one notebook while it is changed."""

    def __init__(self) -> None:
        self._ours = ""
        self._trusted = True

    def sees(self, before: Document) -> None:
        """Look at what is going to be changed; it may not be what was written here."""
        if before.text != self._ours:
            self._trusted = self._trusted and _is_trusted(before.text)

    def wrote(self, after: Document) -> None:
        """Know what was written."""
        self._ours = after.text

    def seal(self) -> None:
        """Sign what was written last, if it needs that and may have it."""
        if not self._trusted or not self._ours:
            return

        def sign(notary: NotebookNotaryContext, notebook: NotebookNode) -> bool:
            if not notary.check_cells(notebook):
                notary.sign(notebook)
            return True

        _asked(self._ours, sign)


def _is_trusted(text: str) -> bool:
    return _asked(text, lambda notary, n: notary.check_signature(n) or notary.check_cells(n))


def _asked(text: str, ask: Callable[[NotebookNotaryContext, NotebookNode], bool]) -> bool:
    """Ask the notary about a notebook; where one of them cannot be read, the answer is no."""
    import nbformat
    from nbformat.sign import NotebookNotary

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about ids, which nb leaves as they are
            notebook: NotebookNode = nbformat.reads(text.removeprefix("\ufeff"), as_version=4)
        for cell in notebook.cells:
            # A word in the file proves nothing, and Jupyter's notary would take it.
            cell.metadata.pop("trusted", None)
        with NotebookNotary() as notary:
            return ask(notary, notebook)
    except Exception:
        # nbformat raises many kinds for what it does not know. Not to sign is the safe side.
        log.info("the notary could not be asked", exc_info=True)
        return False
