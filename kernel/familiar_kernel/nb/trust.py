"""Keeps a notebook trusted that was: a front end runs no script of outputs that nobody has signed.

Jupyter signs what a person's own kernel has shown. What ``nb`` runs is that too; so a notebook that
was trusted before, or showed nothing that needs it, is signed again, by nbformat's notary. One that
came from somebody else stays untrusted, whatever is run in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from .document import Document


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
        from nbformat.sign import NotebookNotary

        notebook = _read(self._ours)
        with NotebookNotary() as notary:
            if not notary.check_cells(notebook):
                notary.sign(notebook)


def _is_trusted(text: str) -> bool:
    from nbformat.sign import NotebookNotary

    notebook = _read(text)
    with NotebookNotary() as notary:
        return notary.check_signature(notebook) or notary.check_cells(notebook)


def _read(text: str) -> NotebookNode:
    import nbformat

    notebook: NotebookNode = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        # A word in the file proves nothing, and Jupyter's notary would take it.
        cell.metadata.pop("trusted", None)
    return notebook
