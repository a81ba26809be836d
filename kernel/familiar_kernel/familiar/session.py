"""The Claude session of one host: one persistent client of claude-agent-sdk, kept alive across
turns.

A session is three things that fail apart from each other: the session on disk (made by the first
prompt, known by its UUID), the CLI's process, and the turn under way. :class:`Session` joins them:
a CLI that died, or that would not let go of a turn, is ended with all its children and the next
turn starts another, which resumes the session on disk. Settings that the CLI takes only at its
start (effort, thinking) are changed the same way.

Facts this rests on (claude-agent-sdk 0.2, CLI 2.1): an interrupt sent before the turn's ``init``
message is lost; ``--session-id`` of a session that exists is refused, as is ``--resume`` of one
that does not; prompts may carry a UUID, and results name the prompts they answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import psutil
from claude_agent_sdk import (
    ClaudeSDKClient,
    CLIConnectionError,
    CLINotFoundError,
    Message,
    ProcessError,
    ResultMessage,
    SystemMessage,
)

from . import errors
from .claude_settings import over_settings, persons_file
from .errors import Trouble, TroubleError
from .options import Settings, options
from .protocol import Prompt, ThinkingDelta, TurnEvent, TurnFinished
from .tools import Kernel
from .turn import TurnReader

log = logging.getLogger(__name__)

Emit = Callable[[TurnEvent], None]

STOP_DEADLINE = 2.0
"""Seconds that the CLI has to end an interrupted turn before it is ended itself."""
CLOSE_DEADLINE = 0.3
"""Seconds that the CLI has to leave after its standard input was closed (an idle one needs 0.03;
one in the middle of a turn goes on, and is ended)."""
STDERR_LINES = 40
"""How many of the CLI's last lines on stderr are kept for the details of a failure."""


