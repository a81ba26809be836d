"""What every benchmark is given: how much to do, where, and the endpoint that all share."""

from __future__ import annotations

import enum
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from .endpoint import Endpoint

ROOT = str(Path(__file__).parents[1])
"""The checkout, in which this package is found."""


class Effort(enum.Enum):
    """How much of everything to measure."""

    FULL = "full"
    QUICK = "quick"
    SMOKE = "smoke"
    """Once or twice only: shows that a benchmark works, and measures nothing worth reading."""

    def of(self, full: int, quick: int, smoke: int) -> int:
        """Return the count that belongs to this effort."""
        return {Effort.FULL: full, Effort.QUICK: quick, Effort.SMOKE: smoke}[self]


@dataclass(frozen=True)
class Bench:
    """One run's surroundings.

    Attributes:
        effort: how much to do.
        folder: an empty folder, deleted after the run; homes of kernels and CLIs go there.
        endpoint: the rehearsal that every contender asks.
        began: when the run began, in seconds of :func:`time.perf_counter`.
    """

    effort: Effort
    folder: Path
    endpoint: Endpoint
    began: float = field(default_factory=time.perf_counter)

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a contender's process, with a home of its own.

        Nothing of a real account is in it, and all that asks the Messages API asks the endpoint.

        Args:
            name: of the contender; the same name gives the same home.
        """
        home = self.folder / name
        home.mkdir(exist_ok=True)
        # Installed modules are compiled, and so must those of this checkout be.
        dropped = ("ANTHROPIC_", "CLAUDE", "FAMILIAR_", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        return {
            **kept,
            **self.endpoint.environment,
            # For what runs a module of this package inside a contender's process.
            "PYTHONPATH": os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH")))),
            "HOME": str(home),
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_CONFIG_DIR": str(home / "jupyter-config"),
            "JUPYTER_DATA_DIR": str(home / "jupyter-data"),
            "CLAUDE_CONFIG_DIR": str(home / "claude"),
            "DISABLE_AUTOUPDATER": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def say(self, what: str) -> None:
        """Tell whoever waits what is going on."""
        print(f"{time.perf_counter() - self.began:5.0f} s  {what}", file=sys.stderr, flush=True)
