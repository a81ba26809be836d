"""What ``nb`` does, for a person in a terminal and for another agent alike: nothing here is shown.

Everything names its notebook by a :class:`.store.Store`; what happens on the way is told to a
:class:`Listener`.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from familiar_kernel.sandbox.labels import PREFIX

from . import kernels, widgets
from .document import KINDS, Cell, Document, DocumentError
from .kernels import KernelDied, Look
from .running import Message, Outputs, Ran, Runner
from .store import Store, StoreError, known, located, write_whole
from .trust import Trust

WRITE_SHARE = 0.1
"""The part of the time that writing a notebook in the middle of a run may take."""
EXPECTED_ERROR = "raises-exception"
"""The tag of a cell that is meant to fail, as nbclient knows it."""


class Unsaved(StoreError):
    """Outputs had no place in the notebook as it is now; they are in a file of their own."""


class Listener:
    """Is told what happens while cells run; this one does nothing with it."""

    def begins(self, cell: Cell, number: int, count: int) -> None:
        """A cell begins, the ``number``-th (from 1) of ``count``."""

    def hears(self, message: Message) -> None:
        """The kernel has published something for what runs."""

    def ended(self, result: Result) -> None:
        """A cell has ended."""

    def waits(self, holder: str) -> None:
        """Another nb runs cells of this notebook, and is waited for."""

    def says(self, line: str) -> None:
        """Something that the person should know."""


@dataclass(frozen=True)
class Result:
    """A cell that has run."""

    cell: Cell
    ran: Ran
    shown: Outputs = field(repr=False)

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """What it shows."""
        return self.shown.of(self.cell)[0]


def chosen(path: str | None, folder: Path | None = None) -> Store:
    """Return the notebook that is meant.

    Args:
        path: what the person said; without it, ``NB_NOTEBOOK``, or the one that is open in the
            folder or below.
        folder: where they are.

    Raises:
        StoreError: none is open here, or several are.
    """
    path = path or os.environ.get("NB_NOTEBOOK") or None
    if path:
        return Store(path)
    here = located(folder or Path.cwd())
    found = [notebook for notebook in known() if notebook.is_relative_to(here)]
    if not found:
        # From a folder below the notebook's, as git does.
        above = [notebook for notebook in known() if here.is_relative_to(notebook.parent)]
        nearest = max((len(notebook.parts) for notebook in above), default=0)
        found = [notebook for notebook in above if len(notebook.parts) == nearest]
    if len(found) == 1:
        return Store(found[0])
    if not found:
        raise StoreError(
            "No notebook is open here: nb open FILE opens one, or name it with -n FILE."
        )
    names = ", ".join(os.path.relpath(notebook, here) for notebook in found[:6])
    raise StoreError(f"{len(found)} notebooks are open here ({names}): say which with -n FILE.")


# -- kernels ---------------------------------------------------------------------------------------


def open_notebook(
    store: Store,
    *,
    kernel: str = "",
    sandboxed: bool = False,
    workspace_mode: str = "",
    new: bool = False,
) -> tuple[Look, bool]:
    """Return a notebook's kernel and whether it was started for this, rather than found.

    Raises:
        StoreError: there is no such notebook.
        KernelFault: it does not start, or another one runs already.
    """
    if new and not store.path.exists():
        store.make(json.dumps(_empty(kernel or (kernels.SANDBOXED if sandboxed else ""))) + "\n")
    document = store.read()
    name = kernel or (kernels.SANDBOXED if sandboxed else document.kernel_name) or kernels.FAMILIAR
    if kernel and sandboxed and not kernels.spec_is_sandboxed(kernel):
        raise kernels.KernelFault(
            f"{kernel} does not run code in a sandbox: leave out --kernel, or --sandboxed."
        )
    with store.starting():
        state = store.state
        if state is not None:
            kernels.here(store, state)
        if state is not None and kernels.process_of(state) is not None:
            mode = (state.get("variables") or {}).get(f"{PREFIX}WORKSPACE_MODE", "")
            other = (kernel or sandboxed) and state.get("kernel") != name
            if other or (workspace_mode and workspace_mode != (mode or "ro")):
                told = f" with --workspace-mode {mode}" if mode else ""
                raise kernels.KernelFault(
                    f"{store.path.name} runs on {state.get('kernel')}{told} already: nb shutdown"
                    " ends that, and with it its variables."
                )
            return kernels.look(store), False
        if state is not None:
            kernels.end(store)
        kernels.start(store, name, _variables(store, name, workspace_mode))
        return kernels.look(store), True


def _empty(kernel: str) -> dict[str, Any]:
    """Return an empty notebook, for a kernel."""
    spec = {"name": kernel or kernels.FAMILIAR, "display_name": kernel or "Python + Claude"}
    metadata = {"kernelspec": {**spec, "language": "python"}}
    return {"cells": [], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _variables(store: Store, kernel: str, workspace_mode: str) -> dict[str, str]:
    sandboxed = kernels.spec_is_sandboxed(kernel)
    if workspace_mode and not sandboxed:
        raise StoreError("--workspace-mode is for a sandbox: add --sandboxed.")
    variables = {f"{PREFIX}WORKSPACE_MODE": workspace_mode} if workspace_mode else {}
    if sandboxed:
        variables[f"{PREFIX}NAME"] = container_name(store.path.parent.name)
    return variables


def container_name(folder: str) -> str:
    """Return what the names of a folder's containers begin with: valid, and still to be known."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in folder.lower())
    return f"nb-{kept.strip('-')[:40] or 'notebook'}"


