"""Whether a password will do, whether it is the right one, and when a name is locked. No I/O.

What is asked of bcrypt takes a quarter of a second by design: callers ask in a thread, or the hub
would stand still for everybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import bcrypt

from .settings import MOST_PASSWORD_BYTES

_REMEMBERED = 10_000
"""Names whose wrong passwords are counted at the same time."""
NOBODYS = bcrypt.hashpw(b"nobody's", bcrypt.gensalt())
"""What a password is compared with where there is no account, so that this takes as long."""


def trouble_with(password: str, minimum: int) -> str:
    """Return what is wrong with a new password, as a sentence; empty if nothing is."""
    if len(password) < minimum:
        return f"The password must have at least {minimum} characters."
    if len(password.encode("utf-8", "replace")) > MOST_PASSWORD_BYTES:
        return f"The password is too long: {MOST_PASSWORD_BYTES} bytes are the most."
    if "\0" in password:
        return "The password holds a character that nobody can type; choose another."
    return ""


def encoded(password: str) -> bytes:
    """Return a password as it is stored. Slow."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt())


def fits(password: str, stored: bytes) -> bool:
    """Say whether this is the password that was stored. Slow, whatever the password is."""
    data = password.encode("utf-8", "replace")
    possible = len(data) <= MOST_PASSWORD_BYTES and b"\0" not in data
    # bcrypt refuses what it cannot tell apart; such a password was never stored.
    return bcrypt.checkpw(data if possible else b"", stored) and possible


class Lockout:
    """Counts wrong passwords for each name, and says which names are locked.

    Names that nobody has are counted too: so nobody learns from it which names there are.

    Args:
        attempts: wrong passwords before a name is locked.
        seconds: how long it is locked after the last of them.
        clock: seconds since some moment.
    """

    def __init__(
        self, attempts: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._attempts = attempts
        self._seconds = seconds
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}

    def locked(self, name: str) -> bool:
        """Say whether no password is looked at for this name now."""
        count, last = self._failures.get(name, (0, 0.0))
        return count >= self._attempts and self._clock() - last < self._seconds

    def attempted(self, name: str) -> None:
        """Count a password before it is looked at: many at the same time are many."""
        now = self._clock()
        count, last = self._failures.pop(name, (0, now))
        self._failures[name] = (1 if now - last >= self._seconds else count + 1, now)
        # The oldest come first.
        while len(self._failures) > _REMEMBERED:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, name: str) -> None:
        """Forget what was wrong."""
        self._failures.pop(name, None)
