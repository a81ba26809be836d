"""From a prompt to its answer's first words: our cell, a bare client of the SDK, a CLI for every
turn.

All three ask the same endpoint with the same model, thinking, system prompt and tools, each in a
session of its own that is warm and equally long.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from familiar_kernel.familiar.cli_path import find_cli
from familiar_kernel.familiar.options import NOTEBOOK_HINT

from .bare_client import first_text
from .bench import Bench
from .endpoint import FIRST_WORD, SHORT
from .kernels import OURS, TIMEOUT, Kernel, running
from .report import Row, Target
from .stats import Sample

NAME = "first-text"
REST = 0.15
"""Seconds between two turns, in which a CLI writes its session and tidies up."""
DISALLOWED = ["NotebookEdit"]


def measure(bench: Bench) -> Iterator[Row]:
    """Run turns of all three in turn."""
    rounds = bench.effort.of(full=30, quick=8, smoke=1)
    warm_up = bench.effort.of(full=3, quick=2, smoke=1)
    ours: list[float] = []
    bare: list[float] = []
    per_turn: list[float] = []
    with running(bench, OURS) as kernel, closing(BareClient(bench)) as client:
        cli = CliPerTurn(bench)
        bench.say(f"{rounds} turns of each of three clients")
        contenders: list[tuple[list[float], Callable[[], float]]] = [
            (ours, partial(prompt_cell, kernel)),
            (bare, client.turn),
            (per_turn, cli.turn),
        ]
        for number in range(-warm_up, rounds):
            turn_about = number % len(contenders)
            for into, run in contenders[turn_about:] + contenders[:turn_about]:
                seconds = run()
                if number >= 0:
                    into.append(1000 * seconds)
                time.sleep(REST)
    what = "prompt cell to first answer text"
    note = (
        f"{what}: all three ask one rehearsal with the CLI's default model, adaptive thinking, the "
        "same system prompt and tools. The bare client measures inside its own process, ours is "
        "measured at the front end's socket."
    )
    mine = Sample("ours", tuple(ours))
    yield Row(
        NAME, what, "ms", mine, Sample("bare SDK client", tuple(bare)), Target(1.25), note=note
    )
    yield Row(
        NAME,
        what,
        "ms",
        mine,
        Sample("claude -p --resume", tuple(per_turn)),
        Target(8, at_most=False),
        speedup=True,
        note=note,
    )


def prompt_cell(kernel: Kernel) -> float:
    """Run a prompt cell; return the seconds until its first words arrived."""
    return kernel.run(f"%claude {SHORT}").until_shown(FIRST_WORD)


class BareClient:
    """The SDK's client in its process."""

    def __init__(self, bench: Bench) -> None:
        env = bench.environment("bare-client")
        options = {
            "session_id": str(uuid.uuid4()),
            "cwd": env["HOME"],
            "include_partial_messages": True,
            "thinking": {"type": "adaptive", "display": "summarized"},
            "system_prompt": {"type": "preset", "preset": "claude_code", "append": NOTEBOOK_HINT},
            "disallowed_tools": DISALLOWED,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare_client", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self.connected = float(self._told()["connected"])
        """Seconds from the start of its module to a client that can be asked."""

    def turn(self) -> float:
        """Run a turn; return the seconds to its first text."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"prompt": SHORT}) + "\n")
        self.process.stdin.flush()
        first = float(self._told()["first"])
        if not first:
            raise RuntimeError("the bare client saw no text")
        return first

    def _told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the bare client ended with status {self.process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class CliPerTurn:
    """What needs no client: one run of the CLI for every turn of a session."""

    def __init__(self, bench: Bench) -> None:
        self._env = bench.environment("cli-per-turn")
        self._session = str(uuid.uuid4())
        self._begun = False
        cli = find_cli()
        if cli is None:
            raise RuntimeError("there is no Claude Code CLI")
        self._command = [
            str(cli), "-p", SHORT,
            "--output-format", "stream-json", "--include-partial-messages", "--verbose",
            "--append-system-prompt", NOTEBOOK_HINT, "--disallowedTools", ",".join(DISALLOWED),
            "--thinking", "adaptive", "--thinking-display", "summarized",
        ]  # fmt: skip

    def turn(self) -> float:
        """Run a turn; return the seconds from the CLI's start to its first text."""
        how = ["--resume" if self._begun else "--session-id", self._session]
        first = 0.0
        sent = time.perf_counter()
        with subprocess.Popen(
            [*self._command, *how],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=self._env,
            cwd=self._env["HOME"],
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if not first:
                    at = time.perf_counter()
                    message = json.loads(line)
                    if message["type"] == "stream_event" and first_text(message["event"]):
                        first = at - sent
            status = process.wait(TIMEOUT)
        if status or not first:
            raise RuntimeError(
                f"claude -p ended with status {status} and {'' if first else 'no '}text"
            )
        self._begun = True
        return first