def restart(store: Store) -> Look:
    """Start a notebook's kernel anew: no variables, a fresh mind.

    Raises:
        KernelFault: none was started, or it does not start.
    """
    with store.starting():
        state = store.state
        if state is None:
            raise kernels.NoKernel(kernels.no_kernel(store))
        kernels.here(store, state)
        kernels.end(store)
        kernels.start(store, str(state["kernel"]), dict(state.get("variables") or {}))
    return kernels.look(store)


def shutdown(store: Store) -> bool:
    """End a notebook's kernel, and return whether it lived."""
    with store.starting():
        if (state := store.state) is not None:
            kernels.here(store, state)
        return kernels.end(store)


def status() -> list[Look]:
    """Return how all kernels are."""
    return [kernels.look(Store(path)) for path in known()]


# -- running ---------------------------------------------------------------------------------------


def run_cells(
    store: Store,
    references: Sequence[str],
    *,
    every: bool = False,
    timeout: float | None = None,
    stop_on_error: bool = False,
    wait: float = float("inf"),
    what: str = "nb exec",
    answer: Callable[[str, bool], str] | None = None,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
) -> list[Result]:
    """Run cells and write what they show into the notebook.

    Args:
        store: the notebook's.
        references: which cells: indexes, ids, ranges.
        every: all of them, instead.
        timeout: seconds that each may take.
        stop_on_error: end with the first that fails.
        wait: seconds to wait for another nb that runs cells of it.
        what: what that one is told, the other way round.
        answer: as :class:`.running.Runner` has it.
        listener: is told what happens.
        stop: when it is set, the cell that runs is interrupted, and no other begins.

    Raises:
        DocumentError: a reference names no cell.
        StoreError: the notebook cannot be read or written; :class:`.store.Busy`, :class:`Unsaved`.
        KernelFault: there is no kernel, or it has ended on the way.
    """
    listener = listener or Listener()
    stop = stop or threading.Event()
    kernels.required(store)
    store.writable()
    with store.running(what, wait, listener.waits, stop.is_set):
        state = kernels.required(store)  # while it was waited for, there may have come another one
        document = store.read()
        cells = list(document.cells) if every else document.chosen(references)
        cells = [cell for cell in cells if cell.kind == "code"]
        results: list[Result] = []
        with kernels.connected(store) as client:
            runner = Runner(client, state, answer, stop)
            # Not before: two threads must not load jupyter_client at once.
            outputs = Outputs(document, client)
            saver = _Saver(store, outputs, listener.says)
            try:
                for number, cell in enumerate(cells, 1):
                    if stop.is_set():
                        break
                    listener.begins(cell, number, len(cells))
                    outputs.begin(cell)
                    ran = _run_cell(runner, cell, outputs, listener, timeout)
                    if ran.state == "aborted":
                        outputs.forget(cell)  # it has not run, and shows what it showed before
                        listener.says(f"{cell.name} was not run: another cell before it failed.")
                    result = Result(cell, ran, outputs)
                    results.append(result)
                    listener.ended(result)
                    for fault in ran.unreadable[:3]:
                        listener.says(f"A message of the kernel could not be read: {fault}")
                    if ran.state in ("died", "timeout") or ran.was_stopped:
                        break
                    if stop_on_error and ran.state == "error" and not _may_fail(cell):
                        break
                    if number < len(cells):
                        saver.now_and_then()
            finally:
                saver.save(last=True)
                for fault in outputs.faults[:3]:
                    listener.says(f"An output of the kernel was left out: {fault}")
    if results and results[-1].ran.state == "died":
        raise KernelDied(
            f"The kernel has ended while it ran {results[-1].cell.name}. nb restart starts a fresh"
            f" one.\n{kernels.last_words(store)}".rstrip()
        )
    return results


