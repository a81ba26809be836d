"""Claude's tools: they see the kernel's data, act on it when the person allows it, and not else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kernels import CELL_TIMEOUT, Kernel, Ran, kill

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SCRIPT = Path(__file__).parents[1] / "scripts" / "tools.yaml"


@pytest.fixture
def acting(kernel_of_either_kind: Kernel) -> Kernel:
    """A kernel whose Claude uses tools."""
    return kernel_of_either_kind


def asked(kernel: Kernel, code: str, *answers: str) -> Ran:
    """Run a cell and answer what it asks on stdin, in this order."""
    request = kernel.execute(code, allow_stdin=True)
    for answer in answers:
        question = kernel.client.get_stdin_msg(timeout=CELL_TIMEOUT)
        assert question["content"]["prompt"].startswith("Allow?")
        kernel.client.input(answer)
    return kernel.collect(request)


def audit(kernel: Kernel) -> list[dict[str, Any]]:
    path = kernel.home / "data" / "familiar" / "audit.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(autouse=True)
def nothing_is_always_allowed(acting: Kernel) -> Iterator[None]:
    yield
    acting.run("%claude_permissions revoke")


# -- looking: nobody is asked ----------------------------------------------------------------------


def test_claude_lists_and_describes_variables(acting: Kernel) -> None:
    acting.run("shelf = {'a': [1, 2, 3], 'b': 'text'}; number_of_things = 42")
    listed = acting.run("%claude list number*", allow_stdin=False).text()
    assert "number_of_things" in listed
    assert "42" in listed
    assert "shelf" not in listed
    assert "[1, 2, 3]" in acting.run("%claude describe shelf", allow_stdin=False).text()
    assert "It failed" in acting.run("%claude use it wrongly", allow_stdin=False).text()


def test_claude_reads_the_cells(acting: Kernel) -> None:
    acting.run("print('printed by a cell'); 6 * 7")
    acting.run("1 / 0  # on purpose")
    told = acting.run("%claude read the cells", allow_stdin=False).text()
    assert "printed by a cell\n42" in told
    assert "ZeroDivisionError" in told
    assert "\x1b" not in told


def test_claude_sees_the_frames_of_the_last_error(acting: Kernel) -> None:
    acting.run("def half(cake):\n    slices = 0\n    return cake / slices\nhalf(12)")
    told = acting.run("%claude explain the error", allow_stdin=False).text()
    assert "ZeroDivisionError" in told
    assert "half" in told
    assert "slices" in told
    assert "12" in told


def test_claude_proposes_a_cell(acting: Kernel) -> None:
    ran = acting.run("%claude propose df.plot()", allow_stdin=False)
    payload = ran.reply["content"]["payload"]
    assert [p["text"] for p in payload if p["source"] == "set_next_input"] == ["df.plot()"]


# -- running code ----------------------------------------------------------------------------------


def test_code_runs_among_the_variables_when_it_is_allowed(acting: Kernel) -> None:
    acting.run("basket = ['apple']")
    ran = asked(acting, "%claude run basket.append('pear'); print('added'); len(basket)", "y")
    assert ran.status == "ok", ran.error
    assert acting.value("basket") == ["apple", "pear"]
    assert "It said: added\n2" in ran.text()
    assert ran.stream() == "added\n"
    assert "2" in [c["data"].get("text/plain") for c in ran.of("display_data")]
    assert not ran.of("execute_result")


def test_the_request_shows_the_code_and_goes_when_the_answer_is_there(acting: Kernel) -> None:
    ran = asked(acting, "%claude run new_name = 1", "y")
    shown = [c["data"].get("text/markdown", "") for c in ran.of("display_data")]
    assert any("Claude asks to use run\\_python" in s or "run&#95;python" in s for s in shown)
    assert any("```python\nnew_name = 1\n```" in s for s in shown)
    assert len(ran.outputs()) == 1
    assert "asks to use" not in ran.text("text/markdown")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("n", "The person said no."),
        ("", "The person said no."),
        ("use a copy instead", "The person said no: use a copy instead"),
    ],
)
def test_a_no_is_a_no_and_claude_is_told_why(acting: Kernel, answer: str, told: str) -> None:
    acting.run("untouched = 1")
    ran = asked(acting, "%claude run untouched = 2", answer)
    assert ran.status == "ok", ran.error
    assert told in ran.text()
    assert acting.value("untouched") == 1


def test_always_means_for_this_session_and_can_be_revoked(acting: Kernel) -> None:
    assert "It said: 3" in asked(acting, "%claude run 1 + 2", "a").text()
    assert "It said: 7" in asked(acting, "%claude run 3 + 4").text()
    assert "run_python" in acting.run("%claude_permissions").text()
    assert "run_python" not in acting.run("%claude_permissions revoke run_python").text()
    assert "said no" in asked(acting, "%claude run 5 + 6", "n").text()


def test_without_stdin_the_answer_is_no(acting: Kernel) -> None:
    acting.run("untouched = 1")
    ran = acting.run("%claude run untouched = 2", allow_stdin=False)
    assert ran.status == "ok"
    assert "Nobody can be asked" in ran.text()
    assert acting.value("untouched") == 1


def test_every_decision_is_recorded_without_secrets(acting: Kernel) -> None:
    acting.run("%claude run 1", allow_stdin=False)
    before = len(audit(acting))
    asked(acting, "%claude run token = 'hf_abcdefghijkl'", "y")
    asked(acting, "%claude run 2", "not now, password: tiger")
    acting.run("%claude run 3", allow_stdin=False)
    new = audit(acting)[before:]
    assert [(e["allowed"], e["how"]) for e in new] == [
        (True, "once"), (False, "no"), (False, "nobody to ask"),
    ]  # fmt: skip
    assert new[0]["tool"] == "mcp__notebook__run_python"
    assert new[0]["session"] == acting.value("CLAUDE_SESSION_ID")
    assert "hf_" not in json.dumps(new)
    assert "tiger" not in json.dumps(new)
    assert (acting.home / "data" / "familiar" / "audit.jsonl").stat().st_mode & 0o77 == 0


@pytest.mark.usefixtures("only_on_the_host")
def test_files_are_written_only_when_it_is_allowed(acting: Kernel) -> None:
    path = Path(acting.value("__import__('os').getcwd()")) / "by-claude.txt"
    ran = asked(acting, f"%claude write {path}", "n")
    assert not path.exists()
    assert any("+written by Claude" in str(c["data"]) for c in ran.of("display_data"))
    asked(acting, f"%claude write {path}", "y")
    assert path.read_text() == "written by Claude\n"


def test_numbers_and_results_stay_the_cells_own(acting: Kernel) -> None:
    acting.run("'the last result'")
    count = acting.value("get_ipython().execution_count")
    asked(acting, "%claude run 'of the code'", "y")
    assert acting.value("get_ipython().execution_count") == count + 1
    assert (
        acting.value("get_ipython().history_manager.input_hist_raw[-1]")
        == "%claude run 'of the code'"
    )
    assert acting.value("_") == "the last result"


def test_an_error_in_the_code_is_claudes_to_read(acting: Kernel) -> None:
    ran = asked(acting, "%claude run 1 / 0", "y")
    assert ran.status == "ok"
    assert "It failed" in ran.text()
    assert "ZeroDivisionError" in ran.text()
    assert "ZeroDivisionError" in ran.stream("stderr")
    assert not ran.of("error")


def test_code_may_await_and_use_magics(acting: Kernel) -> None:
    code = "%%claude\nrun import asyncio\nawait asyncio.sleep(0.1)\n%who_ls int\n'awaited'"
    assert "'awaited'" in asked(acting, code, "y").text()


def test_ask_and_prompts_among_code_run_code_as_well(acting: Kernel) -> None:
    ran = asked(acting, "a = ask('run from_ask = 5'); from_ask + 1", "y")
    assert ran.status == "ok", ran.error
    assert [c["data"]["text/plain"] for c in ran.of("execute_result")] == ["6"]


def test_claudes_code_cannot_ask_claude(acting: Kernel) -> None:
    ran = asked(acting, "%claude run ask('hello')", "y")
    assert "cannot ask Claude" in ran.text()
    assert ran.status == "ok"


def test_code_that_awaits_in_a_blocking_ask_is_told_so(acting: Kernel) -> None:
    ran = asked(acting, "a = ask('run import asyncio; await asyncio.sleep(0)')", "y")
    assert "Top-level await works only" in ran.text()


# -- interrupts, and what dies ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "sleep"),
    [
        ("%claude {}", "time.sleep(60)"),
        ("%claude {}", "await asyncio.sleep(60)"),
        ("x = ask({!r})", "time.sleep(60)"),
    ],
)
def test_one_interrupt_ends_the_code_and_the_turn(acting: Kernel, prompt: str, sleep: str) -> None:
    code = f"run import asyncio, time; print('begun', flush=True); {sleep}"
    request = acting.execute(prompt.format(code), allow_stdin=True)
    acting.client.get_stdin_msg(timeout=CELL_TIMEOUT)
    acting.client.input("y")
    acting.until(request, lambda m: m["content"].get("text") == "begun\n")
    began = time.monotonic()
    acting.interrupt()
    ran = acting.collect(request, timeout=20)
    assert time.monotonic() - began < 5
    assert ran.status == "error"
    assert ran.reply["content"]["ename"] == "TurnStopped", ran.told
    assert acting.run("%claude hello").text().startswith("Hello.")


def test_an_interrupted_question_is_a_no_and_stops_the_turn(acting: Kernel) -> None:
    acting.run("untouched = 1")
    request = acting.execute("%claude run untouched = 2", allow_stdin=True)
    acting.client.get_stdin_msg(timeout=CELL_TIMEOUT)
    acting.interrupt()
    ran = acting.collect(request, timeout=20)
    assert ran.reply["content"]["ename"] == "TurnStopped", ran.told
    assert acting.value("untouched") == 1
    assert audit(acting)[-1]["how"] == "interrupted"
    assert acting.run("%claude hello").text().startswith("Hello.")


def test_a_host_that_is_killed_in_a_tool_call_loses_the_turn_only(
    start_kernel: Callable[..., Kernel],
) -> None:
    kernel = start_kernel(script=SCRIPT)
    request = kernel.execute(
        "%claude run import time; print('begun', flush=True); time.sleep(1.5); kept = 1",
        allow_stdin=True,
    )
    kernel.client.get_stdin_msg(timeout=CELL_TIMEOUT)
    kernel.client.input("y")
    kernel.until(request, lambda m: m["content"].get("text") == "begun\n")
    kill(psutil.Process(kernel.host().pid))
    ran = kernel.collect(request, timeout=30)
    assert ran.status == "error"
    assert kernel.value("kept") == 1
    assert kernel.run("%claude hello").text().startswith("Hello.")


# -- modes -----------------------------------------------------------------------------------------


def test_modes(start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel("--Permissions.mode=accept-edits", script=SCRIPT)
    path = Path(kernel.value("__import__('os').getcwd()")) / "edited.txt"
    assert kernel.run(f"%claude write {path}", allow_stdin=False).status == "ok"
    assert path.exists()
    edit = audit(kernel)[-1]
    assert (edit["tool"], edit["how"], edit["allowed"]) == ("Write", "accept-edits", True)
    assert kernel.run("%claude_permissions nonsense").reply["content"]["ename"] == "UsageError"
    kernel.run("%claude_permissions plan")
    assert "plan" in kernel.run("%claude_status").text()
    other = path.with_name("planned.txt")
    kernel.run(f"%claude write {other}", allow_stdin=False)
    assert not other.exists()


def test_bypass_is_refused_for_root_outside_a_container(
    start_kernel: Callable[..., Kernel],
) -> None:
    root = psutil.Process().uids().effective == 0
    kernel = start_kernel(script=SCRIPT)
    told = kernel.run("%claude_permissions bypass")
    assert (told.status == "error") is root
    if root:
        assert "IS_SANDBOX=1" in told.stream("stderr")
    kernel.run("import os; os.environ['IS_SANDBOX'] = '1'")
    free = start_kernel("--Permissions.mode=bypass", script=SCRIPT, env={"IS_SANDBOX": "1"})
    assert "It said: 2" in free.run("%claude run 1 + 1", allow_stdin=False).text()
    assert audit(free)[-1]["how"] == "bypass"


def test_what_claudes_own_settings_allow_is_not_asked_but_on_record(
    start_kernel: Callable[..., Kernel], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".claude").mkdir(parents=True)
    rules = {"permissions": {"allow": ["mcp__notebook__run_python"], "deny": ["Write"]}}
    (home / ".claude" / "settings.local.json").write_text(json.dumps(rules))
    kernel = start_kernel(script=SCRIPT, home=home)
    assert "It said: 2" in kernel.run("%claude run 1 + 1", allow_stdin=False).text()
    entry = audit(kernel)[-1]
    assert (entry["tool"], entry["how"]) == ("mcp__notebook__run_python", "rules")
    path = home / "denied.txt"
    kernel.run(f"%claude write {path}", allow_stdin=False)
    assert not path.exists()


def test_always_ends_with_the_session(acting: Kernel) -> None:
    assert "It said: 1" in asked(acting, "%claude run 1", "a").text()
    assert "run_python" in acting.run("%claude_permissions").text()
    acting.run("%claude_reset")
    assert "nothing yet" in acting.run("%claude_permissions").text()


# -- after an error --------------------------------------------------------------------------------


def test_a_bare_prompt_after_an_error_offers_to_explain_it(
    start_kernel: Callable[..., Kernel],
) -> None:
    kernel = start_kernel(script=SCRIPT)
    assert "Talk to Claude" in kernel.run("%claude").text()
    kernel.run("{}['key']")
    request = kernel.execute("%claude", allow_stdin=True)
    question = kernel.client.get_stdin_msg(timeout=CELL_TIMEOUT)["content"]["prompt"]
    assert "failed with KeyError: 'key'" in question
    kernel.client.input("")
    told = kernel.collect(request)
    assert "Explained: In [" in told.text()
    request = kernel.execute("x = %claude", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=CELL_TIMEOUT)
    kernel.client.input("n")
    ran = kernel.collect(request)
    assert ran.text() == ""
    assert kernel.value("x") is None
    kernel.run("{}['key']")
    without = kernel.run("%claude", allow_stdin=False)
    assert "%claude explain the error" in without.stream()
    kernel.run("'fine again'")
    assert "Talk to Claude" in kernel.run("%claude").text()


# -- with a debugger -------------------------------------------------------------------------------


def test_tools_work_while_a_debugger_is_attached(start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel(script=SCRIPT)
    kernel.run("shelf = ['Dune']")
    code = "def read():\n    pages = 412\n    return pages\nread()"
    kernel.attach_debugger(code, line=3)
    assert "Dune" in kernel.run("%claude describe shelf", allow_stdin=False).text()
    ran = asked(kernel, "%claude run shelf.append('Emma'); print(len(shelf))", "y")
    assert "It said: 2" in ran.text()
    # A cell stops at its breakpoint, and the prompt behind it has its tools when it goes on.
    cell = kernel.execute(code)
    thread = kernel.until_stopped()
    prompt = kernel.execute("%claude list shelf")
    kernel.debug("continue", threadId=thread)
    assert kernel.collect(cell).text() == "412"
    assert "Emma" in kernel.collect(prompt).text()
    kernel.debug("disconnect", restart=False, terminateDebuggee=False)
    assert "Emma" in kernel.run("%claude describe shelf", allow_stdin=False).text()
