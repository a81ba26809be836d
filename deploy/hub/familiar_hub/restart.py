"""Restarts a lab's container in place: same container, same volumes, a fresh server in it.

The hub must not take the moment without a server for its end, and must not let anybody start or
stop it meanwhile; so the server is *pending* for that time, as it is while the hub looks after its
servers at its own start. The Engine may give the container another address, which the hub's
database and the proxy have to learn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from jupyterhub.utils import make_ssl_context

from .metrics import RESTART_SECONDS, RESTARTS
from .volumes import EngineError, docker

log = logging.getLogger("JupyterHub.familiar.restart")

LIMIT = 60.0
"""Seconds that a restart may take in all."""
GRACE = 10
"""Seconds that the lab has to end by itself, in which notebooks' kernels are ended."""
_LOOK = 1.0
"""Seconds between two looks whether the container still runs."""
KEPT = 600.0
"""Seconds for which the outcome of a restart is remembered."""
STEPS = (
    "restarting the container",
    "reading its address",
    "waiting for its server",
    "routing to it",
)
Outcome = Literal["under way", "done", "failed"]


class RestartRefusedError(Exception):
    """A server is not restarted; the message says why and what to do."""


class _EndedError(Exception):
    """The container has ended again."""


class _FleetingError(Exception):
    """The container is one that the Engine removes when it ends."""


@dataclass
class Restart:
    """One restart, as far as it has come.

    Attributes:
        step: which of :data:`STEPS` is under way, or was the last one.
        outcome: how it ended.
        reason: why it failed, in a sentence.
        began: in seconds of :func:`time.monotonic`.
        ended: in the same; None while it is under way.
    """

    step: int = 0
    outcome: Outcome = "under way"
    reason: str = ""
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        return (time.monotonic() if self.ended is None else self.ended) - self.began

    def as_dict(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "step": STEPS[self.step],
            "progress": 100 if self.outcome == "done" else round(100 * self.step / len(STEPS)),
            "seconds": round(self.seconds, 1),
            "reason": self.reason,
        }

    def end(self, outcome: Outcome, reason: str = "") -> None:
        self.outcome, self.reason, self.ended = outcome, reason, time.monotonic()


class Restarts:
    """The restarts that are under way, and those that ended a while ago."""

    def __init__(self) -> None:
        self._known: dict[str, Restart] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, spawner: Any) -> Restart | None:
        """Return the last restart of a server, if it is not long ago."""
        return self._known.get(_key(spawner))

    def begin(
        self,
        spawner: Any,
        proxy: Any,
        db: Any,
        limit: float,
        ended: Callable[[Restart], None],
    ) -> Restart:
        """Begin to restart a server.

        Args:
            spawner: the server's.
            proxy: the hub's.
            db: the hub's database.
            limit: seconds that it may take.
            ended: called once with the outcome.

        Returns:
            the restart, which goes on by itself.

        Raises:
            RestartRefusedError: it cannot be restarted now.
        """
        refuse_unless_restartable(spawner)
        last = self.of(spawner)
        if last is not None and last.outcome == "under way":
            # Its end, when the proxy is told of it, is no pending state of the hub's.
            raise RestartRefusedError("The server is being restarted just now; wait for its end.")
        self._forget()
        this = self._known[_key(spawner)] = Restart()
        # Before anything is awaited, or a second request could come in between.
        spawner._check_pending = True
        task = asyncio.create_task(_run(this, spawner, proxy, db, limit, ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return this

    def _forget(self) -> None:
        now = time.monotonic()
        for key, restart in list(self._known.items()):
            if restart.ended is not None and now - restart.ended > KEPT:
                del self._known[key]


def restartable(spawner: Any) -> bool:
    """Whether a server's spawner can restart it at all."""
    return hasattr(spawner, "get_ip_and_port") and hasattr(spawner, "container_id")


def refuse_unless_restartable(spawner: Any) -> None:
    """See that a server can be restarted now.

    Raises:
        RestartRefusedError: it cannot.
    """
    if not restartable(spawner):
        raise RestartRefusedError("Here a server cannot be restarted in place; stop and start it.")
    if spawner.pending:
        busy = {"spawn": "being started", "stop": "being stopped", "check": "being restarted"}
        state = busy.get(spawner.pending, f"pending ({spawner.pending})")
        raise RestartRefusedError(f"The server is {state} just now; wait for that to end.")
    if not spawner.ready:
        raise RestartRefusedError("The server does not run; start it.")


async def _run(
    this: Restart,
    spawner: Any,
    proxy: Any,
    db: Any,
    limit: float,
    ended: Callable[[Restart], None],
) -> None:
    try:
        async with asyncio.timeout(limit):
            await _restart(this, spawner, proxy, db, limit)
    except TimeoutError:
        this.end("failed", f"It did not answer within {limit:.0f} s ({STEPS[this.step]}).")
    except _FleetingError:
        this.end(
            "failed",
            "Its container is removed as soon as it ends; stop the server and start it anew.",
        )
    except _EndedError:
        this.end("failed", "Its container started and ended again; start the server anew.")
    except EngineError as err:
        log.error("the Engine did not restart %s: %s", _key(spawner), err)
        this.end("failed", err.for_people)
    except Exception as err:
        # Nobody awaits this task, so this is where anything else becomes known.
        log.exception("could not restart %s", _key(spawner))
        this.end("failed", f"The hub failed at {STEPS[this.step]} ({type(err).__name__}).")
    else:
        this.end("done")
        RESTART_SECONDS.observe(this.seconds)
    finally:
        spawner._check_pending = False
        spawner.start_polling()
    RESTARTS.labels(outcome=this.outcome).inc()
    ended(this)
    if this.outcome == "failed":
        await spawner.poll_and_notify()  # a container that is gone is no running server


async def _restart(this: Restart, spawner: Any, proxy: Any, db: Any, limit: float) -> None:
    user = spawner.user
    spawner.stop_polling()  # for a moment there is no server, and that is as it should be
    container = await docker(spawner, "inspect_container", spawner.container_id)
    if container["HostConfig"].get("AutoRemove"):
        # The Engine promises to restart such a one; when it is busy it has removed it by then.
        raise _FleetingError
    await docker(spawner, "restart", spawner.container_id, timeout=GRACE)
    this.step = 1
    ip, port = await spawner.get_ip_and_port()
    spawner.server.ip, spawner.server.port = ip, int(port)
    db.commit()
    this.step = 2
    await _answering(spawner, max(1.0, limit - this.seconds))
    this.step = 3
    spawner._check_pending = False  # the proxy takes no server that is pending
    await proxy.add_user(user, spawner.name)


async def _answering(spawner: Any, limit: float) -> None:
    """Wait for a server as the hub does that has started it, but not for one that has ended."""
    settings = spawner.user.settings
    keys = [settings.get(f"internal_ssl_{part}") for part in ("key", "cert", "ca")]
    answers = asyncio.ensure_future(
        spawner.server.wait_up(
            http=True,
            timeout=limit,
            ssl_context=make_ssl_context(keys[0], keys[1], cafile=keys[2]),
            extra_path="api",
        )
    )
    try:
        while not (await asyncio.wait({answers}, timeout=_LOOK))[0]:
            if await spawner.poll() is not None:
                raise _EndedError
        await answers
    finally:
        answers.cancel()


def _key(spawner: Any) -> str:
    return f"{spawner.user.name}/{spawner.name}"
