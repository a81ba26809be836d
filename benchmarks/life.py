"""What a person waits for once: a familiar that is ready, and the answer to the first prompt of a
fresh kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

from .bench import Bench
from .endpoint import FIRST_WORD, SHORT
from .first_text import BareClient, CliPerTurn
from .kernels import OURS, READY, starting
from .report import Row
from .stats import Sample

NAME = "life"


def measure(bench: Bench) -> Iterator[Row]:
    """Begin from nothing, in turn: our kernel, a bare client, a CLI."""
    rounds = bench.effort.of(full=4, quick=1, smoke=1)
    ready: list[float] = []
    cold: list[float] = []
    connected: list[float] = []
    bare_cold: list[float] = []
    cli_cold: list[float] = []
    bench.say(f"{rounds} beginnings of each")
    for _ in range(rounds):
        with starting(bench, OURS) as kernel:
            kernel.wait_for_reply(kernel.execute(READY)[0])
            ready.append(1000 * (time.perf_counter() - kernel.started))
        began = time.perf_counter()
        with closing(BareClient(bench)) as client:
            connected.append(1000 * (time.perf_counter() - began))
            bare_cold.append(connected[-1] + 1000 * client.turn())
        with starting(bench, OURS) as kernel:
            kernel.wait_for_reply(kernel.send("kernel_info_request", {})[0])
            request, _ = kernel.execute(f"%claude {SHORT}")
            shown = next(a.at for a in kernel.arrivals(request) if FIRST_WORD in a.markdown)
            cold.append(1000 * (shown - kernel.started))
        cli_cold.append(1000 * CliPerTurn(bench).turn())
    yield Row(
        NAME,
        "kernel start to a familiar that is ready",
        "ms",
        Sample("ours", tuple(ready)),
        Sample("bare SDK client", tuple(connected)),
    )
    what = "start to first answer text, cold"
    mine = Sample("ours, kernel start included", tuple(cold))
    yield Row(NAME, what, "ms", mine, Sample("bare SDK client", tuple(bare_cold)))
    yield Row(NAME, what, "ms", mine, Sample("claude -p", tuple(cli_cold)))
