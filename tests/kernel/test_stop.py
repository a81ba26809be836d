"""Stop: an interrupt ends a turn at once, wherever it is, and harms nothing else."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kernels import Kernel, Ran, words

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

AT_ONCE = 2.0
"""Seconds from an interrupt to the cell's end; 0.05 to 0.6 where nothing else runs."""


def said(ran: Ran) -> str:
    assert ran.status == "ok", ran.error
    return ran.text().rsplit("\n\n[", 1)[0]


def shows(text: str) -> Any:
    """A condition for Kernel.until: an output with this text."""
    return lambda message: text in str(message["content"].get("data", ""))


def begun(message: dict[str, Any]) -> bool:
    return bool(message["msg_type"] == "execute_input")


def stop(kernel: Kernel, request: str, stopped: bool = True) -> Ran:
    """Interrupt a cell and return what it brought; it must end at once, and as stopped."""
    before = time.monotonic()
    kernel.interrupt()
    ran = kernel.collect(request, timeout=20)
    took = time.monotonic() - before
    assert took < AT_ONCE, f"the cell took {took:.1f} s to end"
    assert ran.status == "error"
    if stopped:
        assert ran.reply["content"]["ename"] == "TurnStopped"
        assert ran.error.startswith("Stopped."), ran.error
        assert "Traceback" not in ran.error
    return ran


# -- where a turn may be -------------------------------------------------------------------------

WAYS = {
    "cell": "%claude {}",
    "many lines": "%%claude\n{}",
    "ask": "answer = ask('{}')",
    "line among code": "x = 1\n%claude {}\nx = 2",
    "loop": "for _ in range(3):\n    ask('{}')",
    "in a function": "def f():\n    return ask('{}')\nf()",
    "async cell": "import asyncio\nawait asyncio.sleep(0)\nask('{}')",
    "coroutine": "async def f():\n    %claude {}\nawait f()",
}


@pytest.mark.parametrize("way", WAYS)
def test_while_text_comes(new_mind: Kernel, way: str) -> None:
    new_mind.run("%claude remember before")
    request = new_mind.execute(WAYS[way].format("slow x"))
    new_mind.until(request, shows("word word"))
    ran = stop(new_mind, request)
    (output,) = ran.outputs()
    assert "word word" in output["data"]["text/markdown"]
    assert "word word" in output["data"]["text/plain"]
    assert "[Stopped" in output["data"]["text/plain"]
    assert output["metadata"]["familiar"]["outcome"] == "stopped"
    assert said(new_mind.run("%claude recall")) == "You said before."
    assert said(new_mind.run("%claude recall the slow one")) == "You asked for x."


@pytest.mark.parametrize("way", ["cell", "ask", "async cell"])
def test_while_it_thinks(new_mind: Kernel, way: str) -> None:
    new_mind.run("%claude remember before")
    request = new_mind.execute(WAYS[way].format("think hard"))
    new_mind.until(request, shows("hmm hmm"))
    ran = stop(new_mind, request)
    assert "hmm hmm" in ran.text("text/markdown")
    assert not re.search(r"<details\b[^>]*\bopen\b", ran.text("text/markdown"))
    assert "done" not in ran.text()
    assert said(new_mind.run("%claude recall")) == "You said before."


@pytest.mark.parametrize("way", ["cell", "ask", "loop"])
def test_while_nothing_comes(new_mind: Kernel, way: str) -> None:
    new_mind.run("%claude remember before")
    request = new_mind.execute(WAYS[way].format("silent x"))
    new_mind.until(request, begun)
    time.sleep(0.7)
    ran = stop(new_mind, request)
    assert [o["metadata"]["familiar"]["outcome"] for o in ran.outputs()] == ["stopped"]
    assert said(new_mind.run("%claude recall")) == "You said before."


@pytest.mark.parametrize("way", ["cell", "ask"])
def test_between_pieces(new_mind: Kernel, way: str) -> None:
    request = new_mind.execute(WAYS[way].format("half an answer"))
    new_mind.until(request, shows("The first half."))
    ran = stop(new_mind, request)
    assert "The first half." in ran.text()
    assert said(new_mind.run("%claude say on")) == "on"


