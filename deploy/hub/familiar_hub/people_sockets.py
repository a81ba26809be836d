"""Opens and closes the filtered sockets of the members of ``docker-privileged``.

The filter has a socket for each person and opens it when the hub says so. The hub says so before a
member's lab starts; and it has the sockets of all others closed, also while their labs run. Calls
block, as docker-py's do.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

_SECONDS = 10.0
Ask = Callable[[str, str], Any]
"""Asks the filter: method and path to its answer. It raises OSError where there is none."""


class SocketError(Exception):
    """The filter did not do what it was told. One sentence."""


def asks(client: Any) -> Ask:
    """Return how the filter is asked through docker-py's client, whose requests it answers.

    Args:
        client: docker-py's ``APIClient``.
    """

    def ask(method: str, path: str) -> Any:
        answer = client.request(method, f"{client.base_url}{path}", timeout=_SECONDS)
        if answer.status_code != 200:
            raise SocketError(
                f"The filter of Docker's socket answers {answer.status_code} to {method} {path}:"
                " DOCKER_HOST must lead the hub to the filter."
            )
        return json.loads(answer.text)

    return ask


class PeopleSockets:
    """Knows which sockets are open, so that the filter is asked only for what changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[str] | None = None

    def settle(self, ask: Ask, person: str, may: bool) -> None:
        """See that a person has a socket, or has none.

        Args:
            person: their name as it stands in Docker's, and their account.
            may: whether they are a member now.

        Raises:
            SocketError, OSError: the filter did not do it.
        """
        with self._lock:
            known = self._known(ask)
            if may and person not in known:
                ask("PUT", f"/familiar/people/{person}")
                known.add(person)
            elif not may and person in known:
                ask("DELETE", f"/familiar/people/{person}")
                known.discard(person)

    def keep_only(self, ask: Ask, members: Iterable[str]) -> tuple[str, ...]:
        """Close the sockets of all others, as the filter lists them; return whose these were.

        Raises:
            SocketError, OSError: the filter did not do it.
        """
        with self._lock:
            self._open = None  # it may have been started anew
            known = self._known(ask)
            others = tuple(sorted(known - frozenset(members)))
            for person in others:
                ask("DELETE", f"/familiar/people/{person}")
                known.discard(person)
            return others

    def end(self, ask: Ask, person: str) -> None:
        """Close the socket of a person who has left, and end what they run.

        Raises:
            SocketError, OSError: the filter did not do it.
        """
        with self._lock:
            ask("DELETE", f"/familiar/people/{person}/things")
            if self._open is not None:
                self._open.discard(person)

    def _known(self, ask: Ask) -> set[str]:
        if self._open is None:
            self._open = set(ask("GET", "/familiar/people"))
        return self._open
