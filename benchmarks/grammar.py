"""What the grammar costs: finding the prompts of a cell, next to what IPython does with every
cell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from IPython.core.inputtransformer2 import TransformerManager

from familiar_kernel import cells

from .bench import Bench
from .report import Row
from .stats import Sample
from .texts import CELL, code, code_about_prompts

NAME = "grammar"
SIZE = 100_000
CELLS = {
    "a cell of 20 lines": CELL,
    "100 KB of code": code(SIZE),
    "100 KB of code that names %claude": code_about_prompts(SIZE),
}


def measure(bench: Bench) -> Iterator[Row]:
    """Transform the same cells with both, in turn."""
    rounds = bench.effort.of(full=15, quick=5, smoke=1)
    bench.say(f"{rounds} times {len(CELLS)} cells")
    for what, cell in CELLS.items():
        manager = TransformerManager()
        ours: list[float] = []
        peer: list[float] = []
        for _ in range(rounds):
            ours.append(1000 * _seconds(partial(cells.transform, cell, awaitable=True)))
            peer.append(1000 * _seconds(partial(manager.transform_cell, cell)))
        yield Row(
            NAME,
            f"grammar, {what}",
            "ms",
            Sample("ours, on top of IPython's", tuple(ours)),
            Sample("IPython's own", tuple(peer)),
        )


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
