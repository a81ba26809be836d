"""The rehearsal's command line: serve a script until told to stop, or only check it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

from .script import BUILT_IN, Script, built_in, load
from .server import Rehearsal, Seen
from .validation import ScriptError


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="familiar rehearse",
        description="Serve a scripted stand-in for the Messages API. It is not Claude.",
    )
    made.add_argument(
        "--port",
        type=_port,
        default=0,
        metavar="N",
        help="port on 127.0.0.1; 0 takes a free one (default)",
    )
    made.add_argument(
        "--script",
        metavar="FILE",
        help=f"the YAML script to play (default: the built-in {BUILT_IN})",
    )
    made.add_argument(
        "--check", action="store_true", help="only check the script and say what is wrong with it"
    )
    made.add_argument("--log", metavar="FILE", help="append one line of JSON for every request")
    return made


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return port


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments, without the program's name; those of the process if None.

    Returns:
        the exit status: 0, or 1 where the script, the log or the port cannot be used.
    """
    options = parser().parse_args(argv)
    try:
        script = load(options.script) if options.script else built_in()
    except ScriptError as err:
        print(err, file=sys.stderr)
        return 1
    if options.check:
        rules = len(script.rules)
        print(f"{script.source}: good, {rules} rule{'' if rules == 1 else 's'}")
        return 0
    try:
        with contextlib.ExitStack() as stack:
            log = (
                stack.enter_context(open(options.log, "a", encoding="utf-8"))
                if options.log
                else None
            )
            asyncio.run(_serve(script, options.port, log))
    except OSError as err:
        print(f"familiar rehearse: {err}", file=sys.stderr)
        return 1
    return 0


async def _serve(script: Script, port: int, log: TextIO | None) -> None:
    def watch(seen: Seen) -> None:
        if log is not None:
            log.write(seen.line() + "\n")
            log.flush()

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Rehearsal(script, port=port, watcher=watch) as rehearsal:
        print(f"Rehearsal (not Claude) at {rehearsal.url}")
        for name, value in rehearsal.environment.items():
            print(f"export {name}={shlex.quote(value)}")
        sys.stdout.flush()
        await stop.wait()