@pytest.mark.parametrize("way", WAYS)
def test_before_the_first_event(new_mind: Kernel, way: str) -> None:
    new_mind.run("%claude remember before")
    for delay in (0, 0.002, 0.005, 0.01, 0.02):
        request = new_mind.execute(WAYS[way].format("slow x"))
        new_mind.until(request, begun)
        time.sleep(delay)
        ran = stop(new_mind, request, stopped=False)
        assert "familiar_kernel" not in ran.error  # no frame of ours in a traceback
    # No turn goes on that nobody waits for: it would keep this one waiting.
    began = time.monotonic()
    assert said(new_mind.run("%claude recall")) == "You said before."
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("way", ["cell", "ask", "loop"])
def test_while_the_familiar_boots(fresh_kernel: Kernel, way: str) -> None:
    request = fresh_kernel.execute(WAYS[way].format("slow x"))
    fresh_kernel.until(request, begun)
    stop(fresh_kernel, request, stopped=False)
    assert said(fresh_kernel.run("%claude say good morning")) == "good morning"


def test_while_a_tool_runs(new_mind: Kernel) -> None:
    request = new_mind.execute("%claude shell echo begun; sleep 300")
    deadline = time.monotonic() + 30
    while not any(words(p)[:1] == ["sleep"] for p in new_mind.family()):
        assert time.monotonic() < deadline, "the tool did not start"
        time.sleep(0.05)
    ran = stop(new_mind, request)
    assert "Let me look." in ran.text()
    assert "Bash" in ran.text()
    assert "running" not in ran.text()
    deadline = time.monotonic() + 5
    while any(words(p)[:1] == ["sleep"] for p in new_mind.family()):
        assert time.monotonic() < deadline, "the tool goes on"
        time.sleep(0.05)
    assert said(new_mind.run("%claude say on")) == "on"


def test_while_it_waits_behind_another_turn(new_mind: Kernel) -> None:
    """A thread's turn is under way; the cell's own waits for it, and is stopped before it began."""
    new_mind.run(
        "import threading\ntold = []\n"
        "def work():\n"
        "    try: told.append(ask('slow x').text)\n"
        "    except BaseException as err: told.append(type(err).__name__)\n"
        "thread = threading.Thread(target=work); thread.start()\n"
        "import time; time.sleep(0.5)"
    )
    request = new_mind.execute("%claude say never")
    new_mind.until(request, begun)
    time.sleep(0.3)
    ran = stop(new_mind, request)
    assert "never" not in ran.text()
    assert new_mind.value("thread.is_alive()")  # the other turn is not the cell's
    new_mind.run("get_ipython().run_line_magic('claude_reset', ''); thread.join(10)")
    assert new_mind.value("told") == ["TurnStopped"]


@pytest.mark.parametrize("way", ["cell", "ask", "async cell"])
def test_stopping_three_times_in_a_row(new_mind: Kernel, way: str) -> None:
    request = new_mind.execute(WAYS[way].format("slow x"))
    new_mind.until(request, shows("word word"))
    new_mind.interrupt()
    new_mind.interrupt()
    # The last one may hit IPython while it shows the error; it then shows one line on stderr.
    ran = stop(new_mind, request, stopped=False)
    assert "familiar_kernel" not in ran.error
    assert "word word" in ran.text()
    assert ran.outputs()[0]["metadata"]["familiar"]["outcome"] == "stopped"
    assert said(new_mind.run("%claude say on")) == "on"


def test_a_stopped_answer_can_be_caught_and_used(kernel: Kernel) -> None:
    request = kernel.execute(
        "try:\n    ask('slow x')\nexcept KeyboardInterrupt as err:\n    kept = err.answer\n"
        "kept.stopped, kept.outcome, kept.text[:9]"
    )
    kernel.until(request, shows("word word"))
    kernel.interrupt()
    ran = kernel.collect(request, timeout=20)
    assert ran.of("execute_result")[0]["data"]["text/plain"] == "(True, 'stopped', 'word word')"


def test_except_exception_does_not_swallow_a_stop(kernel: Kernel) -> None:
    request = kernel.execute(
        "for _ in range(5):\n    try:\n        ask('slow x')\n    except Exception:\n        pass"
    )
    kernel.until(request, shows("word word"))
    stop(kernel, request)


