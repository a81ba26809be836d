"""The endpoint of a run: one ``familiar rehearse`` process that every contender asks.

It answers at once and always with the same words, so what is measured is the way from a prompt to a
screen and not a model.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from familiar_kernel.rehearsal.server import Rehearsal

from .texts import mixed

FIRST_WORD = "Moonlight"
"""The word with which the short answer begins, and which nothing else says."""
SHORT = "a short answer, please"
SHORT_ANSWER = f"{FIRST_WORD} falls on the {'old ' * 20}harbour, and the boats are asleep."
LISTING = "what variables are there, please"
"""The prompt upon which the list of variables is asked for, and then answered as the short one."""
ENDLESS = "an endless answer, please"
BIG_SIZE = 100_000
PACES = {"at once": 0.0, "at 10 KB/s": 4.8}
"""Milliseconds between two pieces of 48 bytes of the big answer."""


def big_prompt(pace: str) -> str:
    """Return the prompt that is answered with 100 KB, at one of :data:`PACES`."""
    return f"one hundred kilobytes {pace}, please"


def script() -> dict[str, Any]:
    """Return what the rehearsal plays."""

    def rule(name: str, prompt: str, **step: Any) -> dict[str, Any]:
        return {"id": name, "when": {"prompt": prompt}, "reply": [{**step, "literal": True}]}

    big = mixed(BIG_SIZE)
    return {
        "title": "benchmarks",
        "rules": [
            rule("short", SHORT, text=SHORT_ANSWER),
            {
                "id": "listing",
                "when": {"prompt": LISTING},
                "reply": [{"tool_use": {"name": "mcp__notebook__list_variables", "input": {}}}],
            },
            {
                "id": "listed",
                "when": {"tool_result": {"contains": "v0"}},
                "reply": [{"text": SHORT_ANSWER, "literal": True}],
            },
            rule("endless", ENDLESS, text="word ", repeat=6000, chunk=5, delay_ms=10),
            *(
                rule(f"big {pace}", big_prompt(pace), text=big, chunk=48, delay_ms=delay)
                for pace, delay in PACES.items()
            ),
        ],
    }


class Endpoint:
    """The rehearsal's process, for the time of a ``with`` block.

    Attributes:
        environment: the variables that lead a CLI to it.
    """

    def __init__(self, folder: Path) -> None:
        self._script = folder / "rehearsal.yaml"
        self._script.write_text(yaml.safe_dump(script(), allow_unicode=True), encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "familiar_kernel.rehearsal", "--script", str(self._script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        port = urlsplit(told.split()[-1]).port if told.strip() else None
        if port is None:
            self.close()
            raise RuntimeError(f"the rehearsal did not start: {told!r}")
        rehearsal = Rehearsal()
        rehearsal.port = port
        self.environment = rehearsal.environment

    def close(self) -> None:
        """End the rehearsal."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
