"""Watches our view show an answer, from inside a kernel: the cells of ``answer_cost`` call this.

The view, the outputs, the session and the sockets are the kernel's own. Only the clock is not: it
never waits, so that an answer which takes minutes is shown in less than a second and every update
of it can be timed.
"""

from __future__ import annotations

import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, cast

from IPython.core.getipython import get_ipython

from familiar_kernel.answer.view import AnswerView, Surface
from familiar_kernel.familiar.protocol import TextDelta, TurnEvent, TurnFinished, TurnStarted
from familiar_kernel.outputs import CellOutputs

from .texts import mixed, one_fence, one_paragraph, pieces

PIECE = 48
"""Characters that arrive at once; models send about as much."""
SHAPES: dict[str, Callable[[int], str]] = {
    "mixed": mixed,
    "one code block": one_fence,
    "one paragraph": one_paragraph,
}


class Counted:
    """The outputs of a cell, with the times at which they were written to."""

    def __init__(self, surface: Surface, clock: Callable[[], float]) -> None:
        self._surface = surface
        self._clock = clock
        self.times: list[float] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._surface, name)
        if name == "alone":  # a question, which shows nothing
            return method

        def counted(*arguments: Any) -> Any:
            self.times.append(self._clock())
            return method(*arguments)

        return counted


def show(shape: str, size: int, rate: float) -> dict[str, float]:
    """Show an answer in the cell that calls this.

    Args:
        shape: a name in :data:`SHAPES`.
        size: the answer's bytes.
        rate: bytes that arrive in a second of the view's clock.

    Returns:
        What it cost: ``median`` and ``slowest``, the seconds of processor time of the calls that
        showed something, and ``slowest_on_the_wall``, the same on the wall's clock, which also
        counts what others had the processor for; the ``total`` processor time of all calls; how
        many ``updates`` there were, and how many in the ``busiest`` second of the view's clock.
    """
    now = 0.0
    surface = Counted(_outputs(), lambda: now)
    view = AnswerView(cast("Surface", surface), lambda: now)
    taken: list[float] = []
    spent: list[float] = []
    total = 0.0

    def call(work: Callable[[], None]) -> bool:
        nonlocal total
        shown_before = len(surface.times)
        began, busy = time.perf_counter(), time.thread_time()
        work()
        busy, took = time.thread_time() - busy, time.perf_counter() - began
        total += busy
        shows = len(surface.times) > shown_before
        if shows:
            spent.append(busy)
            taken.append(took)
        return shows

    def take(event: TurnEvent) -> None:
        call(lambda: view.on_event(event))

    take(TurnStarted("turn"))
    for piece in pieces(SHAPES[shape](size), PIECE):
        arrival = now + len(piece.encode()) / rate
        while (due := view.next_due()) is not None and due <= arrival:
            now = max(now, due)
            if not call(view.tick):
                break
        now = arrival
        take(TextDelta("turn", piece))
    take(TurnFinished("turn", "complete", model="model", usage={"output_tokens": 1}, seconds=now))
    return {
        "median": statistics.median(spent),
        "slowest": max(spent),
        "slowest_on_the_wall": max(taken),
        "total": total,
        "busiest": float(busiest_second(surface.times)),
        "updates": float(len(surface.times)),
    }


def show_every_piece(shape: str, size: int) -> dict[str, float]:
    """Show an answer as simply as can be: all of it anew with every piece. Returns its
    ``updates``."""
    outputs = _outputs()
    so_far = ""
    parts = pieces(SHAPES[shape](size), PIECE)
    outputs.add({"text/markdown": so_far}, {})
    for part in parts:
        so_far += part
        outputs.update(0, {"text/markdown": so_far}, {})
    return {"updates": float(len(parts) + 1)}


def busiest_second(times: Sequence[float]) -> int:
    """Return how many of the times, which rise, lie in the second that holds most of them."""
    return max(bisect_left(times, at + 1.0) - place for place, at in enumerate(times))


def _outputs() -> Surface:
    shell: Any = get_ipython()
    return CellOutputs(shell.kernel)
