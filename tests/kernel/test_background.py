"""Turns in the background: other cells run meanwhile, and nothing that they need is lost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kernels import CELL_TIMEOUT, Kernel, Ran

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SCRIPT = Path(__file__).parents[1] / "scripts" / "background.yaml"


@pytest.fixture
def busy(kernel_of_either_kind: Kernel) -> Kernel:
    return kernel_of_either_kind


@pytest.fixture(autouse=True)
def nothing_goes_on(busy: Kernel) -> Iterator[None]:
    yield
    while "No turn" not in busy.run("%claude_stop").text():
        time.sleep(0.1)
    busy.run("%claude_permissions ask")
    busy.run("%claude_permissions revoke")


def begun(kernel: Kernel, code: str) -> str:
    """Run a cell that begins a background turn; return its request's id once the cell is over."""
    request = kernel.execute(code, allow_stdin=True)
    assert kernel.collect(request, timeout=20).status == "ok"
    return request


def is_final(message: dict[str, Any]) -> bool:
    return bool(message["content"].get("metadata", {}).get("familiar", {}).get("outcome"))


def final(kernel: Kernel, request: str) -> str:
    """Wait for the whole answer in a cell that is over, and return its text."""
    return str(kernel.until(request, is_final)["content"]["data"]["text/plain"])


def number_of(kernel: Kernel, wait: bool = True) -> str:
    """Return the number of the request that waits for the person."""
    deadline = time.monotonic() + CELL_TIMEOUT
    while time.monotonic() < deadline:
        waiting = re.search(r"Request (\d+)", kernel.run("%claude_allow").text())
        if waiting:
            return waiting[1]
        time.sleep(0.1)
    raise AssertionError("nothing waits")


def test_cells_run_while_an_answer_grows_in_its_own(busy: Kernel) -> None:
    request = begun(busy, "%claude --bg soon blue")
    grown = busy.until(request, lambda m: "blue" in str(m["content"].get("data", "")))
    assert not is_final(grown)
    assert busy.run("print(6 * 7)").stream() == "42\n"
    assert "blue blue" in final(busy, request)


def test_turns_of_one_session_queue(busy: Kernel) -> None:
    first = begun(busy, "%claude --bg soon one")
    second = begun(busy, "%%claude --bg\nsoon two")
    listed = busy.run("%claude_turns").text()
    assert "soon one" in listed
    assert "queued" in listed
    asked = busy.execute("%claude recall")
    busy.until(asked, lambda m: "Waits for turn" in str(m["content"].get("data", "")))
    assert "You said two." in busy.collect(asked).text()
    assert "one one" in final(busy, first)
    assert "two two" in final(busy, second)
    assert busy.run("%claude_turns").text().count("complete") >= 2


def test_one_can_be_stopped_and_shown_again(busy: Kernel) -> None:
    request = begun(busy, "held = %claude --bg slow stopping")
    number = busy.value("held.number")
    busy.until(request, lambda m: "stopping" in str(m["content"].get("data", "")))
    assert "stopping" in busy.run(f"%claude_turns {number}").text() or not busy.value("held.done")
    busy.run(f"%claude_stop {number}")
    assert "Stopped here." in final(busy, request)
    assert "stopping" in busy.run(f"%claude_turns {number}").text()
    assert busy.value("held.answer.stopped") is True
    assert busy.run(f"%claude_stop {number}").status == "error"
    assert busy.run("%claude_stop 999").status == "error"


def test_an_interrupt_of_another_cell_leaves_it_alone(busy: Kernel) -> None:
    request = begun(busy, "%claude --bg soon spared")
    cell = busy.execute("import time\nprint('in', flush=True)\ntime.sleep(60)")
    busy.until(cell, lambda m: m["msg_type"] == "stream")
    busy.interrupt()
    assert busy.collect(cell).status == "error"
    assert "spared" in final(busy, request)


def test_its_code_runs_between_cells_and_shows_in_its_own(busy: Kernel) -> None:
    busy.run("%claude_permissions ask")
    busy.run("order = []")
    request = begun(busy, "%claude --bg run order.append('claude'); print('from claude'); 6 * 7")
    number = number_of(busy)
    cell = busy.execute(
        "%claude_allow " + number + "\nimport time; time.sleep(1); order.append('cell')"
    )
    ran = busy.collect(cell)
    assert "allowed" in ran.text()
    assert "from claude" not in ran.stream()
    said = busy.until(request, lambda m: m["msg_type"] == "stream")
    assert said["content"]["text"] == "from claude\n"
    assert "It said: from claude\n42" in final(busy, request)
    assert busy.value("order") == ["cell", "claude"]
    # Whatever runs next shows in its own cell again, with the right count.
    after = busy.run("print('mine'); 1")
    assert after.stream() == "mine\n"
    assert (
        after.of("execute_result")[0]["execution_count"]
        == after.reply["content"]["execution_count"]
    )


