"""A cell of plain code, there and back: our kernel with an idle familiar, and ipykernel."""

from __future__ import annotations

from collections.abc import Iterator

from .bench import Bench
from .kernels import OURS, PLAIN, running
from .report import Row, Target
from .stats import Sample
from .texts import CELL

NAME = "code-cell"
CELLS = {"code cell `1`": "1", "code cell of 20 lines": CELL}
BATCH = 25
"""Cells between two looks at the processor time, whose clock is too coarse for a single one."""


def measure(bench: Bench) -> Iterator[Row]:
    """Run the same cells in both kernels in turn, each first as often as the other."""
    batches = bench.effort.of(full=24, quick=4, smoke=1)
    with running(bench, OURS) as mine, running(bench, PLAIN) as plain:
        for what, code in CELLS.items():
            bench.say(f"{what}: {batches * BATCH} times in each kernel")
            taken: dict[str, list[float]] = {"ours": [], "ipykernel": []}
            used: dict[str, list[float]] = {"ours": [], "ipykernel": []}
            contenders = [("ours", mine), ("ipykernel", plain)]
            for batch in range(-1, batches):  # the first one fills caches and wakes the processor
                before = {name: kernel.processor_seconds() for name, kernel in contenders}
                for _ in range(BATCH):
                    for name, kernel in contenders:
                        seconds = kernel.run(code).seconds
                        if batch >= 0:
                            taken[name].append(1000 * seconds)
                    contenders.reverse()
                if batch >= 0:
                    for name, kernel in contenders:
                        spent = kernel.processor_seconds() - before[name]
                        used[name].append(1000 * spent / BATCH)
            for kind, values, target in (
                ("there and back", taken, Target(1.05)),
                ("the kernel's processor time", used, None),
            ):
                yield Row(
                    NAME,
                    f"{what}, {kind}",
                    "ms",
                    Sample("ours", tuple(values["ours"])),
                    Sample("ipykernel", tuple(values["ipykernel"])),
                    target,
                )
