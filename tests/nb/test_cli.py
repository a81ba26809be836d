"""``nb`` as people and scripts type it, on real kernels."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_output

from endpoint import Endpoint
from familiar_kernel.nb.terminal import safe
from familiar_kernel.nb.widgets import models_of
from nb.conftest import Nb, notebook, written

pytestmark = pytest.mark.kernel

PLAIN = ("--kernel", "python3")
PLOT = (
    "from IPython.display import Image, display\nimport base64\ndisplay(Image(base64.b64decode("
    "'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='"
    ")))"
)


def until(done: Callable[[], object], within: float = 10) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.05)
    return False


def shown(path: Path, index: int) -> list[nbformat.NotebookNode]:
    return list(nbformat.read(path, 4).cells[index].outputs)


# -- a session -------------------------------------------------------------------------------------


def test_a_first_session(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", "# Title", "x = 20\nprint('out')", "x + 1", PLOT, "1 / 0")
    told = nb.ok("open", "a.ipynb", *PLAIN)
    assert "python3 started" in told
    assert "is there already, running" in nb.ok("open", "a.ipynb")
    rows = nb.ok("cells").splitlines()
    assert [row.split()[0] for row in rows] == list("01234")
    assert "markdown" in rows[0]
    assert "not run" in rows[1]

    done = nb("exec", "1:4")
    assert done.returncode == 0, done.stderr
    picture = nb.folder / done.stdout.split("image/png: ")[1].split("]")[0]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert done.stdout.startswith("out\n21\n[image/png: ")
    assert "[2/3] cell 2" in done.stderr
    assert shown(path, 1) == [{"output_type": "stream", "name": "stdout", "text": "out\n"}]
    assert shown(path, 2)[0].data == {"text/plain": "21"}
    assert "image/png" in shown(path, 3)[0].data
    assert nbformat.read(path, 4).cells[2].execution_count == 2
    failed = nb("exec", "-1")
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stderr
    assert shown(path, 4)[0].ename == "ZeroDivisionError"

    before = path.read_bytes()
    assert nb.ok("run", "x") == "20\n"
    assert nb.ok("run", "-", input="y = x * 2\ny") == "40\n"
    assert path.read_bytes() == before
    nb.ok("restart")
    assert "NameError" in nb("run", "x").stderr
    assert "has ended" in nb.ok("shutdown")
    assert nb.ok("status") == "No notebook is open.\n"
    assert not list((nb.folder / ".nb/a.ipynb").glob("*.json"))


def test_cells_are_edited(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", "one", "two")
    ask = ("-n", "a.ipynb")
    nb.ok("insert", "0", "# first", "--type", "markdown", *ask)
    nb.ok("insert", "end", "-", *ask, input="last\n2")
    nb.ok("set", "1", "1 + 1", *ask)
    nb.ok("move", "2", "0", *ask)
    nb.ok("delete", "-1", *ask)
    made = nbformat.read(path, 4)
    nbformat.validate(made)
    assert [(c.cell_type, c.source) for c in made.cells] == [
        ("code", "two"), ("markdown", "# first"), ("code", "1 + 1"),
    ]  # fmt: skip
    assert nb("set", "7", "x", *ask).returncode == 2
    assert nb("insert", "0", "x", "--type", "other", *ask).returncode == 2


def test_what_scripts_read(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", "print(1)", "2", "1 / 0")
    opened = nb.json("open", "a.ipynb", *PLAIN)
    assert (opened["started"], opened["state"], opened["kernel"]) == (True, "running", "python3")
    assert nb.json("status")[0]["path"] == str(path)
    assert nb.json("status")[0]["memory"] > 10_000_000
    ran = nb.json("exec", "--all")
    assert [cell["state"] for cell in ran] == ["ok", "ok", "error"]
    assert ran[0]["outputs"][0]["text"] == "1\n"
    assert "division" in ran[2]["error"]
    assert nb.json("run", "6 * 7")["outputs"][0]["data"]["text/plain"] == "42"
    assert [cell["state"] for cell in nb.json("cells")] == ["1 output", "1 output", "error"]
    assert nb.json("clear") == {"cleared": 3}
    assert nb.json("exec", "9")["status"] == 2
    for words in (
        ("interrupt",), ("logs",), ("insert", "0", "x"), ("set", "0", "y"), ("move", "0", "1"),
        ("delete", "0"), ("restart",), ("shutdown",),
    ):  # fmt: skip
        done = nb(*words, "--json")
        assert done.returncode == 0, (words, done.stderr)
        json.loads(done.stdout)


def test_every_command_helps(nb: Nb) -> None:
    told = nb.ok("--help")
    for word in told.split("commands:")[1].split("exit status")[0].split("\n    ")[1:]:
        name = word.split()[0] if word.split() else ""
        if name and word[0] != " ":
            assert f"usage: nb {name}" in nb.ok(name, "--help")
    assert "complete" in nb.ok("completion", "bash")
    line = {"_ARGCOMPLETE": "1", "COMP_LINE": "nb ex", "COMP_POINT": "5", "COMP_TYPE": "9"}
    done = subprocess.run(
        ["sh", "-c", f"{' '.join(nb.command)} 8>&1 9>&2"],
        env={**nb.variables, **line, "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}, cwd=nb.folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "exec" in done.stdout


# -- which notebook --------------------------------------------------------------------------------


def test_the_notebook_that_is_meant(nb: Nb) -> None:
    (nb.folder / "deep/er").mkdir(parents=True)
    written(nb.folder / "deep/a.ipynb", "1")
    done = nb("run", "1")
    assert (done.returncode, "nb open FILE" in done.stderr) == (2, True)
    assert nb("open", "none.ipynb").returncode == 2
    assert "there are: " in nb("open", "deep/a.ipynb", "--kernel", "nothing").stderr
    nb.ok("open", "deep/a.ipynb", *PLAIN)
    assert nb.ok("run", "1") == "1\n"
    below = Nb(nb.folder / "deep/er", nb.variables)
    assert below.ok("run", "2") == "2\n"
    assert nb.ok("run", "3", "-n", "deep/a.ipynb") == "3\n"
    assert nb.ok("run", "3", NB_NOTEBOOK="deep/a.ipynb") == "3\n"
    nb.ok("open", "--new", "b.ipynb", *PLAIN)
    nbformat.validate(nbformat.read(nb.folder / "b.ipynb", 4))
    several = nb("run", "1")
    assert (several.returncode, "2 notebooks are open here" in several.stderr) == (2, True)
    assert below.ok("run", "4") == "4\n"
    assert nb("open", "b.ipynb", "--kernel", "python-claude").returncode == 3


# -- time, ends and interrupts ---------------------------------------------------------------------


def test_a_time_limit_is_the_cells_however_it_chatters(nb: Nb) -> None:
    chatty = "import time\nwhile True: print('.', end='', flush=True); time.sleep(0.01)"
    path = written(nb.folder / "a.ipynb", chatty, "'after'")
    nb.ok("open", "a.ipynb", *PLAIN)
    began = time.monotonic()
    done = nb("exec", "--all", "--timeout", "1")
    assert done.returncode == 4
    assert time.monotonic() - began < 15
    assert "longer than it may" in done.stderr
    assert shown(path, 0)[0].text.count(".") > 30
    assert shown(path, 1) == []
    assert nb.ok("run", "'alive'") == "'alive'\n"


@pytest.mark.parametrize("command", ["exec", "run"])
def test_a_kernel_that_dies_is_told_and_nothing_is_lost(nb: Nb, command: str) -> None:
    path = written(nb.folder / "a.ipynb", "print('before', flush=True)\nimport os; os._exit(9)")
    nb.ok("open", "a.ipynb", *PLAIN)
    words = ("exec", "0") if command == "exec" else ("run", "import os; os._exit(9)")
    done = nb(*words)
    assert done.returncode == 3
    assert "nb restart" in done.stderr
    assert nb.json("status")[0]["state"] == "dead"
    assert nb("run", "1").returncode == 3
    if command == "exec":
        assert nbformat.read(path, 4).cells[0].source.startswith("print")
    nb.ok("restart")
    assert nb.ok("run", "1") == "1\n"


def test_ctrl_c_and_interrupt_stop_the_cell_and_not_the_kernel(nb: Nb) -> None:
    slow = "kept = 1\nprint('runs', flush=True)\nimport time; time.sleep(60)"
    path = written(nb.folder / "a.ipynb", slow)
    nb.ok("open", "a.ipynb", *PLAIN)
    for status, stop in (
        (130, lambda p: p.send_signal(signal.SIGINT)),
        (1, lambda p: nb.ok("interrupt")),
    ):
        running = nb.start("exec", "0")
        assert running.stdout is not None
        assert running.stdout.readline() == "runs\n"
        assert nb.json("status")[0]["state"] == "busy"
        stop(running)
        assert running.wait(10) == status
        assert shown(path, 0)[-1].ename == "KeyboardInterrupt"
        assert nb.ok("run", "kept") == "1\n"


def test_two_that_run_cells_go_one_behind_the_other(nb: Nb) -> None:
    code = "import time\nprint(time.time()); time.sleep(1); print(time.time())"
    path = written(nb.folder / "a.ipynb", code, code)
    nb.ok("open", "a.ipynb", *PLAIN)
    first = nb.start("exec", "0")
    assert first.stdout is not None
    first.stdout.readline()
    refused = nb("exec", "1", "--no-wait")
    assert (refused.returncode, "nb exec 0 (process" in refused.stderr) == (2, True)
    second = nb("exec", "1")
    assert second.returncode == 0
    assert "waiting for it" in second.stderr
    assert first.wait(10) == 0
    times = [float(t) for i in (0, 1) for t in shown(path, i)[0].text.split()]
    assert times == sorted(times)


def test_a_kernel_outlives_the_terminal_and_leaves_nothing(nb: Nb) -> None:
    written(nb.folder / "a.ipynb", "1")
    opened = nb.json("open", "a.ipynb", *PLAIN)
    state = json.loads((nb.folder / ".nb/a.ipynb/state.json").read_text())
    assert (state["version"], state["sandboxed"]) == (1, False)
    for name in ("state.json", "kernel.json"):
        assert (nb.folder / ".nb/a.ipynb" / name).stat().st_mode & 0o077 == 0
    assert os.stat(state["ipc_dir"]).st_mode & 0o077 == 0
    kernel = psutil.Process(opened["pid"])
    assert os.getsid(kernel.pid) == kernel.pid
    family = [kernel, *kernel.children(recursive=True)]
    nb.ok("shutdown")
    assert until(lambda: not any(p.is_running() for p in family))
    assert not Path(state["ipc_dir"]).exists()
    # One that was killed: the next open starts a fresh one.
    pid = nb.json("open", "a.ipynb", *PLAIN)["pid"]
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: nb.json("status")[0]["state"] == "dead")
    assert "started" in nb.ok("open", "a.ipynb")


# -- large and odd ---------------------------------------------------------------------------------


def test_500_cells_and_50_mb(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", *(f"print({i})" for i in range(500)))
    nb.ok("open", "a.ipynb", *PLAIN)
    assert nb.ok("exec", "--all").split() == [str(i) for i in range(500)]
    assert [c.outputs[0].text for c in nbformat.read(path, 4).cells] == [
        f"{i}\n" for i in range(500)
    ]
    nb.ok("set", "0", "for i in range(500): print('x' * 99_999)")
    done = nb.start("exec", "0")
    assert done.stdout is not None
    assert len(done.stdout.read()) == 50_000_000
    assert done.wait(60) == 0
    outputs = nbformat.read(path, 4).cells[0].outputs
    assert [len(output.text) for output in outputs] == [50_000_000]


def test_displays_that_are_updated(nb: Nb) -> None:
    code = (
        "from IPython.display import display, clear_output\nh = display('old', display_id='a')\n"
        "print('gone'); clear_output(); h = display('one', display_id='a')"
    )
    path = written(nb.folder / "a.ipynb", code, "h.update('new'); print('a'); print('b')")
    nb.ok("open", "a.ipynb", *PLAIN)
    nb.ok("exec", "--all")
    assert [o.data["text/plain"] for o in shown(path, 0)] == ["'new'"]
    assert [o.text for o in shown(path, 1)] == ["a\nb\n"]


def test_widgets_keep_their_state(nb: Nb) -> None:
    code = (
        "import ipywidgets as w\nslider = w.IntSlider(7)\nslider",
        "slider.value = 9",
        "out = w.Output()\ndisplay(out)\nwith out: print('inside')\nprint('outside')",
    )
    path = written(nb.folder / "a.ipynb", *code)
    nb.ok("open", "a.ipynb", *PLAIN)
    for index in range(3):
        nb.ok("exec", str(index))
    made = nbformat.read(path, 4)
    nbformat.validate(made)
    models = list(models_of(made.metadata.widgets).values())
    assert [m["state"]["value"] for m in models if m["model_name"] == "IntSliderModel"] == [9]
    held = next(m["state"]["outputs"] for m in models if m["model_name"] == "OutputModel")
    assert [o["text"] for o in held] == ["inside\n"]
    assert [o.get("text") for o in shown(path, 2)] == [None, "outside\n"]
    before = len(models)
    nb.ok("exec", "0")  # what it showed before is forgotten
    assert len(models_of(nbformat.read(path, 4).metadata.widgets)) == before


def test_a_notebook_stays_trusted_or_not(nb: Nb) -> None:
    nb.variables["JUPYTER_DATA_DIR"] = str(nb.folder / "data")
    html = "from IPython.display import HTML\nHTML('<script>1</script>')"
    path = written(nb.folder / "mine.ipynb", html, "2")
    foreign = nbformat.read(path, 4)
    foreign.cells[1].outputs = [new_output("display_data", {"text/html": "<script>2</script>"})]
    foreign.cells[1].metadata.trusted = True
    nbformat.write(foreign, nb.folder / "foreign.ipynb")

    def trusted(name: str) -> bool:
        with NotebookNotary(data_dir=nb.variables["JUPYTER_DATA_DIR"]) as notary:
            return notary.check_signature(nbformat.read(nb.folder / name, 4))

    for name, expected in (("mine.ipynb", True), ("foreign.ipynb", False)):
        nb.ok("open", name, *PLAIN)
        nb.ok("exec", "-n", name, "0")
        assert trusted(name) is expected
        nb.ok("insert", "-n", name, "end", "3")
        assert trusted(name) is expected
    nb.ok("exec", "-n", "foreign.ipynb", "--all")
    assert not trusted("foreign.ipynb"), "it was somebody else's"


def test_every_minor_version_is_run_and_what_is_none_is_refused(nb: Nb) -> None:
    made = json.loads(nbformat.writes(notebook("# a", "6 * 7")))
    for cell in made["cells"]:
        del cell["id"]
    written(nb.folder / "kernel.ipynb", "0")
    nb.ok("open", "kernel.ipynb", *PLAIN)
    for minor in range(5):
        made["nbformat_minor"] = minor
        (nb.folder / "kernel.ipynb").write_text(json.dumps(made))
        nb.ok("exec", "--all")
        after = json.loads((nb.folder / "kernel.ipynb").read_text())
        nbformat.validate(after)
        assert (after["nbformat_minor"], "id" in after["cells"][1]) == (minor, False)
        assert after["cells"][1]["outputs"][0]["data"] == {"text/plain": ["42"]}
    for text in ("", "[]", '{"cells": [', '{"nbformat": 3, "worksheets": []}', "\udcff"):
        wrong = text.encode(errors="surrogateescape")
        (nb.folder / "kernel.ipynb").write_bytes(wrong)
        for words in (
            ("cells",),
            ("exec", "--all"),
            ("insert", "end", "1"),
            ("open", "kernel.ipynb"),
        ):
            done = nb(*words)
            if words[0] != "open":
                assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
        assert (nb.folder / "kernel.ipynb").read_bytes() == wrong


def test_errors_that_are_meant(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", "1 / 0", "2", "1 / 0", "4")
    made = nbformat.read(path, 4)
    made.cells[0].metadata.tags = ["raises-exception"]
    nbformat.write(made, path)
    nb.ok("open", "a.ipynb", *PLAIN)
    assert nb("exec", "--all", "--stop-on-error").returncode == 1
    counts = [cell.execution_count for cell in nbformat.read(path, 4).cells]
    assert counts == [1, 2, 3, None]
    assert nb("exec", "0").returncode == 0


def test_a_message_that_cannot_be_read_is_told(nb: Nb) -> None:
    forge = (
        "print('before')\nk = get_ipython().kernel\n"
        "frames = [b'stream', b'<IDS|MSG>', b'wrong', b'{', b'}', b'{', b'}']\n"
        "k.iopub_socket.send_multipart(frames)\n"
        "print('after')"
    )
    path = written(nb.folder / "a.ipynb", forge)
    nb.ok("open", "a.ipynb", *PLAIN)
    done = nb("exec", "0")
    assert done.stdout == "before\nafter\n"
    assert "could not be read: ValueError: Invalid Signature" in done.stderr
    assert shown(path, 0)[0].text == "before\nafter\n"


def test_jupytext_reads_what_nb_wrote(nb: Nb) -> None:
    import jupytext

    path = written(nb.folder / "a.ipynb", "# Title", "x = 1\nx")
    nb.ok("open", "a.ipynb", *PLAIN)
    nb.ok("exec", "--all")
    nb.ok("insert", "end", "x + 1")
    made = jupytext.read(path)
    text = jupytext.writes(made, "py:percent")
    again = jupytext.reads(text, "py:percent")
    assert [c.source for c in again.cells] == ["# Title", "x = 1\nx", "x + 1"]
    jupytext.write(made, path)
    assert nb.ok("exec", "1:").split() == ["1", "2"]


# -- what a terminal gets --------------------------------------------------------------------------


def test_nothing_of_an_output_acts_on_the_terminal() -> None:
    evil = "\x1b]0;title\x07a\x1b]52;c;eA==\x1b\\b\x1b[2Jc\x1b[31mred\x1b[0m\x9b2J\x1bc\u202ed\x08"
    assert safe(evil, colours=True) == "abc\x1b[31mred\x1b[0m2Jd\x08"
    assert safe(evil, colours=False) == "abcred2Jd\x08"


def on_a_terminal(nb: Nb, *words: str, typed: str = "", **variables: str) -> str:
    """Type a command on a real terminal and return what stood there."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 800, 480))
    process = subprocess.Popen(
        [*nb.command, *words], cwd=nb.folder, stdin=its, stdout=its, stderr=its,
        env={**nb.variables, "TERM": "xterm-256color", "COLUMNS": "80", **variables},
        start_new_session=True,
    )  # fmt: skip
    os.close(its)
    os.write(mine, typed.encode())
    told = b""
    while True:
        try:
            piece = os.read(mine, 4096)
        except OSError:
            break
        if not piece:
            break
        told += piece
    os.close(mine)
    process.wait(30)
    return told.decode(errors="replace")


