"""The sandboxed kernel beside plain ipykernel: start, round trips, floods, and many at once.

It needs podman and the tests' image (.ci/podman makes both ready); without them it says so and
measures nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from .bench import ROOT, Bench
from .kernels import OURS, PLAIN, TIMEOUT, Kernel, running, starting
from .report import Row, Target
from .stats import Sample

NAME = "sandbox"
BOXED = "--sandboxed"
ALONE = "--Familiar.start_at_boot=False"
IMAGE = "localhost/familiar-test:latest"
FLOODS = {
    "100,000 printed lines": "for i in range(100_000): print('line', i)",
    "20 MB of output": "for i in range(20): print('x' * 1_000_000)",
    "5,000 displays": "for i in range(5_000): display(i)",
}
UNREAD = "for i in range(400): print('x' * 1_000_000)"
"""400 MB of output."""
SETTLED = "%claude_status"
"""A cell that is done when the familiar has come up."""
TOGETHER = 20


class BoxedBench(Bench):
    """A run whose kernels find podman and the image."""

    variables: dict[str, str]

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a contender's process, with the sandbox's settings."""
        return super().environment(name) | self.variables


def boxed(bench: Bench) -> BoxedBench | None:
    """Return a run with podman set up, or None where there is none."""
    familiar = Path(sys.executable).with_name("familiar")
    done = subprocess.run(
        [Path(ROOT, ".ci", "podman"), familiar],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    place = done.stdout.strip()
    if not place or not shutil.which("podman"):
        bench.say(f"no sandbox is measured: {done.stderr.strip()[-300:]}")
        return None
    work = bench.folder / "work"
    work.mkdir(exist_ok=True)
    work.chmod(0o755)
    made = BoxedBench(bench.effort, bench.folder, bench.endpoint, bench.began)
    object.__setattr__(
        made,
        "variables",
        {
            "CONTAINERS_CONF": f"{place}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{place}/storage.conf",
            "FAMILIAR_SANDBOX_IMAGE": IMAGE,
            "FAMILIAR_SANDBOX_WORKSPACE": str(work),
        },
    )
    return made


def measure(bench: Bench) -> Iterator[Row]:
    """Measure all of it."""
    run = boxed(bench)
    if run is None:
        return
    yield from _starts(run)
    yield from _round_trips(run)
    yield from _unread(run)
    yield from _together(run)


def _starts(bench: Bench) -> Iterator[Row]:
    rounds = bench.effort.of(full=15, quick=5, smoke=1)
    bench.say(f"{rounds} starts of each kernel")
    taken: dict[str, list[float]] = {"ours": [], "ipykernel": []}
    order = [("ours", (OURS, BOXED)), ("ipykernel", (PLAIN,))]
    for number in range(-1, rounds):
        for name, (module, *arguments) in order:
            with starting(bench, module, *arguments) as kernel:
                at, _ = kernel.wait_for_reply(kernel.execute("6 * 7")[0])
                if number >= 0:
                    taken[name].append(1000 * (at - kernel.started))
        order.reverse()
    yield _row("kernel start to first code result", "ms", taken, Target(1.6))


def _round_trips(bench: Bench) -> Iterator[Row]:
    times = bench.effort.of(full=400, quick=60, smoke=5)
    with running(bench, OURS, BOXED, ready=SETTLED) as mine, running(bench, PLAIN) as plain:
        contenders = [("ours", mine), ("ipykernel", plain)]
        bench.say(f"a cell, {times} times in each kernel")
        taken: dict[str, list[float]] = {"ours": [], "ipykernel": []}
        for number in range(-20, times):
            for name, kernel in contenders:
                seconds = kernel.run("1").seconds
                if number >= 0:
                    taken[name].append(1000 * seconds)
            contenders.reverse()
        yield _row("code cell `1`, there and back", "ms", taken, Target(1.25))
        for what, code in FLOODS.items():
            rounds = bench.effort.of(full=6, quick=2, smoke=1)
            bench.say(f"{what}, {rounds} times in each kernel")
            flooded: dict[str, list[float]] = {"ours": [], "ipykernel": []}
            lost: dict[str, int] = {"ours": 0, "ipykernel": 0}
            for number in range(-1, rounds):
                for name, kernel in contenders:
                    cell = kernel.run(code)
                    if number >= 0:
                        flooded[name].append(1000 * cell.seconds)
                    if "displays" in what:
                        shown = sum(a.type == "display_data" for a in cell.arrivals)
                        lost[name] = max(lost[name], 5000 - shown)
                contenders.reverse()
            row = _row(what, "ms", flooded, Target(1.15))
            if any(lost.values()):
                row = replace(row, note=f"displays lost: {lost}")
            yield row


def _unread(bench: Bench) -> Iterator[Row]:
    bench.say("400 MB that nobody reads, in each kernel")
    grown: dict[str, list[float]] = {"ours": [], "ipykernel": []}
    for name, (module, *arguments) in (("ours", (OURS, BOXED)), ("ipykernel", (PLAIN,))):
        with running(bench, module, *arguments, ready=SETTLED) as kernel:
            before = kernel.process.memory_info().rss
            request, _ = kernel.execute(UNREAD)
            most = before
            until = time.perf_counter() + TIMEOUT
            while time.perf_counter() < until:
                most = max(most, kernel.process.memory_info().rss)
                if kernel.replied(request):
                    break
            settled = time.perf_counter() + 2
            while time.perf_counter() < settled:
                most = max(most, kernel.process.memory_info().rss)
                time.sleep(0.02)
            grown[name].append((most - before) / 1e6)
    yield _row("400 MB that a client does not read: the kernel's RSS grows by", "MB", grown, None)


def _together(bench: Bench) -> Iterator[Row]:
    number = bench.effort.of(full=TOGETHER, quick=5, smoke=2)
    bench.say(f"{number} sandboxes at once")
    with ExitStack() as stack:
        began = time.perf_counter()
        kernels = [stack.enter_context(starting(bench, OURS, BOXED, ALONE)) for _ in range(number)]
        requests = [kernel.execute("6 * 7")[0] for kernel in kernels]
        ready = [
            1000 * (kernel.wait_for_reply(request)[0] - began)
            for kernel, request in zip(kernels, requests, strict=True)
        ]
        outer = [kernel.process.memory_full_info().pss / 1e6 for kernel in kernels]
        inner = [_inner_memory(kernel) for kernel in kernels]
    what = f"{number} sandboxes at once"
    yield Row(NAME, f"{what}: until all are ready", "ms", Sample("ours", (max(ready),)))
    yield Row(NAME, f"{what}: an outer kernel's memory (PSS)", "MB", Sample("ours", tuple(outer)))
    yield Row(NAME, f"{what}: an inner kernel's memory (RSS)", "MB", Sample("ours", tuple(inner)))


def _inner_memory(kernel: Kernel) -> float:
    rss = "int(open('/proc/self/statm').read().split()[1]) * 4096"
    cell = kernel.run("", silent=True, user_expressions={"rss": rss})
    return float(cell.reply["user_expressions"]["rss"]["data"]["text/plain"]) / 1e6


def _row(what: str, unit: str, values: dict[str, list[float]], target: Target | None) -> Row:
    mine, peer = (Sample(name, tuple(values[name])) for name in ("ours", "ipykernel"))
    return Row(NAME, what, unit, mine, peer, target)