def test_a_request_can_be_denied_with_words_and_always_allowed(busy: Kernel) -> None:
    request = begun(busy, "%claude --bg run 1")
    number = number_of(busy)
    assert "run_python" in busy.run("%claude_allow").text()
    assert "needs you" in busy.run("%claude_turns").text()
    busy.run(f"%claude_deny {number} use another way")
    assert "It failed: The person said no: use another way" in final(busy, request)
    request = begun(busy, "%claude --bg run 2")
    busy.run(f"%claude_allow {number_of(busy)} always")
    assert "It said: 2" in final(busy, request)
    assert "run_python" in busy.run("%claude_permissions").text()
    assert "It said: 3" in final(busy, begun(busy, "%claude --bg run 3"))
    assert busy.run("%claude_allow 999").status == "error"
    assert busy.run("%claude_deny").status == "error"


def test_a_prompt_that_waits_behind_it_asks_for_it(busy: Kernel) -> None:
    request = begun(busy, "%claude --bg run print('served')")
    number_of(busy)
    asked = busy.execute("%claude hello", allow_stdin=True)
    question = busy.client.get_stdin_msg(timeout=CELL_TIMEOUT)
    assert question["content"]["prompt"].startswith("For turn ")
    assert "in the background. Allow?" in question["content"]["prompt"]
    assert question["parent_header"]["msg_id"] == asked
    busy.client.input("y")
    assert busy.collect(asked).text().startswith("Hello.")
    assert "It said: served" in final(busy, request)


def test_a_prompt_among_code_serves_it_too(busy: Kernel) -> None:
    busy.run("%claude_permissions revoke")
    request = begun(busy, "%claude --bg run print('served again'); 5")
    number_of(busy)
    asked = busy.execute("x = ask('hello')\nprint('after')", allow_stdin=True)
    busy.client.get_stdin_msg(timeout=CELL_TIMEOUT)
    busy.client.input("y")
    ran = busy.collect(asked)
    assert ran.stream() == "after\n"
    assert "served again" in final(busy, request)


def test_a_question_for_it_that_is_interrupted_waits_on(busy: Kernel) -> None:
    request = begun(busy, "%claude --bg run print('still asked')")
    number = number_of(busy)
    asked = busy.execute("%claude hello", allow_stdin=True)
    busy.client.get_stdin_msg(timeout=CELL_TIMEOUT)
    busy.interrupt()
    assert busy.collect(asked).status == "error"
    assert "print('still asked')" in busy.run("%claude_allow").text()
    busy.run(f"%claude_allow {number}")
    assert "It said: still asked" in final(busy, request)


def test_claudes_code_cannot_allow_itself_anything(busy: Kernel) -> None:
    for line in ("%claude_permissions bypass", "%claude_allow 1 always"):
        request = begun(busy, f"%claude --bg run {line}")
        busy.run(f"%claude_allow {number_of(busy)}")
        assert "Claude's own code cannot use" in final(busy, request)
    assert "ask" in busy.run("%claude_permissions").text().splitlines()[0]


@pytest.mark.parametrize("how", ["claude_stop", "claude_reset"])
@pytest.mark.parametrize("then", ["pass", "ask('hello')"])
def test_nothing_of_it_runs_once_it_is_stopped(busy: Kernel, how: str, then: str) -> None:
    busy.run("ran = []")
    request = begun(busy, "%claude --bg run ran.append('too late')")
    number = number_of(busy)
    # It is allowed, and its code waits for this cell to end, which stops it.
    ended = busy.run(f"import time\n%claude_allow {number}\ntime.sleep(1)\n%{how}\n{then}")
    assert ended.status == "ok", ended.told or ended.stream("stderr")
    assert "Stopped here." in final(busy, request)
    time.sleep(0.5)
    assert busy.value("ran") == []


def test_what_is_always_allowed_is_asked_for_in_plan_mode(busy: Kernel) -> None:
    request = begun(busy, "%claude --bg run 1")
    busy.run(f"%claude_allow {number_of(busy)} always")
    final(busy, request)
    busy.run("%claude_permissions plan")
    assert "Nobody can be asked" in busy.run("%claude run 2", allow_stdin=False).text()


