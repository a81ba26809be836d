"""What it costs to show a long answer while it grows: bytes on iopub, updates a second, time for
one update.

Twice: an answer from the endpoint, at the pace of a real clock; and answers that a cell of the same
kernel hands to the view itself (``answer_probe``), on a clock that never waits. All bytes are
weighed where a front end receives them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

from .answer_probe import busiest_second
from .bench import Bench, Effort
from .endpoint import BIG_SIZE, PACES, big_prompt
from .kernels import OURS, Arrival, Kernel, evaluated, running
from .report import Row, Target
from .stats import Sample
from .texts import mixed

NAME = "answer"
MOST_BYTES = Target(4, absolute=True)
MOST_MS = Target(5, absolute=True)
MOST_UPDATES = Target(15, absolute=True)
CASES = (
    ("at 1 MB/s", "mixed", 1e6),
    ("at 10 KB/s", "mixed", 1e4),
    ("at 1 KB/s", "mixed", 1e3),
    ("at 10 KB/s, all one code block", "one code block", 1e4),
    ("at 10 KB/s, all one paragraph", "one paragraph", 1e4),
)


def measure(bench: Bench) -> Iterator[Row]:
    """Show long answers."""
    with running(bench, OURS) as kernel:
        yield from _from_the_endpoint(bench, kernel)
        yield from _from_a_cell(bench, kernel)
        yield from _growth(bench, kernel)


def _from_the_endpoint(bench: Bench, kernel: Kernel) -> Iterator[Row]:
    answer = mixed(BIG_SIZE)
    for pace in PACES:
        if PACES[pace] and bench.effort is not Effort.FULL:
            continue  # it takes as long as it takes
        rounds = 1 if PACES[pace] else bench.effort.of(full=7, quick=3, smoke=1)
        bench.say(f"{rounds} answers of 100 KB {pace}")
        weights: list[float] = []
        rates: list[float] = []
        for _ in range(rounds):
            arrivals = kernel.run(f"%claude {big_prompt(pace)}").arrivals
            shown = [arrival for arrival in arrivals if arrival.markdown]
            if len(shown[-1].markdown) < len(answer):
                raise RuntimeError(f"only {len(shown[-1].markdown)} characters were shown")
            weights.append(iopub_bytes(arrivals) / BIG_SIZE)
            rates.append(float(busiest_second([arrival.at for arrival in shown])))
        what = f"100 KB answer {pace}"
        yield _bytes_row(what, weights, MOST_BYTES)
        yield _updates_row(what, rates)


def _from_a_cell(bench: Bench, kernel: Kernel) -> Iterator[Row]:
    rounds = bench.effort.of(full=5, quick=3, smoke=1)
    size = bench.effort.of(full=BIG_SIZE, quick=BIG_SIZE, smoke=10_000)
    most_bytes = MOST_BYTES if size == BIG_SIZE else None
    bench.say("an answer that is shown anew with every piece")
    _, weight = _probe(kernel, "show_every_piece", "mixed", size)
    every_piece = Sample("all anew with every piece", (weight / size,))
    for how, shape, rate in CASES:
        what = f"{size // 1000} KB {how}, from a cell"
        bench.say(f"{rounds} times {what}")
        costs: list[dict[str, float]] = []
        weights: list[float] = []
        for _ in range(rounds):
            cost, weight = _probe(kernel, "show", shape, size, rate)
            costs.append(cost)
            weights.append(weight / size)
        yield _bytes_row(what, weights, most_bytes, every_piece if shape == "mixed" else None)
        yield _updates_row(what, [cost["busiest"] for cost in costs])
        yield Row(
            NAME,
            f"{what}: the slowest update",
            "ms",
            Sample("ours", tuple(1000 * cost["slowest"] for cost in costs)),
            Sample("the median update", tuple(1000 * cost["median"] for cost in costs)),
            MOST_MS,
            note=(
                f"{what}, the slowest update: processor time of the publishing thread; on the wall "
                f"{1000 * max(cost['slowest_on_the_wall'] for cost in costs):.1f} ms."
            ),
        )


def _growth(bench: Bench, kernel: Kernel) -> Iterator[Row]:
    """Show answers of growing length; the cost of a kilobyte must not grow with them."""
    rounds = bench.effort.of(full=5, quick=3, smoke=1)
    sizes = (10_000, 100_000, 1_000_000)
    if bench.effort is Effort.SMOKE:
        sizes = (1_000, 10_000, 100_000)
    bench.say(f"{rounds} times answers of {', '.join(f'{size // 1000} KB' for size in sizes)}")
    micros: dict[int, list[float]] = {size: [] for size in sizes}
    weights: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            cost, weight = _probe(kernel, "show", "mixed", size, 1e5)
            micros[size].append(1e9 * cost["total"] / size)
            weights[size].append(weight / size)
    for shorter, longer in pairwise(sizes):
        of_each = f"of {longer // 1000} KB at 100 KB/s, against one of {shorter // 1000} KB"
        for what, unit, values in (
            ("time to show a KB", "µs", micros),
            ("iopub bytes of a byte", "x its own", weights),
        ):
            yield Row(
                NAME,
                f"{what} {of_each}",
                unit,
                Sample("ours", tuple(values[longer])),
                Sample(f"{shorter // 1000} KB", tuple(values[shorter])),
            )


def _probe(kernel: Kernel, function: str, *arguments: object) -> tuple[dict[str, float], int]:
    """Call a function of ``answer_probe`` in a cell; return what it returns and the bytes on
    iopub."""
    kernel.run(f"from benchmarks.answer_probe import {function}", silent=True)
    call = f"cost = {function}({', '.join(map(repr, arguments))})"
    cell = kernel.run(call, user_expressions={"cost": "__import__('json').dumps(cost)"})
    cost: dict[str, float] = json.loads(evaluated(cell.reply, "cost"))
    return cost, iopub_bytes(cell.arrivals)


def _bytes_row(
    what: str, weights: list[float], target: Target | None, peer: Sample | None = None
) -> Row:
    ours = Sample("ours", tuple(weights))
    return Row(NAME, f"{what}: iopub bytes", "x its own", ours, peer, target)


def _updates_row(what: str, rates: list[float]) -> Row:
    ours = Sample("ours", tuple(rates))
    return Row(NAME, f"{what}: updates in a second", "", ours, target=MOST_UPDATES)


def iopub_bytes(arrivals: list[Arrival]) -> int:
    """Return the bytes of all frames that came over iopub."""
    return sum(arrival.size for arrival in arrivals if arrival.channel == "iopub")