def test_on_a_terminal_there_are_colours_and_questions(nb: Nb) -> None:
    written(nb.folder / "a.ipynb", "1 / 0", "print(input('name? ') + '!')")
    nb.ok("open", "a.ipynb", *PLAIN)
    assert "\x1b[" in on_a_terminal(nb, "exec", "0")
    assert "\x1b[" not in on_a_terminal(nb, "exec", "0", NO_COLOR="1")
    assert "Vera!" in on_a_terminal(nb, "exec", "1", typed="Vera\n")
    assert "StdinNotImplementedError" in nb("exec", "1").stderr


def test_pictures_are_shown_where_the_terminal_can(nb: Nb) -> None:
    written(
        nb.folder / "a.ipynb",
        "from PIL import Image\nImage.new('RGB', (80, 60), 'red')",
        PLOT.replace("iVBOR", "iVBOX"),
    )
    nb.ok("open", "a.ipynb", *PLAIN)
    told = "[image/png: .nb/a.ipynb/pictures/"
    # The terminal's answer to the question what it is: 4 stands for Sixel.
    can, cannot = "\x1b[?62;4;6c", "\x1b[?62;6c"
    with_sixel = on_a_terminal(nb, "exec", "0", typed=can)
    assert "\x1bP" in with_sixel
    assert told in with_sixel
    without = on_a_terminal(nb, "exec", "0", typed=cannot)
    assert "\x1bP" not in without
    assert told in without
    broken = on_a_terminal(nb, "exec", "1", typed=can)
    assert ("\x1bP" in broken, "Traceback" in broken, told in broken) == (False, False, True)
    assert "\x1b[c" not in on_a_terminal(nb, "exec", "0", TERM="dumb")
    assert "\x1b" not in nb.ok("exec", "0")


