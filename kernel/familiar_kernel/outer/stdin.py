"""Who asks the person: the outer kernel for Claude, or the code in the sandbox.

Both ask through one channel. The questions of the sandbox are labelled, so that none of them can
pass for the other kind.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from zmq.eventloop.zmqstream import ZMQStream

from familiar_kernel.sandbox.forward import Body, id_of, kind_of, read, taken_apart, written

if TYPE_CHECKING:
    from .forwarder import Forwarder
    from .kernel import SandboxedKernel

log = logging.getLogger(__name__)

LABEL = "[sandbox] "
_POLL = 0.1


class Stdin:
    """The stdin channel of a sandboxed kernel; its socket belongs to the control thread."""

    def __init__(self, kernel: SandboxedKernel, forwarder: Forwarder) -> None:
        self._kernel = kernel
        self._forwarder = forwarder
        self._loop = kernel.control_thread.io_loop
        self._stream: ZMQStream | None = None
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, Future[str] | None]] = []
        """What has been asked and not answered, oldest first: the request's id, and whose it is;
        None stands for the sandbox."""

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
        with self._lock:
            self._waiting.append((message["msg_id"], answer))
        session.send(self._stream, message, ident=identity)

    def _forget(self, answer: Future[str]) -> None:
        with self._lock:
            self._waiting = [one for one in self._waiting if one[1] is not answer]

    # -- the sandbox's --

    def from_inner(self, frames: list[bytes]) -> None:
        """Pass a question of the sandbox's on."""
        try:
            _, body = taken_apart(frames)
            header, parent, content = read(body.header), read(body.parent), read(body.content)
        except ValueError:
            log.warning("the sandbox sent no message on stdin")
            return
        request = self._forwarder.request(id_of(parent))
        if kind_of(header) != "input_request" or request is None or not request.allow_stdin:
            return
        asked = {
            "prompt": LABEL + str(content.get("prompt", "")),
            "password": content.get("password") is True,
        }
        with self._lock:
            self._waiting.append((id_of(header), None))
        out = Body(body.header, body.parent, b"{}", written(asked))
        assert self._stream is not None
        self._stream.send_multipart(self._forwarder.signed(request.identities, out))

    def forget_inner(self) -> None:
        """Forget what the sandbox has asked: it has ended."""
        with self._lock:
            self._waiting = [one for one in self._waiting if one[1] is not None]

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
        whose = message["parent_header"].get("msg_id")
        with self._lock:
            if not self._waiting:
                return  # a stale answer
            chosen = _asked(self._waiting, str(whose or ""))
            self._waiting.remove(chosen)
        answer = chosen[1]
        if answer is None:
            self._forwarder.to_inner("stdin", identities, body)
        elif not answer.done():
            answer.set_result(str(message["content"].get("value", "")))


_Asked = tuple[str, Future[str] | None]


def _asked(waiting: list[_Asked], whose: str) -> _Asked:
    """Return which of the questions an answer is for. Pure.

    Some front ends do not say. Then it is never one of ours while one of the sandbox's is open: the
    person may have meant that one, and a yes must not become another question's.
    """
    named = [one for one in waiting if one[0] == whose]
    of_sandbox = [one for one in waiting if one[1] is None]
    return (named or of_sandbox or waiting)[-1]
