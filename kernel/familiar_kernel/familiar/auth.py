"""Sign-in: what state it is in, and signing in from a place that has no terminal.

The CLI owns the credentials, where they are kept and how they are renewed. This module only runs
its ``auth`` commands: ``auth status`` (works offline) and ``auth login``, whose link it hands on
and whose code it hands back. Standard library only: the kernel uses it as well as the host.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from functools import lru_cache
from typing import Any

from ..proxy import without
from . import tether

STATUS_TIMEOUT = 15.0
"""Seconds that ``claude auth status`` may take (0.2 s when nothing else runs)."""
LINK_TIMEOUT = 30.0
"""Seconds until ``claude auth login`` must have shown its link."""
CODE_TIMEOUT = 60.0
"""Seconds that the exchange of the code for a sign-in may take."""

_LINK = re.compile(rb"https://\S+")


class SignInError(Exception):
    """A sign-in that did not come about; the message says why, in one sentence."""


def child_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment in which the CLI runs: this process's, without a proxy that was chosen
    for the person's code, and ``extra`` over it."""
    return {**without(os.environ), **(extra or {})}


@lru_cache
def cli_version(cli: str) -> str:
    """Return the version that the CLI names, or an empty string where it names none."""
    try:
        done = subprocess.run(
            [cli, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=STATUS_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").split(" ")[0].strip()


def sign_in_state(cli: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Return whether and how the CLI is signed in: ``signed_in`` (bool), ``method`` (str) and
    ``source`` (str).

    ``error`` stands there instead where the CLI could not say.
    """
    if not cli:
        return {"signed_in": False, "method": "none", "error": "the Claude Code CLI was not found"}
    try:
        done = subprocess.run(
            [cli, "auth", "status"],
            env=child_environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=STATUS_TIMEOUT,
            check=False,
        )
        told = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as err:
        return {
            "signed_in": False,
            "method": "unknown",
            "error": f"`claude auth status` failed: {err}",
        }
    return {
        "signed_in": bool(told.get("loggedIn")),
        "method": str(told.get("authMethod") or "none"),
        "source": str(told.get("apiKeySource") or told.get("email") or ""),
        "provider": str(told.get("apiProvider") or ""),
    }


class SignIn:
    """One run of ``claude auth login``: :meth:`link`, then :meth:`submit`, and :meth:`close` in any
    case. It ends with this process, too.

    Args:
        cli: path of the CLI.
        console: sign in with an Anthropic Console account (billed by use) instead of a Claude
            subscription.
        env: variables over this process's own.
    """

    def __init__(
        self, cli: str, *, console: bool = False, env: dict[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            tether.command([cli, "auth", "login", *(["--console"] if console else [])]),
            env=child_environment(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A session of its own: an interrupt goes to the kernel's whole process group.
            start_new_session=True,
        )
        self._told = b""

    def link(self) -> str:
        """Return the address at which the person signs in.

        Raises:
            SignInError: the CLI showed none in time.
        """
        found = self._read_until(lambda: _LINK.search(self._told), LINK_TIMEOUT)
        if not found:
            raise SignInError(
                f"`claude auth login` showed no link. It said: {self._text() or 'nothing'}"
            )
        match = _LINK.search(self._told)
        assert match is not None
        return match.group().decode("ascii", "replace")

    def finished(self) -> bool:
        """Whether the sign-in is complete already: a browser on the same machine needs no code."""
        return self._process.poll() == 0

    def submit(self, code: str) -> None:
        """Hand over the code that the person was shown.

        Raises:
            SignInError: the CLI did not take it, or did not say so in time.
        """
        if self.finished():
            return
        already = len(self._told)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(code.strip().encode() + b"\n")
            self._process.stdin.flush()
        except OSError as err:
            raise SignInError(
                f"`claude auth login` ended before it took the code: {self._text()}"
            ) from err
        refused = re.compile(rb"doesn.t look like|invalid|error|failed|try again", re.I)
        self._read_until(
            lambda: self._process.poll() is not None or refused.search(self._told, already),
            CODE_TIMEOUT,
        )
        if self._process.poll() != 0:
            said = self._told[already:].decode("utf-8", "replace").strip()
            raise SignInError(f"The code was not taken: {said or 'no answer in time'}")

    def close(self) -> None:
        """End the CLI, signed in or not."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _text(self) -> str:
        # The link is of use to nobody but the person it was shown to, and it is long.
        return _LINK.sub(b"(link)", self._told).decode("utf-8", "replace").strip()

    def _read_until(self, satisfied: Any, timeout: float) -> bool:
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not satisfied():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                if selector.select(min(left, 0.2)):
                    chunk = os.read(self._process.stdout.fileno(), 65536)
                    if not chunk:
                        self._process.wait(timeout=max(0.1, left))
                        return bool(satisfied())
                    self._told += chunk
        return True
