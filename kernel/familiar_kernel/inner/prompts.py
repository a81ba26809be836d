"""The ways to talk, in a sandbox: asked of the outer kernel, which holds the familiar.

Each of them sends what was asked and waits; the answer is shown by the outer kernel. They differ in
how they wait, as those of a kernel on the host do (:mod:`familiar_kernel.prompts`).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.error import UsageError

from familiar_kernel.answer.record import Answer
from familiar_kernel.exceptions import AskTypeError, AskValueError, FamiliarError, TurnStopped
from familiar_kernel.familiar.errors import CLAUDES_OWN, FORKED, Trouble
from familiar_kernel.familiar.inbox import Inbox
from familiar_kernel.namespace.execution import CodeStopped
from familiar_kernel.waiting import SIGNAL_POLL, interrupts_taken
from familiar_kernel.ways import Ways

if TYPE_CHECKING:
    from .bridge import Bridge, Message
    from .kernel import InnerKernel
    from .server import Server

STOP_DEADLINE = 5.0
"""Seconds after Stop in which the outer kernel ends a turn; it needs half a one."""
NO_END = Trouble(
    "lost",
    "The turn was stopped, but the outer kernel has not confirmed it.",
    "Go on; if it happens again, restart the kernel.",
)


class Asked:
    """Something that was asked of the outer kernel, and is waited for."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.inbox = Inbox()
        self.done: Future[Message] = Future()


class InnerPrompts(Ways):
    """The ways to talk to the familiar outside; the shell knows it as ``get_ipython().familiar``.

    Args:
        kernel: the inner kernel.
        bridge: leads to the outer one.
        server: serves what is asked meanwhile.
        session_id: the familiar's session.
    """

    def __init__(
        self, kernel: InnerKernel, bridge: Bridge, server: Server, session_id: str
    ) -> None:
        self._kernel = kernel
        self._bridge = bridge
        self._server = server
        self._session_id = session_id
        self._numbers = itertools.count(1)
        self._asked: dict[int, Asked] = {}

    def enter_namespace(self, session_id: str = "") -> None:
        """Put ``ask`` and ``CLAUDE_SESSION_ID`` into the user's namespace, where ``%who`` does not
        list them."""
        self._session_id = session_id or self._session_id
        shell = self._kernel.shell
        names = {"ask": self.ask, "CLAUDE_SESSION_ID": self._session_id}
        shell.user_ns.update(names)
        shell.user_ns_hidden.update(names)

    @property
    def serving(self) -> bool:
        """Whether the code that runs here is Claude's own."""
        return self._server.serving

    def finish(self, message: Message) -> None:
        """Take the end of something that was asked. Called in the bridge's thread."""
        asked = self._asked.pop(message["id"], None)
        if asked is not None:
            asked.done.set_result(message)
            asked.inbox.put(None)

    # -- the ways to talk --

    def _ask(self, text: str, options: dict[str, Any]) -> Answer:
        answer: Answer = self.blocking({"kind": "ask", "text": text, "options": options})
        return answer

    def prompt_line(self, raw: str) -> Any:
        """Run a prompt of a cell, given as it was typed after ``%claude``; None where only usage
        was shown."""
        return self.blocking({"kind": "prompt", "text": raw})

    async def prompt_cell(self, raw: str) -> None:
        """Run the prompt that a whole cell is, given as it was typed after ``%claude`` or
        ``%%claude``."""
        asked = self._new()
        loop, come = asyncio.get_running_loop(), asyncio.Event()
        asked.inbox.listen(lambda: loop.call_soon_threadsafe(come.set))
        with self._server.waiting(asked.id, asked.inbox):
            self._send(asked, {"kind": "prompt", "text": raw})
            try:
                while not asked.done.done():
                    await come.wait()
                    come.clear()
                    for call in asked.inbox.drain():
                        await self._server.serve_awaiting(call)  # type: ignore[arg-type]
            except (asyncio.CancelledError, CodeStopped):
                self._stop(asked)
                until = time.monotonic() + STOP_DEADLINE
                while not asked.done.done() and time.monotonic() < until:
                    with suppress(asyncio.CancelledError, TimeoutError):
                        await asyncio.wait_for(come.wait(), SIGNAL_POLL)
                    come.clear()
                raise self._stopped(asked) from None
        self._value(asked)

    def command(self, name: str, rest: str) -> None:
        """Run a command, such as ``claude_status``."""
        self.blocking({"kind": "command", "name": name, "text": rest})

    def blocking(self, message: Message) -> Any:
        """Ask the outer kernel something, and wait for what comes of it.

        Raises:
            FamiliarError: it failed.
            KeyboardInterrupt: it was stopped.
        """
        with interrupts_taken(came=self._kernel.interrupted) as interrupts:
            asked = self._new()
            until: list[float] = []

            def stop() -> None:
                until.append(time.monotonic() + STOP_DEADLINE)
                self._stop(asked)

            with self._server.waiting(asked.id, asked.inbox):
                self._send(asked, message)
                interrupts.call(stop)
                while not asked.done.done():
                    call = asked.inbox.get(SIGNAL_POLL)
                    if call is not None and not interrupts.came:
                        try:
                            self._server.serve(call)  # type: ignore[arg-type]
                        except CodeStopped:
                            interrupts.take()
                    if until and time.monotonic() > until[0]:
                        raise FamiliarError(NO_END)
        value = self._value(asked)
        if interrupts.came:  # too late to stop this one, but a loop around it is to end
            raise TurnStopped(value if isinstance(value, Answer) else None)
        return value

    # -- asking --

    def _new(self) -> Asked:
        if self.serving:
            raise FamiliarError(CLAUDES_OWN)
        if os.getpid() != self._bridge.pid:
            raise FamiliarError(FORKED)
        asked = Asked(next(self._numbers))
        self._asked[asked.id] = asked
        return asked

    def _send(self, asked: Asked, message: Message) -> None:
        thread = threading.current_thread()
        publisher = self._kernel.shell.display_pub
        self._bridge.send(
            {
                **message,
                "type": "ask",
                "id": asked.id,
                "cell": self._kernel.cell,
                "main": thread is threading.main_thread(),
                "acts": thread is threading.main_thread() or thread.name.startswith("subshell-"),
                "captured": isinstance(publisher, CapturingDisplayPublisher)
                or bool(getattr(publisher, "_hooks", None)),
                "mark": self._server.mark(),
            }
        )

    def _stop(self, asked: Asked) -> None:
        self._bridge.send({"type": "stop", "id": asked.id})

    def _stopped(self, asked: Asked) -> BaseException:
        """Return what a stopped prompt raises."""
        if not asked.done.done():
            return FamiliarError(NO_END)
        answer = asked.done.result().get("answer")
        return TurnStopped(self._answer(answer) if answer else None)

    # -- what came of it --

    def _value(self, asked: Asked) -> Any:
        message = asked.done.result()
        for data, metadata in message.get("shows", ()):
            self._kernel.shell.display_pub.publish(data, metadata)
        answer = self._answer(message["answer"]) if message.get("answer") else None
        error = message.get("error")
        if error:
            raise self._error(error, answer)
        if message.get("turn"):
            return InnerBackgroundTurn(self, message["turn"])
        return message.get("value", answer)

    def _answer(self, fields: dict[str, Any]) -> Answer:
        kernel, asked_in = self._kernel, self._kernel.cell
        shown = fields.pop("on_show", True)
        return Answer(**fields, _is_on_show=(lambda: kernel.cell == asked_in) if shown else None)

    @staticmethod
    def _error(error: Message, answer: Answer | None) -> BaseException:
        kind, text = error["kind"], error.get("text", "")
        simple: dict[str, type[BaseException]] = {
            "usage": UsageError,
            "type": AskTypeError,
            "value": AskValueError,
            "interrupted": KeyboardInterrupt,
        }
        if kind in simple:
            return simple[kind](text)
        if kind == "stopped":
            return TurnStopped(answer)
        return FamiliarError(Trouble.from_dict(error["trouble"]), answer)


