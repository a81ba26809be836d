"""What a doctor tells: one finding a line, with what to do about it, or all of them as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: what was looked at.
        state: ``"problem"`` means that it cannot work; ``"warning"``, that something may surprise.
        summary: what was found, one line.
        fix: what to do about it, one line; empty where nothing is to be done.
    """

    name: str
    state: State
    summary: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"{self.state:<8} {self.name:<12} {self.summary}"
        return f"{line}\n{'':<22}-> {self.fix}" if self.fix else line


def report(findings: Iterable[Finding], *, as_json: bool = False) -> int:
    """Print findings as they come.

    Args:
        findings: what the checks find; they are made while this prints.
        as_json: print one JSON list at the end instead.

    Returns:
        the exit status: 1 if one is a problem, else 0.
    """
    found: list[Finding] = []
    for finding in findings:
        found.append(finding)
        if not as_json:
            print(finding, flush=True)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    return 1 if any(finding.state == "problem" for finding in found) else 0
