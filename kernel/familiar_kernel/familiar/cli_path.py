"""Where the Claude Code CLI is, found without importing claude-agent-sdk.

The SDK's wheel carries the CLI, and the SDK itself knows how to find it; but importing the SDK
takes longer than everything else that ``familiar login`` or ``familiar doctor`` does. So the search
is here once more, and the host hands its result to the SDK: whatever the doctor names is what the
host runs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "FAMILIAR_CLAUDE_CLI"
"""The environment variable that names the CLI; only the kernel's setting comes before it."""

# Where installers put a `claude` that need not be on PATH; ~ is the home directory.
_OTHER_PLACES = (
    "~/.local/bin/claude",
    "~/.claude/local/claude",
    "~/.npm-global/bin/claude",
    "/usr/local/bin/claude",
    "/opt/homebrew/bin/claude",
)


@dataclass(frozen=True)
class ClaudeCli:
    """The CLI to use, and why this one.

    Attributes:
        path: its absolute path.
        origin: for people: ``"the setting cli_path"``, ``"FAMILIAR_CLAUDE_CLI"``,
            ``"claude-agent-sdk"`` (which
            carries it), ``"PATH"`` or ``"a usual place"``.
    """

    path: Path
    origin: str

    @property
    def runs(self) -> bool:
        """Whether it is a program. Only one that a person named can be none."""
        return _is_program(self.path)


def locate_cli(setting: str = "", environ: Mapping[str, str] | None = None) -> ClaudeCli | None:
    """Return the CLI that the familiar uses, or None where there is none.

    The places, the first that has one: the setting, ``FAMILIAR_CLAUDE_CLI``, claude-agent-sdk,
    ``PATH``, and where installers put it. One that is named is returned even if it is not there,
    and never passed over for another: whoever named it wants that one, and is to hear that it is
    missing.

    Args:
        setting: a path or a command's name from the kernel's configuration; empty for none.
        environ: the environment to look in, by default this process's.
    """
    environ = os.environ if environ is None else environ
    search_path = environ.get("PATH", os.defpath)
    for wanted, origin in (
        (setting, "the setting cli_path"),
        (environ.get(VARIABLE, ""), VARIABLE),
    ):
        if wanted:
            return ClaudeCli(_named(wanted, search_path), origin)
    if bundled := bundled_cli():
        return ClaudeCli(bundled, "claude-agent-sdk")
    if on_path := shutil.which("claude", path=search_path):
        return ClaudeCli(Path(on_path).absolute(), "PATH")
    home = environ.get("HOME") or str(Path.home())
    for place in _OTHER_PLACES:
        path = Path(place.replace("~", home, 1))
        if _is_program(path):
            return ClaudeCli(path, "a usual place")
    return None


def find_cli(setting: str = "", environ: Mapping[str, str] | None = None) -> Path | None:
    """Return only the path that :func:`locate_cli` finds."""
    cli = locate_cli(setting, environ)
    return cli.path if cli else None


def bundled_cli() -> Path | None:
    """Return the CLI that the installed claude-agent-sdk carries, or None: some platforms' wheels
    carry none."""
    spec = importlib.util.find_spec("claude_agent_sdk")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(package, "_bundled", "claude")
        if _is_program(path):
            return path
    return None


def _named(wanted: str, search_path: str) -> Path:
    if os.sep not in wanted and (on_path := shutil.which(wanted, path=search_path)):
        return Path(on_path).absolute()
    return Path(wanted).expanduser().absolute()


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
