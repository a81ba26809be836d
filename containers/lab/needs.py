"""Runs in the build: says what the familiar needs, so that pip installs it before the familiar.

So the packages are a layer of the image that stays while only the familiar's code changes.
"""

import re
import sys
import tomllib
from pathlib import Path


def needs(pyproject: str, extras: list[str]) -> list[str]:
    """Return the requirements of a package and some of its extras.

    Args:
        pyproject: the text of its pyproject.toml.
        extras: their names.

    Raises:
        KeyError: there is no such extra.
    """
    project = tomllib.loads(pyproject)["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for name in extras for line in optional[name])]


def pins(ours: str, tested: str) -> list[str]:
    """Return the constraints of two files, given as texts; ours go before."""

    def named(text: str) -> dict[str, str]:
        lines = [line for line in text.splitlines() if "==" in line]
        return {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower(): line for line in lines}

    return sorted({**named(tested), **named(ours)}.values(), key=str.lower)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    pyproject, ours, tested = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("pyproject.toml", "constraints.txt", "tested.txt")
    )
    (folder / "needs.txt").write_text("\n".join(needs(pyproject, sys.argv[2:])) + "\n")
    (folder / "pins.txt").write_text("\n".join(pins(ours, tested)) + "\n")
