"""What the tests of ``nb`` share: notebooks, kernels, and the command as people type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from endpoint import Endpoint, running_endpoint

SCRIPTS = Path(__file__).parents[1] / "scripts"


def notebook(*sources: str, **metadata: Any) -> nbformat.NotebookNode:
    """Return a notebook; a source that begins with ``#`` is Markdown."""
    cells = [new_markdown_cell(s) if s.startswith("#") else new_code_cell(s) for s in sources]
    made: nbformat.NotebookNode = new_notebook(cells=cells, metadata=metadata)
    return made


def written(path: Path, *sources: str, **metadata: Any) -> Path:
    """Write a notebook, as JupyterLab does."""
    nbformat.write(notebook(*sources, **metadata), path)
    return path


class Nb:
    """The command, in a folder, with a runtime directory and a home of its own.

    Args:
        folder: where it is typed.
        variables: its environment.
    """

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self.variables = folder, variables
        self.command = [sys.executable, "-m", "familiar_kernel.nb"]

    def __call__(
        self, *words: str, input: str = "", timeout: float = 120, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Type a command and return what came of it."""
        return subprocess.run(
            [*self.command, *words],
            cwd=self.folder,
            env={**self.variables, **variables},
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ok(self, *words: str, input: str = "", **variables: str) -> str:
        """Type a command that goes well, and return what it wrote."""
        done = self(*words, input=input, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *words: str) -> Any:
        """Type a command with --json, whatever comes of it, and return what it wrote."""
        return json.loads(self(*words, "--json").stdout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Type a command and do not wait for it."""
        return subprocess.Popen(
            [*self.command, *words],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint(SCRIPTS / "tools.yaml") as running:
        yield running


@pytest.fixture
def nb(tmp_path: Path, own_home: Path) -> Iterator[Nb]:
    """``nb`` in an empty folder; its kernels end with the test."""
    folder = tmp_path / "work"
    folder.mkdir()
    variables = {
        **os.environ,
        "HOME": str(own_home),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "DISABLE_TELEMETRY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    for name in ("NB_NOTEBOOK", "NO_COLOR"):
        variables.pop(name, None)
    typed = Nb(folder, variables)
    yield typed
    typed("shutdown", "--all")
