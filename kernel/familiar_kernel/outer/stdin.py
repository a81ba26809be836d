"""Who asks the person: the outer kernel for Claude, or the code in the sandbox.

Both ask through one channel. The questions of the sandbox are labelled, so that none of them can
pass for the other kind.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zmq.eventloop.zmqstream import ZMQStream

from familiar_kernel.sandbox.forward import (
    Body,
    id_of,
    kind_of,
    read,
    sound_header,
    taken_apart,
    written,
)

if TYPE_CHECKING:
    from .forwarder import Forwarder
    from .kernel import SandboxedKernel

log = logging.getLogger(__name__)

LABEL = "[sandbox] "
LONGEST_PROMPT = 10_000
"""Characters of a question of the sandbox."""
_POLL = 0.1


class Stdin:
    """The stdin channel of a sandboxed kernel; its socket belongs to the control thread."""

    def __init__(self, kernel: SandboxedKernel, forwarder: Forwarder) -> None:
        self._kernel = kernel
        self._forwarder = forwarder
        self._loop = kernel.control_thread.io_loop
        self._stream: ZMQStream | None = None
        self._lock = threading.Lock()
        self._waiting: list[_Asked] = []
        """What has been asked and not answered, oldest first."""
        self._held: list[tuple[list[bytes], Body, _Asked]] = []
        """Questions of the sandbox that wait until one of ours is answered."""
        self._doubtful = False
        """Whether the next answer that does not say what it is for may be for another question."""

    def open(self) -> None:
        """Begin to take answers."""
        self._loop.add_callback(self._open)

    def _open(self) -> None:
        self._stream = ZMQStream(self._kernel.stdin_socket, self._loop)
        self._stream.on_recv(self._from_client)

    # -- our own questions --

    def ask(self, prompt: str, identity: Any, parent: dict[str, Any], password: bool) -> str:
        """Ask the person, blocking; an interrupt of the turn in hand ends it.

        Raises:
            KeyboardInterrupt: it was interrupted.
            EOFError: they ended the input.
        """
        answer: Future[str] = Future()
        self._loop.add_callback(self._send, prompt, identity, parent, password, answer)
        interrupted = self._kernel.asks.interrupted
        while True:
            if interrupted():
                self._forget(answer)
                raise KeyboardInterrupt("Interrupted by user")
            try:
                value = answer.result(_POLL)
            except TimeoutError:
                continue
            if value == "\x04":
                raise EOFError
            return value

    def _send(
        self, prompt: str, identity: Any, parent: dict[str, Any], password: bool, answer: Any
    ) -> None:
        content = {"prompt": prompt, "password": password}
        session = self._kernel.session
        assert session is not None
        message = session.msg("input_request", content, parent)

        def again() -> None:
            session.send(self._stream, message, ident=identity)

        with self._lock:
            # What is typed now may be meant for a question of the sandbox that stands there, too.
            kept = [one for one in self._waiting if one.answer is not None]
            self._doubtful |= len(kept) < len(self._waiting)
            self._waiting = [
                *kept,
                _Asked(message["msg_id"], id_of(parent["header"]), answer, again),
            ]
        again()

    def _forget(self, answer: Future[str]) -> None:
        with self._lock:
            self._waiting = [one for one in self._waiting if one.answer is not answer]
        self._loop.add_callback(self._release)

    def _release(self) -> None:
        """Pass on what the sandbox has asked meanwhile, once no question of ours stands there."""
        with self._lock:
            if any(one.answer is not None for one in self._waiting):
                return
            self._doubtful = False
            held, self._held = self._held, []
            self._waiting += [asked for _, _, asked in held]
        for identities, body, _ in held:
            self._to_client(identities, body)

    # -- the sandbox's --

    def from_inner(self, frames: list[bytes]) -> None:
        """Pass a question of the sandbox's on."""
        try:
            _, body = taken_apart(frames)
            header, parent, content = read(body.header), read(body.parent), read(body.content)
            sound = sound_header(header)
        except ValueError:
            log.warning("the sandbox sent no message on stdin")
            return
        request = self._forwarder.request(id_of(parent))
        if kind_of(header) != "input_request" or request is None or not request.allow_stdin:
            return
        asked = {
            "prompt": (LABEL + str(content.get("prompt", "")))[:LONGEST_PROMPT],
            "password": content.get("password") is True,
        }
        out = Body(sound, request.body.header, b"{}", written(asked))
        one = _Asked(id_of(header), request.id, None, _nothing)
        with self._lock:
            # One for each request: its code waits for the answer.
            self._waiting = [w for w in self._waiting if w.answer or w.request != request.id]
            self._held = [h for h in self._held if h[2].request != request.id]
            if any(w.answer is not None for w in self._waiting):
                self._held.append((request.identities, out, one))
                return
            self._waiting.append(one)
        self._to_client(request.identities, out)

    def _to_client(self, identities: list[bytes], body: Body) -> None:
        assert self._stream is not None
        self._stream.send_multipart(self._forwarder.signed(identities, body))

    def forget_request(self, request: str) -> None:
        """Forget what the code of a request has asked: it has been answered."""
        with self._lock:
            self._waiting = [w for w in self._waiting if w.answer or w.request != request]
            self._held = [h for h in self._held if h[2].request != request]

    def forget_questions(self) -> None:
        """Forget what the sandbox has asked: it was interrupted, or has ended."""
        with self._lock:
            self._waiting = [one for one in self._waiting if one.answer is not None]
            self._held.clear()

    # -- answers --

    def _from_client(self, frames: list[bytes]) -> None:
        session = self._kernel.session
        assert session is not None
        try:
            identities, rest = session.feed_identities(frames)
            message = session.deserialize(rest)
            body = Body(*rest[1:5])
        except Exception as err:  # what jupyter_client raises here is of many kinds
            log.warning("an answer could not be read: %s", err)
            return
        if message["msg_type"] != "input_reply":
            return
        whose = str(message["parent_header"].get("msg_id") or "")
        with self._lock:
            chosen = _meant(self._waiting, whose)
            if chosen is None:
                return  # a stale answer
            if not whose and self._doubtful:
                self._doubtful = False
                chosen.again()
                return
            self._waiting.remove(chosen)
        if chosen.answer is None:
            self._forwarder.to_inner("stdin", identities, body)
            return
        if not chosen.answer.done():
            chosen.answer.set_result(str(message["content"].get("value", "")))
        self._release()


@dataclass(eq=False)
class _Asked:
    """A question that is open.

    Attributes:
        id: the message's.
        request: the request's that it belongs to.
        answer: gets the answer, where it is ours; None stands for the sandbox.
        again: asks it once more.
    """

    id: str
    request: str
    answer: Future[str] | None
    again: Callable[[], None]


def _nothing() -> None:
    """Ask nothing: the sandbox asks by itself."""


def _meant(waiting: list[_Asked], whose: str) -> _Asked | None:
    """Return which of the questions an answer is for, or None where it is for none. Pure.

    Args:
        waiting: the open ones, those of one kind where the answer does not say.
        whose: what the answer says: the question's id, or its request's, or nothing.
    """
    if not whose:
        return waiting[-1] if waiting else None
    named = [one for one in waiting if whose == one.id] or [
        one for one in waiting if whose == one.request
    ]
    return named[-1] if named else None
