"""``familiar demo``: the example notebook on the real kernel, seen in a terminal as it goes.

Everything is real but Claude, whom the rehearsal plays: the kernel, the familiar's host,
claude-agent-sdk and the Claude Code CLI. The kernel runs on this interpreter, whatever kernels are
installed, and uses no account.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, TextIO

import nbformat
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from . import kernelspec
from .resources import resource

NOTEBOOK = "first_conversation"
CELL_TIMEOUT = 180
"""Seconds that one cell may take; on the rehearsal it takes two."""
START_TIMEOUT = 120
"""Seconds that the kernel may take to start."""

_DETAILS = re.compile(
    r"<details[^>]*><summary>(?:<small>)?([^<]*)(?:</small>)?</summary>(?:\n\n(.*?)\n\n)?</details>",
    re.DOTALL,
)
_HEADING = re.compile(r"\A###### .*\n*")
_FOOTER = re.compile(r"\n*<small[^>]*>.*</small>\s*\Z")
_PASSING = re.compile(r"(?:\A|\n\n)\*[^*\n]+\*\s*\Z")
"""A last line of its own in italics, such as "Waiting": it stands there until words come."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def run(output_dir: Path) -> int:
    """Run the demo and return an exit status.

    Args:
        output_dir: where the executed notebook and the HTML page go; made if it is missing.
    """
    notebook = nbformat.read(resource(f"examples/{NOTEBOOK}.ipynb"), as_version=4)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        print(f"familiar: {output_dir} cannot be made: {err.strerror}", file=sys.stderr)
        return 1
    screen = Screen(sys.stdout)
    screen.say("The real kernel and the real Claude Code CLI; Claude is played by the rehearsal.")
    screen.say("Starting the kernel ...")
    failure = _execute(notebook, screen)
    written = _write(notebook, output_dir)
    if failure:
        print(f"\nfamiliar: {failure}", file=sys.stderr)
        print(f"The notebook as far as it went: {written[0]}", file=sys.stderr)
        return 1
    screen.say(_farewell(*written))
    return 0


def _execute(notebook: NotebookNode, screen: Screen) -> str:
    """Run all cells, showing them, and return why that failed, or nothing."""
    with kernelspec.temporary(kernelspec.specification(rehearsal=True)) as kernels:
        client = _Client(
            notebook,
            screen,
            kernel_name=kernelspec.NAME,
            timeout=CELL_TIMEOUT,
            startup_timeout=START_TIMEOUT,
        )
        manager = client.create_kernel_manager()
        manager.kernel_spec_manager = kernels
        manager.transport_encryption = kernelspec.ENCRYPTION
        try:
            client.execute()
        except CellExecutionError as err:
            return f"a cell failed: {_COLOUR.sub('', f'{err.ename}: {err.evalue}')}"
        except (asyncio.CancelledError, DeadKernelError, TimeoutError, RuntimeError) as err:
            if client.stopped:
                raise KeyboardInterrupt from None
            return f"the kernel did not run: {err}. `familiar doctor --deep` may say why"
    return ""


def _write(notebook: NotebookNode, directory: Path) -> tuple[Path, Path]:
    """Write the executed notebook and a page of it, and return both paths."""
    as_notebook, as_page = (directory / f"{NOTEBOOK}.{suffix}" for suffix in ("ipynb", "html"))
    nbformat.write(notebook, as_notebook)
    page, _ = HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": NOTEBOOK}})
    as_page.write_text(page, encoding="utf-8")
    return as_notebook, as_page


def _farewell(notebook: Path, page: Path) -> str:
    return f"""
Written: {page} (open it in a browser)
         {notebook}

To talk to Claude itself, sign in and open a notebook with the kernel "Python + Claude":
  {_command("familiar")} login
  {_command("jupyter")} lab {notebook}"""


def _command(name: str) -> str:
    """Return what to type for a command of this environment, which need not be active."""
    path = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and Path(found).resolve() == path.resolve():
        return name
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


class _Client(NotebookClient):
    """Executes a notebook and shows every cell and every piece of output when it comes."""

    def __init__(self, notebook: NotebookNode, screen: Screen, **settings: Any) -> None:
        super().__init__(notebook, on_notebook_start=self._end_on_ctrl_c, **settings)
        self.screen = screen
        self.stopped = False
        self._next = 0

    def _end_on_ctrl_c(self, notebook: NotebookNode) -> None:
        """Let Ctrl-C cancel the execution; nbclient's own handler only takes the kernel away."""
        task = asyncio.current_task()
        assert task is not None

        def stop() -> None:
            self.stopped = True
            task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop)

    async def _async_cleanup_kernel(self) -> None:
        # nbclient cleans up once more, and fails, where it has done so before: after a kernel that
        # did not start, and after a signal.
        if self.km is not None:
            await super()._async_cleanup_kernel()

    _cleanup_kernel = run_sync(_async_cleanup_kernel)

    async def async_execute_cell(
        self, cell: NotebookNode, cell_index: int, *args: Any, **kwargs: Any
    ) -> NotebookNode:
        """Show a cell, and execute it if it is code."""
        if cell.cell_type == "markdown":
            self.screen.prose(cell.source)
        else:
            self._next += 1
            self.screen.code(self._next, cell.source)
        done = await super().async_execute_cell(cell, cell_index, *args, **kwargs)
        self.screen.end_cell()
        return done

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        """Take a message of the kernel into the notebook, as nbclient does, and show it."""
        output: NotebookNode | None = super().process_message(msg, cell, cell_index)
        kind, content = msg["msg_type"], msg["content"]
        if kind in ("display_data", "update_display_data"):
            self.screen.display(
                content["data"], content["metadata"], content["transient"].get("display_id", "")
            )
        elif kind == "execute_result":
            self.screen.output(content["data"].get("text/plain", ""))
        elif kind == "stream":
            self.screen.output(content["text"])
        return output


