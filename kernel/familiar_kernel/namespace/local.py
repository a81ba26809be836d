"""The variables of this very process; see :mod:`.place`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import execution
from .errors import ProbeError
from .probe import Probe
from .probe.fitting import fitted

if TYPE_CHECKING:
    from .probe.fitting import Picture

NO_AWAIT = (
    "Top-level await works only where the prompt is a whole cell, and not in ask() or among code. "
    "Write the code without it."
)
_FILE = 20_000
"""Characters of a file that is named with ``@file:``."""
_FILES = 200
"""Files of one folder that are offered."""


class LocalPlace:
    """A :class:`.place.Place` in the kernel's own process.

    Args:
        shell: the IPython shell whose variables they are.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._probe = Probe(lambda: shell.user_ns, lambda: set(shell.user_ns_hidden))

    def variables(self, pattern: str = "", page: int = 1) -> str:
        return self._probe.variables(pattern, page)

    def describe(self, expression: str, page: int = 1) -> str:
        return self._probe.describe(expression, page)

    def last_error(self, page: int = 1) -> str:
        # IPython keeps it here for %debug; 3.12's last_exc is not set by every version.
        return self._probe.last_error(getattr(sys, "last_value", None), page)

    def picture(self, expression: str) -> Picture:
        return self._probe.picture(expression)

    def fit(self, data: bytes, mime: str, told: str) -> Picture:
        return fitted(data, mime, told)

    def changes(self) -> str:
        return self._probe.changes()

    def moment(self) -> dict[str, object]:
        return self._probe.moment()

    def mark(self, moment: Any) -> None:
        self._probe.mark(moment)

    def has(self, name: str) -> bool:
        return name in self._shell.user_ns

    def file(self, path: str) -> str:
        return beginning_of(_folder() / path)

    def run(self, code: str) -> bool:
        if execution.awaits(self._shell, code):
            raise ProbeError(NO_AWAIT)
        return execution.run(self._shell, code)

    async def run_awaiting(self, code: str) -> bool:
        return await execution.run_awaiting(self._shell, code)

    def propose(self, code: str) -> None:
        self._shell.set_next_input(code)

    # -- completion --

    def names(self, stem: str) -> list[str]:
        hidden = self._shell.user_ns_hidden
        names = [n for n in list(self._shell.user_ns) if n.startswith(stem) and n not in hidden]
        return sorted(n for n in names if n[0] != "_")

    def attributes(self, owner: str) -> list[str]:
        name, *path = owner.split(".")
        value = self._shell.user_ns.get(name)
        for step in path:
            value = _own(value).get(step)
        if value is None:
            return []
        names = {*_own(value), *dir(type(value))}
        if type(value).__module__.partition(".")[0] in ("pandas", "polars"):
            columns = getattr(value, "columns", ())
            names |= {c for c in columns if isinstance(c, str) and c.isidentifier()}
        return sorted(n for n in names if isinstance(n, str) and n.isidentifier() and n[0] != "_")

    def files(self, typed: str, quoted: bool) -> list[str]:
        folder, _, stem = typed.rpartition("/")
        prefix = f"{folder}/" if folder or typed.startswith("/") else ""
        try:
            entries = sorted(Path(prefix or ".").expanduser().iterdir())
        except (OSError, RuntimeError):
            return []
        found = []
        for entry in entries:
            hidden = entry.name.startswith(".") and not stem.startswith(".")
            if entry.name.startswith(stem) and not hidden and '"' not in entry.name:
                path = f"{prefix}{entry.name}"
                is_folder = entry.is_dir()
                if quoted or " " in path:
                    found.append(f'"{path}/' if is_folder else f'"{path}"')
                else:
                    found.append(f"{path}/" if is_folder else path)
        return found[:_FILES]


def _own(value: Any) -> dict[str, Any]:
    try:
        return dict(object.__getattribute__(value, "__dict__"))
    except (AttributeError, TypeError):
        return {}


def _folder() -> Path:
    """Return the working directory, or the home where it has been deleted under the kernel."""
    try:
        return Path.cwd()
    except OSError:
        return Path.home()


def beginning_of(path: Path) -> str:
    """Return the beginning of a text file and how much there is, or in brackets why not."""
    try:
        path = path.expanduser()
        with path.open("rb") as file:
            data = file.read(4 * _FILE + 1)
        text = data.decode("utf-8")
        size = path.stat().st_size
    except RuntimeError:
        return "(there is no such home)"
    except OSError as err:
        return f"(it cannot be read: {err.strerror})"
    except UnicodeDecodeError as err:
        if err.start < len(data) - 4 or len(data) <= 4 * _FILE:
            return "(it is no text in UTF-8; its contents are not given here)"
        text = data[: err.start].decode("utf-8")
        size = path.stat().st_size
    cut = f"\n[... of {size:,} bytes the first are given ...]" if len(text) > _FILE else ""
    return text[:_FILE] + cut