def _run_cell(
    runner: Runner, cell: Cell, outputs: Outputs, listener: Listener, timeout: float | None
) -> Ran:
    if not cell.source.strip():
        return Ran(reply={"status": "ok", "execution_count": None})

    def heard(message: Message) -> None:
        outputs.hear(cell, message)
        listener.hears(message)

    return runner.run(cell.source, heard, timeout=timeout, stop_on_error=False)


def _may_fail(cell: Cell) -> bool:
    metadata = cell.content.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return isinstance(tags, list) and EXPECTED_ERROR in tags


def failed(result: Result) -> bool:
    """Whether a cell has failed that was not meant to."""
    return result.ran.state in ("error", "aborted") and not _may_fail(result.cell)


class _Saver:
    """Writes what cells show, now and then, and at the end."""

    def __init__(self, store: Store, outputs: Outputs, says: Callable[[str], None]) -> None:
        self._store = store
        self._outputs = outputs
        self._says = says
        self._saved: dict[int, Any] = {}
        self._trust = Trust()
        self._took = 0.0
        self._at = time.monotonic()

    def now_and_then(self) -> None:
        """Save it, unless that would take up a good part of the time."""
        if self._outputs.can_tell and self._took < WRITE_SHARE * (time.monotonic() - self._at):
            self.save(last=False)

    def save(self, *, last: bool = True) -> None:
        """Put the outputs of the cells that ran into the notebook as it is now, but for those that
        are there since the last time.

        Args:
            last: whether the run ends so; else what does not succeed is tried again.

        Raises:
            Unsaved: some had no place there; they were kept elsewhere.
        """
        try:
            self._save(last)
        except Unsaved:
            raise
        except Exception as err:
            # Whatever it was, what the cells have shown is not to be lost by it.
            if not last:
                self._says(f"The notebook could not be saved yet: {err}")
                return
            kept = self._keep([(cell, self._outputs.of(cell)[0]) for cell in self._outputs.ran()])
            raise Unsaved(f"{err} The outputs are in {kept}.") from err

    def _save(self, last: bool) -> None:
        began = time.monotonic()
        ran = [(cell, *self._outputs.of(cell)) for cell in self._outputs.ran()]
        ran = [r for r in ran if self._saved.get(r[0].index) != (r[1], r[2])]
        models = self._outputs.widgets()
        lost: list[tuple[Cell, list[dict[str, Any]], str]] = []

        def placed(now: Document) -> Document:
            lost.clear()
            self._trust.sees(now)
            made: list[tuple[Cell, dict[str, Any]]] = []
            taken: set[int] = set()
            for cell, outputs, count in ran:
                try:
                    place = _place(now, cell, taken)
                    made.append((place, {"outputs": outputs, "count": count}))
                    taken.add(place.index)
                except DocumentError as err:
                    lost.append((cell, outputs, str(err)))
            return _with_widgets(now.with_runs(made), *models)

        self._trust.wrote(self._store.change(placed))
        missing = {cell.index for cell, _, _ in lost}
        for cell, outputs, count in ran:
            if cell.index not in missing:
                self._saved[cell.index] = (copy.deepcopy(outputs), count)
        if last:
            self._trust.seal()
        self._took, self._at = time.monotonic() - began, time.monotonic()
        if lost and last:
            kept = self._keep([(cell, outputs) for cell, outputs, _ in lost])
            raise Unsaved(f"{lost[0][2]} Its outputs were not written over it; they are in {kept}.")

    def _keep(self, outputs: Sequence[tuple[Cell, list[dict[str, Any]]]]) -> Path:
        """Write outputs that have no other place into nb's folder."""
        for number in itertools.count(1):
            file = self._store.made() / f"unsaved-{number}.json"
            if not file.exists():
                break
        told = [
            {"id": c.id, "index": c.index, "source": c.source, "outputs": o} for c, o in outputs
        ]
        try:
            write_whole(file, json.dumps(told, indent=1).encode(), mode=0o600)
        except OSError as err:
            return Path(f"no file either ({err.strerror})")
        return file