def test_a_stop_leaves_no_signal_handler_of_ours(kernel: Kernel) -> None:
    kernel.run("import signal\nbefore = signal.getsignal(signal.SIGINT)")
    for way in ("cell", "ask", "async cell"):
        request = kernel.execute(WAYS[way].format("slow x"))
        kernel.until(request, shows("word word"))
        stop(kernel, request)
    assert kernel.value("signal.getsignal(signal.SIGINT) is before")


def test_queued_cells_are_aborted(kernel: Kernel) -> None:
    requests = [kernel.execute(c) for c in ("%claude slow x", "%claude say no", "leaked = 1")]
    kernel.until(requests[0], shows("word word"))
    kernel.interrupt()
    first, *queued = [kernel.collect(r, timeout=20) for r in requests]
    assert first.reply["content"]["ename"] == "TurnStopped"
    assert [ran.status for ran in queued] == ["aborted", "aborted"]
    assert not kernel.value("'leaked' in globals()")


# -- subshells -----------------------------------------------------------------------------------


@contextmanager
def subshell(kernel: Kernel) -> Iterator[str]:
    """A subshell of the kernel, by its id."""
    told = control(kernel, "create_subshell_request", {})
    try:
        yield told["subshell_id"]
    finally:
        control(kernel, "delete_subshell_request", {"subshell_id": told["subshell_id"]})


def control(kernel: Kernel, kind: str, content: dict[str, Any]) -> dict[str, Any]:
    message = kernel.client.session.msg(kind, content)
    kernel.client.control_channel.send(message)
    while True:
        reply = kernel.client.get_control_msg(timeout=20)
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            told: dict[str, Any] = reply["content"]
            assert told["status"] == "ok", told
            return told


def execute_in(kernel: Kernel, subshell_id: str, code: str) -> str:
    message = kernel.client.session.msg(
        "execute_request", {"code": code, "silent": False, "stop_on_error": True}
    )
    message["header"]["subshell_id"] = subshell_id
    kernel.client.shell_channel.send(message)
    return str(message["header"]["msg_id"])


@pytest.mark.parametrize("way", ["cell", "ask", "line among code"])
def test_a_subshell_may_talk(new_mind: Kernel, way: str) -> None:
    with subshell(new_mind) as there:
        request = execute_in(new_mind, there, WAYS[way].format("say from below"))
        ran = new_mind.collect(request, timeout=30)
        assert said(ran) == "from below"


@pytest.mark.parametrize("way", ["cell", "ask"])
def test_a_subshells_turn_is_stopped(new_mind: Kernel, way: str) -> None:
    with subshell(new_mind) as there:
        request = execute_in(new_mind, there, WAYS[way].format("slow x"))
        new_mind.until(request, shows("word word"))
        ran = stop(new_mind, request)
        assert "word word" in ran.text()
        again = new_mind.collect(execute_in(new_mind, there, "%claude say on"), timeout=30)
        assert said(again) == "on"
    assert said(new_mind.run("%claude recall the slow one")) == "You asked for x."


def test_a_subshell_while_the_main_shell_is_busy(new_mind: Kernel) -> None:
    with subshell(new_mind) as there:
        busy = new_mind.execute("import time\nfor _ in range(600): time.sleep(0.05)")
        new_mind.until(busy, begun)
        ran = new_mind.collect(execute_in(new_mind, there, "%claude say meanwhile"), timeout=30)
        assert said(ran) == "meanwhile"
        assert stop(new_mind, busy, stopped=False).reply["content"]["ename"] == "KeyboardInterrupt"


