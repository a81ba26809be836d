"""What ipykernel does, this kernel does: seen through the protocol and through the tools people
use."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupyter_kernel_test
import nbformat
import papermill
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from familiar_kernel.commands import COMMANDS
from kernels import CELL_TIMEOUT, Kernel, running_kernel

pytestmark = pytest.mark.kernel

KERNEL = "python-claude"


@pytest.fixture(scope="module", autouse=True)
def rehearsal(script: Path) -> Any:
    """Kernels that are started by name rehearse: nobody here passes them arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAMILIAR_REHEARSAL", "1")
        patch.setenv("FAMILIAR_REHEARSAL_SCRIPT", str(script))
        yield


def test_the_kernelspec_is_there_by_name() -> None:
    spec = KernelSpecManager().get_kernel_spec(KERNEL)
    assert spec.display_name == "Python + Claude"
    assert spec.interrupt_mode == "message"


class TestAsAnyKernel(jupyter_kernel_test.KernelTests):
    """The conformance tests of Jupyter's own."""

    kernel_name = KERNEL
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [  # noqa: RUF012
        {"text": "zi", "matches": {"zip"}},
        {
            "text": "%cla",
            "matches": {
                "%claude",
                "%%claude",
                *(f"%{c.name}" for c in COMMANDS if c.name.startswith("claude")),
            },
        },
    ]
    complete_code_samples = ["1", "def f(x):\n  return x*2\n\n\n", "%claude what's up?"]  # noqa: RUF012
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2", "%%claude say"]  # noqa: RUF012
    invalid_code_samples = ["import = 7q"]  # noqa: RUF012
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('no')"
    code_execute_result = [{"code": "1+2+3", "result": "6"}]  # noqa: RUF012
    code_display_data = [  # noqa: RUF012
        {
            "code": "from IPython.display import HTML, display; display(HTML('x'))",
            "mime": "text/html",
        }
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


SAMPLES = [
    "1 + 1",
    "print('a'); print('b')",
    "import sys; print('e', file=sys.stderr)",
    "1/0",
    "def f(:\n",
    "%time x = 1",
    "x?",
    "from IPython.display import display, HTML; display(HTML('<b>x</b>'))",
    "h = display('a', display_id=True); h.update('b')",
    "import asyncio; await asyncio.sleep(0.01); 5",
    "%%bash\necho %claude hi",
    "'%claude what?'",
    "# %claude what?\n7",
    "get_ipython().set_next_input('x = 1')",
    "%who",
    "%lsmagic?",
]


def test_code_cells_bring_what_they_bring_in_ipykernel(kernel: Kernel, tmp_path: Path) -> None:
    with running_kernel(tmp_path / "plain", module="ipykernel_launcher", arguments=()) as plain:
        for code in SAMPLES:
            ours, theirs = kernel.run(code), plain.run(code)
            shape = [[m["msg_type"] for _, m in ran.messages] for ran in (ours, theirs)]
            assert shape[0] == shape[1], code
            assert ours.status == theirs.status, code
            payloads = [ran.reply["content"].get("payload", []) for ran in (ours, theirs)]
            kinds = [[p["source"] for p in payload] for payload in payloads]
            assert kinds[0] == kinds[1], code


def complete(kernel: Kernel, code: str) -> list[str]:
    found: list[str] = kernel.request("complete_request", code=code, cursor_pos=len(code))[
        "matches"
    ]
    return found


def test_completion_of_commands_options_and_names(kernel: Kernel) -> None:
    kernel.run("a_frame_of_mine = 1")
    assert {"%claude_model", "%claude_status"} <= set(complete(kernel, "%claude_"))
    assert set(complete(kernel, "%claude_thinking o")) == {"on", "off"}
    assert "sonnet" in complete(kernel, "%claude_model ")
    assert complete(kernel, "%claude --mo") == ["--model"]
    assert complete(kernel, "%claude --effort h") == ["high"]
    assert complete(kernel, "%claude explain a_fr") == ["a_frame_of_mine"]
    assert complete(kernel, "%%claude\nexplain `a_fr") == []
    assert complete(kernel, "%%claude --ef") == ["--effort"]
    assert complete(kernel, "%%claude\nsome --ef") == []
    assert complete(kernel, "%claude --model so") == ["sonnet"]
    assert "a_frame_of_mine" in complete(kernel, "print(a_fr")
    assert complete(kernel, "%claude tell me of im") == []


def test_completion_of_what_is_named_with_an_at(kernel: Kernel) -> None:
    kernel.run("import os, types; a_frame_of_mine = types.SimpleNamespace(height=1)")
    kernel.run("os.makedirs('a folder', exist_ok=True); open('a folder/in it.txt', 'w').close()")
    kernel.run("open('plain.txt', 'w').close()")
    for before in ("%claude ", "%%claude\nand now (", "%%claude\n"):
        assert complete(kernel, before + "@a_fr") == ["a_frame_of_mine"]
        assert complete(kernel, before + "@a_frame_of_mine.he") == ["height"]
        assert complete(kernel, before + "@file:pl") == ["plain.txt"]
        assert complete(kernel, before + "@file:a") == ['"a folder/']
        assert complete(kernel, before + '@file:"a folder/in') == ['"a folder/in it.txt"']
        assert "file:" in complete(kernel, before + "@fi")
    assert complete(kernel, "%%claude\nme@a_fr") == []
    assert complete(kernel, "%claude @nothing.like.it") == []
    kernel.run(
        "class Trap:\n    def __getattribute__(self, name):\n        global sprung; sprung = name\n"
        "trap = Trap(); sprung = ''"
    )
    complete(kernel, "%claude @trap.x")
    assert kernel.value("sprung") == ""


def test_completion_replaces_the_word_and_no_more(kernel: Kernel) -> None:
    code = "%claude --mo later text"
    found = kernel.request("complete_request", code=code, cursor_pos=12)
    assert (found["cursor_start"], found["cursor_end"]) == (8, 12)


@pytest.mark.parametrize(
    ("code", "told"),
    [("%claude_status", "session, model"), ("%claude", "Talk to Claude"), ("ask", "Ask Claude")],
)
def test_inspection_shows_help(kernel: Kernel, code: str, told: str) -> None:
    found = kernel.request("inspect_request", code=code, cursor_pos=len(code), detail_level=0)
    assert found["found"]
    assert told.lower() in found["data"]["text/plain"].lower()


@pytest.mark.parametrize("code", ["%claude?", "%claude_status?", "%%claude?", "ask?"])
def test_a_question_mark_after_a_name_is_help(kernel: Kernel, code: str) -> None:
    ran = kernel.run(code)
    (page,) = ran.reply["content"]["payload"]
    assert page["source"] == "page"
    assert "claude" in page["data"]["text/plain"].lower()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("%claude what's up?", "complete"),
        ("%claude (", "complete"),
        ("%claude '''", "complete"),
        ("%%claude say", "incomplete"),
        ("x = 1", "complete"),
        ("if x:", "incomplete"),
        ("x = (", "incomplete"),
    ],
)
def test_is_complete(kernel: Kernel, code: str, status: str) -> None:
    assert kernel.request("is_complete_request", code=code)["status"] == status


