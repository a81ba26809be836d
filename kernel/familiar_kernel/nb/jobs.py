"""Runs that another agent has asked for: each in a thread, so that it can be left and looked at."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from . import actions
from .actions import Listener, Result
from .document import Cell
from .running import Ran
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
        ran: what came of code that is in no cell.
        notes: what else is to be known.
        fault: why it could not go on.
    """

    id: str
    store: Store
    doing: str = "it begins"
    number: int = 0
    count: int = 1
    results: list[Result] = field(default_factory=list)
    ran: Ran | None = None
    notes: list[str] = field(default_factory=list)
    fault: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    stop: threading.Event = field(default_factory=threading.Event)

    def interrupt(self) -> None:
        """Stop what it runs, or waits to run; the job ends by that, with what there is."""
        self.stop.set()


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
                stop=job.stop,
            )

        return self._begin(job, work)

    def code(self, store: Store, code: str, *, timeout: float | None) -> Job:
        """Run code that is in no cell."""
        job = self._new(store)
        job.doing = "the code runs"

        def work() -> None:
            job.ran = actions.run_code(
                store, code, lambda message: None, timeout=timeout, stop=job.stop, keep=True
            )

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