# -- the familiar ----------------------------------------------------------------------------------


@pytest.mark.cli
def test_the_familiar_is_asked(nb: Nb, endpoint: Endpoint) -> None:
    nb.variables |= endpoint.environment
    path = written(nb.folder / "a.ipynb", "shelf = ['Dune']")
    nb.ok("open", "a.ipynb", "--kernel", "python-claude")
    nb.ok("exec", "0")
    before = path.read_bytes()
    told = nb.ok("ask", "list", "shelf")
    assert "shelf" in told
    assert "Dune" in told
    assert "\x1b" not in told
    assert "<" not in told.replace("<module", "")
    shown = on_a_terminal(nb, "ask", "hello")
    assert "Hello" in shown
    assert path.read_bytes() == before
    nb.ok("shutdown")
    nb.ok("open", "a.ipynb", *PLAIN)
    done = nb("ask", "hello")
    assert (done.returncode, "has no familiar" in done.stderr) == (2, True)


@pytest.mark.cli
def test_what_claude_may_do_is_asked_where_somebody_is(nb: Nb, endpoint: Endpoint) -> None:
    nb.variables |= endpoint.environment
    written(nb.folder / "a.ipynb", "0")
    nb.ok("open", "a.ipynb", "--kernel", "python-claude")
    denied = nb.ok("ask", "run", "shelf = 1")
    assert "Nobody can be asked" in denied, denied
    assert nb("run", "shelf").returncode == 1
    allowed = on_a_terminal(nb, "ask", "run", "shelf = 2", typed="y\n")
    assert "shelf = 2" in allowed, allowed
    assert nb.ok("run", "shelf") == "2\n"
