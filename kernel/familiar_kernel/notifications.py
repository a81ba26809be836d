"""Tells a person who is elsewhere that they are needed.

The kernel only decides whether an event is worth a notice. Sending is the business of a
short-lived process (:mod:`.familiar.notify`), so that no library of a messenger's enters the
kernel, no slow server holds up a turn, and the addresses, which hold secrets, stand in no argument
list.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from traitlets import Bool, Enum, Float, List, Unicode
from traitlets.config import Configurable

from . import notebook_place
from .familiar.notices import CENTRE, NO_CENTRE
from .proxy import without

log = logging.getLogger(__name__)

Kind = Literal["permission", "question", "finished", "failed", "budget"]
KINDS: tuple[Kind, ...] = ("permission", "question", "finished", "failed", "budget")
_GRACE = 5.0
"""Seconds beyond ``timeout`` after which the process that sends is ended."""
_HANDING_OVER = 1.0
"""Seconds that the end of a kernel waits, at most, for notices that are about to leave it. It takes
milliseconds; without, the last turn of a notebook that runs unattended would be told to nobody."""
_LONGEST_TITLE, _LONGEST_TEXT = 120, 2000
"""Characters."""


class Event(NamedTuple):
    """Something that a person may have to know.

    Attributes:
        kind: ``permission`` or ``question`` asked, turn ``finished`` or ``failed``, or the
            ``budget`` reached.
        turn: the turn's number in its session.
        session: the session's UUID.
        title: one line.
        text: a short text, plain, without secrets.
        seconds: for how long the person has waited.
        key: tells events of one kind and turn apart.
    """

    kind: Kind
    turn: int
    session: str
    title: str
    text: str
    seconds: float = 0.0
    key: str = ""


class Outcome(NamedTuple):
    """What became of one notice: at which notifier, whether it was sent, and why not."""

    name: str
    ok: bool
    error: str = ""


class Notifications(Configurable):
    """The notifiers of one kernel, and when they are used."""

    urls_file = Unicode(
        help="A file of Apprise URLs, one a line, # for comments. They hold secrets: make it"
        " readable by you alone (chmod 600)."
    ).tag(config=True)
    urls = List(
        Unicode(),
        help="Apprise URLs, as in urls_file; for those that hold no secret, since settings are"
        " often readable by others.",
    ).tag(config=True, secret=True)
    command = List(
        Unicode(),
        help="A program and its arguments, run for each event, which it gets as JSON on its"
        " standard input; FAMILIAR_EVENT holds its kind.",
    ).tag(config=True)
    jupyterlab = Bool(
        True,
        help="Use JupyterLab's notification centre, where jupyterlab_notifications_extension is"
        " installed.",
    ).tag(config=True)
    events = List(
        Enum(KINDS),
        list(KINDS),
        help="The events that are told: permission, question, finished, failed, budget.",
    ).tag(config=True)
    after = Float(
        30.0,
        min=0.0,
        help="Seconds. You are told of a turn's end only if it took so long, and of a question only"
        " if it has waited so long: else you are looking.",
    ).tag(config=True)
    timeout = Float(
        20.0, min=1.0, help="Seconds that all notifiers together have for one event."
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._lock = threading.Lock()
        self._told: set[tuple[str, int, Kind, str]] = set()
        self._timers: set[threading.Timer] = set()
        self._leaving: set[threading.Event] = set()
        """For each notice that a process does not have yet: set once it has."""
        self._no_centre = False
        """Whether JupyterLab's server has said that it knows no notifications."""
        self._closed = False

    # -- what the kernel tells --

    @property
    def wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.urls or self.urls_file or self.command or self._centre())

    def notify(self, event: Event) -> None:
        """Tell of an event, once, if it is worth it. Returns at once and never raises."""
        if event.seconds >= self.after:
            self._tell(event)

    def pending(self, event: Event) -> Callable[[], None]:
        """Tell of an event when it has waited for ``after`` seconds, unless the function that is
        returned has been called before."""
        if self._closed or not self.wanted or event.kind not in self.events:
            return lambda: None

        def late() -> None:
            self._timers.discard(timer)
            self._tell(event._replace(seconds=self.after))

        def call_off() -> None:
            timer.cancel()
            self._timers.discard(timer)

        timer = threading.Timer(self.after, late)
        timer.daemon = True
        timer.name = "familiar-notice"
        self._timers.add(timer)
        try:
            timer.start()
        except RuntimeError as err:  # no more threads
            self._timers.discard(timer)
            log.warning("could not wait to tell of %s: %s", event.kind, err)
        return call_off

    def close(self) -> None:
        """Tell nothing more. What is being sent goes on without this process, for at most
        ``timeout`` seconds."""
        self._closed = True
        for timer in list(self._timers):
            timer.cancel()
        until = time.monotonic() + _HANDING_OVER
        for left in list(self._leaving):
            left.wait(max(0.0, until - time.monotonic()))

    def _tell(self, event: Event) -> None:
        with self._lock:
            same = (event.session, event.turn, event.kind, event.key)
            if same in self._told or event.kind not in self.events or self._closed:
                return
            self._told.add(same)
        if not self.wanted:
            return
        left = threading.Event()
        self._leaving.add(left)
        thread = threading.Thread(
            target=self._send_and_log, args=(event, left), name="familiar-notify", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as err:  # no more threads
            self._leaving.discard(left)
            log.warning("could not tell of %s: %s", event.kind, err)

    def _send_and_log(self, event: Event, left: threading.Event) -> None:
        try:
            outcomes = self._send(event, left)
        finally:
            left.set()
            self._leaving.discard(left)
        for outcome in outcomes:
            if outcome.ok:
                log.debug("told of %s by %s", event.kind, outcome.name)
            elif outcome.name != CENTRE or not self._no_centre:
                log.warning("could not tell of %s by %s: %s", event.kind, *outcome[::2])

    # -- what a person asks --

    def test(self) -> list[Outcome]:
        """Send a test through every notifier, and return what became of it. Blocks for up to
        ``timeout`` seconds and a little."""
        self._no_centre = False
        event = Event("finished", 0, "", "Claude says hello", "This is a test of the notifiers.")
        return self._send(event, threading.Event()) if self.wanted else []

    def describe(self) -> list[tuple[str, str]]:
        """Return what is configured, without secrets, as names and values."""
        urls, fault = self._urls()
        apprise = fault or ", ".join(map(_scheme, urls)) or "none"
        if self.urls_file and not fault and _is_open(self._file):
            apprise += "; others can read the file: chmod 600 it"
        centre = "not switched on"
        if self.jupyterlab:
            known = notebook_place.server() is not None
            centre = "its server is known" if known else "this kernel was not started by it"
        return [
            ("JupyterLab", centre),
            ("Apprise", apprise),
            ("Command", self.command[0] if self.command else "none"),
            ("Events", ", ".join(self.events)),
            ("Told after", f"{self.after:.0f} s"),
            ("Notebook", Path(notebook_place.notebook()).name or "not known"),
        ]

    # -- sending --

    def _centre(self) -> notebook_place.Server | None:
        if not self.jupyterlab or self._no_centre:
            return None
        return notebook_place.server()

    @property
    def _file(self) -> Path:
        return Path(self.urls_file).expanduser()

    def _urls(self) -> tuple[list[str], str]:
        """Return the URLs, and what is wrong with their file."""
        urls = list(self.urls)
        if "://" in self.urls_file:
            return urls, "urls_file is a URL; write it into a file, and name that here"
        if self.urls_file:
            try:
                text = self._file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError, RuntimeError) as err:
                return urls, f"{self.urls_file} cannot be read: {err}"
            lines = (line.strip() for line in text.splitlines())
            urls += [line for line in lines if line and not line.startswith("#")]
        return urls, ""

    def _send(self, event: Event, left: threading.Event) -> list[Outcome]:
        event = event._replace(
            title=_plain(event.title.replace("\n", " "), _LONGEST_TITLE),
            text=_plain(event.text, _LONGEST_TEXT),
        )
        urls, fault = self._urls()
        outcomes = [Outcome("Apprise", False, fault)] if fault else []
        centre = self._centre()
        order = {
            "event": event._asdict() | {"link": notebook_place.link()},
            "notebook": notebook_place.notebook(),
            "urls": [(_scheme(url), url) for url in urls],
            "command": list(self.command),
            "server": centre._asdict() if centre else None,
            "timeout": self.timeout,
        }
        if urls or self.command or centre:
            outcomes += self._run(order, left)
        for outcome in outcomes:
            if outcome.name == CENTRE and outcome.error == NO_CENTRE:
                self._no_centre = True
        return outcomes

    def _run(self, order: dict[str, Any], left: threading.Event) -> list[Outcome]:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "familiar_kernel.familiar.notify"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                # The proxy that a person has chosen is for their code.
                env=without(os.environ),
            )
        except OSError as err:
            return [Outcome("the notifiers", False, str(err))]
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as to_it:
            to_it.write(json.dumps(order).encode())
        process.stdin = None  # or communicate would want to write
        left.set()
        try:
            said, failed = process.communicate(timeout=self.timeout + _GRACE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has just ended
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return [Outcome("the notifiers", False, f"no answer within {self.timeout:.0f} s")]
        if process.returncode:
            # Its last line names the error; the lines before might hold what was sent.
            last = failed.decode("utf-8", "replace").strip().rpartition("\n")[2]
            return [Outcome("the notifiers", False, last.partition(":")[0] or "they failed")]
        return [Outcome(**json.loads(line)) for line in said.splitlines()]


def _plain(text: str, longest: int) -> str:
    """Return a text without what a terminal, a mail's head or a reader's eye may take for something
    else (escapes, line ends of other systems, marks that turn the direction), and not too long."""
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


def _scheme(url: str) -> str:
    """Return what may be shown of an Apprise URL: its scheme. The rest, also the host, may be a
    secret; and what is no URL at all may be nothing but one."""
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,30}(?=://)", url)
    return found[0].lower() if found else "no URL"


def _is_open(file: Path) -> bool:
    """Whether others can read a file than those for whom it is. Where it belongs to somebody else,
    such as a Secret of Kubernetes to root, this process's group is meant."""
    try:
        seen = file.stat()
    except OSError:
        return False
    return bool(seen.st_mode & (0o044 if seen.st_uid == os.getuid() else 0o004))