def _with_widgets(now: Document, made: dict[str, Any], changed: dict[str, Any]) -> Document:
    """Return a notebook with the state of the widgets that it shows."""
    if not (made or changed):
        return now
    roots = widgets.shown(output for cell in now.cells for output in cell.outputs)
    old = widgets.models_of(now.metadata.get("widgets"))
    models = widgets.merged(old, made, changed, roots)
    return now.with_metadata("widgets", widgets.metadata_of(models)) if models or old else now


def _place(now: Document, ran: Cell, taken: Collection[int]) -> Cell:
    """Return the cell of the notebook as it is now in which a cell has run.

    Args:
        now: the notebook.
        ran: the cell.
        taken: the indexes of cells that are others'.

    Raises:
        DocumentError: it was deleted or changed meanwhile.
    """
    free = [cell for cell in now.cells if cell.index not in taken]
    at = [cell for cell in free if cell.index == ran.index]
    same = [cell for cell in free if cell.source == ran.source and cell.kind == "code"]
    if ran.id:
        found = [cell for cell in free if cell.id == ran.id]
        if len(found) > 1:  # an id that is there twice, which some programs write
            found = [cell for cell in at if cell in found] or found
    else:
        found = [cell for cell in at if cell in same] or (same if len(same) == 1 else [])
    if not found:
        raise DocumentError(f"Somebody has deleted {ran.name} while it ran.")
    if found[0].source != ran.source or found[0].kind != "code":
        raise DocumentError(f"Somebody has changed {ran.name} while it ran.")
    return found[0]