def test_stdin_and_getpass(kernel: Kernel) -> None:
    for code, password in (("input('who? ')", False), ("__import__('getpass').getpass()", True)):
        request = kernel.execute(f"said = {code}", allow_stdin=True)
        asked = kernel.client.get_stdin_msg(timeout=CELL_TIMEOUT)["content"]
        assert asked["password"] is password
        kernel.client.input("me")
        assert kernel.collect(request).status == "ok"
        assert kernel.value("said") == "me"


def test_history_holds_prompts_as_they_were_typed(kernel: Kernel) -> None:
    kernel.run("%claude say something?")
    found = kernel.request("history_request", hist_access_type="tail", n=1, output=False, raw=True)[
        "history"
    ]
    assert found[0][2] == "%claude say something?"


def test_matplotlib_draws_inline(kernel: Kernel) -> None:
    ran = kernel.run("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()")
    assert any("image/png" in output["data"] for output in ran.outputs())


def test_widgets_speak_both_ways(kernel: Kernel) -> None:
    ran = kernel.run("import ipywidgets as w; slider = w.IntSlider(); slider")
    model = ran.of("comm_open")[-1]["comm_id"]
    data = {"method": "update", "state": {"value": 42}, "buffer_paths": []}
    kernel.client.shell_channel.send(
        kernel.client.session.msg("comm_msg", {"comm_id": model, "data": data})
    )
    deadline = time.monotonic() + 10
    while kernel.value("slider.value") != 42:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_subshell_answers_while_the_main_one_is_busy(kernel: Kernel) -> None:
    subshell = kernel.request("create_subshell_request", "control")["subshell_id"]
    busy = kernel.execute("import time; time.sleep(3); 'slept'")
    message = kernel.client.session.msg(
        "execute_request",
        {"code": "%claude say aside", "silent": False, "store_history": True, "allow_stdin": False,
         "user_expressions": {}, "stop_on_error": True},
    )  # fmt: skip
    message["header"]["subshell_id"] = subshell
    began = time.monotonic()
    kernel.client.shell_channel.send(message)
    while True:
        reply = kernel.client.get_shell_msg(timeout=CELL_TIMEOUT)
        if reply["parent_header"]["msg_id"] == message["header"]["msg_id"]:
            break
    assert reply["content"]["status"] == "ok"
    assert time.monotonic() - began < 2.5
    assert kernel.collect(busy).status == "ok"
    assert (
        kernel.request("delete_subshell_request", "control", subshell_id=subshell)["status"] == "ok"
    )


