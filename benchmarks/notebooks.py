"""``nb`` beside `jupyter execute` (nbclient) and papermill: 200 cells, whole processes.

Those two start a kernel, run the notebook and end the kernel; so ours is measured with `nb open`
before it and `nb shutdown` behind it, all three processes, and once more on a kernel that is open.
All of them write the executed notebook.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .bench import Bench
from .report import Row, Target
from .stats import Sample

NAME = "nb"
CELLS = 200
KERNEL = "python3"
TIMEOUT = 120.0
_BIN = Path(sys.executable).parent


def measure(bench: Bench) -> Iterator[Row]:
    """Measure all of it."""
    folder = bench.folder / "notebooks"
    folder.mkdir()
    env = bench.environment("nb")
    env["JUPYTER_RUNTIME_DIR"] = str(folder / "runtime")

    def typed(*words: str) -> float:
        """Run a command to its end and return how many milliseconds it took."""
        began = time.perf_counter()
        done = subprocess.run(
            words, cwd=folder, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        took = 1000 * (time.perf_counter() - began)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr[-500:]}")
        return took

    def nb(*words: str) -> float:
        return typed(str(_BIN / "nb"), *words)

    try:
        yield from _measured(bench, folder, typed, nb)
    finally:
        nb("shutdown", "--all")


def _measured(
    bench: Bench, folder: Path, typed: Callable[..., float], nb: Callable[..., float]
) -> Iterator[Row]:
    original = _notebook(folder / "original.ipynb")
    rounds = bench.effort.of(full=10, quick=3, smoke=1)
    bench.say(f"{CELLS} cells, {rounds} times with each")
    whole: list[float] = []
    alone: list[float] = []
    peers: dict[str, list[float]] = {"jupyter execute": [], "papermill": []}
    for number in range(-1, rounds):
        copy = folder / f"round{number}.ipynb"
        shutil.copy(original, copy)
        steps = [nb("open", copy.name, "--kernel", KERNEL), nb("exec", "--all")]
        again = nb("exec", "--all")
        steps.append(nb("shutdown"))
        _check(copy)
        shutil.copy(original, copy)
        execute = typed(
            str(_BIN / "jupyter"), "execute", "--inplace", f"--kernel_name={KERNEL}", copy.name
        )
        _check(copy)
        mill = typed(
            str(_BIN / "papermill"), "--kernel", KERNEL, "--no-progress-bar", original.name,
            copy.name,
        )  # fmt: skip
        _check(copy)
        if number >= 0:  # the first one warms files and caches
            whole.append(sum(steps))
            alone.append(again)
            peers["jupyter execute"].append(execute)
            peers["papermill"].append(mill)
    fastest = min(peers, key=lambda name: sorted(peers[name])[len(peers[name]) // 2])
    for name, values in peers.items():
        target = Target(1.0) if name == fastest else None
        yield _row(f"{CELLS} cells: nb open, exec --all, shutdown", whole, name, values, target)
    yield _row(f"{CELLS} cells on an open kernel: nb exec --all", alone, fastest, peers[fastest])

    runs = bench.effort.of(full=30, quick=8, smoke=1)
    bench.say(f"nb run, {runs} times")
    nb("open", original.name, "--kernel", KERNEL)
    took = [nb("run", "6 * 7") for _ in range(runs)]
    target = Target(250.0, absolute=True)
    bare = [typed(sys.executable, "-c", "import zmq, jupyter_client.session") for _ in range(runs)]
    yield _row(
        "nb run '6 * 7' on an open kernel", took, "Python with jupyter_client.session", bare, target
    )


def _notebook(path: Path) -> Path:
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    cells = [new_code_cell(f"x = {i}\nprint('cell', x)\nx ** 2") for i in range(CELLS)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def _check(path: Path) -> None:
    import nbformat

    cells = nbformat.read(path, 4).cells
    # Some leave a print in two pieces.
    shown = ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]
    if shown != [f"cell {i}\n" for i in range(CELLS)]:
        raise RuntimeError(f"{path.name} was not executed as a whole: {shown[:3]}")


def _row(
    what: str,
    ours: Sequence[float],
    peer: str,
    values: Sequence[float],
    target: Target | None = None,
) -> Row:
    return Row(NAME, what, "ms", Sample("nb", tuple(ours)), Sample(peer, tuple(values)), target)
