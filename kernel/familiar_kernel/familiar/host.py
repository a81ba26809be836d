"""The host: the familiar's own process, where claude-agent-sdk and the Claude Code CLI live.

It serves one link: it takes messages as they come and runs turns one after another. It ends when
the link does, which is when its kernel does, and takes the CLI with it. It keeps nothing that the
kernel
needs: if it dies, another one resumes. It is started by ``python -m familiar_kernel.familiar``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import uuid
import warnings
from dataclasses import replace
from importlib.metadata import version
from typing import Any, NoReturn
from urllib.parse import urlsplit

import psutil
from claude_agent_sdk import CanUseToolShadowedWarning

from .auth import child_environment, cli_version, sign_in_state
from .cli_path import find_cli
from .errors import Trouble, TroubleError
from .options import Settings
from .protocol import (
    Ask,
    Call,
    CallResult,
    Configure,
    HostFailed,
    Interrupt,
    Message,
    Outcome,
    Prompt,
    ProtocolError,
    Ready,
    Reconnect,
    Reply,
    Reset,
    Start,
    ToolUsed,
    TurnFinished,
    TurnStarted,
    decode,
    encode,
)
from .rehearsing import Rehearsing
from .session import Session, kill_children
from .sessions import SessionFiles

log = logging.getLogger(__name__)

ORPHAN_POLL = 0.5
"""Seconds between two looks at whether the kernel lives. The link's end tells at once, but not when
a process that the user's code forked off still holds the kernel's end of the socket."""
MAX_LINK_LINE = 64 * 1024 * 1024
"""Bytes of the longest message that the kernel may send (prompts are bounded long before)."""


class Host:
    """Serves one link: reads messages, answers questions, and runs the turns in order."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: Start
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._start = start
        self._settings = Settings.from_dict(start.settings)
        self._session = Session(start.session_id, self._settings, self, exists=start.resume)
        self._queue: asyncio.Queue[Prompt | Reset | Reconnect | None] = asyncio.Queue()
        self._waiting: dict[str, Prompt] = {}
        self._calls: dict[str, asyncio.Future[CallResult]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._rehearsal: Rehearsing | None = None

    async def serve(self, kernel: int, serving: threading.Event) -> None:
        """Serve until the kernel closes the link or ends; sets ``serving`` once both are
        watched."""
        turns = asyncio.create_task(self._run_queue(), name="familiar-host-queue")
        orphaned = asyncio.create_task(_parent_ended(kernel), name="familiar-host-parent")
        reading = asyncio.create_task(self._read_link(), name="familiar-host-link")
        serving.set()
        try:
            done, _ = await asyncio.wait(
                {turns, orphaned, reading}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
        finally:
            for task in (turns, orphaned, reading, *self._background):
                task.cancel()
            await self._close()

    async def _close(self) -> None:
        await self._session.disconnect()
        kill_children()
        if self._rehearsal is not None:
            self._rehearsal.close()

    def send(self, message: Message) -> None:
        """Put a message on the link. One that finds the kernel gone is dropped: the host is about
        to end."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    # -- reading --

    async def _read_link(self) -> None:
        while line := await self._reader.readline():
            message = decode(line)
            match message:
                case Prompt():
                    self._waiting[message.turn] = message
                    self._queue.put_nowait(message)
                case Interrupt(turn=turn):
                    self._interrupt(turn)
                case Configure(settings=changes):
                    # Replaced, never changed in place: a turn under way keeps what it began with.
                    self._settings = Settings.from_dict({**vars(self._settings), **changes})
                    self._session.settings = self._settings
                case Reset() | Reconnect():
                    self._queue.put_nowait(message)
                case CallResult():
                    called = self._calls.get(message.id)
                    if called is not None and not called.done():
                        called.set_result(message)
                case Ask():
                    self._spawn(self._answer(message))
                case _:
                    raise ProtocolError(f"a kernel does not send {type(message).__name__}")

    def _interrupt(self, turn: str) -> None:
        prompt = self._waiting.pop(turn, None)
        if prompt is not None:
            self.send(self._not_begun(prompt, "stopped"))
        else:
            self._session.stop(turn)

    def _not_begun(
        self, prompt: Prompt, outcome: Outcome, trouble: Trouble | None = None
    ) -> TurnFinished:
        """Return the end of a turn that never came to Claude."""
        return TurnFinished(
            prompt.turn,
            outcome,
            error=trouble.as_dict() if trouble else None,
            number=prompt.number,
            session_id=self._session.session_id,
            rehearsal=bool(self._start.settings.get("rehearsal")),
        )

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- tools --

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Have the kernel serve a tool, and return an MCP tool result.

        There is no time limit: what a tool runs may take hours. The CLI cancels it when its turn is
        stopped.
        """
        turn = self._session.serving
        if turn is None:
            return _told("No cell waits for an answer now, so nobody serves this tool.", True)
        identifier = str(uuid.uuid4())
        self._calls[identifier] = asyncio.get_running_loop().create_future()
        self.send(Call(turn, identifier, name, arguments))
        try:
            result = await self._calls[identifier]
        finally:
            del self._calls[identifier]
        return {"content": result.content, "is_error": result.failed}

    def note_use(self, tool: str, tool_input: dict[str, Any], mode: str) -> None:
        """Tell the kernel of a tool that was used without asking."""
        if turn := self._session.serving:
            self.send(ToolUsed(turn, tool, tool_input, mode))

    # -- turns --

    async def _run_queue(self) -> None:
        try:
            await self._prepare()
        except TroubleError as err:
            await self._refuse_all(err.trouble)
            return
        await self._connect_quietly()
        self.send(Ready(self._facts()))
        while True:
            match await self._queue.get():
                case Prompt() as prompt if self._waiting.pop(prompt.turn, None):
                    self.send(TurnStarted(prompt.turn))
                    self.send(await self._session.run(prompt, self.send))
                case Reset(session_id=session_id, resume=exists):
                    await self._session.disconnect()
                    rehearsal = self._rehearsal is not None
                    self._session = Session(
                        session_id, self._settings, self, exists=exists, rehearsal=rehearsal
                    )
                    await self._connect_quietly()
                case Reconnect():
                    await self._session.disconnect()
                    await self._connect_quietly()

    async def _refuse_all(self, trouble: Trouble) -> None:
        """Serve nobody, and say why: what is missing is missing until the kernel is started
        otherwise."""
        self.send(HostFailed(trouble.as_dict()))
        self.send(Ready({"pid": os.getpid(), "connected": False}))
        while True:
            prompt = await self._queue.get()
            if isinstance(prompt, Prompt):
                self._waiting.pop(prompt.turn, None)
                self.send(self._not_begun(prompt, "failed", trouble))

    async def _connect_quietly(self) -> None:
        """Connect; a failure is told for the status, and the next prompt tries again."""
        try:
            await self._session.connect()
        except TroubleError as err:
            self.send(HostFailed(err.trouble.as_dict()))
            # Who has waited for it has waited long enough; later prompts try again.
            for prompt in list(self._waiting.values()):
                del self._waiting[prompt.turn]
                self.send(self._not_begun(prompt, "failed", err.trouble))

    async def _prepare(self) -> None:
        """Find the CLI and, where it is wanted, start the rehearsal; nothing is connected yet."""
        wanted = self._start.settings
        env = dict(self._settings.env)
        if wanted.get("rehearsal"):
            script = str(wanted.get("rehearsal_script") or "")
            self._rehearsal = rehearsing = Rehearsing(script, wanted.get("state_dir"))
            env |= await rehearsing.start()
            self._session.rehearsal = True
        cli = str(find_cli(self._settings.cli_path) or "")
        if "CLAUDE_CONFIG_DIR" in env:
            # The SDK looks for sessions on disk where this process's own environment says.
            os.environ["CLAUDE_CONFIG_DIR"] = env["CLAUDE_CONFIG_DIR"]
        self._settings = replace(self._settings, cli_path=cli, env=env)
        self._session.settings = self._settings

    # -- questions --

    async def _answer(self, ask: Ask) -> None:
        try:
            async with asyncio.timeout(20):
                value = await self._answered(ask)
        except (TimeoutError, TroubleError, OSError, ValueError) as err:
            value = {"error": str(err) or type(err).__name__}
        except Exception as err:
            # The SDK raises plain Exception when the CLI does not answer a question.
            log.warning("could not answer %s", ask.what, exc_info=True)
            value = {"error": str(err)}
        self.send(Reply(ask.id, value))

    async def _answered(self, ask: Ask) -> dict[str, Any]:
        files = SessionFiles(self._settings.cwd or os.getcwd())
        session_id = str(ask.arguments.get("session_id", ""))
        match ask.what:
            case "status":
                return await self._status()
            case "auth":
                return await self._sign_in()
            case "sessions":
                return await asyncio.to_thread(files.listed)
            case "messages":
                return await asyncio.to_thread(files.messages, session_id)
            case "fork":
                return await asyncio.to_thread(files.fork, session_id)

    async def _sign_in(self) -> dict[str, Any]:
        env = self._settings.cli_env()
        return await asyncio.to_thread(sign_in_state, self._settings.cli_path, env)

    async def _status(self) -> dict[str, Any]:
        return {
            **self._facts(),
            "cli_version": await asyncio.to_thread(cli_version, self._settings.cli_path),
            "sign_in": await self._sign_in(),
            "context": await self._session.context_usage(),
            "memory": _memory(),
        }

    def _facts(self) -> dict[str, Any]:
        env = child_environment(self._settings.cli_env())
        return {
            "pid": os.getpid(),
            "sdk": version("claude-agent-sdk"),
            "cli": self._settings.cli_path,
            "endpoint": _shown(env.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"),
            "rehearsal": self._rehearsal is not None,
            "connected": self._session.connected,
            "python": sys.executable,
        }


def _shown(address: str) -> str:
    """Return an address without the name, password and query that it may hold."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an address that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def _told(text: str, failed: bool) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "is_error": failed}


def _memory() -> int:
    """Return the bytes of memory that the host and everything below it hold."""
    me = psutil.Process()
    total = 0
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


async def _parent_ended(parent: int) -> None:
    while os.getppid() == parent:
        await asyncio.sleep(ORPHAN_POLL)


async def _main(fd: int, kernel: int, serving: threading.Event) -> None:
    reader, writer = await asyncio.open_connection(
        sock=socket.socket(fileno=fd), limit=MAX_LINK_LINE
    )
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for signum in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, task.cancel)
    with contextlib.suppress(asyncio.CancelledError, ConnectionResetError, BrokenPipeError):
        if line := await reader.readline():
            start = decode(line)
            if not isinstance(start, Start):
                raise ProtocolError(f"the link begins with Start, not {type(start).__name__}")
            await Host(reader, writer, start).serve(kernel, serving)


def main(fd: int, kernel: int, serving: threading.Event) -> NoReturn:
    """Run a host to its end, which is the end of this process.

    Args:
        fd: the descriptor of the link's socket.
        kernel: the process whose host this is.
        serving: set as soon as the host watches the kernel's life itself.
    """
    # What the SDK logs of a CLI that failed, the turn's trouble says already.
    logging.getLogger("claude_agent_sdk").setLevel(logging.CRITICAL)
    # The tools that only look are allowed without a question, which it takes for an oversight.
    warnings.filterwarnings("ignore", category=CanUseToolShadowedWarning)
    level = os.environ.get("FAMILIAR_LOG_LEVEL", "WARNING").upper()
    logging.basicConfig(level=level, stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the kernel alone
    asyncio.run(_main(fd, kernel, serving))
    # All that had to be closed is closed. Taking the SDK's modules down in order takes a third of a
    # second, in which a kernel that is gone would still seem to have a familiar.
    sys.stderr.flush()
    os._exit(0)
