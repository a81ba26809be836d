"""The outer kernel: the familiar is here, the user's code is in a sandbox.

It runs no code. What a client sends goes to the inner kernel, but for what is the outer one's own:
its shutdown, its interrupt of the person's questions, and completion inside prompts. A request that
neither knows is not answered, and none is ever executed here.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Instance, default

from familiar_kernel import commands
from familiar_kernel.kernel import FamiliarKernel
from familiar_kernel.prompts import Prompts
from familiar_kernel.sandbox.configuration import Sandbox as Settings
from familiar_kernel.sandbox.container import Sandbox
from familiar_kernel.sandbox.forward import Body, reply_to, written
from familiar_kernel.sandbox.runtime import Runtime
from familiar_kernel.sandbox.spec import SOCKETS, WORKSPACE

from .asks import Asks
from .forwarder import Forwarder, Request
from .outlet import Outlet
from .watch import WHY, Watch

if TYPE_CHECKING:
    from familiar_kernel.namespace.place import Place
    from familiar_kernel.waiting import Interrupts

OWN_SHELL = ("shutdown_request", "interrupt_request", "connect_request")
"""The requests on the shell channel that the outer kernel answers itself."""
FRESH = (
    "The sandbox in which the person's code runs has ended: {why}. A fresh one has started: the "
    "variables, imports and files in /tmp of before are gone."
)
INTERRUPT_TIMEOUT = 1.0
"""Seconds in which an inner kernel that is alive has taken an interrupt."""
SWEEP_DELAY = 2.0
"""Seconds from serving to the sweep: a first cell is served before it."""
ENDED = "The sandbox has ended: {why}. A fresh one starts, without your variables: run cells again."
AWAY = (
    "The sandbox ended while nothing ran: {why}. This is a fresh one, without your variables: run"
    " cells again."
)
NO_CODE = "the outer kernel of a sandbox runs no code"


class OuterPrompts(Prompts):
    """The ways to talk, for what a sandbox asks; the names are in the namespace there."""

    def enter_namespace(self) -> None:
        kernel = self._kernel
        if isinstance(kernel, SandboxedKernel):
            kernel.send_inside({"type": "session", "id": self._familiar.session_id})


class SandboxedKernel(FamiliarKernel):
    """A kernel whose code runs in a container without a network."""

    configured = (Settings,)
    """The classes that it reads settings for."""
    sandbox = Instance(Settings)
    prompts_class = OuterPrompts
    box: Sandbox | None = None
    _watch: Watch | None = None
    _news = ""
    """What the next cell is to say first."""
    sandbox_fault = ""
    """Why there is no sandbox, a sentence; empty where there is one, or one is being started."""
    workspace_fault = ""
    """Why the sandbox sees no workspace."""

    @default("sandbox")
    def _default_sandbox(self) -> Settings:
        return Settings(parent=self)

    def __init__(self, **kwargs: Any) -> None:
        self.asks = Asks(self)
        super().__init__(**kwargs)
        self.familiar.sandboxed = True
        self.permissions.sandboxed = True
        self.forwarder = Forwarder(self)
        self.outlet = Outlet(self.iopub_thread)
        self._box_lock = threading.RLock()
        # Of ipykernel's handlers these alone are left: nothing else may reach code that executes.
        own = (*OWN_SHELL, "kernel_info_request")
        self.shell_handlers = {name: self.shell_handlers[name] for name in own}
        self.control_handlers = {name: self.control_handlers[name] for name in own}
        self._start_box()

    def register_commands(self) -> None:
        """They are magics in the sandbox, and come from there; see :mod:`.asks`."""

    # -- life --

    def start(self) -> None:
        """Start serving."""
        super().start()
        self.forwarder.stdin.open()
        self.io_loop.call_later(SWEEP_DELAY, self._sweep)

    def _sweep(self) -> None:
        """Remove what kernels left behind that were killed, in a thread of its own."""
        from familiar_kernel.sandbox.container import short_folder
        from familiar_kernel.sandbox.sweep import sweep

        runtime, folder = Runtime(self.sandbox.runtime), Path(short_folder())
        threading.Thread(target=sweep, args=(runtime, folder), daemon=True).start()

    def do_shutdown(self, restart: bool) -> dict[str, Any]:  # type: ignore[override]
        """End the sandbox, let the familiar go, then shut down as any kernel."""
        with self._box_lock:
            box, self.box = self.box, None
        if self._watch is not None:
            self._watch.end()
        self.forwarder.disconnect()
        if box is not None:
            box.close()
        return super().do_shutdown(restart)

    def _start_box(self) -> None:
        """Start a sandbox; what becomes of it is told by :meth:`_from_inside` or
        :meth:`_box_ended`."""
        with self._box_lock:
            self.sandbox_fault = ""
            box = self.box = self._new_box()
            key = self.forwarder.connect(box.sockets, box.open_to_sandbox)

            def message(told: dict[str, Any]) -> None:
                if box is self.box:
                    self._from_inside(told)

            def ended(why: str) -> None:
                self._box_ended(box, why)

            start = {
                "sockets": SOCKETS,
                "key": key,
                "workspace": WORKSPACE if box.spec.workspace else "",
                "session_id": self.familiar.session_id,
                "banner": self._banner_lines(),
                "usage": commands.usage_text(),
                "commands": [(command.name, command.help) for command in commands.COMMANDS],
            }
            box.serve(start, message, ended)
            self._watch_memory(box)

    def _watch_memory(self, box: Sandbox) -> None:
        if self._watch is not None:
            self._watch.end()
        self._watch = Watch(lambda: box.end(WHY))

    def _new_box(self) -> Sandbox:
        """Return a container that starts, or has been started early."""
        from .early import taken
        from .starting import new_box, spec_of

        early = taken()
        if early is not None:
            spec, self.workspace_fault = spec_of(self.sandbox)
            if early.is_like(spec) and early.runs_on(self.sandbox.runtime):
                return early
            early.close(wait=False)
        box, self.workspace_fault = new_box(self.sandbox)
        box.start()
        return box

    def _banner_lines(self) -> str:
        if self.quiet_banner:
            return ""
        from familiar_kernel.commands.status import banner

        return banner(self)

    def _from_inside(self, message: dict[str, Any]) -> None:
        if message.get("type") == "ready":
            self.forwarder.ready()
        else:
            self.asks.take(message)

    def send_inside(self, message: dict[str, Any]) -> bool:
        """Send a message over the bridge; return False where there is no sandbox."""
        box = self.box
        if box is None or box.closed:
            return False
        box.send(message)
        return True

    def _box_ended(self, box: Sandbox, why: str) -> None:
        """The sandbox could not start, or has ended by itself. Called in a thread of its own."""
        with self._box_lock:
            if box is not self.box:
                return  # it was replaced meanwhile
            was_ready = self.forwarder.is_ready
            self.box = None
            left = self.forwarder.disconnect()
            self.asks.end()
            if was_ready:
                self._fail(left, "SandboxEnded", ENDED.format(why=why))
                if not any(request.kind == "execute_request" for request in left):
                    self._news = AWAY.format(why=why)
                self.shell.familiar.notes.append(FRESH.format(why=why))
                if not self.familiar.closed:
                    self._start_box()
                return
            # It did not come up: to try again at once would be of no use.
            self.sandbox_fault = why
            left += self.forwarder.take_held()
            self._fail(left, "SandboxError", why)

    def restart_sandbox(self) -> None:
        """End the sandbox and start a fresh one; the cell that asks for it ends well."""
        with self._box_lock:
            box, self.box = self.box, None
            left = self.forwarder.disconnect()
            self.asks.end()
            ask = self.asks.in_hand
            for request in left:
                if ask is not None and request is ask.request:
                    self._answer_restart(request)
                    left.remove(request)
                    break
            self._fail(left, "SandboxEnded", "The sandbox was restarted.")
            self.shell.familiar.notes.append(FRESH.format(why="the person restarted it"))
            if box is not None:
                box.close(wait=False)
            self._start_box()

    # -- answers of our own --

    def _answer_restart(self, request: Request) -> None:
        fields = {"execution_count": request.count, "user_expressions": {}, "payload": []}
        content = {"status": "ok", **fields}
        self._reply(request, content)

    def _fail(self, requests: list[Request], name: str, told: str) -> None:
        """Tell whoever waits that nothing comes: the cell in hand fails, those behind it are
        aborted."""
        from familiar_kernel.exceptions import wrapped

        error = {"ename": name, "evalue": told, "traceback": wrapped(told)}
        failed: set[Any] = set()
        expected = self.forwarder.count + 1
        for request in requests:
            shell = request.header.get("subshell_id")
            if request.kind == "execute_request" and shell in failed:
                self._reply(request, {"status": "aborted"})
                continue
            if request.kind == "execute_request":
                failed.add(shell)
                self._publish(request, "error", error)
                # It may have ended before it could say the cell's number, and without one a front
                # end takes the cell for one that has not run.
                count = request.count or expected
                fields = {"execution_count": count, "user_expressions": {}, "payload": []}
                self._reply(request, {"status": "error", **error, **fields})
            elif request.kind == "kernel_info_request":
                self._reply(request, self.kernel_info)
            else:
                self._reply(request, {"status": "error", **error})

    def _reply(self, request: Request, content: dict[str, Any]) -> None:
        body = self._body(request, reply_to(request.kind), content)
        self._publish(request, "status", {"execution_state": "busy"})
        self.forwarder.answer(request, body)
        self._publish(request, "status", {"execution_state": "idle"})

    def _publish(self, request: Request, kind: str, content: dict[str, Any]) -> None:
        self.forwarder.publish(kind, self._body(request, kind, content))

    def _body(self, request: Request, kind: str, content: dict[str, Any]) -> Body:
        assert self.session is not None
        header = self.session.msg_header(kind)
        pack = self.session.pack
        return Body(pack(header), request.body.header, b"{}", written(content))

    # -- the channels --

    async def shell_channel_thread_main(self, msg: Any) -> None:
        """Pass a client's message on."""
        try:
            request = self.forwarder.incoming(msg, "shell")
        except Exception:
            self.log.exception("Invalid message")
            return
        if request.kind in OWN_SHELL:
            await super().shell_channel_thread_main(msg)
        elif request.kind in ("complete_request", "inspect_request") and (
            b"%claude" in request.body.content
        ):
            self._in_a_thread(self._complete, request)
        else:
            self._to_inner(request)

    def _to_inner(self, request: Request) -> None:
        if self._news and request.kind == "execute_request" and not request.content.get("silent"):
            news, self._news = self._news, ""
            self._publish(request, "stream", {"name": "stderr", "text": f"{news}\n"})
        with self._box_lock:  # a request must not be held for a sandbox that has just failed
            if self.sandbox_fault and not self._revive(request):
                self._fail([request], "SandboxError", self.sandbox_fault)
            elif not self.forwarder.pass_on(request):
                self.log.warning("Unknown message type: %r", request.kind)

    def _revive(self, request: Request) -> bool:
        """Try once more to start a sandbox, for a cell."""
        if request.kind != "execute_request" or request.content.get("silent"):
            return False
        self._start_box()
        return True

    async def process_control(self, msg: Any) -> None:
        """Pass a client's message on the control channel on, or answer it."""
        try:
            request = self.forwarder.incoming(msg, "control")
        except Exception:
            self.log.exception("Invalid Control Message")
            return
        if request.kind == "shutdown_request":
            await super().process_control(msg)
        elif request.kind == "interrupt_request":
            self._interrupt(request)
        else:
            with self._box_lock:
                if self.sandbox_fault:
                    self._fail([request], "SandboxError", self.sandbox_fault)
                elif not self.forwarder.pass_on(request):
                    self.log.error("UNKNOWN CONTROL MESSAGE TYPE: %r", request.kind)

    def _interrupt(self, request: Request) -> None:
        """Stop what runs, and what waits for a sandbox that starts. It is answered once the inner
        kernel has taken it: so that it does not reach the next cell."""
        self.asks.stop_outside_main_thread()
        self.forwarder.stdin.forget_questions()
        if not self.forwarder.is_open:
            self._fail(self.forwarder.take_held(), "KeyboardInterrupt", "")
            self._reply(request, {"status": "ok"})
            return
        self.forwarder.await_reply(request)

        def late() -> None:
            if self.forwarder.forget(request):
                self._reply(request, {"status": "ok"})

        self.control_thread.io_loop.call_later(INTERRUPT_TIMEOUT, late)

    def _in_a_thread(self, work: Any, request: Request) -> None:
        threading.Thread(target=work, args=(request,), name="sandbox-tab", daemon=True).start()

    def _complete(self, request: Request) -> None:
        """Complete or inspect inside a prompt; anything else goes to the inner kernel."""
        code = str(request.content.get("code", ""))
        cursor = request.content.get("cursor_pos")
        at = cursor if isinstance(cursor, int) else len(code)
        asked = commands.complete if request.kind == "complete_request" else commands.inspect
        reply = None
        try:
            reply = asked(self, code, at)
        except Exception:
            # Tab must not wait for ever: the inner kernel answers it then.
            self.log.exception("a prompt could not be completed")
        if reply is None:
            self.shell_channel_thread.io_loop.add_callback(self._to_inner, request)
        else:
            self._reply(request, reply)

    # -- what a familiar needs of its kernel --

    @functools.cached_property
    def place(self) -> Place:
        """Where the variables are: in the sandbox."""
        from familiar_kernel.namespace.remote import RemotePlace

        return RemotePlace(self.asks)

    def display(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Show something as output of the cell in hand."""
        ask = self.asks.in_hand
        if ask is None:
            return
        if ask.captured:
            ask.shows.append((data, metadata))
            return
        content = {"data": data, "metadata": metadata, "transient": {}}
        self._publish(ask.request, "display_data", content)

    def say(self, line: str) -> None:
        """Print a line as output of the cell in hand."""
        if ask := self.asks.in_hand:
            self._publish(ask.request, "stream", {"name": "stdout", "text": f"{line}\n"})

    def displays_captured(self) -> bool:
        """Whether somebody captures what the cell in hand shows."""
        ask = self.asks.in_hand
        return ask is not None and ask.captured

    @property
    def can_act(self) -> bool:
        """Whether what is served came from a thread that runs cells."""
        ask = self.asks.in_hand
        return ask is not None and ask.acts

    @property
    def serves_background(self) -> bool:
        """Whether what is served keeps the inner kernel's main thread."""
        ask = self.asks.in_hand
        return ask is not None and ask.main

    @contextmanager
    def interrupts_taken(self) -> Iterator[Interrupts]:
        """Have the person's Stop end the turn that begins inside."""
        ask = self.asks.in_hand
        assert ask is not None
        yield ask.interrupts

    @property
    def _allow_stdin(self) -> bool:
        ask = self.asks.in_hand
        return ask is not None and ask.request.allow_stdin

    @_allow_stdin.setter
    def _allow_stdin(self, value: bool) -> None:
        """It is each request's own."""

    def _input_request(self, prompt: str, ident: Any, parent: Any, password: bool = False) -> str:
        return self.forwarder.stdin.ask(str(prompt), ident, parent, password)

    # -- what is never done here --

    async def do_execute(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Refuse."""
        raise RuntimeError(NO_CODE)

    async def do_debug_request(self, msg: Any) -> Any:
        """Refuse."""
        raise RuntimeError(NO_CODE)

    def do_apply(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse."""
        raise RuntimeError(NO_CODE)
