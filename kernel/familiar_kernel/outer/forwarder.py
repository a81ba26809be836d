"""Passes messages between the clients and the inner kernel.

Each channel stays on the thread that ipykernel has for it. A request is remembered until its reply
has come: so only what was asked is answered, and where the inner kernel ends, whoever waits is
told. Until it is there, requests are held.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.session import Session

from familiar_kernel.sandbox.channels import Channels, is_of_this_thread
from familiar_kernel.sandbox.forward import (
    CONTROL_TO_INNER,
    MARK,
    TO_INNER,
    WELCOME,
    Body,
    Frames,
    id_of,
    is_plain_stream,
    kind_of,
    pieces,
    read,
    reply_to,
    sound_header,
    taken_apart,
    written,
)

from .marks import Marks
from .stdin import Stdin

if TYPE_CHECKING:
    from familiar_kernel.sandbox.policy import OutputPolicy

    from .kernel import SandboxedKernel

log = logging.getLogger(__name__)

DURING_A_TURN = ("complete_request", "inspect_request", "is_complete_request", "comm_info_request")
"""What is answered also while a prompt keeps the inner kernel's main thread: on its control
channel, which takes the same requests."""
ANSWERS = 200
"""Answers that a later cell can show as they were."""
_SHOWING = {"display_data", "execute_result", "update_display_data"}
_DISPLAYED = {"data", "metadata", "transient", "execution_count"}


@dataclass(eq=False)
class Request:
    """What a client asked, and waits for."""

    identities: list[bytes]
    header: dict[str, Any]
    body: Body
    channel: str
    count: int = 0
    """The cell's number, once the inner kernel has said it."""

    @property
    def id(self) -> str:
        return id_of(self.header)

    @property
    def kind(self) -> str:
        return kind_of(self.header)

    @cached_property
    def content(self) -> dict[str, Any]:
        try:
            return read(self.body.content)
        except ValueError:
            return {}

    @property
    def allow_stdin(self) -> bool:
        return bool(self.content.get("allow_stdin", False))

    @property
    def parent(self) -> dict[str, Any]:
        """The request, as ipykernel knows one."""
        return {
            "header": self.header,
            "msg_id": self.id,
            "msg_type": self.kind,
            "parent_header": {},
            "metadata": {},
            "content": self.content,
        }