class InnerBackgroundTurn:
    """A turn that runs in the background; see :class:`familiar_kernel.background.BackgroundTurn`.

    Attributes:
        number: which turn of the session it is.
    """

    def __init__(self, prompts: InnerPrompts, number: int) -> None:
        self._prompts = prompts
        self.number = number

    def _told(self, what: str, **arguments: Any) -> Any:
        return self._prompts.blocking(
            {"kind": "turn", "number": self.number, "what": what, "options": arguments}
        )

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return bool(self._told("done"))

    @property
    def answer(self) -> Answer | None:
        """The answer, or None as long as the turn goes on."""
        answer: Answer | None = self._told("answer")
        return answer

    @property
    def state(self) -> str:
        """How it stands, in a few words."""
        return str(self._told("state"))

    @property
    def prompt(self) -> str:
        """What was asked."""
        return str(self._told("prompt"))

    @property
    def cost_usd(self) -> float | None:
        """What it cost, as far as known."""
        cost: float | None = self._told("cost_usd")
        return cost

    @property
    def error(self) -> str | None:
        """Why it failed and what to do, or None."""
        error: str | None = self._told("error")
        return error

    def wait(self, timeout: float | None = None) -> Answer | None:
        """Wait for it, serving what it needs of this cell; return the answer.

        Args:
            timeout: seconds after which None is returned; None: as long as it takes.
        """
        answer: Answer | None = self._told("wait", timeout=timeout)
        return answer

    def stop(self) -> None:
        """End it; the text so far is kept."""
        self._told("stop")

    def __repr__(self) -> str:
        return str(self._told("repr"))