class Session:
    """One Claude session.

    All its methods run in one asyncio task, the host's serving task, but for :meth:`stop` and
    :meth:`context_usage`.
    """

    def __init__(
        self,
        session_id: str,
        settings: Settings,
        kernel: Kernel,
        *,
        exists: bool,
        rehearsal: bool = False,
    ) -> None:
        self._kernel = kernel
        self.session_id = session_id
        self.settings = settings
        self.rehearsal = rehearsal
        self._exists = exists
        self._client: ClaudeSDKClient | None = None
        self._client_settings = settings
        self._cost_of_client = 0.0
        self._settings_file = ""
        self._budget_set: float | None = None
        self._spent_since = 0.0
        self._inbox: asyncio.Queue[Message | Exception | None] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._stopping: str | None = None
        self._serving: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- the CLI's life --

    @property
    def connected(self) -> bool:
        """Whether a CLI is up and its messages are being read."""
        return self._client is not None and self._pump is not None and not self._pump.done()

    async def connect(self, wanted: Settings | None = None) -> None:
        """Start the CLI, under ``--resume`` where the session exists and ``--session-id`` where it
        does not.

        Raises:
            TroubleError: there is no CLI, or it did not answer in time, or it refused both ways.
        """
        wanted = wanted or self.settings
        if self.connected and wanted.at_start() == self._client_settings.at_start():
            try:
                async with asyncio.timeout(STOP_DEADLINE):
                    await self._choose_model(wanted)
            except Exception as err:
                # The SDK raises plain Exception here. A new CLI gets the model at its start.
                log.info("the CLI did not take the model: %s", err)
            else:
                return
        await self.disconnect()
        # What is known of the session may be wrong in both directions (a first turn that was killed
        # leaves one behind; one that failed early leaves none), so a refusal is answered by trying
        # the other way once.
        for resume in (self._exists, not self._exists):
            try:
                await self._connect(wanted, resume=resume)
            except TroubleError as err:
                if not _is_about_the_session(err.trouble.details) or resume is not self._exists:
                    raise
                log.info("session %s: %s", self.session_id, err.trouble.details)
            else:
                self._exists = resume
                return

    async def _connect(self, wanted: Settings, *, resume: bool) -> None:
        self._stderr.clear()
        self._cost_of_client = 0.0
        self._inbox = asyncio.Queue()
        budget = wanted.budget_left
        if self.rehearsal or (wanted.endpoint and "claude" not in wanted.model):
            budget = None  # the CLI would count a price that it has made up
        if budget is not None:
            # It is what was left when it was set; turns have cost something since.
            if budget != self._budget_set:
                self._budget_set, self._spent_since = budget, 0.0
            budget = max(0.0001, budget - self._spent_since)
        client = ClaudeSDKClient(
            options(
                wanted,
                self.session_id,
                self._kernel,
                self._stderr.append,
                resume=resume,
                budget=budget,
                settings=self._over_settings(wanted),
            )
        )
        # Where it is late it is ended at once, or the SDK would wait for it another five seconds.
        late = time.monotonic() + wanted.start_timeout
        ender = asyncio.get_running_loop().call_later(wanted.start_timeout, kill_children)
        try:
            async with asyncio.timeout(wanted.start_timeout + 0.5):
                await client.connect()
                if resume and not wanted.model:
                    # A resumed session goes on with the model of its last turn, unless told
                    # otherwise.
                    await client.set_model(None)
        except CLINotFoundError as err:
            raise TroubleError(errors.NO_CLI.with_details(str(err))) from err
        except TimeoutError as err:
            kill_children()
            raise TroubleError(errors.LATE.with_details(self._stderr_text())) from err
        except Exception as err:
            # The SDK raises plain Exception for what the CLI reports while it starts.
            kill_children()
            details = f"{err}\n{self._stderr_text()}".strip()
            trouble = errors.NO_START if time.monotonic() < late else errors.LATE
            raise TroubleError(trouble.with_details(details)) from err
        finally:
            ender.cancel()
        self._client = client
        self._client_settings = wanted
        self._pump = asyncio.create_task(
            self._read(client, self._inbox), name="familiar-session-reader"
        )

    def _over_settings(self, wanted: Settings) -> str | None:
        """Return what goes over the person's settings files: as an argument, or, where it may
        hold a key, as the path of a file that nobody else can read."""
        text = persons_file() if wanted.sandboxed else None
        settings = over_settings(wanted, self.rehearsal, text)
        if settings is None or not (wanted.endpoint_key or text):
            return settings
        fd, self._settings_file = tempfile.mkstemp(prefix="familiar-", suffix=".json")  # 0600
        with os.fdopen(fd, "w") as file:
            file.write(settings)
        return self._settings_file

    def _forget_settings(self) -> None:
        if self._settings_file:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._settings_file)
            self._settings_file = ""

    async def disconnect(self) -> None:
        """End the CLI and every process that it started. The session on disk stays."""
        client, self._client = self._client, None
        pump, self._pump = self._pump, None
        self._forget_settings()
        if client is not None:
            try:
                async with asyncio.timeout(CLOSE_DEADLINE):
                    await client.disconnect()
            except TimeoutError:
                log.info("the CLI did not leave within %s s and is ended", CLOSE_DEADLINE)
            except Exception:
                log.warning("the SDK failed to close its client", exc_info=True)
            kill_children()
        if pump is not None:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump

    async def _choose_model(self, wanted: Settings) -> None:
        assert self._client is not None
        if wanted.model != self._client_settings.model:
            await self._client.set_model(wanted.model or None)
            self._client_settings = wanted

    @staticmethod
    async def _read(
        client: ClaudeSDKClient, inbox: asyncio.Queue[Message | Exception | None]
    ) -> None:
        """Move every message into the inbox; None or an exception at the end says that the CLI is
        gone."""
        try:
            async for message in client.receive_messages():
                inbox.put_nowait(message)
        except Exception as err:
            inbox.put_nowait(err)
        else:
            inbox.put_nowait(None)

    def _stderr_text(self) -> str:
        return "\n".join(self._stderr)

    # -- turns --

    @property
    def serving(self) -> str | None:
        """The turn under way."""
        return self._serving

    async def run(self, prompt: Prompt, emit: Emit) -> TurnFinished:
        """Run one turn to its end, sending its events to ``emit``; the returned event is the last
        one.

        Never raises for what Claude, the CLI or the endpoint do: that is the outcome ``failed``.
        """
        began = time.monotonic()
        reader = TurnReader(prompt.turn)
        self._serving = prompt.turn
        trouble: Trouble | None = None
        try:
            chosen = {k: v for k, v in prompt.options.items() if k != "command"}
            wanted = replace(self.settings, **chosen)
            if not wanted.thinking:
                emit = _without_thinking(emit)
            await self.connect(wanted)
            try:
                await self._query(prompt)
                await self._read_turn(reader, prompt, emit)
            except _DiedBeforeError:
                # The CLI had died before the prompt reached it: another one takes the turn.
                await self.connect(wanted)
                await self._query(prompt)
                await self._read_turn(reader, prompt, emit)
        except TroubleError as err:
            trouble = err.trouble
        finally:
            stopped = self._stopping == prompt.turn
            self._serving = self._stopping = None
        if not stopped and not reader.stopped() and trouble is None:
            trouble = reader.trouble(self._stderr_text())
        rehearsal = self.rehearsal or reader.model.startswith("rehearsal")
        cost = self._count_cost(reader.result)
        return TurnFinished(
            turn=prompt.turn,
            outcome="stopped"
            if stopped or reader.stopped()
            else "failed"
            if trouble
            else "complete",
            error=trouble.as_dict() if trouble and not stopped else None,
            number=prompt.number,
            session_id=self.session_id,
            model=reader.model,
            usage=_tokens(reader.result),
            # The CLI computes a price for whatever answers. A rehearsal costs nothing, and what
            # another model costs it cannot know.
            cost_usd=None if rehearsal or "claude" not in reader.model else cost,
            seconds=round(time.monotonic() - began, 3),
            rehearsal=rehearsal,
            thought=reader.thought,
            endpoint=self._client_settings.endpoint,
        )

    async def _query(self, prompt: Prompt) -> None:
        assert self._client is not None
        while (
            not self._inbox.empty()
        ):  # of turns that nobody asked for, such as a background task's
            self._inbox.get_nowait()

        async def once() -> AsyncIterator[dict[str, Any]]:
            message: dict[str, Any] = {
                "type": "user",
                "message": {"role": "user", "content": _content(prompt)},
                "parent_tool_use_id": None,
                "uuid": prompt.turn,
            }
            is_command = prompt.options.get("command", False)
            if not is_command and ("@" in prompt.text or prompt.text.lstrip().startswith("/")):
                # A prompt is literal: no slash command, no file read because of an "@path" in it.
                # Only where it matters, since the CLI leaves its own context (CLAUDE.md, skills)
                # out of such a message.
                message["client_composed"] = True
            yield message

        try:
            await self._client.query(once())
        except CLIConnectionError as err:
            await self.disconnect()
            raise _DiedBeforeError(self._died(err)) from err
        self._exists = True

    async def _read_turn(self, reader: TurnReader, prompt: Prompt, emit: Emit) -> None:
        begun = asked_to_stop = False
        deadline: float | None = None
        while reader.result is None:
            if self._stopping == prompt.turn:
                deadline = deadline or time.monotonic() + STOP_DEADLINE
                if begun and not asked_to_stop:
                    asked_to_stop = True
                    self._send_interrupt()
            try:
                async with asyncio.timeout(
                    None if deadline is None else max(0.0, deadline - time.monotonic())
                ):
                    message = await self._inbox.get()
            except TimeoutError:
                log.info("turn %s would not stop: its CLI is ended", prompt.turn)
                await self.disconnect()
                return
            if isinstance(message, _StopMark):
                continue
            if message is None or isinstance(message, Exception):
                await self.disconnect()
                # With nothing of the turn there, the prompt has not been taken.
                died = TroubleError if begun else _DiedBeforeError
                raise died(self._died(message)) from message
            if isinstance(message, SystemMessage):
                begun = begun or message.subtype == "init"
                if _refuses_the_sign_in(message):
                    self._send_interrupt()
                    await self._drain()
                    raise TroubleError(errors.NOT_SIGNED_IN.with_details(self._stderr_text()))
            if isinstance(message, ResultMessage) and not _answers(message, prompt.turn):
                continue
            for event in reader.feed(message):
                emit(event)

    def _died(self, why: Exception | None) -> Trouble:
        how = f"exit code {why.exit_code}" if isinstance(why, ProcessError) else str(why or "")
        return errors.CLI_DIED.with_details(f"{how}\n{self._stderr_text()}")

    async def _drain(self) -> None:
        """Read on to the end of a turn that is given up; a CLI that does not end it is ended."""
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                while not isinstance(message := await self._inbox.get(), ResultMessage):
                    if message is None or isinstance(message, Exception):
                        break
                else:
                    return
        except TimeoutError:
            pass
        await self.disconnect()

    def stop(self, turn: str) -> None:
        """Ask for the end of the turn under way. Returns at once; :meth:`run` returns soon
        after."""
        if self._serving == turn:
            self._stopping = turn
            self._inbox.put_nowait(_StopMark())

    def _send_interrupt(self) -> None:
        client = self._client
        assert client is not None

        async def interrupt() -> None:
            try:
                async with asyncio.timeout(STOP_DEADLINE):
                    await client.interrupt()
            except Exception as err:
                # Whatever it was, the deadline in _read_turn ends the CLI if the turn goes on.
                log.info("the interrupt was not taken: %s", err)

        task = asyncio.create_task(interrupt(), name="familiar-interrupt")
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)

    def _count_cost(self, result: ResultMessage | None) -> float | None:
        """Return what the turn cost: the CLI reports the sum over its own life."""
        if result is None or result.total_cost_usd is None:
            return None
        cost = max(0.0, result.total_cost_usd - self._cost_of_client)
        self._cost_of_client = result.total_cost_usd
        self._spent_since += cost
        return cost

    # -- questions about the session --

    async def context_usage(self) -> dict[str, Any]:
        """Return how much of the model's context is used: ``tokens``, ``most``, ``percent``,
        ``model``."""
        if not self.connected or self._client is None:
            return {}
        usage = await self._client.get_context_usage()
        return {
            "tokens": usage.get("totalTokens", 0),
            "most": usage.get("maxTokens", 0),
            "percent": usage.get("percentage", 0),
            "model": usage.get("model", ""),
        }


