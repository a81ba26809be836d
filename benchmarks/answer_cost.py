"""What it costs to show a long answer while it grows: bytes on iopub, updates a second, time for
one update.

Twice: with a real kernel, whose frames are weighed where a front end receives them; and with the
view alone, on a clock of its own, so that an answer that would take minutes can be watched to the
end and every update be timed.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any, cast

import zmq
from ipykernel.iostream import IOPubThread
from jupyter_client.session import Session
from tornado.platform.asyncio import BaseAsyncIOLoop

from familiar_kernel.answer.view import AnswerView
from familiar_kernel.familiar.protocol import TextDelta, TurnEvent, TurnFinished, TurnStarted

from .bench import Bench, Effort
from .endpoint import BIG_SIZE, PACES, big_prompt
from .kernels import OURS, Cell, running
from .report import Row, Target
from .stats import Sample
from .texts import mixed, one_fence, one_paragraph, pieces

NAME = "answer"
PIECE = 48
"""Characters that arrive at once; models send about as much."""
MOST_BYTES = Target(4, absolute=True)
MOST_MS = Target(5, absolute=True)
MOST_UPDATES = Target(15, absolute=True)
PARENT: dict[str, Any] = Session().msg("execute_request")


def measure(bench: Bench) -> Iterator[Row]:
    """Show long answers."""
    yield from _on_a_kernel(bench)
    yield from _on_the_view(bench)


# -- a real kernel ---------------------------------------------------------------------------------


def _on_a_kernel(bench: Bench) -> Iterator[Row]:
    answer = mixed(BIG_SIZE)
    size = len(answer.encode())
    with running(bench, OURS) as kernel:
        for pace in PACES:
            if PACES[pace] and bench.effort is not Effort.FULL:
                continue  # it takes as long as it takes
            rounds = 1 if PACES[pace] else bench.effort.of(full=7, quick=3, smoke=1)
            bench.say(f"{rounds} answers of 100 KB {pace}")
            cells = [kernel.run(f"%claude {big_prompt(pace)}") for _ in range(rounds)]
            for cell in cells:
                _check(cell, answer)
            what = f"100 KB answer {pace}"
            weights = tuple(
                sum(a.size for a in c.arrivals if a.channel == "iopub") / size for c in cells
            )
            rates = tuple(float(busiest_second(_update_times(c))) for c in cells)
            yield Row(
                NAME, f"{what}: iopub bytes", "x its own", Sample("ours", weights), None, MOST_BYTES
            )
            yield Row(
                NAME, f"{what}: updates in a second", "", Sample("ours", rates), None, MOST_UPDATES
            )


def _check(cell: Cell, answer: str) -> None:
    shown = next(a.markdown for a in reversed(cell.arrivals) if a.markdown)
    if len(shown) < len(answer):
        raise RuntimeError(f"the answer has {len(answer)} characters, and {len(shown)} were shown")


def _update_times(cell: Cell) -> list[float]:
    return [arrival.at for arrival in cell.arrivals if arrival.markdown]


def busiest_second(times: Sequence[float]) -> int:
    """Return how many of the times, which rise, lie in the second that holds most of them."""
    return max(bisect_left(times, at + 1.0) - place for place, at in enumerate(times))


# -- the view alone --------------------------------------------------------------------------------


@dataclass
class Shown:
    """What one answer cost.

    Attributes:
        update_seconds: for every update, how long the call took that published it.
        update_times: when that was, on the answer's own clock.
        total_seconds: of all calls, also those that published nothing.
        wire_bytes: all frames of all updates.
    """

    update_seconds: list[float] = field(default_factory=list)
    update_times: list[float] = field(default_factory=list)
    total_seconds: float = 0.0
    wire_bytes: int = 0


class Publisher:
    """ipykernel's way to a front end: a session that signs, and the thread that sends."""

    def __init__(self) -> None:
        self.count = 0
        self._context: zmq.Context[Any] = zmq.Context()
        self._session = Session(key=b"benchmark")
        sending, self._receiving = self._context.socket(zmq.PUB), self._context.socket(zmq.SUB)
        for socket, limit in ((sending, zmq.SNDHWM), (self._receiving, zmq.RCVHWM)):
            socket.setsockopt(limit, 0)
        port = sending.bind_to_random_port("tcp://127.0.0.1")
        self._receiving.connect(f"tcp://127.0.0.1:{port}")
        self._receiving.subscribe(b"")
        self._thread = IOPubThread(sending)
        self._thread.start()
        self._socket: Any = self._thread.background_socket
        deadline = time.monotonic() + 10
        while not self._receiving.poll(20):  # until the subscription has arrived
            self({}, {}, update=False)
            if time.monotonic() > deadline:
                raise TimeoutError("the publisher is not heard")
        self.weigh()

    def __call__(self, data: dict[str, Any], metadata: dict[str, Any], update: bool) -> None:
        kind = "update_display_data" if update else "display_data"
        content = {"data": data, "metadata": metadata, "transient": {"display_id": "familiar"}}
        topic = f"kernel.benchmark.{kind}".encode()
        self._session.send(self._socket, kind, content, parent=PARENT, ident=topic)
        self.count += 1

    def weigh(self) -> int:
        """Return the bytes of all frames since the last call."""
        weight = 0
        while self._receiving.poll(100):
            weight += sum(map(len, self._receiving.recv_multipart()))
        return weight

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The thread's own tasks are ended first; it would complain about them otherwise.
        loop = cast(BaseAsyncIOLoop, self._thread.io_loop).asyncio_loop
        asyncio.run_coroutine_threadsafe(_cancel_all_tasks(), loop).result(10)
        self._thread.stop()
        self._thread.close()
        self._receiving.close(0)
        self._context.destroy(0)