def test_the_debugger_stops_at_a_breakpoint(fresh_kernel: Kernel) -> None:
    kernel = fresh_kernel
    code = "a = 1\nb = a + 1\nb"
    kernel.attach_debugger(code, line=2)
    request = kernel.execute(code)
    thread = kernel.until_stopped()
    frames = kernel.debug("stackTrace", threadId=thread)["body"]["stackFrames"]
    assert frames[0]["line"] == 2
    kernel.debug("continue", threadId=thread)
    assert kernel.collect(request).text() == "2"
    kernel.debug("disconnect", restart=False, terminateDebuggee=False)


def test_encrypted_channels(start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel(transport_encryption="required")
    info = json.loads(Path(kernel.manager.connection_file).read_text())
    assert info["curve_publickey"]
    ran = kernel.run("%claude say it in private")
    assert (ran.status, "it in private" in ran.text()) == ("ok", True)


# -- notebooks without a browser --

NOTEBOOK = new_notebook(
    cells=[
        new_markdown_cell("# A notebook"),
        new_code_cell("x = 20"),
        new_code_cell("%claude say *forty*"),
        new_code_cell("answer = ask('say two')\nx + len(answer.text)"),
        new_code_cell("%%claude\nsay\na fence:\n```python\n1 < 2\n```"),
    ],
    metadata={
        "kernelspec": {"name": KERNEL, "display_name": "Python + Claude", "language": "python"}
    },
)


def only_answer(cell: Any) -> Any:
    """The one output of a prompt's cell, checked for what a notebook file must hold."""
    (output,) = (o for o in cell.outputs if "familiar" in o.get("metadata", {}))
    assert set(output.data) == {"text/markdown", "text/plain"}
    assert set(output.metadata) == {"familiar"}
    return output


def test_nbclient_runs_prompts_and_saves_one_output_each(tmp_path: Path) -> None:
    notebook = nbformat.from_dict(NOTEBOOK)
    NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name=KERNEL).execute(cwd=str(tmp_path))
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "*forty*" in only_answer(code[1]).data["text/markdown"]
    assert len(code[1].outputs) == 1
    assert code[2].outputs[-1].data["text/plain"] == "23"
    facts = only_answer(code[3]).metadata["familiar"]
    assert facts["outcome"] == "complete"
    assert facts["number"] == 3
    assert facts["rehearsal"] is True
    assert "1 < 2" in only_answer(code[3]).data["text/markdown"]


