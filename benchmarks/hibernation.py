"""What a familiar that sleeps gives back, and how long it takes to wake up.

After a long silence the host and the CLI are let go; the next prompt starts them again, and they
resume the session.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from .bench import Bench
from .endpoint import FIRST_WORD, SHORT
from .kernels import OURS, PLAIN, Kernel, family_of, running, settle, starting
from .memory import SETTLE, held
from .report import Row, Target
from .stats import Sample

NAME = "hibernation"
ASLEEP = """\
import asyncio
while get_ipython().kernel.familiar.state != "asleep":
    await asyncio.sleep(0.02)
"""


def measure(bench: Bench) -> Iterator[Row]:
    """Let kernels fall asleep after a turn, weigh them next to a plain one, and wake them up."""
    rounds = bench.effort.of(full=4, quick=2, smoke=1)
    bench.say(f"{rounds} kernels that fall asleep")
    asleep: list[float] = []
    plain: list[float] = []
    wake: list[float] = []
    cold: list[float] = []
    for _ in range(rounds):
        with (
            running(bench, PLAIN) as peer,
            starting(bench, OURS, "--Familiar.hibernate_after=0.5") as kernel,
        ):
            settle(kernel)
            for each in (peer, kernel):
                each.run("6 * 7")
            kernel.run(f"%claude {SHORT}")
            kernel.run(ASLEEP)
            time.sleep(SETTLE)
            asleep.append(_family_rss(kernel))
            plain.append(_family_rss(peer))
            wake.append(1000 * kernel.run(f"%claude {SHORT}").until_shown(FIRST_WORD))
        with starting(bench, OURS, "--Familiar.start_at_boot=False") as kernel:
            settle(kernel)
            cold.append(1000 * kernel.run(f"%claude {SHORT}").until_shown(FIRST_WORD))
    yield Row(
        NAME,
        "RSS of a kernel and all its processes, hibernating after a turn",
        "MB",
        Sample("ours", tuple(asleep)),
        Sample("ipykernel", tuple(plain)),
        Target(1.15),
    )
    yield Row(
        NAME,
        "prompt to first answer text, waking up",
        "ms",
        Sample("ours", tuple(wake)),
        Sample("a first start", tuple(cold)),
    )


def _family_rss(kernel: Kernel) -> float:
    return sum(held(process)["RSS"] for process in family_of(kernel.process))
