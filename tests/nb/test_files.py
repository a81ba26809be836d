"""The notebook's file is the old or the new one at every moment, whoever else writes it."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from nbformat.v4 import new_output

from familiar_kernel.nb import actions
from familiar_kernel.nb.running import Outputs
from familiar_kernel.nb.store import Busy, Store, StoreError, write_whole
from nb.conftest import written

KILLS = 1000

# Python starts once: each writer is a fork, killed at a random moment of its writes; after each the
# file is read, and what lies half written beside it counted.
FORKING = """
import json, os, random, signal, sys, time
from familiar_kernel.nb.document import Document
from familiar_kernel.nb.store import Store
import filelock
chance, path, kills = random.Random(7), sys.argv[1], int(sys.argv[2])
store, number, seen, halves = Store(path), 0, set(), 0
for kill in range(kills):
    child = os.fork()
    while child == 0:
        number += 1
        text = f"kill = {kill}, {number}" + "#" * 20_000
        store.change(lambda d: d.with_source(d.cells[0], text))
    time.sleep(chance.uniform(0.0, 0.015))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    halves += bool(list(store.folder.glob("*.part")))
    document = Document(open(path, encoding="utf-8").read())
    assert document.cells[1].source == "# kept"
    assert document.cells[0].source == "n = 0" or document.cells[0].source.count("#") == 20_000
    seen.add(document.cells[0].source)
print(json.dumps([len(seen), halves]))
"""


def test_a_thousand_kills_leave_a_whole_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ipynb", "n = 0", "# kept")
    command = [sys.executable, "-c", FORKING, str(path), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    seen, halves = json.loads(done.stdout)
    assert seen > KILLS / 10, "the writers did write"
    assert halves > KILLS / 50, "some were killed in the middle of a write"
    # What the killed ones left is cleared away by the next.
    Store(path).change(lambda d: d.with_source(d.cells[0], "last"))
    assert not list(Store(path).folder.glob("*.part"))
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != ".nb"] == ["a.ipynb"]


def test_mode_and_links_are_kept(tmp_path: Path) -> None:
    real = written(tmp_path / "real.ipynb", "1")
    real.chmod(0o640)
    link = tmp_path / "link.ipynb"
    link.symlink_to(real)
    Store(link).change(lambda d: d.with_source(d.cells[0], "2"))
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "2" in real.read_text()
    assert (real.parent / ".nb" / "real.ipynb").stat().st_mode & 0o077 == 0


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ipynb", "1")
    before = path.read_bytes()
    code = (
        "import resource, signal, sys\n"
        "from familiar_kernel.nb.store import Store, StoreError\n"
        "store = Store(sys.argv[1])\nstore.made()\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    store.change(lambda d: d.with_source(d.cells[0], 'x' * 5000))\n"
        "except StoreError as err:\n    print(err)\n"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "was not written, and is as before: File too large. Make room" in told.stdout, told
    assert path.read_bytes() == before


def test_what_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no notebook"):
        Store(tmp_path / "none.ipynb").read()
    with pytest.raises(StoreError, match="Is a directory"):
        Store(tmp_path).read()
    (tmp_path / "binary.ipynb").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match="no UTF-8"):
        Store(tmp_path / "binary.ipynb").read()
    (tmp_path / "half.ipynb").write_text('{"cells": [')
    with pytest.raises(StoreError, match="line 1"):
        Store(tmp_path / "half.ipynb").change(lambda d: d)
    assert not (tmp_path / ".nb").exists()
    with pytest.raises(OSError, match=r"\w"):
        write_whole(Path("/proc/version"), b"")


def test_two_that_edit_at_once_lose_no_edit(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ipynb")

    def add(name: int) -> None:
        for number in range(20):
            actions.insert(Store(path), "end", "code", f"{name}-{number}")

    threads = [threading.Thread(target=add, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sources = {cell.source for cell in Store(path).read().cells}
    assert sources == {f"{name}-{number}" for name in range(4) for number in range(20)}


# -- somebody else saves meanwhile -----------------------------------------------------------------

SHOWN = [new_output("stream", name="stdout", text="shown")]


def saved(store: Store, index: int, meanwhile: Callable[[Path], None]) -> None:
    """Save what a cell has shown, as it is done at the end of a run; others did this before."""
    document = store.read()
    cell = document.cells[index]
    kept = Outputs(document, BlockingKernelClient())
    kept.begin(cell)
    kept._made().cells[index].update(outputs=SHOWN, execution_count=1)
    saver = actions._Saver(store, kept, print)
    meanwhile(store.path)
    saver.save()


@pytest.mark.parametrize("ids", [True, False])
def test_outputs_find_their_cell(tmp_path: Path, ids: bool) -> None:
    path = written(tmp_path / "a.ipynb", "one", "two", "three")
    if not ids:
        raw = json.loads(path.read_text())
        raw["nbformat_minor"] = 4
        for cell in raw["cells"]:
            del cell["id"]
        path.write_text(json.dumps(raw))

    def meanwhile(path: Path) -> None:
        """Somebody has moved the cell, changed another one and added metadata."""
        raw = json.loads(path.read_text())
        raw["cells"].insert(0, raw["cells"].pop(1))
        raw["cells"][1]["source"] = "changed"
        raw["metadata"]["new"] = True
        path.write_text(json.dumps(raw))

    saved(Store(path), 1, meanwhile)
    raw = json.loads(path.read_text())
    assert ["".join(cell["source"]) for cell in raw["cells"]] == ["two", "changed", "three"]
    assert raw["cells"][0]["outputs"][0]["text"] == ["shown"]
    assert raw["metadata"]["new"]


@pytest.mark.parametrize("what", ["changed", "deleted"])
def test_outputs_of_a_cell_that_is_another_one_are_kept_apart(tmp_path: Path, what: str) -> None:
    path = written(tmp_path / "a.ipynb", "one", "two")

    def meanwhile(path: Path) -> None:
        raw = json.loads(path.read_text())
        if what == "changed":
            raw["cells"][0]["source"] = ["other"]
        else:
            del raw["cells"][0]
        path.write_text(json.dumps(raw))

    with pytest.raises(actions.Unsaved, match=f"Somebody has {what} cell 0") as raised:
        saved(Store(path), 0, meanwhile)
    assert "shown" not in path.read_text()
    kept = next(Store(path).folder.glob("unsaved-*.json"))
    assert str(kept) in str(raised.value)
    assert json.loads(kept.read_text())[0]["outputs"][0]["text"] == "shown"


def test_only_one_runs_cells(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ipynb", "1")
    code = (
        "import sys, time\nfrom familiar_kernel.nb.store import Store\n"
        "with Store(sys.argv[1]).running('nb exec 0', 0, print):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    told: list[str] = []
    held = rf"nb exec 0 \(process {other.pid}, since"
    with pytest.raises(Busy, match=held), Store(path).running("me", 0, told.append):
        pass
    ender = threading.Timer(0.5, other.send_signal, [signal.SIGKILL])
    ender.start()
    began = time.monotonic()
    with Store(path).running("me", 30, told.append):
        assert time.monotonic() - began > 0.3
    assert len(told) == 1
    other.wait()