# -- at any moment -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_hundred_interrupts_at_random_moments(fresh_kernel: Kernel) -> None:
    """Whatever they hit: each cell ends soon, no answer holds words of another, memory stays."""
    kernel = fresh_kernel
    assert kernel.run("%claude remember the_beginning").status == "ok"
    dice = random.Random(881)
    outcomes: dict[str, int] = {}
    for number in range(100):
        word = f"w{number}q"
        way = dice.choice([w for w in WAYS if w != "loop"])
        request = kernel.execute(WAYS[way].format(f"tick {word}"))
        time.sleep(dice.uniform(0, 0.3))
        before = time.monotonic()
        kernel.interrupt()
        kernel.until(request, begun)
        # An interrupt that comes before the cell has begun interrupts nothing.
        if not ended_within(kernel, request, AT_ONCE):
            outcomes["early"] = outcomes.get("early", 0) + 1
            before = time.monotonic()
            kernel.interrupt()
            assert ended_within(kernel, request, AT_ONCE), (number, way)
        assert time.monotonic() - before < AT_ONCE + 1
        ran = kernel.collect(request, timeout=5)
        name = ran.reply["content"].get("ename", "ok")
        outcomes[name] = outcomes.get(name, 0) + 1
        assert name in ("TurnStopped", "KeyboardInterrupt", "CancelledError"), (number, ran.error)
        shown = str([c["data"] for c in ran.of("display_data", "update_display_data")])
        assert set(re.findall(r"w\d+q", shown)) <= {word}, (number, way)
    assert outcomes.get("TurnStopped", 0) > 50, outcomes
    assert outcomes.get("early", 0) < 30, outcomes
    began = time.monotonic()
    assert said(kernel.run("%claude say we are well")) == "we are well"
    assert time.monotonic() - began < 10  # no turn goes on that nobody waits for
    assert said(kernel.run("%claude recall")) == "You said the_beginning."
    assert kernel.value("1 + 1") == 2


def ended_within(kernel: Kernel, request: str, seconds: float) -> bool:
    """Whether the cell's idle status comes in time."""
    from queue import Empty

    try:
        kernel.until(
            request,
            lambda m: m["msg_type"] == "status" and m["content"]["execution_state"] == "idle",
            seconds,
        )
    except Empty:
        return False
    return True


@pytest.mark.slow
def test_every_short_cell_is_answered_whatever_interrupts_it(fresh_kernel: Kernel) -> None:
    """An interrupt may hit the kernel's own code around a cell: the reply comes, and is whole."""
    kernel = fresh_kernel
    assert kernel.run("%claude say hello").status == "ok"
    dice = random.Random(64)
    cells = {
        "1 + 1": 0.012,
        "import asyncio\nawait asyncio.sleep(0.003)": 0.012,
        "%claude say x": 0.08,
        "y = ask('say x')": 0.08,
    }
    for number in range(200):
        code, longest = dice.choice(list(cells.items()))
        request = kernel.execute(code)
        if dice.random() < 0.5:
            kernel.until(request, begun)
        time.sleep(dice.uniform(0, longest))
        kernel.interrupt()
        ran = kernel.collect(request, timeout=10)
        assert ran.status in ("ok", "error"), (number, code)
    assert said(kernel.run("%claude say we are well")) == "we are well"
    assert kernel.run("1 + 1").text() == "2"


# -- code is interrupted as ever -----------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\ntime.sleep(60)",
        "import subprocess\nsubprocess.run(['sleep', '60'])",
        "import asyncio\nawait asyncio.sleep(60)",
        "import asyncio\nwhile True:\n    await asyncio.sleep(0.01)",
        "import asyncio\nawait asyncio.Event().wait()",
        "input_ = __import__('threading').Event().wait(60)",
    ],
)
def test_plain_code_is_interrupted(kernel: Kernel, code: str) -> None:
    request = kernel.execute(code)
    kernel.until(request, begun)
    time.sleep(0.2)
    ran = stop(kernel, request, stopped=False)
    assert ran.reply["content"]["ename"] in ("KeyboardInterrupt", "CancelledError")


def test_code_that_catches_the_interrupt_goes_on(kernel: Kernel) -> None:
    request = kernel.execute(
        "import time\ntry:\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('caught')\n'after'"
    )
    kernel.until(request, begun)
    time.sleep(0.2)
    kernel.interrupt()
    ran = kernel.collect(request, timeout=10)
    assert ran.stream() == "caught\n"
    assert ran.text() == "'after'"


def test_an_interrupt_of_nothing_harms_nothing(kernel: Kernel) -> None:
    for _ in range(3):
        kernel.interrupt()
    assert said(kernel.run("%claude say on")) == "on"
    assert kernel.run("6 * 7").text() == "42"
