"""What the sandbox asks of the outer kernel: prompts, ``ask``, commands; and what is asked of it.

Each is run in a thread of its own, by the same code as in a kernel on the host, with the client's
own request in hand. What comes from the sandbox may be anybody's doing. A prompt may say anything:
the familiar acts in the sandbox only. A command may change what holds outside, so it is run only if
it stands in the cell that the person ran, which the outer kernel has from the front end itself.
"""

from __future__ import annotations

import logging
import re
import threading
from concurrent.futures import Future
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from familiar_kernel.answer.record import Answer
from familiar_kernel.background import BackgroundTurn, acting_for
from familiar_kernel.commands import COMMANDS
from familiar_kernel.exceptions import FamiliarError, TurnStopped, wrapped
from familiar_kernel.familiar.errors import Trouble
from familiar_kernel.namespace.errors import ProbeError
from familiar_kernel.namespace.execution import CodeStopped
from familiar_kernel.waiting import Interrupts

if TYPE_CHECKING:
    from .forwarder import Request
    from .kernel import SandboxedKernel

log = logging.getLogger(__name__)

MOST = 64
"""Asks at once."""
GONE = "The sandbox has ended."
NO_CELL = Trouble(
    "no_cell",
    "No cell is running that this prompt belongs to.",
    "Ask from a cell, not from code that goes on after it.",
)
NOT_WRITTEN = (
    "in a sandbox %{name} must stand on a line of its own in the cell that you run: code in it "
    "cannot give commands"
)
TURN_FACTS = ("done", "answer", "state", "prompt", "cost_usd", "error")
_POLL = 0.1

_in_hand: ContextVar[Ask | None] = ContextVar("familiar_ask", default=None)


class Ask:
    """One thing that the sandbox asks.

    Attributes:
        id: its number there.
        request: the client's request in whose cell it was asked.
        main: whether it keeps the inner kernel's main thread.
        acts: whether the thread that waits there runs cells.
        captured: whether somebody captures what the cell shows.
        shows: what the cell is to show itself, where that is captured.
        interrupts: the person's Stop.
    """

    def __init__(self, message: dict[str, Any], request: Request) -> None:
        self.id: int = message["id"]
        self.request = request
        self.main = message.get("main") is True
        self.acts = message.get("acts") is True
        self.captured = message.get("captured") is True
        self.shows: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.interrupts = Interrupts()


