"""The words of the ``nb`` command, and what its help says. Nothing is done here."""

from __future__ import annotations

import argparse

from familiar_kernel._version import __version__
from familiar_kernel.subcommands import subcommand

# Help is shown as it stands here, so these lines fit a terminal of 80 columns.
_OVERVIEW = """\
Notebooks without a browser: run cells, edit them, ask the familiar.

first steps:
  nb open analysis.ipynb     start a kernel for it; it goes on after the command
  nb cells                   what is in it
  nb exec --all              run it all, into the file
  nb run 'len(df)'           try something, without writing it down
  nb ask 'why is df empty?'  ask Claude, who sees the same variables
  nb shutdown                end the kernel

A cell is named by its index (0, -1), its id or the beginning of it; a range
(2:5) is a Python slice; what begins with a minus stands behind a --, as in
nb exec -- -1. Where several notebooks are open, -n FILE says which.
"""

_EPILOG = """\
exit status:
  0  it went well            3  the kernel has died, or there is none
  1  a cell has failed       4  a cell took longer than --timeout
  2  the command is wrong, or the notebook cannot be read or written
  130  it was stopped with Ctrl-C

environment:
  NB_NOTEBOOK   the notebook that is meant where -n is not given
  NO_COLOR      no colours
"""

_OPEN = """\
Start a kernel for a notebook, or find the one that it has. The kernel goes on
when the command ends; all other commands use it, from any terminal.

Without --kernel it is the one that the notebook names, or "Python + Claude".
"""

_OPEN_EXAMPLES = """\
examples:
  nb open analysis.ipynb
  nb open --new scratch.ipynb
      makes an empty notebook where there is none
  nb open analysis.ipynb --sandboxed
      its code runs in a container without a network, and reads the notebook's
      folder; `familiar sandbox build` makes the image first
  nb open analysis.ipynb --sandboxed --workspace-mode rw
      it may also change and delete files there
"""

_EXEC = """\
Run cells and write what they show into the notebook. Only the cells that ran
change in the file, also where somebody else has saved it meanwhile.
"""

_EXEC_EXAMPLES = """\
examples:
  nb exec 0 2:5          the first cell, then the third to the fifth
  nb exec 3f2a           the cell whose id begins so
  nb exec --all --stop-on-error --timeout 600
"""


def parser() -> argparse.ArgumentParser:
    """Return what understands a command line; ``word`` is the command that it names."""
    made = argparse.ArgumentParser(
        prog="nb",
        description=_OVERVIEW,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"familiar-kernel {__version__}")
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str,
        help: str,
        *,
        description: str = "",
        epilog: str = "",
        notebook: bool = True,
    ) -> argparse.ArgumentParser:
        whole = description or help[:1].upper() + help[1:] + "."
        one = subcommand(commands, name, help, whole, epilog)
        one.set_defaults(word=name)
        if notebook:
            one.add_argument("-n", "--notebook", metavar="FILE", help="which notebook")
        one.add_argument("--json", action="store_true", help="answer with JSON, for scripts")
        return one

    opening = command(
        "open", "start a kernel for a notebook", notebook=False,
        description=_OPEN, epilog=_OPEN_EXAMPLES,
    )  # fmt: skip
    opening.add_argument("path", metavar="FILE", help="the notebook")
    opening.add_argument("--kernel", default="", metavar="NAME", help="a kernelspec's name")
    opening.add_argument("--sandboxed", action="store_true", help="run its code in a container")
    opening.add_argument(
        "--workspace-mode", choices=("ro", "rw", "none"), default="",
        help="with --sandboxed: what it may do with the notebook's folder (default: ro)",
    )  # fmt: skip
    opening.add_argument("--new", action="store_true", help="make the notebook if there is none")

    command("status", "how the kernels are", notebook=False)

    cells = command("cells", "list the cells: index, id, type, number, outputs, first line")
    cells.add_argument("path", nargs="?", metavar="FILE", help="the notebook")

    executing = command(
        "exec", "run cells, into the notebook",
        description=_EXEC, epilog=_EXEC_EXAMPLES,
    )  # fmt: skip
    executing.add_argument("cells", nargs="*", metavar="CELL", help="an index, a range, an id")
    executing.add_argument("--all", action="store_true", help="all cells")
    executing.add_argument(
        "--stop-on-error", action="store_true", help="stop at the first cell that fails"
    )
    _with_timeout(executing, "a cell")
    executing.add_argument(
        "--no-wait", action="store_true", help="fail where another nb runs cells of the notebook"
    )

    running = command("run", "run code that is not written into the notebook")
    running.add_argument("code", help="the code; - reads it from the standard input")
    _with_timeout(running, "it")

    asking = command("ask", "ask the familiar of the notebook")
    asking.add_argument("text", nargs="+", help="the prompt; - reads it from the standard input")
    _with_timeout(asking, "the turn")

    inserting = command("insert", "insert a cell before another one")
    inserting.add_argument("at", metavar="CELL", help="before which; `end` for behind the last")
    inserting.add_argument("source", help="its text; - reads it from the standard input")
    inserting.add_argument(
        "--type", choices=("code", "markdown", "raw"), default="code", help="(default: code)"
    )
    setting = command("set", "give a cell another text; outputs of the old one go")
    setting.add_argument("cell", metavar="CELL")
    setting.add_argument("source", help="its text; - reads it from the standard input")
    deleting = command("delete", "delete cells")
    deleting.add_argument("cells", nargs="+", metavar="CELL")
    moving = command("move", "move a cell to another index")
    moving.add_argument("cell", metavar="CELL")
    moving.add_argument("to", type=int, metavar="INDEX")
    clearing = command("clear", "take outputs away, of all cells or of some")
    clearing.add_argument("cells", nargs="*", metavar="CELL")

    command("interrupt", "stop what the kernel runs")
    command("restart", "start the kernel anew: no variables, a fresh mind")
    ending = command("shutdown", "end the kernel")
    ending.add_argument("--all", action="store_true", help="the kernels of all notebooks")
    logs = command("logs", "show what the kernel's process has written")
    logs.add_argument("--lines", type=int, default=40, metavar="N", help="(default: 40)")
    serving = command(
        "mcp", "all of this as tools for another agent, over stdio (MCP)", notebook=False
    )
    serving.add_argument(
        "--keep", action="store_true", help="let kernels go on when the server ends"
    )
    completing = command(
        "completion", "show what makes a shell complete nb's words", notebook=False
    )
    completing.add_argument("shell", choices=("bash", "zsh", "fish"))
    return made


def _with_timeout(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS",
        help=f"stop {what} after so long, whatever it prints meanwhile (default: never)",
    )  # fmt: skip


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds") from None
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError("a time limit is more than 0 seconds")
    return seconds
