"""From Stop to idle: an answer under way in our kernel, and a cell that sleeps in ipykernel."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from .bench import Bench
from .endpoint import ENDLESS
from .kernels import OURS, PLAIN, Kernel, running
from .report import Row, Target
from .stats import Sample

NAME = "interrupt"
PROMPT = f"%claude {ENDLESS}"
SLEEP = "import time\nprint('word', flush=True)\ntime.sleep(60)"


def measure(bench: Bench) -> Iterator[Row]:
    """Interrupt both in turn, each at a random moment after its first words."""
    rounds = bench.effort.of(full=40, quick=8, smoke=2)
    moments = random.Random(5)
    ours: list[float] = []
    peer: list[float] = []
    with running(bench, OURS) as mine, running(bench, PLAIN) as plain:
        bench.say(f"{rounds} interrupts in each kernel")
        for _ in range(rounds):
            moment = moments.uniform(0.02, 0.4)
            ours.append(1000 * stop(mine, PROMPT, moment))
            peer.append(1000 * stop(plain, SLEEP, moment))
    what = "interrupt to idle, in mid-answer"
    yield Row(
        NAME,
        what,
        "ms",
        Sample("ours", tuple(ours)),
        Sample("ipykernel in time.sleep", tuple(peer)),
        Target(150, absolute=True),
        note=f"{what}: the slowest of {rounds} took {max(ours):.0f} ms.",
    )


def stop(kernel: Kernel, code: str, moment: float) -> float:
    """Run a cell and interrupt it; return the seconds from the interrupt to idle.

    Args:
        kernel: where.
        code: shows a word and goes on.
        moment: seconds from the first word to the interrupt.
    """
    request, _ = kernel.execute(code)
    arrivals = kernel.arrivals(request)
    for arrival in arrivals:
        if arrival.type == "stream" or "word" in arrival.markdown:
            break
    # Answers go on arriving meanwhile and wait at the socket, as they do for a front end that is
    # busy.
    time.sleep(moment)
    at = time.perf_counter()
    kernel.manager.interrupt_kernel()
    idle_at = 0.0
    status = ""
    for arrival in arrivals:
        if arrival.channel == "shell":
            status = str(arrival.content["status"])
        elif arrival.is_idle:
            idle_at = arrival.at
        if status and idle_at:
            break
    if status != "error":
        raise RuntimeError(f"the cell was not stopped: {status}")
    return idle_at - at
