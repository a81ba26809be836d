"""Runs that another agent has asked for: each in a thread, so that it can be left and looked at."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import actions, kernels
from .actions import Listener, Result
from .document import Cell
from .running import Message, Ran
from .store import Store

KEPT = 50
"""Finished jobs that can still be asked for."""


@dataclass
class Job:
    """A run that goes on, or has ended.

    Attributes:
        id: its name.
        store: the notebook's.
        doing: what it is doing, for people.
        number: how many cells have ended.
        count: how many there are.
        results: the cells that have ended.
        outputs: what has come of code that is in no cell.
        ran: what came of that.
        notes: what else is to be known.
        fault: why it could not go on.
    """

    id: str
    store: Store
    doing: str = "it begins"
    number: int = 0
    count: int = 1
    results: list[Result] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    ran: Ran | None = None
    notes: list[str] = field(default_factory=list)
    fault: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def interrupt(self) -> None:
        """Stop what its kernel runs; the job ends by that, with what there is."""
        if not self.ended.is_set():
            kernels.interrupt(self.store)


class _Told(Listener):
    """Writes into a job what happens."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def begins(self, cell: Cell, number: int, count: int) -> None:
        self._job.doing, self._job.count = f"{cell.name} runs", count

    def ended(self, result: Result) -> None:
        self._job.number += 1
        self._job.results.append(result)

    def waits(self, holder: str) -> None:
        self._job.doing = f"{holder} runs cells of this notebook; waiting for it"

    def says(self, line: str) -> None:
        self._job.notes.append(line)


class Jobs:
    """All jobs of one server."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count(1)

    def get(self, id: str) -> Job | None:
        """Return a job."""
        return self._jobs.get(id)

    def cells(
        self,
        store: Store,
        references: list[str],
        *,
        every: bool,
        timeout: float | None,
        stop_on_error: bool,
    ) -> Job:
        """Run cells."""
        job = self._new(store)

        def work() -> None:
            actions.run_cells(
                store,
                references,
                every=every,
                timeout=timeout,
                stop_on_error=stop_on_error,
                what="an agent (nb mcp)",
                listener=_Told(job),
            )

        return self._begin(job, work)

    def code(self, store: Store, code: str, *, timeout: float | None) -> Job:
        """Run code that is in no cell."""
        job = self._new(store)
        job.doing = "the code runs"

        def heard(message: Message) -> None:
            if message["msg_type"] == "update_display_data":
                _update(job.outputs, message["content"])
            elif message["msg_type"] not in ("status", "execute_input"):
                job.outputs.append({"output_type": message["msg_type"], **message["content"]})

        def work() -> None:
            job.ran = actions.run_code(store, code, heard, timeout=timeout)

        return self._begin(job, work)

    def _new(self, store: Store) -> Job:
        for id in [id for id, job in self._jobs.items() if job.ended.is_set()][:-KEPT]:
            del self._jobs[id]
        job = Job(f"job-{next(self._numbers)}", store)
        self._jobs[job.id] = job
        return job

    def _begin(self, job: Job, work: Callable[[], None]) -> Job:
        def run() -> None:
            try:
                work()
            except Exception as err:
                # Whatever it was: the agent that waits for it is told.
                job.fault = str(err) or type(err).__name__
            finally:
                job.ended.set()

        threading.Thread(target=run, name=job.id, daemon=True).start()
        return job


def _update(outputs: list[dict[str, Any]], content: dict[str, Any]) -> None:
    """Give a display that is updated its new content."""
    known = (content.get("transient") or {}).get("display_id")
    for output in outputs:
        if known and (output.get("transient") or {}).get("display_id") == known:
            output["data"], output["metadata"] = content["data"], content.get("metadata", {})