def test_a_failing_prompt_stops_nbclient(tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_code_cell("%claude --modle x hi"), new_code_cell("y = 1")])
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name=KERNEL)
    with pytest.raises(CellExecutionError, match="modle"):
        client.execute(cwd=str(tmp_path))
    assert not notebook.cells[1].get("execution_count")


def test_a_failing_turn_stops_nbclient(tmp_path: Path) -> None:
    cells = [new_code_cell(code) for code in ("%claude refuse me", "y = 1")]
    notebook = new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name=KERNEL)
    with pytest.raises(CellExecutionError, match="The endpoint refused the request"):
        client.execute(cwd=str(tmp_path))
    assert not notebook.cells[1].get("execution_count")
    nbformat.validate(notebook)
    assert only_answer(notebook.cells[0]).metadata["familiar"]["outcome"] == "failed"
    assert notebook.cells[0].outputs[-1].ename == "FamiliarError"


def test_failures_that_are_allowed_do_not_stop_nbclient(tmp_path: Path) -> None:
    codes = ("%claude refuse me", "%claude say on we go", "[ask(f'say {n}') for n in range(3)];")
    notebook = new_notebook(cells=[new_code_cell(code) for code in codes])
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name=KERNEL, allow_errors=True)
    client.execute(cwd=str(tmp_path))
    nbformat.validate(notebook)
    assert "refused" in str(notebook.cells[0].outputs)
    assert "on we go" in only_answer(notebook.cells[1]).data["text/plain"]
    shown = [output.data["text/plain"][0] for output in notebook.cells[2].outputs]
    assert shown == ["0", "1", "2"]


def test_papermill_runs_prompts_and_reports_failures(tmp_path: Path) -> None:
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(NOTEBOOK, source)
    papermill.execute_notebook(str(source), str(target), progress_bar=False, kernel_name=KERNEL)
    done = nbformat.read(target, as_version=4)
    assert "*forty*" in only_answer(done.cells[2]).data["text/markdown"]
    bad = new_notebook(cells=[new_code_cell("%claude refuse me")], metadata=NOTEBOOK.metadata)
    nbformat.write(bad, source)
    with pytest.raises(papermill.PapermillExecutionError):
        papermill.execute_notebook(str(source), str(target), progress_bar=False, kernel_name=KERNEL)


def test_nbconvert_executes_and_renders(tmp_path: Path) -> None:
    source = tmp_path / "in.ipynb"
    nbformat.write(NOTEBOOK, source)
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", str(source)],
        check=True,
        capture_output=True,
        timeout=CELL_TIMEOUT,
    )
    page = source.with_suffix(".html").read_text()
    assert "<em>forty</em>" in page
    assert "<h6" in page


def test_nbconvert_goes_on_behind_failures_that_are_allowed(tmp_path: Path) -> None:
    source = tmp_path / "in.ipynb"
    cells = [new_code_cell(code) for code in ("%claude refuse me", "%claude say *after*")]
    nbformat.write(new_notebook(cells=cells, metadata=NOTEBOOK.metadata), source)
    command = [sys.executable, "-m", "nbconvert", "--execute", "--allow-errors", "--to", "html"]
    subprocess.run([*command, str(source)], check=True, capture_output=True, timeout=CELL_TIMEOUT)
    page = source.with_suffix(".html").read_text()
    assert "The endpoint refused the request" in page
    assert "<em>after</em>" in page


def test_a_cell_without_a_prompt_reaches_ipython_byte_for_byte(kernel: Kernel) -> None:
    kernel.run(
        "seen = []\n"
        "def look(lines):\n    seen.append(''.join(lines))\n    return lines\n"
        "get_ipython().input_transformers_cleanup.insert(0, look)"
    )
    odd = ["x = 1  \n\n\n", "\tif True: pass", 'a = """\r\nb"""', "\ufeffx = 1", "x\x0c", "%%!x"]
    try:
        for code in (*SAMPLES, *odd):
            kernel.run("seen.clear()", silent=True)
            kernel.run(code)
            # IPython splits a cell into lines, and ends the last one.
            assert code in kernel.value("seen")[0], code
    finally:
        kernel.run("get_ipython().input_transformers_cleanup.remove(look)")
