"""How much memory a kernel holds before the first prompt, and its familiar in its own processes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

from .bench import Bench
from .kernels import OURS, PLAIN, family_of, running
from .report import Row, Target
from .stats import Sample

NAME = "memory"
SETTLE = 1.0
"""Seconds after which what a start needed and gave back is no longer counted."""


def measure(bench: Bench) -> Iterator[Row]:
    """Start both kernels side by side, run a code cell in each, and look at their processes."""
    rounds = bench.effort.of(full=5, quick=1, smoke=1)
    ours: dict[str, list[float]] = {}
    peer: dict[str, list[float]] = {}
    family: list[float] = []
    bench.say(f"{rounds} pairs of kernels")
    for _ in range(rounds):
        with running(bench, OURS) as mine, running(bench, PLAIN) as plain:
            for kernel in (mine, plain):
                kernel.run("6 * 7")
            time.sleep(SETTLE)
            for kernel, into in ((mine, ours), (plain, peer)):
                for name, megabytes in held(kernel.process).items():
                    into.setdefault(name, []).append(megabytes)
            familiar = [held(process) for process in family_of(mine.process)[1:]]
            # What the host and the CLI share with others is counted in parts where the system can
            # tell.
            family.append(sum(each.get("PSS", each["RSS"]) for each in familiar))
    for name, values in ours.items():
        yield Row(
            NAME,
            f"kernel's {name} before the first prompt",
            "MB",
            Sample("ours", tuple(values)),
            Sample("ipykernel", tuple(peer[name])),
            Target(1.15) if name == "RSS" else None,
        )
    yield Row(
        NAME, "the familiar's own processes (host and CLI)", "MB", Sample("ours", tuple(family))
    )


def held(process: psutil.Process) -> dict[str, float]:
    """Return the megabytes of a process: RSS, USS (its own alone), and PSS where there is one."""
    told = process.memory_full_info()
    return {
        name.upper(): getattr(told, name) / 1e6
        for name in ("rss", "uss", "pss")
        if hasattr(told, name)
    }
