# PYTHON_ARGCOMPLETE_OK
"""The ``nb`` command: what its words do, its exit status, and what a person reads.

Each command imports what it needs when it runs: `nb run` on an open kernel is over in a fifth of a
second.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .facts import cell_facts, look_facts, ran_facts, result_facts, state_of

if TYPE_CHECKING:
    from .kernels import Look
    from .store import Store

OK, FAILED, USAGE, DIED, LATE = range(5)
STOPPED = 130
"""As shells say it of what Ctrl-C has ended."""
UNREAD = 141
"""As they say it of what nobody reads any more."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``nb`` command and return its exit status.

    Args:
        argv: the arguments; by default the process's own.
    """
    from . import words

    parser = words.parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    arguments = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a letter that it does not know is no error
    try:
        return _guarded(arguments)
    except BrokenPipeError:
        # Whoever reads has enough, as `head` does. What is left is not to be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD


def _guarded(arguments: argparse.Namespace) -> int:
    from .document import DocumentError
    from .kernels import KernelFault
    from .store import StoreError

    try:
        status: int = _DOES[arguments.word](arguments)
        sys.stdout.flush()
    except (DocumentError, StoreError) as err:
        return _complain(arguments, str(err), USAGE)
    except KernelFault as err:
        return _complain(arguments, str(err), DIED)
    except KeyboardInterrupt:
        return _complain(arguments, "interrupted; what runs may go on (nb interrupt)", STOPPED)
    except ModuleNotFoundError as err:
        told = f"{err.name} is not installed; type: pip install 'familiar-kernel[nb]'"
        return _complain(arguments, told, USAGE)
    except BrokenPipeError:
        raise
    except OSError as err:
        told = f"{err.filename}: {err.strerror}" if err.filename else str(err)
        return _complain(arguments, told, USAGE)
    return status


def _complain(arguments: argparse.Namespace, told: str, status: int) -> int:
    if getattr(arguments, "json", False):
        print(json.dumps({"error": told, "status": status}))
    from .terminal import safe

    print(f"nb: {safe(told, colours=False)}", file=sys.stderr)
    return status


def _store(arguments: argparse.Namespace) -> Store:
    from . import actions

    return actions.chosen(getattr(arguments, "path", None) or arguments.notebook)


def _given(text: str) -> str:
    return sys.stdin.read() if text == "-" else text


def _print(arguments: argparse.Namespace, facts: Any, *lines: str) -> int:
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        from .terminal import safe

        for line in lines:
            print(safe(line, colours=False))
    return OK


# -- kernels ---------------------------------------------------------------------------------------


def _open(arguments: argparse.Namespace) -> int:
    from . import actions
    from .store import Store

    look, started = actions.open_notebook(
        Store(arguments.path),
        kernel=arguments.kernel,
        sandboxed=arguments.sandboxed,
        workspace_mode=arguments.workspace_mode,
        new=arguments.new,
    )
    how = "started" if started else f"is there already, {look.life}"
    box = f", in the container {look.container}" if look.container else ""
    return _print(
        arguments,
        {**look_facts(look), "started": started},
        f"{look.kernel} {how} (process {look.pid}{box}).",
    )


def _status(arguments: argparse.Namespace) -> int:
    from . import actions

    looks = actions.status()
    if arguments.json:
        return _print(arguments, [look_facts(look) for look in looks])
    if not looks:
        return _print(arguments, [], "No notebook is open.")
    rows = [["NOTEBOOK", "KERNEL", "STATE", "PROCESS", "SINCE", "MEMORY", "CONTAINER"]]
    rows += [_row(look) for look in looks]
    return _print(arguments, [], *_table(rows))


def _row(look: Look) -> list[str]:
    import time

    since = "" if look.since is None else time.strftime("%d %b %H:%M", time.localtime(look.since))
    memory = "" if look.memory is None else f"{look.memory / 1e6:,.0f} MB"
    box = f"{look.container} ({look.container_state})" if look.container else look.container_state
    name = os.path.relpath(look.path)
    name = name if not name.startswith(os.pardir + os.sep + os.pardir) else str(look.path)
    return [name, look.kernel, look.life, str(look.pid or ""), since, memory, box]


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _interrupt(arguments: argparse.Namespace) -> int:
    from . import kernels

    store = _store(arguments)
    kernels.interrupt(store)
    return _print(arguments, {"interrupted": str(store.path)}, "Interrupted.")


def _restart(arguments: argparse.Namespace) -> int:
    from . import actions

    look = actions.restart(_store(arguments))
    return _print(arguments, look_facts(look), f"{look.kernel} is fresh (process {look.pid}).")


def _shutdown(arguments: argparse.Namespace) -> int:
    from . import actions
    from .store import Store, known

    stores = [Store(path) for path in known()] if arguments.all else [_store(arguments)]
    ended = [str(store.path) for store in stores if actions.shutdown(store)]
    lines = [f"The kernel of {path} has ended." for path in ended] or ["No kernel was running."]
    return _print(arguments, {"ended": ended}, *lines)


def _logs(arguments: argparse.Namespace) -> int:
    from . import kernels

    text = kernels.last_words(_store(arguments), max(1, arguments.lines))
    from .terminal import safe

    return _print(arguments, {"log": text}, safe(text, colours=False) or "It has written nothing.")


# -- cells -----------------------------------------------------------------------------------------


def _cells(arguments: argparse.Namespace) -> int:
    document = _store(arguments).read()
    if arguments.json:
        return _print(arguments, [cell_facts(cell) for cell in document.cells])
    from .terminal import safe

    rows = []
    for cell in document.cells:
        first = next((line for line in cell.source.splitlines() if line.strip()), "")
        count = "" if cell.kind != "code" else f"[{'' if cell.count is None else cell.count}]"
        shown = safe(first.strip(), colours=False)[:60]
        rows.append([str(cell.index), cell.id[:12], cell.kind, count, state_of(cell), shown])
    return _print(arguments, [], *(_table(rows) if rows else ["The notebook has no cells."]))


def _exec(arguments: argparse.Namespace) -> int:
    from . import actions
    from .terminal import Screen

    if bool(arguments.cells) == arguments.all:
        return _complain(arguments, "name cells, or say --all (nb cells lists them)", USAGE)
    store = _store(arguments)
    results = actions.run_cells(
        store,
        arguments.cells,
        every=arguments.all,
        timeout=arguments.timeout,
        stop_on_error=arguments.stop_on_error,
        wait=0.0 if arguments.no_wait else float("inf"),
        what="nb exec " + ("--all" if arguments.all else " ".join(arguments.cells)),
        answer=_answer(),
        listener=None if arguments.json else Screen(store),
    )
    if arguments.json:
        _print(arguments, [result_facts(result) for result in results])
    if any(result.ran.interrupted for result in results):
        return STOPPED
    if any(result.ran.state == "timeout" for result in results):
        return LATE
    return FAILED if any(map(actions.failed, results)) else OK


def _run(arguments: argparse.Namespace) -> int:
    return _scratch(arguments, _given(arguments.code))


def _ask(arguments: argparse.Namespace) -> int:
    from . import actions

    text = " ".join(sys.stdin.read() if word == "-" else word for word in arguments.text)
    state = _store(arguments).state
    if state is not None and not state.get("familiar"):
        told = (
            f"its kernel, {state.get('kernel')}, has no familiar; nb shutdown, then"
            " nb open --kernel python-claude"
        )
        return _complain(arguments, told, USAGE)
    return _scratch(arguments, actions.prompt(text))


def _scratch(arguments: argparse.Namespace, code: str) -> int:
    from . import actions
    from .terminal import Screen

    store = _store(arguments)
    screen = Screen(store)

    def heard(message: dict[str, Any]) -> None:
        if not arguments.json:
            screen.hears(message)

    try:
        ran = actions.run_code(
            store,
            code,
            heard,
            timeout=arguments.timeout,
            answer=_answer(),
            keep=arguments.json,
        )
    finally:
        if not arguments.json:
            screen.done()  # also of an answer that has not come to its end
    if arguments.json:
        _print(arguments, {**ran_facts(ran), "outputs": ran.outputs})
    else:
        for fault in ran.unreadable[:3]:
            screen.says(f"A message of the kernel could not be read: {fault}")
        if ran.state == "timeout":
            screen.says("It took longer than it may, and was interrupted.")
        if ran.state == "aborted":
            screen.says("It was not run: a cell before it failed.")
    if ran.interrupted:
        return STOPPED
    return {"ok": OK, "timeout": LATE}.get(ran.state, FAILED)


def _answer() -> Callable[[str, bool], str] | None:
    """Return what asks the person, where there is one."""
    if not sys.stdin.isatty():
        return None

    def ask(prompt: str, secret: bool) -> str:
        import getpass

        from .terminal import safe

        prompt = safe(prompt, colours=False)
        try:
            if secret:
                return getpass.getpass(prompt)
            if not sys.stdout.isatty():  # the question is for the person, not for the file
                print(prompt, end="", file=sys.stderr, flush=True)
                prompt = ""
            return input(prompt)
        except EOFError:
            return ""

    return ask


def _insert(arguments: argparse.Namespace) -> int:
    from . import actions

    source = _given(arguments.source)
    cell = actions.insert(_store(arguments), arguments.at, arguments.type, source)
    return _print(arguments, cell_facts(cell), f"Inserted {cell.name}.")


def _set(arguments: argparse.Namespace) -> int:
    from . import actions

    cell = actions.set_source(_store(arguments), arguments.cell, _given(arguments.source))
    return _print(arguments, cell_facts(cell), f"Set {cell.name}.")


def _delete(arguments: argparse.Namespace) -> int:
    from . import actions

    gone = actions.delete(_store(arguments), arguments.cells)
    lines = [f"Deleted {cell.name}." for cell in gone]
    return _print(arguments, [cell_facts(cell) for cell in gone], *lines)


def _move(arguments: argparse.Namespace) -> int:
    from . import actions

    cell = actions.move(_store(arguments), arguments.cell, arguments.to)
    return _print(arguments, cell_facts(cell), f"Moved; it is {cell.name} now.")


def _clear(arguments: argparse.Namespace) -> int:
    from . import actions

    count = actions.clear(_store(arguments), arguments.cells)
    return _print(arguments, {"cleared": count}, f"Cleared {count} cells.")


# -- others ----------------------------------------------------------------------------------------


def _mcp(arguments: argparse.Namespace) -> int:
    from .mcp_server import serve

    return serve(keep=arguments.keep)


def _completion(arguments: argparse.Namespace) -> int:
    import argcomplete

    print(argcomplete.shellcode(["nb"], shell=arguments.shell))  # type: ignore[attr-defined]
    return OK


_DOES: dict[str, Callable[[argparse.Namespace], int]] = {
    "open": _open,
    "status": _status,
    "cells": _cells,
    "exec": _exec,
    "run": _run,
    "ask": _ask,
    "insert": _insert,
    "set": _set,
    "delete": _delete,
    "move": _move,
    "clear": _clear,
    "interrupt": _interrupt,
    "restart": _restart,
    "shutdown": _shutdown,
    "logs": _logs,
    "mcp": _mcp,
    "completion": _completion,
}


if __name__ == "__main__":
    sys.exit(main())