def _sections(markdown: str, whole: bool) -> list[tuple[str, str]]:
    """Return an answer's parts in order, each as its title (empty but for thoughts) and its words.

    Args:
        markdown: the answer's ``text/markdown``.
        whole: whether the answer is complete. One that grows may end in a passing remark.
    """
    text = _HEADING.sub("", markdown)
    text = (_FOOTER if whole else _PASSING).sub("", text)
    words, *thoughts = _DETAILS.split(text)
    found = [("", words)]
    for title, thought, words in zip(*[iter(thoughts)] * 3, strict=True):
        found += [(title, thought or ""), ("", words)]
    return [(title, words.strip()) for title, words in found if title or words.strip()]


class Screen:
    """Shows a notebook in a terminal, where nothing that was shown can be taken back.

    An answer arrives as ever longer versions of itself. What a new version adds is printed, word by
    word, and wrapped at the terminal's width.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._width = min(shutil.get_terminal_size().columns, 100)
        self._colours = out.isatty() and not os.environ.get("NO_COLOR")
        self._column = 0
        self._shown: list[str] = []
        """What is on the screen of each part of the answer that grows."""
        self._outputs: dict[str, str] = {}
        """What its outputs hold, by their display's id, in order."""

    # -- what the notebook is made of --------------------------------------------------------------

    def say(self, text: str) -> None:
        """Print lines of the demo's own."""
        self._new_line()
        print(text, file=self._out, flush=True)

    def prose(self, source: str) -> None:
        """Print a Markdown cell."""
        self._new_line()
        self._write("\n")
        self._wrapped(source, "", style="2")
        self._new_line()

    def code(self, number: int, source: str) -> None:
        """Print a code cell, and begin with what comes out of it."""
        self._new_line()
        lines = source.split("\n")
        margin = f"In [{number}]: "
        self._write(f"\n{margin}", style="32")
        self._write(f"\n{' ' * len(margin)}".join(lines) + "\n", style="1")
        self._shown = []
        self._outputs.clear()

    def output(self, text: str) -> None:
        """Print text that a cell has put out."""
        self._new_line()
        self._wrapped(_COLOUR.sub("", text).rstrip("\n"), "    ")
        self._new_line()

    def end_cell(self) -> None:
        """Leave a cell and its output."""
        self._new_line()

    # -- an answer, as it grows --------------------------------------------------------------------

    def display(self, data: dict[str, Any], metadata: dict[str, Any], display: str = "") -> None:
        """Print what an output's new version adds to it.

        An answer that grows is several outputs, told apart by their display's id; the whole is one.
        """
        if "familiar" not in metadata:
            self.output(str(data.get("text/plain", "")))
            return
        whole = "outcome" in metadata["familiar"]
        markdown = str(data.get("text/markdown", ""))
        if not whole:
            self._outputs[display] = markdown.strip("\n")
            markdown = "\n\n".join(self._outputs.values())
        sections = _sections(markdown, whole)
        for place, (title, words) in enumerate(sections):
            if place == len(self._shown):
                self._end_thought(sections[place - 1][0] if place else "")
                self._shown.append("")
                if title:
                    self._write("    [thinking] ", style="2")
            # A thought that is over comes without its words: those that are there stay.
            if place == len(self._shown) - 1 and words:
                self._grow(words, whole=whole, style="2" if title else "")
        if whole:
            self._outputs.clear()
            self.output(str(data.get("text/plain", "")).rstrip().rpartition("\n")[2])

    def _end_thought(self, title: str) -> None:
        if title:
            more = "" if self._shown[-1].endswith((".", "!", "?")) else " …"
            self._write(f"{more} [{title.lower()}]", style="2")
        self._new_line()

    def _grow(self, words: str, *, whole: bool, style: str) -> None:
        shown = self._shown[-1]
        if not whole:
            words = words[: len(words) - len(re.split(r"\s", words)[-1])].rstrip()
        if not words.startswith(shown):
            if not whole:
                return  # It was shown in a form that did not last; the whole will come.
            # What cannot be taken back is said again, from the line in which it differs.
            pairs = enumerate(zip(words, shown, strict=False))
            same = next((at for at, (new, old) in pairs if new != old), len(words))
            shown = words[: words.rfind("\n", 0, same) + 1]
            self._new_line()
        self._wrapped(words[len(shown) :], "    ", style)
        self._shown[-1] = words

    # -- words -------------------------------------------------------------------------------------

    def _wrapped(self, text: str, margin: str, style: str = "") -> None:
        for piece in re.findall(r"\n|[^\S\n]*\S+", text):
            if piece == "\n":
                self._write(piece)
                continue
            if self._column > len(margin) and self._column + len(piece) > self._width:
                self._write("\n")
                piece = piece.lstrip()
            self._write(piece if self._column else margin + piece, style=style)
        self._out.flush()

    def _new_line(self) -> None:
        if self._column:
            self._write("\n")

    def _write(self, text: str, style: str = "") -> None:
        styled = self._colours and style and text.strip()
        self._out.write(f"\x1b[{style}m{text}\x1b[0m" if styled else text)
        self._column = (
            len(text) - text.rfind("\n") - 1 if "\n" in text else self._column + len(text)
        )