async def _cancel_all_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def show(text: str, rate: float, publisher: Publisher) -> Shown:
    """Show an answer that arrives at ``rate`` bytes a second of a clock that never waits."""
    now = 0.0
    shown = Shown()
    view = AnswerView(publisher, lambda: now)

    def call(work: Callable[[], None]) -> None:
        before = publisher.count
        began = time.perf_counter()
        work()
        took = time.perf_counter() - began
        shown.total_seconds += took
        if publisher.count > before:
            shown.update_seconds.append(took)
            shown.update_times.append(now)

    def take(event: TurnEvent) -> None:
        call(lambda: view.on_event(event))

    take(TurnStarted("turn"))
    for piece in pieces(text, PIECE):
        arrival = now + len(piece.encode()) / rate
        while (due := view.next_due()) is not None and due <= arrival:
            now = max(now, due)
            before = publisher.count
            call(view.tick)
            if publisher.count == before:
                break
        now = arrival
        take(TextDelta("turn", piece))
    take(TurnFinished("turn", "complete", model="model", usage={"output_tokens": 1}, seconds=now))
    shown.wire_bytes = publisher.weigh()
    return shown


def _on_the_view(bench: Bench) -> Iterator[Row]:
    rounds = bench.effort.of(full=5, quick=3, smoke=1)
    size = bench.effort.of(full=BIG_SIZE, quick=BIG_SIZE, smoke=10_000)
    shapes = {"": mixed, ", all one code block": one_fence, ", all one paragraph": one_paragraph}
    rates = {"at 1 MB/s": 1e6, "at 10 KB/s": 1e4, "at 1 KB/s": 1e3}
    cases = [("", rate) for rate in rates] + [(shape, "at 10 KB/s") for shape in shapes if shape]
    with Publisher() as publisher:
        for shape, rate in cases:
            text = shapes[shape](size)
            what = f"{size // 1000} KB {rate} on the view's own clock{shape}"
            bench.say(f"{rounds} times {what}")
            runs = [show(text, rates[rate], publisher) for _ in range(rounds)]
            weights = tuple(run.wire_bytes / len(text.encode()) for run in runs)
            seconds = tuple(float(busiest_second(run.update_times)) for run in runs)
            medians = tuple(1000 * Sample("", tuple(run.update_seconds)).median for run in runs)
            slowest = tuple(1000 * max(run.update_seconds) for run in runs)
            in_full = (
                Sample("an update for every piece", (every_piece(text),)) if not shape else None
            )
            yield Row(
                NAME,
                f"{what}: iopub bytes",
                "x its own",
                Sample("ours", weights),
                in_full,
                MOST_BYTES if size == BIG_SIZE else None,
            )
            yield Row(
                NAME,
                f"{what}: updates in a second",
                "",
                Sample("ours", seconds),
                None,
                MOST_UPDATES,
            )
            yield Row(
                NAME,
                f"{what}: the slowest update",
                "ms",
                Sample("ours", slowest),
                Sample("the median update", medians),
                MOST_MS,
            )
        yield from _growth(bench, publisher)


def every_piece(text: str) -> float:
    """Return how many times its own bytes an answer costs that is shown anew with every piece."""
    session = Session(key=b"benchmark")
    so_far = ""
    weight = 0
    for piece in pieces(text, PIECE):
        so_far += piece
        data = {"text/markdown": so_far}
        content = {"data": data, "metadata": {}, "transient": {"display_id": "familiar"}}
        message = session.msg("update_display_data", content, parent=PARENT)
        weight += sum(
            map(len, session.serialize(message, ident=b"kernel.benchmark.update_display_data"))
        )
    return weight / len(text.encode())


def _growth(bench: Bench, publisher: Publisher) -> Iterator[Row]:
    """Show answers of growing length; the cost of a kilobyte must not grow with them."""
    rounds = bench.effort.of(full=5, quick=3, smoke=1)
    sizes = (10_000, 100_000, 1_000_000)
    if bench.effort is Effort.SMOKE:
        sizes = (1_000, 10_000, 100_000)
    bench.say(f"{rounds} times answers of {', '.join(f'{size // 1000} KB' for size in sizes)}")
    micros: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            micros[size].append(1e9 * show(mixed(size), 1e5, publisher).total_seconds / size)
    for shorter, longer in pairwise(sizes):
        yield Row(
            NAME,
            f"time to stream a KB of {longer // 1000} KB, against one of {shorter // 1000} KB",
            "µs",
            Sample("ours", tuple(micros[longer])),
            Sample(f"{shorter // 1000} KB", tuple(micros[shorter])),
        )
