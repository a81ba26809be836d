"""What Claude's tools and the context of a prompt cost, beyond the model's own time.

A turn that uses a tool asks the endpoint twice, and so costs two short turns and the tool's round
trip: from the CLI over the host and the kernel and back. What is left after two short turns is the
trip.
"""

from __future__ import annotations

from collections.abc import Iterator

from .bench import Bench
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
        trips: list[float] = []
        for _ in range(rounds):
            short.append(1000 * kernel.run(f"%claude {SHORT}").until_shown(FIRST_WORD))
            listed = kernel.run(f"%claude {LISTING}")
            trips.append(1000 * listed.until_shown(FIRST_WORD) - 2 * short[-1])
        yield Row(
            NAME,
            f"a tool's round trip: a list of {variables:,} variables",
            "ms",
            Sample("ours", tuple(trips)),
            Sample("a short turn", tuple(short)),
            Target(50, absolute=True),
        )
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