class Asks:
    """Serves what one inner kernel asks, and calls it."""

    def __init__(self, kernel: SandboxedKernel) -> None:
        self._kernel = kernel
        self._lock = threading.Lock()
        self._asks: dict[int, Ask] = {}
        self._calls: dict[int, Future[Any]] = {}
        self._tasks: dict[int, BackgroundTurn | None] = {}
        """Of each call, the turn in the background that it is for."""
        self._numbers = count(1)
        self._inner = 0
        """Which of the inner kernels, one after the other, is there."""

    @property
    def in_hand(self) -> Ask | None:
        """The ask that this thread serves."""
        return _in_hand.get()

    @property
    def keeps_main_thread(self) -> bool:
        """Whether the inner kernel's main thread waits for an ask."""
        with self._lock:
            return any(ask.main for ask in self._asks.values())

    def interrupted(self) -> bool:
        """Whether the person has stopped what this thread serves."""
        ask = self.in_hand
        return ask is not None and ask.interrupts.came

    # -- from the sandbox --

    def take(self, message: dict[str, Any]) -> None:
        """Take a message. Called in the bridge's thread."""
        kind = message.get("type")
        if kind == "ask":
            inner = self._inner
            self._kernel.forwarder.marks.when(
                int(message["mark"]), lambda: self._begin(message, inner)
            )
        elif kind == "stop":
            with self._lock:
                ask = self._asks.get(message["id"])
            if ask is not None:
                ask.interrupts.take()
        elif kind == "begin":
            with self._lock:
                task = self._tasks.get(message["call"])
                there = message["call"] in self._calls
            # It may have been stopped while its call waited for the cell that ran.
            goes_on = there and (task is None or task.goes_on)
            self._kernel.send_inside({"type": "go", "call": message["call"], "on": goes_on})
        elif kind == "result":
            if message.get("mark") is not None:
                self._kernel.forwarder.marks.when(
                    int(message["mark"]), lambda: self._resolve(message)
                )
            else:
                self._resolve(message)

    def end(self) -> None:
        """The inner kernel has ended: nobody waits there any more, and nothing comes from it."""
        with self._lock:
            asks, calls = list(self._asks.values()), list(self._calls.values())
            self._asks.clear()
            self._calls.clear()
            self._tasks.clear()
            self._inner += 1
        for call in calls:
            if not call.done():
                call.set_exception(ProbeError(GONE))
        for ask in asks:
            ask.interrupts.take()

    def stop_outside_main_thread(self) -> None:
        """Stop what no signal reaches inside: the asks of subshells."""
        with self._lock:
            asks = [ask for ask in self._asks.values() if ask.acts and not ask.main]
        for ask in asks:
            ask.interrupts.take()

    def _begin(self, message: dict[str, Any], inner: int) -> None:
        number = message["id"]
        if inner != self._inner or not isinstance(number, int):
            return  # it was asked by one that has ended, or by none of ours
        request = self._kernel.forwarder.request(str(message.get("cell", "")))
        if request is None or request.kind != "execute_request":
            self._done(number, error=_trouble(FamiliarError(NO_CELL)))
            return
        ask = Ask(message, request)
        with self._lock:
            if len(self._asks) >= MOST or number in self._asks:
                self._done(number, error={"kind": "usage", "text": "too many prompts at once"})
                return
            self._asks[number] = ask
        name = "main" if ask.main else "subshell" if ask.acts else "thread"
        threading.Thread(
            target=self._serve, args=(ask, message), name=f"{name}-ask-{number}", daemon=True
        ).start()

    def _serve(self, ask: Ask, message: dict[str, Any]) -> None:
        kernel = self._kernel
        _in_hand.set(ask)
        kernel.take_in_hand((ask.request.identities, ask.request.parent))
        told: dict[str, Any]
        try:
            told = self._told(self._run(ask, message))
        except UsageError as err:
            told = {"error": {"kind": "usage", "text": str(err)}}
        except TypeError as err:
            log.warning("an ask was not understood", exc_info=True)
            told = {"error": {"kind": "type", "text": str(err)}}
        except ValueError as err:
            log.warning("an ask was not understood", exc_info=True)
            told = {"error": {"kind": "value", "text": str(err)}}
        except TurnStopped as err:
            told = {"error": {"kind": "stopped"}, **self._told(err.answer)}
        except KeyboardInterrupt:
            told = {"error": {"kind": "interrupted"}}
        except FamiliarError as err:
            told = {"error": _trouble(err), **self._told(err.answer)}
        except Exception as err:
            # The cell must not wait for ever for what failed here.
            log.exception("an ask of the sandbox failed")
            failed = Trouble("failed", "The outer kernel failed.", "Its log says more.", repr(err))
            told = {"error": _trouble(FamiliarError(failed))}
        with self._lock:
            waited_for = self._asks.get(ask.id) is ask
            if waited_for:
                del self._asks[ask.id]
        if waited_for:  # else another inner kernel is there by now, with numbers of its own
            self._done(ask.id, shows=ask.shows, **told)

    def _done(self, number: Any, **told: Any) -> None:
        self._kernel.send_inside({"type": "done", "id": number, **told})

    # -- running --

    def _run(self, ask: Ask, message: dict[str, Any]) -> Any:
        prompts = self._kernel.shell.familiar
        kind, text = message["kind"], str(message.get("text", ""))
        if kind == "prompt":
            return prompts.prompt_line(text)
        if kind == "ask":
            options = message.get("options") or {}
            known = ("model", "effort", "thinking", "context")
            return prompts.ask(text, **{k: options[k] for k in known if k in options})
        if kind == "command":
            return self._command(ask, str(message["name"]), text)
        if kind == "turn":
            return self._turn(message)
        raise ValueError(f"there is no {kind!r}")

    def _command(self, ask: Ask, name: str, rest: str) -> None:
        command = next((c for c in COMMANDS if c.name == name), None)
        if command is None:
            raise UsageError(f"there is no command %{name}")
        if not is_written(str(ask.request.content.get("code", "")), name, rest):
            raise UsageError("\n".join(wrapped(NOT_WRITTEN.format(name=name))))
        command.action(self._kernel, rest)

    def _turn(self, message: dict[str, Any]) -> Any:
        background = self._kernel.shell.familiar.background
        task = next((t for t in background.all() if t.number == message["number"]), None)
        if task is None:
            raise UsageError(f"there is no turn {message['number']} in the background any more")
        what = message["what"]
        if what in TURN_FACTS:
            return _Value(getattr(task, what))
        if what == "wait":
            timeout = (message.get("options") or {}).get("timeout")
            return _Value(task.wait(None if timeout is None else float(timeout)))
        if what == "stop":
            task.stop()
            return _Value(None)
        return _Value(repr(task))

    def _told(self, value: Any) -> dict[str, Any]:
        """Return what came of an ask, as it is sent."""
        if isinstance(value, _Value):
            if isinstance(value.value, Answer):
                return {"answer": {**_fields(value.value), "on_show": False}}
            return {"value": value.value}
        if isinstance(value, Answer):
            self._kernel.forwarder.know(value._data, value._metadata)
            return {"answer": _fields(value)}
        if isinstance(value, BackgroundTurn):
            return {"turn": value.number}
        return {}

    # -- calls --

    def call(self, name: str, arguments: dict[str, Any]) -> Future[Any]:
        """Send a call into the sandbox, for the cell in hand; see
        :class:`familiar_kernel.namespace.remote.Caller`."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            self._calls[number] = future
            self._tasks[number] = acting_for.get()
        ask = self.in_hand
        _, parent = self._kernel.request_in_hand()
        message = {
            "type": "call",
            "call": number,
            "ask": ask.id if ask is not None else None,
            "name": name,
            "arguments": arguments,
            "parent": {"header": _plain(parent["header"])} if parent.get("header") else None,
        }
        if not self._kernel.send_inside(message):
            with self._lock:
                self._calls.pop(number, None)
                self._tasks.pop(number, None)
            future.set_exception(ProbeError(GONE))
        return future

    def wait(self, future: Future[Any], timeout: float | None) -> Any:
        """Wait for a call's value.

        Raises:
            ProbeError: there is none, or not in time.
            CodeStopped: the person has stopped what this thread serves.
        """
        waited = 0.0
        while True:
            try:
                return future.result(_POLL)
            except TimeoutError:
                waited += _POLL
            if self.interrupted():
                raise CodeStopped
            if timeout is not None and waited >= timeout:
                raise ProbeError("The sandbox does not answer.")

    def _resolve(self, message: dict[str, Any]) -> None:
        with self._lock:
            future = self._calls.pop(message["call"], None)
            self._tasks.pop(message["call"], None)
        if future is None or future.done():
            return
        error = message.get("error")
        if not error:
            future.set_result(message.get("value"))
        elif error.get("kind") == "stopped":
            future.set_exception(CodeStopped())
        elif error.get("kind") == "arguments":
            future.set_exception(TypeError(str(error.get("text", ""))[:2000]))
        else:
            future.set_exception(ProbeError(str(error.get("text", ""))[:20_000]))


class _Value:
    """A value that is no prompt's own."""

    def __init__(self, value: Any) -> None:
        self.value = value


def is_written(code: str, name: str, rest: str) -> bool:
    """Return whether a command stands on a line of its own in a cell. Pure."""
    wanted = " ".join(f"%{name} {rest}".split())
    for line in code.split("\n"):
        line = " ".join(line.split())
        assigned = re.fullmatch(r"[\w.,\[\] ]+= " + re.escape(wanted), line)
        if assigned or line in (wanted, wanted[1:]):
            return True
    return False


def _trouble(error: FamiliarError) -> dict[str, Any]:
    return {"kind": "trouble", "trouble": error.trouble.as_dict()}


def _fields(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in vars(answer).items() if name != "_is_on_show"}


def _plain(header: dict[str, Any]) -> dict[str, Any]:
    """Return a header with dates as text."""
    return {k: v if isinstance(v, str | int | float | None) else str(v) for k, v in header.items()}