def run_code(
    store: Store,
    code: str,
    heard: Callable[[Message], None],
    *,
    timeout: float | None = None,
    answer: Callable[[str, bool], str] | None = None,
    store_history: bool = True,
    stop: threading.Event | None = None,
    keep: bool = False,
) -> Ran:
    """Run code that is in no cell.

    Args:
        store: the notebook's.
        code: what to run.
        heard: called with each message that the kernel publishes for it.
        timeout: seconds that it may run.
        answer: as :class:`.running.Runner` has it.
        store_history: whether it counts as a cell.
        stop: when it is set, the code is interrupted.
        keep: whether what it shows is to be returned, as a notebook would have it.

    Raises:
        KernelFault: there is no kernel, or it has ended on the way.
    """
    state = kernels.required(store)
    with kernels.connected(store) as client:
        runner = Runner(client, state, answer, stop)
        document = Document(json.dumps({**_empty(""), "cells": [_SCRATCH]})) if keep else None
        outputs = Outputs(document, client) if document is not None else None
        cell = document.cells[0] if document is not None else None

        if outputs is not None and cell is not None:
            outputs.begin(cell)

        def both(message: Message) -> None:
            if outputs is not None and cell is not None:
                outputs.hear(cell, message)
            heard(message)

        ran = runner.run(
            code, both, timeout=timeout, store_history=store_history, stop_on_error=False
        )
        if outputs is not None and cell is not None:
            ran.outputs = outputs.of(cell)[0]
    if ran.state == "died":
        raise KernelDied(
            "The kernel has ended while it ran that. nb restart starts a fresh one.\n"
            f"{kernels.last_words(store)}".rstrip()
        )
    return ran


_SCRATCH = {"cell_type": "code", "source": "", "metadata": {}, "outputs": []}


def prompt(text: str) -> str:
    """Return the cell that asks the familiar something."""
    return f"%%claude\n{text}"


# -- editing ---------------------------------------------------------------------------------------


def _changed(store: Store, edit: Callable[[Document], Document]) -> Document:
    """Edit a notebook, and return it."""
    trust = Trust()

    def watched(document: Document) -> Document:
        trust.sees(document)
        return edit(document)

    document = store.change(watched)
    trust.wrote(document)
    trust.seal()
    return document


def insert(store: Store, index: str, kind: str, source: str) -> Cell:
    """Insert a cell before another one, or at the ``end``; return the new one.

    Raises:
        DocumentError: there is no such cell, or no such kind.
    """
    if kind not in KINDS:
        raise DocumentError(f"{kind} is no kind of cell: {', '.join(KINDS)}.")
    placed: list[int] = []

    def edit(document: Document) -> Document:
        at = len(document.cells) if index == "end" else document.cell(index).index
        placed[:] = [at]
        return document.inserted(at, kind, source)

    return _changed(store, edit).cells[placed[0]]


def set_source(store: Store, reference: str, source: str) -> Cell:
    """Give a cell another text, and return it."""
    placed: list[int] = []

    def edit(document: Document) -> Document:
        cell = document.cell(reference)
        placed[:] = [cell.index]
        return document.with_source(cell, source)

    return _changed(store, edit).cells[placed[0]]


def delete(store: Store, references: Sequence[str]) -> list[Cell]:
    """Delete cells, and return them."""
    gone: list[Cell] = []

    def edit(document: Document) -> Document:
        gone[:] = document.chosen(references)
        for cell in sorted(gone, key=lambda cell: -cell.index):
            document = document.deleted(document.cells[cell.index])
        return document

    _changed(store, edit)
    return gone


def move(store: Store, reference: str, index: int) -> Cell:
    """Move a cell to an index, and return it."""

    def edit(document: Document) -> Document:
        if not 0 <= index < len(document.cells):
            raise DocumentError(f"There is no place {index}.")
        return document.moved(document.cell(reference), index)

    return _changed(store, edit).cells[index]


def clear(store: Store, references: Sequence[str]) -> int:
    """Take the outputs of cells away, or of all where none is named; return of how many."""
    count = 0

    def edit(document: Document) -> Document:
        nonlocal count
        cells = document.chosen(references) if references else list(document.cells)
        cells = [cell for cell in cells if cell.outputs or cell.count is not None]
        count = len(cells)
        nothing: dict[str, Any] = {"outputs": [], "count": None}
        return document.with_runs([(cell, nothing) for cell in cells if cell.kind == "code"])

    _changed(store, edit)
    return count
