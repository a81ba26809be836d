"""What ``nb`` must not do: believe what others have written, lose outputs, stop others' code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from familiar_kernel.nb.store import Store
from nb.conftest import Nb, notebook, written
from nb.test_cli import PLAIN, shown, until

pytestmark = pytest.mark.kernel
SLOW = "print('begun', flush=True)\nimport time; time.sleep({})\nprint('ended')"


def begun(nb: Nb, *words: str) -> subprocess.Popen[str]:
    """Type a command whose code prints ``begun``, and return when it has."""
    running = nb.start(*words)
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    return running


# -- whose word it is ------------------------------------------------------------------------------


def test_a_state_that_others_wrote_is_not_believed(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", "1")
    victim = nb.folder / "nb-precious"
    victim.mkdir()
    (victim / "work").write_text("mine")
    (folder := nb.folder / ".nb" / "a.ipynb").mkdir(parents=True)
    forged = {"version": 1, "kernel": "python3", "pid": os.getpid(), "started": 0.0,
              "ipc_dir": str(victim), "variables": {"PLANTED": "1"}, "seal": "0" * 64}  # fmt: skip
    for state in (forged, {k: v for k, v in forged.items() if k != "seal"}):
        (folder / "state.json").write_text(json.dumps(state))
        assert nb("restart", "-n", str(path)).returncode == 3
        assert nb.ok("shutdown", "-n", str(path)) == "No kernel was running.\n"
    nb.ok("open", "a.ipynb", *PLAIN)
    assert nb.ok("run", "import os; os.environ.get('PLANTED', 'clean')") == "'clean'\n"
    assert (victim / "work").read_text() == "mine"


def test_a_folder_that_was_copied_is_another_one(nb: Nb) -> None:
    (nb.folder / "m").mkdir()
    written(nb.folder / "m" / "m.ipynb", "1")
    nb.ok("open", "m/m.ipynb", *PLAIN)
    nb.ok("run", "-n", "m/m.ipynb", "x = 'of the original'")
    shutil.copytree(nb.folder / "m", nb.folder / "copy")
    copied = nb("run", "-n", "copy/m.ipynb", "x")
    assert (copied.returncode, "has no kernel" in copied.stderr) == (3, True)
    assert "No kernel was running" in nb.ok("shutdown", "-n", "copy/m.ipynb")
    nb.ok("open", "copy/m.ipynb", *PLAIN)
    assert nb("run", "-n", "copy/m.ipynb", "x").returncode == 1
    assert nb.ok("run", "-n", "m/m.ipynb", "x") == "'of the original'\n"


def test_a_connection_that_was_replaced_is_not_used(nb: Nb) -> None:
    written(nb.folder / "a.ipynb", "1")
    nb.ok("open", "a.ipynb", *PLAIN)
    file = nb.folder / ".nb" / "a.ipynb" / "kernel.json"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), "key": "of somebody else"}))
    done = nb("run", "1")
    assert (done.returncode, "has no kernel" in done.stderr) == (3, True)
    file.write_text(before)
    assert nb.ok("run", "1") == "1\n"


def test_a_folder_of_somebody_else_is_refused_and_an_open_one_closed(nb: Nb) -> None:
    written(nb.folder / "a.ipynb", "1")
    (nb.folder / ".nb").mkdir()
    (nb.folder / ".nb").chmod(0o777)
    nb.ok("open", "a.ipynb", *PLAIN)
    assert stat.S_IMODE((nb.folder / ".nb").stat().st_mode) == 0o700
    nb.ok("shutdown")
    if os.geteuid() == 0:
        os.chown(nb.folder / ".nb", 65534, 65534)
        done = nb("open", "a.ipynb", *PLAIN)
        assert (done.returncode, "not a folder of yours" in done.stderr) == (2, True)
    shutil.rmtree(nb.folder / ".nb")
    (nb.folder / "elsewhere").mkdir()
    (nb.folder / ".nb").symlink_to(nb.folder / "elsewhere")
    assert "not a folder of yours" in nb("open", "a.ipynb", *PLAIN).stderr


def test_a_kernel_of_another_machine_is_left_alone(nb: Nb, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(nb.folder / "a.ipynb", "1")
    nb.ok("open", "a.ipynb", *PLAIN)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", nb.variables["JUPYTER_RUNTIME_DIR"])
    store = Store(path)
    state = store.state
    assert state is not None
    store.remember({**state, "host": "another", "boot": "another"})
    for words in (("run", "1"), ("open", "a.ipynb"), ("restart",), ("shutdown",)):
        done = nb(*words)
        assert (done.returncode, "started on another" in done.stderr) == (3, True), words
    store.remember(state)
    nb.ok("shutdown")


def test_what_is_to_be_sandboxed_is(nb: Nb) -> None:
    written(nb.folder / "a.ipynb", "1")
    done = nb("open", "a.ipynb", "--kernel", "python3", "--sandboxed")
    assert (done.returncode, "does not run code in a sandbox" in done.stderr) == (3, True)
    assert nb.json("status") == []


# -- nothing is lost -------------------------------------------------------------------------------


def test_outputs_survive_whatever_the_notebook_holds(nb: Nb) -> None:
    path = nb.folder / "a.ipynb"
    written(path, "print(1)", "print(1)")
    nb.ok("open", "a.ipynb", *PLAIN)
    made: dict[str, Any] = json.loads(nbformat.writes(notebook("print(1)", "print(1)")))
    made["cells"][1]["id"] = made["cells"][0]["id"]  # twice the same
    path.write_text("\ufeff" + json.dumps(made, indent=1), encoding="utf-8")
    done = nb("exec", "--all")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    after = json.loads(path.read_text(encoding="utf-8-sig"))
    assert [c["outputs"][0]["text"] for c in after["cells"]] == [["1\n"], ["1\n"]]
    bare: dict[str, Any] = {"cells": [{"cell_type": "code", "source": "2"}], "nbformat": 4}
    path.write_text(json.dumps(bare))
    for words in (("set", "0", "print(3)"), ("insert", "end", "4"), ("exec", "0")):
        done = nb(*words)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (words, done.stderr)
    assert json.loads(path.read_text())["cells"][0]["outputs"][0]["text"] == ["3\n"]


def test_a_message_without_what_it_needs_costs_no_other(nb: Nb) -> None:
    forge = (
        "print('before')\nk = get_ipython().kernel\nparent = k.get_parent('shell')\n"
        "k.session.send(k.iopub_socket, 'display_data', {'data': {}}, parent=parent)\n"
    )
    path = written(nb.folder / "a.ipynb", forge, "print('after')")
    nb.ok("open", "a.ipynb", *PLAIN)
    done = nb("exec", "--all")
    assert (done.returncode, "was left out: display_data" in done.stderr) == (0, True)
    assert [shown(path, i)[0].text for i in (0, 1)] == ["before\n", "after\n"]


def test_an_edit_elsewhere_does_not_end_the_run(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", "print(1)", SLOW.format(2), "print(3)")
    nb.ok("open", "a.ipynb", *PLAIN)
    running = nb.start("exec", "--all")
    assert until(lambda: shown(path, 0) != [], 20)
    nb.ok("set", "0", "print('another text')")
    assert running.wait(30) == 0
    assert [len(shown(path, i)) for i in range(3)] == [0, 1, 1]
    assert not list((nb.folder / ".nb/a.ipynb").glob("unsaved-*"))


def test_a_notebook_that_cannot_be_written_is_told_before_it_runs(nb: Nb) -> None:
    if os.geteuid() == 0:
        return  # whom no mode stops
    path = written(nb.folder / "a.ipynb", "open('ran', 'w')")
    nb.ok("open", "a.ipynb", *PLAIN)
    path.chmod(0o444)
    done = nb("exec", "0")
    assert (done.returncode, "write-protected" in done.stderr) == (2, True)
    assert not (nb.folder / "ran").exists()


def test_two_writers_leave_each_others_halves_alone(tmp_path: Path) -> None:
    store = Store(written(tmp_path / "a.ipynb", "1"))
    faults: list[BaseException] = []
    ended = threading.Event()

    def edit() -> None:
        while not ended.is_set():
            store.change(lambda d: d.with_source(d.cells[0], str(time.monotonic())))

    def lock() -> None:
        try:
            for _ in range(300):
                with Store(store.path).running("a test", 5, print):
                    pass
        except BaseException as err:
            faults.append(err)

    editing, locking = threading.Thread(target=edit), threading.Thread(target=lock)
    editing.start()
    locking.start()
    locking.join(60)
    ended.set()
    editing.join()
    assert faults == []


def test_a_kernel_that_cannot_be_written_down_is_ended(nb: Nb) -> None:
    written(nb.folder / "a.ipynb", "1")
    (nb.folder / "file").touch()
    done = nb("open", "a.ipynb", *PLAIN, JUPYTER_RUNTIME_DIR=str(nb.folder / "file" / "x"))
    assert done.returncode in (2, 3), done.stderr
    assert "Traceback" not in done.stderr
    folder = str(nb.folder)
    assert until(lambda: not any(folder in " ".join(words(p)) for p in psutil.process_iter()))


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


# -- others' code ----------------------------------------------------------------------------------


def test_a_time_limit_does_not_stop_what_runs_before(nb: Nb) -> None:
    written(nb.folder / "a.ipynb", "1")
    nb.ok("open", "a.ipynb", *PLAIN)
    first = begun(nb, "run", SLOW.format(3))
    mine = nb("run", "--timeout", "1", "'mine'")
    assert (mine.returncode, mine.stdout) == (0, "'mine'\n")
    assert first.wait(10) == 0


def test_ctrl_c_before_its_turn_stops_only_what_was_asked_for(nb: Nb) -> None:
    written(nb.folder / "a.ipynb", "1")
    nb.ok("open", "a.ipynb", *PLAIN)
    first = begun(nb, "run", SLOW.format(3))
    second = nb.start("run", "import time; time.sleep(60)")
    time.sleep(1)
    second.send_signal(signal.SIGINT)
    assert first.wait(15) == 0
    assert second.wait(15) == 130


def test_ctrl_c_ends_the_run_of_all(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", SLOW.format(60), "open('ran', 'w')")
    nb.ok("open", "a.ipynb", *PLAIN)
    for stop in (lambda p: p.send_signal(signal.SIGINT), lambda p: nb.ok("interrupt")):
        running = begun(nb, "exec", "--all")
        stop(running)
        assert running.wait(15) in (130, 1)
        assert not (nb.folder / "ran").exists()
    assert shown(path, 0)[-1].ename == "KeyboardInterrupt"


def test_an_error_aborts_nobody_elses_code(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", "print('old')", "print('new')")
    nb.ok("open", "a.ipynb", *PLAIN)
    nb.ok("exec", "0")
    failing = begun(nb, "run", SLOW.format(2) + "\n1 / 0")
    queued = nb("exec", "1")
    assert failing.wait(10) == 1
    assert queued.returncode == 0
    assert shown(path, 1)[0].text == "new\n"


def test_being_told_to_end_saves_what_was_shown(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", "print('first')", SLOW.format(30))
    nb.ok("open", "a.ipynb", *PLAIN)
    running = nb.start("exec", "--all")
    assert running.stdout is not None
    while running.stdout.readline() != "begun\n":
        pass
    running.send_signal(signal.SIGTERM)
    assert running.wait(15) == 130
    assert [shown(path, i)[0].text for i in (0, 1)] == ["first\n", "begun\n"]
    assert nb.json("status")[0]["state"] == "busy", "the cell goes on"
    nb.ok("interrupt")


# -- terminals and ends ----------------------------------------------------------------------------


def test_nothing_in_a_notebook_reaches_the_terminal_raw(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", "1")
    made = json.loads(path.read_text())
    made["cells"][0]["id"] = "a\x1b]0;x\x07b"
    path.write_text(json.dumps(made))
    told = nb.ok("cells", "a.ipynb")
    nb.ok("open", "a.ipynb", *PLAIN)
    dies = nb("run", "import os; os.write(2, b'\\x1b]0;pwned\\x07'); os._exit(1)")
    assert "\x1b" not in told + dies.stderr + nb("set", "0", "2").stdout


def test_a_servers_end_leaves_what_a_person_has_started(nb: Nb) -> None:
    written(nb.folder / "a.ipynb", "1")
    server = subprocess.Popen(
        [*nb.command, "mcp"], cwd=nb.folder, env=nb.variables, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def ask(number: int, method: str, **parameters: Any) -> Any:
        assert server.stdin is not None
        assert server.stdout is not None
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    client = {"name": "test", "version": "1"}
    ask(1, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
    assert server.stdin is not None
    server.stdin.write('{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
    arguments = {"path": "a.ipynb", "kernel": "python3"}
    ask(2, "tools/call", name="open_notebook", arguments=arguments)
    nb.ok("shutdown")
    mine = nb.json("open", "a.ipynb", *PLAIN)["pid"]
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 128 + signal.SIGTERM
    assert nb.json("status")[0]["pid"] == mine


def test_a_reader_that_has_enough_is_no_success(nb: Nb) -> None:
    written(nb.folder / "a.ipynb", "1")
    nb.ok("open", "a.ipynb", *PLAIN)
    many = "for i in range(100_000): print(i)"
    command = (
        f"{sys.executable} -m familiar_kernel.nb run '{many}' | head -1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=nb.folder, env=nb.variables, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["0", "141"], done.stderr
