"""A person is told of what happens in turns: by a real kernel, through a command of theirs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kernels import CELL_TIMEOUT, Kernel, running_kernel

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SCRIPT = Path(__file__).parents[1] / "scripts" / "background.yaml"
WRITE = """
import sys
with open(sys.argv[1], "a") as file:
    file.write(sys.stdin.read().strip() + "\\n")
"""


class Told:
    """What a kernel has told, as the command has written it down."""

    def __init__(self, kernel: Kernel, path: Path) -> None:
        self.kernel = kernel
        self._path = path

    def events(self) -> list[dict[str, Any]]:
        text = self._path.read_text() if self._path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def wait(self, kind: str) -> dict[str, Any]:
        """Wait for the next event of a kind, and forget all that there are."""
        deadline = time.monotonic() + 30
        while not (found := [e for e in self.events() if e["kind"] == kind]):
            assert time.monotonic() < deadline, self.events()
            time.sleep(0.05)
        self.forget()
        return found[-1]

    def forget(self) -> None:
        self._path.write_text("")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, own_home: Path) -> Iterator[Told]:
    home = tmp_path_factory.mktemp("told")
    path = home / "events"
    command = [sys.executable, "-c", WRITE, str(path)]
    profile = home / ".ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text(
        f"c.Notifications.command = {command!r}\nc.Notifications.after = 0.5\n"
    )
    with running_kernel(home, script=SCRIPT) as kernel:
        kernel.run("%claude hello")
        yield Told(kernel, path)


@pytest.fixture(autouse=True)
def from_here_on(told: Told) -> None:
    told.kernel.run("get_ipython().kernel.notifications.after = 0.5")
    time.sleep(0.7)
    told.forget()


def test_the_end_of_a_long_turn(told: Told) -> None:
    told.kernel.run("%claude soon api_key=sk-abcdefghijklmnop")
    event = told.wait("finished")
    assert event["title"] == "Claude has answered"
    assert "soon" in event["text"]
    assert "abcdefghijklmnop" not in event["text"]
    assert event["seconds"] >= 0.5
    told.kernel.run("%claude hello")
    told.kernel.run("get_ipython().kernel.notifications.after = 60")
    told.kernel.run("%claude soon quiet")
    time.sleep(1)
    assert told.events() == []


def test_a_turn_that_a_person_stopped_is_no_news(told: Told) -> None:
    request = told.kernel.execute("%claude slow going")
    told.kernel.until(request, lambda m: "going" in str(m["content"].get("data", "")))
    time.sleep(0.6)
    told.kernel.interrupt()
    told.kernel.collect(request)
    time.sleep(1)
    assert told.events() == []


def test_a_turn_that_fails(told: Told) -> None:
    told.kernel.run("get_ipython().kernel.notifications.after = 0")
    assert told.kernel.run("%claude fail").status == "error"
    event = told.wait("failed")
    assert "refused" in event["text"]


def test_a_question_that_waits_and_one_that_does_not(told: Told) -> None:
    kernel = told.kernel
    request = kernel.execute("%claude run 40 + 2", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=CELL_TIMEOUT)
    event = told.wait("permission")
    assert event["title"] == "Claude asks to use run_python"
    assert "40 + 2" in event["text"]
    kernel.client.input("y")
    assert kernel.collect(request).status == "ok"
    told.wait("finished")
    kernel.run("get_ipython().kernel.notifications.after = 5")
    request = kernel.execute("%claude run 40 + 3", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=CELL_TIMEOUT)
    kernel.client.input("y")
    assert kernel.collect(request).status == "ok"
    time.sleep(1)
    assert told.events() == []


def test_what_a_background_turn_needs(told: Told) -> None:
    kernel = told.kernel
    kernel.run("%claude --bg ask me")
    event = told.wait("question")
    assert "Which colour?" in event["text"]
    kernel.run("%claude_stop")


def test_a_command_that_fails_harms_nothing(start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel(script=SCRIPT)
    kernel.run("n = get_ipython().kernel.notifications; n.after = 0; n.command = ['false']")
    assert kernel.run("%claude hello").text().startswith("Hello.")
    assert "failed: false ended with exit status 1" in kernel.run("%claude_notify test").text()
    assert kernel.run("%claude_notify nonsense").status == "error"
    kernel.run("n.command = []")
    assert "no notifier" in kernel.run("%claude_notify test").stream("stderr")
