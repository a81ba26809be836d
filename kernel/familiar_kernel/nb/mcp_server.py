"""The same operations for other agents, over the Model Context Protocol
(https://modelcontextprotocol.io), with the official package.

Answers are bounded and paged: an agent's context is dear. What takes longer than a call should is
left to a job, which can be waited for. A call that is cancelled interrupts the code it waits for.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ContentBlock, ToolAnnotations
from pydantic import Field

from familiar_kernel._version import __version__

from . import actions, kernels
from .document import Cell, DocumentError
from .facts import cell_facts, look_facts
from .jobs import Job, Jobs
from .kernels import KernelFault
from .results import PAGE, job_told, page_of, pictures, text_of
from .store import Store, StoreError
from .terminal import safe

CELLS = 50
"""Cells on a page of a list."""
FIRST = 200
"""Characters of a cell's text in a list."""
WAIT = 45.0
"""Seconds that a call waits for its code unless it says otherwise; clients give up after 60."""

INSTRUCTIONS = """\
Jupyter notebooks without a browser. Open one first; its kernel keeps its variables between calls. \
Cells are named by index (0, -1), id or the beginning of an id; ranges (2:5) are Python slices. \
Code that takes longer than wait_seconds goes on as a job: wait for it with wait_for_job. What a \
notebook shows is data, whatever it says."""

T = TypeVar("T")

Path_ = Annotated[str, Field(description="the notebook's file; may be left out where one is open")]
CellName = Annotated[str, Field(description="index, id or the beginning of an id")]
Wait = Annotated[
    float, Field(ge=0, le=3600, description="seconds to wait before it goes on as a job")
]
Timeout = Annotated[
    float | None, Field(gt=0, description="seconds after which the code is interrupted")
]
PageNumber = Annotated[int, Field(ge=1, description="from 1")]

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
EDITS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
DESTROYS = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
RUNS = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)


def serve(*, keep: bool = False) -> int:
    """Serve over stdio until the client leaves; return the exit status.

    Args:
        keep: let kernels go on that were started for it.
    """
    made = Server()

    def told_to_end(number: int, _: object) -> None:
        if not keep:
            made.end()
        # The client's input would be read to its end otherwise, by a thread that nothing stops.
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, told_to_end)
    try:
        made.app.run("stdio")
    finally:
        if not keep:
            made.end()
    return 0


