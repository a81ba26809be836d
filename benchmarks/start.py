"""From asking for a kernel to the first result of code, with the familiar booting beside.

The request is on its way before the kernel is there, as a front end's is; the result is taken from
the reply.
"""

from __future__ import annotations

from collections.abc import Iterator

from .bench import Bench
from .kernels import OURS, PLAIN, PROCESSOR_TIME, evaluated, starting
from .report import Row, Target
from .stats import Sample

NAME = "start"
ALONE = "--Familiar.start_at_boot=False"


def measure(bench: Bench) -> Iterator[Row]:
    """Start the kernels in turn: ours, ours without a familiar at boot, and ipykernel."""
    rounds = bench.effort.of(full=20, quick=5, smoke=1)
    commands = {"ours": (OURS,), "ipykernel": (PLAIN,), "alone": (OURS, ALONE)}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    used: dict[str, list[float]] = {name: [] for name in commands}
    order = list(commands)
    bench.say(f"{rounds} starts of each of three kernels")
    warm_up = bench.effort.of(full=1, quick=1, smoke=0)  # makes profiles and compiles modules
    for number in range(-warm_up, rounds):
        for name in order:
            seconds, processor = first_result(bench, *commands[name])
            if number >= 0:
                taken[name].append(1000 * seconds)
                used[name].append(1000 * processor)
        order.append(order.pop(0))
    what = "kernel start to first code result"
    for case, ours, values, target in (
        ("", "ours", taken, Target(1.10)),
        (", no familiar at boot", "alone", taken, None),
        (", the kernel's processor time", "ours", used, None),
    ):
        mine = Sample("ours", tuple(values[ours]))
        peer = Sample("ipykernel", tuple(values["ipykernel"]))
        yield Row(NAME, f"{what}{case}", "ms", mine, peer, target)


def first_result(bench: Bench, module: str, *arguments: str) -> tuple[float, float]:
    """Start a kernel and end it; return the seconds to its first result, and of its processor."""
    asked = {"result": "6 * 7", "used": PROCESSOR_TIME}
    with starting(bench, module, *arguments) as kernel:
        request, _ = kernel.execute("6 * 7", user_expressions=asked)
        at, reply = kernel.wait_for_reply(request)
        if evaluated(reply, "result") != 42:
            raise RuntimeError(f"not a result: {reply}")
        return at - kernel.started, float(evaluated(reply, "used"))
