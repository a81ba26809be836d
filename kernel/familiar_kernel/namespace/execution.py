"""Runs Claude's code among the person's variables, as part of the cell that asked.

The cell that asked keeps its number, its place in the history and its result: the code runs without
an entry of its own, what it shows goes to that cell's output as displays, and an error is text
there, not the cell's failure (Claude reads it and goes on).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


class CodeStopped(Exception):
    """The person interrupted Claude's code."""


def run(shell: Any, code: str) -> bool:
    """Run code that does not await to its end, blocking, and return whether it went well.

    Raises:
        CodeStopped: it was interrupted.
    """
    with _as_part_of_a_cell(shell, code), interrupts_raised():
        result = shell.run_cell(code, store_history=False)
    return _outcome(result)


async def run_awaiting(shell: Any, code: str) -> bool:
    """Run code as :func:`run` does, where the loop runs: code that awaits lets it go on.

    Raises:
        CodeStopped: it was interrupted.
    """
    if not awaits(shell, code):
        return run(shell, code)
    with _as_part_of_a_cell(shell, code):
        try:
            transformed = shell.transform_cell(code)
            result = await shell.run_cell_async(
                code, store_history=False, transformed_cell=transformed
            )
        finally:
            shell.events.trigger("post_execute")
        shell.events.trigger("post_run_cell", result)
    return _outcome(result)


def awaits(shell: Any, code: str) -> bool:
    """Whether code awaits at its top level."""
    try:
        transformed = shell.transform_cell(code)
    except SyntaxError:
        return False  # the run says so
    return bool(shell.should_run_async(code, transformed_cell=transformed))


def _outcome(result: Any) -> bool:
    error = result.error_before_exec or result.error_in_exec
    if isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
        raise CodeStopped
    return error is None


@contextlib.contextmanager
def _as_part_of_a_cell(shell: Any, code: str) -> Iterator[None]:
    """Lend the cell that asked to the code: its number, and a way to show that is not its
    result."""
    quiet = shell.displayhook.semicolon_at_end_of_expression(code)

    def show(value: object) -> None:
        if value is not None and not quiet:
            data, metadata = shell.display_formatter.format(value)
            if data:
                shell.display_pub.publish(data, metadata)

    def show_error(_type: object, _value: object, traceback: list[str]) -> None:
        print(shell.InteractiveTB.stb2text(traceback), file=sys.stderr)

    number, hook = shell.execution_count, sys.displayhook
    trapped, result = shell.display_trap.hook, shell.displayhook.exec_result
    shell.execution_count = max(1, number - 1)  # what tracebacks call the cell
    shell._showtraceback = show_error
    sys.displayhook = shell.display_trap.hook = show
    try:
        yield
    finally:
        sys.displayhook = hook
        shell.display_trap.hook = trapped
        shell.displayhook.exec_result = result
        del shell._showtraceback
        shell.execution_count = number
        for stream in (sys.stdout, sys.stderr):
            # The code may have closed or replaced them.
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.flush()


@contextlib.contextmanager
def interrupts_raised() -> Iterator[None]:
    """Have interrupts raise KeyboardInterrupt; whoever waits for a turn takes them otherwise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