def test_its_code_can_be_interrupted_while_no_cell_runs(busy: Kernel) -> None:
    request = begun(
        busy, "%claude --bg run import time; print('going', flush=True); time.sleep(60)"
    )
    busy.run(f"%claude_allow {number_of(busy)}")
    busy.until(request, lambda m: m["content"].get("text") == "going\n")
    busy.interrupt()
    assert "Stopped here." in final(busy, request)
    assert busy.run("1 + 1").text() == "2"


def test_code_that_awaits_lets_the_kernel_be_interrupted_too(busy: Kernel) -> None:
    request = begun(
        busy,
        "%claude --bg run import asyncio; print('waits', flush=True); await asyncio.sleep(60)",
    )
    busy.run(f"%claude_allow {number_of(busy)}")
    busy.until(request, lambda m: m["content"].get("text") == "waits\n")
    busy.interrupt()
    assert "Stopped here." in final(busy, request)
    assert busy.run("1 + 1").text() == "2"


def test_a_failure_shows_in_its_cell(busy: Kernel) -> None:
    request = begun(busy, "%claude --bg fail")
    error = busy.until(request, lambda m: m["msg_type"] == "error")
    assert "refused" in str(error["content"]["traceback"])
    assert "failed" in busy.run("%claude_turns").text()
    assert busy.run("%claude hello").text().startswith("Hello.")


def test_it_can_be_waited_for(busy: Kernel) -> None:
    ran = answered(
        busy,
        "t = %claude --bg run print('waited for')\nprint(t.wait().text)\nprint(t.error)",
        "y",
    )
    assert "It said: waited for" in ran.stream()
    assert "None" in ran.stream()
    ran = busy.run("t = %claude --bg fail\nt.wait()\nprint(t.error)")
    assert "refused" in ran.stream()
    assert "refused" in busy.run(f"%claude_turns {busy.value('t.number')}").text()
    ran = busy.run("t = %claude --bg slow waiting\nprint(t.wait(0.5))")
    assert ran.stream() == "None\n"


def test_it_proposes_no_cell(busy: Kernel) -> None:
    assert "no cell to put it below" in final(busy, begun(busy, "%claude --bg propose 1"))
    assert busy.run("1").reply["content"]["payload"] == []


# -- questions -------------------------------------------------------------------------------------


def answered(kernel: Kernel, code: str, *answers: str) -> Ran:
    request = kernel.execute(code, allow_stdin=True)
    for answer in answers:
        kernel.client.get_stdin_msg(timeout=CELL_TIMEOUT)
        kernel.client.input(answer)
    return kernel.collect(request)


def test_claude_asks_the_person(busy: Kernel) -> None:
    ran = answered(busy, "%claude ask me", "2", "1, 2")
    assert '"Which colour?"="Blue"' in ran.text()
    assert "small, large" in ran.text()
    ran = answered(busy, "%claude ask me", "violet, of course", "")
    assert "violet, of course" in ran.text()
    ran = answered(busy, "%claude ask me", "", "")
    assert "no answer" in ran.text()
    assert "Nobody can be asked" in busy.run("%claude ask me", allow_stdin=False).text()


def test_a_question_of_a_background_turn_waits(busy: Kernel) -> None:
    request = begun(busy, "%claude --bg ask me")
    number = number_of(busy)
    shown = busy.run("%claude_allow").text("text/markdown")
    assert "Which colour?" in shown
    assert "<b>" not in shown
    answered(busy, f"%claude_allow {number}", "1", "large")
    assert '"Which colour?"="Red"' in final(busy, request)
    request = begun(busy, "%claude --bg ask me")
    busy.run(f"%claude_deny {number_of(busy)} decide yourself")
    assert "decide yourself" in final(busy, request)


def test_another_session_has_turns_of_its_own(busy: Kernel) -> None:
    begun(busy, "%claude --bg slow forgotten")
    busy.run("%claude_reset")
    assert "No turn has run" in busy.run("%claude_turns").text()
    assert "Hello." in final(busy, begun(busy, "%claude --bg hello"))
    assert "hello" in busy.run("%claude_turns 1").text().lower()


def test_a_rehearsal_costs_nothing(busy: Kernel) -> None:
    busy.run("%claude_budget 0.00001")
    assert busy.run("%claude hello").text().startswith("Hello.")
    assert "$0.00001 left" in busy.run("%claude_budget").text()
    busy.run("%claude_budget none")


def test_it_ends_with_the_kernel(start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel(script=SCRIPT)
    begun(kernel, "%claude --bg slow forever")
    kernel.manager.shutdown_kernel()
    assert not kernel.manager.is_alive()
