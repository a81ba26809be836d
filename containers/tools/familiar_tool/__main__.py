"""Starts a tool and the door before it; both end together: ``python -m familiar_tool``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping

from tornado.httpserver import HTTPServer

from .door import LARGEST_OF_STRANGERS, make_app
from .settings import Settings, SettingsError
from .tools import PORT, TOOLS, Tool

DOOR = 8888
"""Where the hub's proxy reaches the door."""
_GRACE = 8.0
"""Seconds that a tool has to end; Docker waits ten."""
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
log = logging.getLogger("familiar.tool")


async def serve(
    settings: Settings, tool: Tool, *, address: str = "", door: int = DOOR, port: int = PORT
) -> int:
    """Run a tool and its door until one of them ends, or a signal comes.

    Args:
        settings: where the hub is.
        tool: what to run.
        address: where the door listens; everywhere by default.
        door: the door's port.
        port: the tool's.

    Returns:
        an exit status: 0 after a signal, and 1 where the tool ended by itself.

    Raises:
        OSError: the port is taken, or the tool is not there.
    """
    server = HTTPServer(
        make_app(settings, tool.closed, port), xheaders=True, max_body_size=LARGEST_OF_STRANGERS
    )
    server.listen(door, address)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    # A tool sees nothing of the door's environment.
    inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *tool.command, env={**inherited, **tool.environment}, stdin=asyncio.subprocess.DEVNULL
    )
    log.info("%s runs; its door is on port %d, below %s", settings.name, door, settings.prefix)
    ended = asyncio.create_task(process.wait())
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    server.stop()
    if ended.done():
        log.error("%s ended by itself, with status %s", settings.name, process.returncode)
        return 1
    process.terminate()
    try:
        await asyncio.wait_for(ended, _GRACE)
    except TimeoutError:
        process.kill()
        await process.wait()
    return 0


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run what the environment says. Returns an exit status."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        settings = Settings.from_environment(environ, frozenset(TOOLS))
    except SettingsError as error:
        print(f"familiar: the tool cannot start:\n{error}", file=sys.stderr)
        return 2
    return asyncio.run(serve(settings, TOOLS[settings.name]()))


if __name__ == "__main__":
    sys.exit(main())