class Forwarder:
    """Passes messages on, for one outer kernel."""

    def __init__(self, kernel: SandboxedKernel) -> None:
        self._kernel = kernel
        self._lock = threading.RLock()
        self._requests: dict[str, Request] = {}
        self._held: list[tuple[str, Request]] = []
        self._channels: Channels | None = None
        self._inner = Session(key=b"-")
        self._ready = self._welcome = self._is_open = False
        self.count = 0
        """The number of the latest cell of the inner kernel that is there, or was."""
        self._answers: deque[tuple[dict[str, Any], dict[str, Any]]] = deque(maxlen=ANSWERS)
        self.marks = Marks()
        self.stdin = Stdin(kernel, self)

    @cached_property
    def _policy(self) -> OutputPolicy:
        from familiar_kernel.sandbox.policy import OutputPolicy

        chosen = self._kernel.sandbox
        return OutputPolicy(
            trusted=chosen.trusted_outputs, widgets=chosen.widgets, also=tuple(chosen.mime_types)
        )

    # -- the inner kernel's life --

    def connect(self, folder: Path, opened: Callable[[str], None]) -> str:
        """Make the sockets for an inner kernel, and return the key of its messages.

        Args:
            folder: where they are bound.
            opened: called with the name of each that is bound.
        """
        kernel = self._kernel
        key = secrets.token_hex(32)
        control = kernel.control_thread.io_loop
        with self._lock:
            self._inner = Session(key=key.encode())
            self._ready = self._welcome = self._is_open = False
            self.count = 0
            self.marks = marks = Marks()
            self._channels = Channels(
                folder,
                {
                    "shell": kernel.shell_channel_thread.io_loop,
                    "control": control,
                    "stdin": control,
                    "iopub": kernel.iopub_thread.io_loop,
                },
                {
                    "shell": self._reply,
                    "control": self._reply,
                    "stdin": self.stdin.from_inner,
                    "iopub": lambda frames: self._iopub(frames, marks),
                },
            )
        for name in ("shell", "control", "stdin", "iopub"):
            opened(name)
        return key

    def ready(self) -> None:
        """Note that the inner kernel serves: requests that were held go to it."""
        with self._lock:
            self._ready = True
        self._release()

    def disconnect(self) -> list[Request]:
        """Forget the inner kernel; return what clients still wait for, oldest first."""
        with self._lock:
            channels, self._channels = self._channels, None
            self._ready = self._welcome = self._is_open = False
            held = {request.id for _, request in self._held}
            left = [r for r in self._requests.values() if r.id not in held]
            for request in left:
                del self._requests[request.id]
        self.stdin.forget_questions()
        if channels is not None:
            channels.close()
        return left

    @property
    def is_open(self) -> bool:
        """Whether requests go to the inner kernel at once."""
        return self._is_open

    def take_held(self) -> list[Request]:
        """Return the requests that are held, and hold them no more."""
        with self._lock:
            held, self._held = self._held, []
            for _, request in held:
                self._requests.pop(request.id, None)
        return [request for _, request in held]

    def _release(self) -> None:
        """Send what is held, once the inner kernel serves and is heard: on the thread that sends
        what comes next, so that nothing overtakes it."""
        if self._ready and self._welcome:
            self._kernel.shell_channel_thread.io_loop.add_callback(self._open)

    def _open(self) -> None:
        with self._lock:
            if not (self._ready and self._welcome):
                return  # it has ended since
            self._is_open = True
            held, self._held = self._held, []
            for channel, request in held:
                self.to_inner(channel, request.identities, request.body)

    @property
    def is_ready(self) -> bool:
        """Whether the inner kernel serves."""
        return self._ready

    # -- requests --

    def request(self, msg_id: str) -> Request | None:
        """Return a request that is not answered yet."""
        with self._lock:
            return self._requests.get(msg_id)

    def incoming(self, frames: Any, channel: str) -> Request:
        """Return what a client sent, its signature checked.

        Raises:
            Exception: it is none, or the signature is wrong; jupyter_client raises many kinds.
        """
        session = self._kernel.session
        assert session is not None
        identities, rest = session.feed_identities(frames, copy=False)
        message = session.deserialize(rest, content=False, copy=False)
        parts = [_bytes(part) for part in rest[1:]]
        body = Body(parts[0], parts[1], parts[2], parts[3], tuple(parts[4:]))
        return Request(
            [_bytes(identity) for identity in identities],
            message["header"],
            body,
            channel,
        )

    def pass_on(self, request: Request) -> bool:
        """Send a request to the inner kernel, or hold it; return False where it is of no type that
        goes there. Called on its channel's thread."""
        allowed = TO_INNER if request.channel == "shell" else CONTROL_TO_INNER
        if request.kind not in allowed:
            return False
        channel = request.channel
        with self._lock:
            if reply_to(request.kind):
                self._requests[request.id] = request
            if not self._is_open:
                self._held.append((channel, request))
                return True
            if (
                channel == "shell"
                and request.kind in DURING_A_TURN
                and self._kernel.asks.keeps_main_thread
            ):
                channel = "control"
            self.to_inner(channel, request.identities, request.body)
        return True

    def await_reply(self, request: Request) -> None:
        """Send a request on the control channel whose reply is passed on."""
        with self._lock:
            self._requests[request.id] = request
            self.to_inner("control", request.identities, request.body)

    def forget(self, request: Request) -> bool:
        """Wait no longer for a reply; return whether it had not come."""
        with self._lock:
            return self._requests.pop(request.id, None) is request

    def to_inner(self, channel: str, identities: list[bytes], body: Body) -> None:
        """Send a message to the inner kernel, signed with its key; lost where there is none."""
        channels = self._channels
        if channels is not None:
            frames = body.frames(identities, self._inner.sign(body.signed))
            channels.send(channel, frames)

    # -- replies --

    def signed(self, identities: list[bytes], body: Body) -> Frames:
        """Return a message for a client."""
        session = self._kernel.session
        assert session is not None
        return body.frames(identities, session.sign(body.signed))

    def _reply(self, frames: Frames) -> None:
        try:
            _, body = taken_apart(frames)
            header, parent = read(body.header), read(body.parent)
            body = body._replace(
                header=sound_header(header),
                parent=self.parent(parent),
                metadata=written(read(body.metadata)),
            )
        except ValueError:
            log.warning("the sandbox sent no message as a reply")
            return
        with self._lock:
            request = self._requests.get(id_of(parent))
            if request is None or kind_of(header) != reply_to(request.kind):
                return  # nobody has asked
            del self._requests[request.id]
        self.stdin.forget_request(request.id)
        out = self._looked_at(kind_of(header), body)
        if out is not None:
            self.answer(request, out)

    def answer(self, request: Request, body: Body) -> None:
        """Send a reply to whoever asked, from any thread."""
        kernel = self._kernel
        frames = self.signed(request.identities, body)
        if request.channel == "shell":
            loop, stream = kernel.shell_channel_thread.io_loop, kernel.shell_stream
        else:
            loop, stream = kernel.control_thread.io_loop, kernel.control_stream
        assert stream is not None
        if is_of_this_thread(loop):
            stream.send_multipart(frames)
        else:
            loop.add_callback(stream.send_multipart, frames)

    def _looked_at(self, kind: str, body: Body) -> Body | None:
        """Return a reply with nothing in it that could act in a browser or on the outer kernel."""
        from familiar_kernel.sandbox.policy import safe_reply

        try:
            content = read(body.content)
        except ValueError:
            log.warning("the sandbox sent a %s that cannot be read", kind)
            return None
        safe = safe_reply(kind, content, self._policy)
        return body if safe == content else body._replace(content=written(safe))

    # -- outputs --

    def know(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Remember an answer that was sent into the sandbox, where a later cell may show it."""
        self._answers.append((data, metadata))

    def _is_answer(self, content: dict[str, Any]) -> bool:
        """Whether a display shows one of our answers, as we made it, and nothing else."""
        shown = (content.get("data"), content.get("metadata"))
        alone = content.keys() <= _DISPLAYED and not content.get("transient")
        return alone and any(shown == answer for answer in self._answers)

    def _iopub(self, frames: Frames, marks: Marks) -> None:
        try:
            _, body = taken_apart(frames)
            header = read(body.header)
            kind = kind_of(header)
            if kind == MARK:
                marks.reach(int(read(body.content).get("number", 0)))
                return
            if kind == WELCOME:
                self._welcome = True
                self._release()
                return
            body = body._replace(
                header=sound_header(header),
                parent=self.parent(read(body.parent)),
                metadata=written(read(body.metadata)),
            )
            out = self._output(kind, body)
            if kind == "execute_input" and out is not None and marks is self.marks:
                self._count(out)
        except (ValueError, TypeError, OverflowError):
            log.warning("the sandbox sent an output that cannot be read", exc_info=True)
            return
        if out is not None:
            with self._kernel.outlet.passing_on():
                for piece in pieces(out) if kind == "stream" else (out,):
                    self.publish(kind, piece)

    def _count(self, body: Body) -> None:
        """Note the number of a cell that begins. Its reply may have overtaken it, on a socket of
        its own."""
        if count := read(body.content).get("execution_count"):
            self.count = count
            if request := self.request(id_of(read(body.parent))):
                request.count = count

    def parent(self, header: dict[str, Any]) -> bytes:
        """Return the header of the request that a message of the sandbox answers: the client's own
        where it still waits. What begins with nothing stays so."""
        if not header:
            return b"{}"
        request = self.request(id_of(header))
        return request.body.header if request is not None else sound_header(header)

    def publish(self, kind: str, body: Body) -> None:
        """Send an output to all clients."""
        kernel = self._kernel
        kernel.iopub_thread.send_multipart(self.signed([kernel._topic(kind)], body))

    def _output(self, kind: str, body: Body) -> Body | None:
        from familiar_kernel.sandbox import policy

        if kind not in policy.RELAYED:
            return None
        if kind == "stream" and is_plain_stream(body.content):
            return body if not body.buffers else body._replace(buffers=())
        content = read(body.content)
        safe = (
            content
            if kind in _SHOWING and self._is_answer(content)
            else policy.safe_message(kind, content, self._policy, _is_ours)
        )
        if safe is None:
            return None
        if safe != content:
            body = body._replace(content=written(safe))
        if body.buffers and not kind.startswith("comm_"):
            body = body._replace(buffers=())
        return body


def _bytes(part: Any) -> bytes:
    return part if isinstance(part, bytes) else bytes(part.bytes)


def _is_ours(display_id: str) -> bool:
    """Whether a display is one of an answer's; see :class:`familiar_kernel.outputs.CellOutputs`."""
    return display_id.startswith("familiar-")