def _content(prompt: Prompt) -> str | list[dict[str, str]]:
    if not prompt.context:
        return prompt.text
    return [{"type": "text", "text": text} for text in (prompt.context, prompt.text)]


class _DiedBeforeError(TroubleError):
    """The CLI was dead before it took the prompt, so that another one may be given it."""


def _without_thinking(emit: Emit) -> Emit:
    """Return ``emit`` without Claude's thinking: some models think also when told not to."""

    def without(event: TurnEvent) -> None:
        if not isinstance(event, ThinkingDelta):
            emit(event)

    return without


class _StopMark(Exception):
    """Put into the inbox to wake the reader of a turn that is to stop."""


def _answers(result: ResultMessage, turn: str) -> bool:
    """Whether a result belongs to the turn; results of turns that nobody asked for name another or
    an origin."""
    if result.user_message_uuids:
        return turn in result.user_message_uuids
    return result.user_message_uuid in (None, turn) and result.origin is None


def _refuses_the_sign_in(message: SystemMessage) -> bool:
    """Whether the CLI is about to try a refused sign-in a third time: it would go on for
    minutes."""
    data = message.data
    return (
        message.subtype == "api_retry"
        and data.get("error") == "authentication_failed"
        and int(data.get("attempt") or 0) > 1
    )


def _is_about_the_session(details: str) -> bool:
    text = details.lower()
    return (
        "already in use" in text
        or "no conversation found" in text
        or ("session" in text and "not found" in text)
    )


def _tokens(result: ResultMessage | None) -> dict[str, int]:
    usage = (result.usage if result else None) or {}
    names = (
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    )
    tokens = {name: int(usage[name]) for name in names if isinstance(usage.get(name), int)}
    # Of a turn that was stopped the CLI reports noughts, which is to say that it does not know.
    return tokens if any(tokens.values()) else {}


def kill_children() -> None:
    """End every process below this one: the CLI, and the shells and servers that it started."""
    me = psutil.Process(os.getpid())
    for child in me.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
