"""What Claude's tools and the context of a prompt cost, beyond the model's own time.

A turn that uses a tool asks the endpoint twice, and so costs two short turns and the tool's round
trip: from the CLI over the host and the kernel and back. What is left after two short turns is the
trip.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from .bench import Bench, Effort
from .endpoint import FIRST_WORD, LISTING, SHORT
from .kernels import OURS, evaluated, running
from .report import Row, Target
from .stats import Sample

NAME = "tools"
VARIABLES = 1000
CELLS = 500
PREVIEW = """\
import time as _time
def _preview():
    began = _time.perf_counter()
    get_ipython().familiar.preview("hello")
    return _time.perf_counter() - began
"""


def measure(bench: Bench) -> Iterator[Row]:
    """Run turns with and without a tool, in turn; then build contexts."""
    rounds = bench.effort.of(full=20, quick=5, smoke=1)
    variables = bench.effort.of(full=VARIABLES, quick=VARIABLES, smoke=20)
    count = bench.effort.of(full=CELLS, quick=CELLS, smoke=5)
    with running(bench, OURS) as kernel:
        kernel.run("%claude_context off")
        kernel.run(f"globals().update({{f'v{{n}}': [n, str(n)] for n in range({variables})}})")
        bench.say(f"{rounds} turns with a list of {variables:,} variables, and as many without")
        short: list[float] = []
        listed: list[float] = []
        for number in range(rounds + 1):
            of_two = 2000 * kernel.run(f"%claude {SHORT}").until_shown(FIRST_WORD)
            with_list = 1000 * kernel.run(f"%claude {LISTING}").until_shown(FIRST_WORD)
            if number:  # the first of a session are slower than those that follow
                short.append(of_two)
                listed.append(with_list)
        yield Row(
            NAME,
            f"a turn with a list of {variables:,} variables",
            "ms",
            Sample("ours", tuple(listed)),
            Sample("two short turns", tuple(short)),
        )
        if bench.effort is not Effort.SMOKE:  # a difference of single turns may be anything
            trips = tuple(turn - statistics.median(short) for turn in listed)
            what = f"the round trip of a list of {variables:,} variables"
            target = Target(50, absolute=True)
            yield Row(NAME, what, "ms", Sample("ours", trips), target=target)
        kernel.run("%claude_context full")
        bench.say(f"the context of {count} cells")
        kernel.run(PREVIEW, silent=True)
        for number in range(count):
            kernel.run(f"print('cell {number}'); w{number} = {number}")
        took = []
        for _ in range(rounds):
            cell = kernel.run("", silent=True, user_expressions={"took": "_preview()"})
            took.append(1000 * float(evaluated(cell.reply, "took")))
        yield Row(
            NAME,
            f"building the context of {count} cells and {variables + count:,} variables",
            "ms",
            Sample("ours", tuple(took)),
            target=Target(20, absolute=True),
        )