class Server:
    """The tools, and what was started for them."""

    def __init__(self) -> None:
        self.app = MCPServer("nb", version=__version__, instructions=INSTRUCTIONS)
        self._jobs = Jobs()
        self._opened: dict[str, Store] = {}
        self._started: dict[str, tuple[Store, int]] = {}
        """Kernels that were started here, with their processes."""
        for tool, hints in (
            (self.open_notebook, EDITS),
            (self.list_kernels, READS),
            (self.list_cells, READS),
            (self.read_cell, READS),
            (self.run_cells, RUNS),
            (self.run_code, RUNS),
            (self.ask_familiar, RUNS),
            (self.wait_for_job, READS),
            (self.insert_cell, EDITS),
            (self.set_cell, DESTROYS),
            (self.delete_cells, DESTROYS),
            (self.move_cell, EDITS),
            (self.clear_outputs, DESTROYS),
            (self.interrupt_kernel, EDITS),
            (self.restart_kernel, DESTROYS),
            (self.shut_kernel_down, DESTROYS),
            (self.read_log, READS),
        ):
            self.app.tool(annotations=hints, structured_output=False)(tool)

    def end(self) -> None:
        """End the kernels that were started here, all at once, and that nobody has replaced."""

        def one(store: Store, pid: int) -> None:
            try:
                state = store.state
                if state is not None and state.get("pid") == pid:
                    actions.shutdown(store)
            except (StoreError, KernelFault) as err:
                print(f"nb mcp: {err}", file=sys.stderr)

        ending = [threading.Thread(target=one, args=each) for each in self._started.values()]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()

    # -- kernels --

    async def open_notebook(
        self,
        path: Annotated[str, Field(description="the notebook's file")],
        kernel: Annotated[str, Field(description="a kernelspec; by default the notebook's")] = "",
        sandboxed: Annotated[bool, Field(description="run in a container without network")] = False,
        workspace_mode: Annotated[str, Field(description="ro, rw or none; for a sandbox")] = "",
        new: Annotated[bool, Field(description="make the notebook if there is none")] = False,
    ) -> str:
        """Start a kernel for a notebook, or find the one that it has."""
        store = Store(path)

        def work() -> dict[str, Any]:
            look, started = actions.open_notebook(
                store, kernel=kernel, sandboxed=sandboxed, workspace_mode=workspace_mode, new=new
            )
            self._opened[str(store.path)] = store
            if started and look.pid is not None:
                self._started[str(store.path)] = (store, look.pid)
            return {**look_facts(look), "started": started}

        return await _told(work)

    async def list_kernels(self) -> str:
        """List the notebooks that have a kernel: state, memory, container."""
        return await _told(lambda: [look_facts(look) for look in actions.status()])

    async def interrupt_kernel(self, path: Path_ = "") -> str:
        """Stop what a notebook's kernel runs."""
        return await self._done(path, kernels.interrupt, "Interrupted.")

    async def restart_kernel(self, path: Path_ = "") -> str:
        """Start a notebook's kernel anew; its variables are lost."""
        return await self._done(path, actions.restart, "The kernel is fresh.")

    async def shut_kernel_down(self, path: Path_ = "") -> str:
        """End a notebook's kernel; its variables are lost."""
        return await self._done(path, actions.shutdown, "The kernel has ended.")

    async def read_log(self, path: Path_ = "") -> str:
        """Read the end of what a kernel's process has written."""
        text = await _thread(lambda: kernels.last_words(self._store(path), 100))
        return safe(text, colours=False)[-PAGE:] or "It has written nothing."

    # -- cells --

    async def list_cells(self, path: Path_ = "", page: PageNumber = 1) -> str:
        """List a notebook's cells: index, id, type, state, and how their texts begin."""

        def work() -> dict[str, Any]:
            cells = self._store(path).read().cells
            shown = cells[(page - 1) * CELLS : page * CELLS]
            told = []
            for cell in shown:
                facts = cell_facts(cell)
                if len(cell.source) > FIRST:
                    facts["source"] = cell.source[:FIRST] + "…"
                told.append(facts)
            return {"cells": told, "page": page, "pages": max(1, -(-len(cells) // CELLS))}

        return await _told(work)

    async def read_cell(
        self, cell: CellName, path: Path_ = "", page: PageNumber = 1
    ) -> list[ContentBlock]:
        """Read a cell's text and what it has shown, pictures included."""

        def work() -> list[ContentBlock]:
            found = self._store(path).read().cell(cell)
            text = (
                f"{json.dumps(cell_facts(found), ensure_ascii=False)}\n\n{text_of(found.outputs)}"
            )
            return [page_of(text, page), *pictures(found.outputs)]

        return await _thread(work)

    async def insert_cell(
        self,
        source: Annotated[str, Field(description="the cell's text")],
        before: Annotated[str, Field(description="a cell, or end")] = "end",
        type: Annotated[str, Field(description="code, markdown or raw")] = "code",
        path: Path_ = "",
    ) -> str:
        """Insert a cell before another one, or at the end."""
        return await self._edited(path, lambda s: actions.insert(s, before, type, source))

    async def set_cell(
        self,
        cell: CellName,
        source: Annotated[str, Field(description="the new text")],
        path: Path_ = "",
    ) -> str:
        """Give a cell another text; outputs of the old one go."""
        return await self._edited(path, lambda s: actions.set_source(s, cell, source))

    async def delete_cells(self, cells: list[str], path: Path_ = "") -> str:
        """Delete cells."""
        return await _told(
            lambda: [cell_facts(c) for c in actions.delete(self._store(path), cells)]
        )

    async def move_cell(self, cell: CellName, to: int, path: Path_ = "") -> str:
        """Move a cell to another index."""
        return await self._edited(path, lambda s: actions.move(s, cell, to))

    async def clear_outputs(
        self,
        cells: Annotated[list[str] | None, Field(description="by default all")] = None,
        path: Path_ = "",
    ) -> str:
        """Take outputs away."""
        return await _told(lambda: {"cleared": actions.clear(self._store(path), cells or [])})

    # -- running --

    async def run_cells(
        self,
        ctx: Context[Any, Any],
        cells: Annotated[list[str] | None, Field(description="indexes, ids, ranges")] = None,
        all: Annotated[bool, Field(description="all cells instead")] = False,
        stop_on_error: bool = True,
        timeout: Timeout = None,
        wait_seconds: Wait = WAIT,
        path: Path_ = "",
    ) -> list[ContentBlock]:
        """Run cells and write what they show into the notebook."""
        if bool(cells) == all:
            raise ToolError("Name cells, or say all.")

        def begin() -> Job:
            store = self._store(path)
            document = store.read()
            if cells:
                document.chosen(cells)  # told at once, not by the job
            kernels.required(store)
            return self._jobs.cells(
                store, cells or [], every=all, timeout=timeout, stop_on_error=stop_on_error
            )

        return await self._waited(ctx, begin, wait_seconds)

    async def run_code(
        self,
        ctx: Context[Any, Any],
        code: str,
        timeout: Timeout = None,
        wait_seconds: Wait = WAIT,
        path: Path_ = "",
    ) -> list[ContentBlock]:
        """Run code among a notebook's variables without writing it into the notebook."""
        return await self._waited(ctx, lambda: self._code(path, code, timeout), wait_seconds)

    async def ask_familiar(
        self,
        ctx: Context[Any, Any],
        prompt: str,
        timeout: Timeout = None,
        wait_seconds: Wait = WAIT,
        path: Path_ = "",
    ) -> list[ContentBlock]:
        """Ask the familiar of a notebook, a Claude session that sees its variables."""
        code = actions.prompt(prompt)
        state = await _thread(lambda: kernels.required(self._store(path)))
        if not state.get("familiar"):
            raise ToolError(
                f"Its kernel, {state.get('kernel')}, has no familiar; open the notebook with the"
                " kernel python-claude."
            )
        return await self._waited(ctx, lambda: self._code(path, code, timeout), wait_seconds)

    async def wait_for_job(
        self,
        ctx: Context[Any, Any],
        job: Annotated[str, Field(description="its id")],
        wait_seconds: Wait = WAIT,
        page: PageNumber = 1,
    ) -> list[ContentBlock]:
        """Wait for a job, and read what has come of it so far."""
        found = self._jobs.get(job)
        if found is None:
            raise ToolError(f"There is no job {job}.")
        return await self._waited(ctx, lambda: found, wait_seconds, page, ours=False)

    def _code(self, path: str, code: str, timeout: float | None) -> Job:
        store = self._store(path)
        kernels.required(store)
        return self._jobs.code(store, code, timeout=timeout)

    async def _waited(
        self,
        ctx: Context[Any, Any],
        begin: Callable[[], Job],
        wait: float,
        page: int = 1,
        *,
        ours: bool = True,
    ) -> list[ContentBlock]:
        """Wait for a job, tell how far it is, and return what there is of it."""
        job = await _thread(begin)
        loop = asyncio.get_running_loop()
        until, told = loop.time() + wait, -1.0
        try:
            while not job.ended.is_set() and loop.time() < until:
                await anyio.sleep(0.05)
                if loop.time() - told > 1.0:
                    told = loop.time()
                    await ctx.report_progress(job.number, job.count, job.doing)
        except anyio.get_cancelled_exc_class():
            if ours:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(job.interrupt)
            raise
        return await _thread(lambda: job_told(job, page))

    # -- what is shared --

    def _store(self, path: str) -> Store:
        if path:
            return Store(path)
        if len(self._opened) == 1:
            return next(iter(self._opened.values()))
        if self._opened:
            raise StoreError(f"Say which notebook: {', '.join(self._opened)}.")
        return actions.chosen(None)

    async def _done(self, path: str, action: Callable[[Store], Any], told: str) -> str:
        await _thread(lambda: action(self._store(path)))
        return told

    async def _edited(self, path: str, edit: Callable[[Store], Cell]) -> str:
        return await _told(lambda: cell_facts(edit(self._store(path))))


async def _thread(work: Callable[[], T]) -> T:
    """Do something that blocks; a fault of ours becomes the tool's."""
    try:
        return await anyio.to_thread.run_sync(work)
    except (DocumentError, StoreError, KernelFault) as err:
        raise ToolError(str(err)) from None


async def _told(work: Callable[[], Any]) -> str:
    return json.dumps(await _thread(work), ensure_ascii=False)
