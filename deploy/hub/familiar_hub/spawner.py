"""Asks Docker for what :mod:`.spawning` decided. Thin: what a lab is like is decided there.

Before each start the protected groups are made sure of and rights are read anew, so that no lab
starts with rights that somebody has lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env
from dockerspawner import DockerSpawner
from jupyterhub import orm
from requests.exceptions import RequestException
from traitlets import Any as AnyTrait
from traitlets import Instance, default

from . import groups, leftovers, profiles, spawning
from .gpu import Probe
from .lab_spawner import PersonsLab, RefusedError, account_of
from .people_sockets import PeopleSockets, asks

_GPU_PATIENCE = 10.0
"""Seconds that the start of a lab waits to hear of GPUs."""


class LabSpawner(PersonsLab, DockerSpawner):
    """One person's lab in a container."""

    gpu = Instance(Probe, help="Who knows whether there are GPUs.").tag(config=True)
    # DockerSpawner's own reads names as templates, and a name may hold braces.
    format_volume_name = AnyTrait(lambda name, spawner: name)

    _clients = threading.local()
    _sockets = PeopleSockets()
    _planned: Mapping[str, str] = {}

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The threads in which Docker is asked. DockerSpawner has one, and whatever is slow there
        holds up everybody."""
        found: ThreadPoolExecutor | None = LabSpawner._executor
        if found is None:
            found = ThreadPoolExecutor(self.settings.docker_threads, "docker")
            LabSpawner._executor = found
        return found

    def _docker(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Ask Docker, in one of these threads."""
        return getattr(self._own_client(), method)(*args, **kwargs)

    def _own_client(self) -> Any:
        """Return this thread's client, since one is not for several."""
        client = getattr(self._clients, "client", None)
        if client is None:
            client = docker.APIClient(
                **{"version": "auto", **kwargs_from_env(), **self.client_kwargs}
            )
            self._clients.client = client
        return client

    @default("object_name")
    def _object_name_default(self) -> str:
        return spawning.container_name(self.settings, self.user.name, self.name)

    @property
    def escaped_name(self) -> str:
        """The person's name as it stands in Docker's."""
        return spawning.escaped(self.user.name)

    def volume_names(self) -> dict[str, str]:
        """Return the names of the person's volumes: home, workspace and cache."""
        return spawning.volume_names(self.settings, self.user.name)

    async def plan(self) -> spawning.Plan:
        """Return what the lab is to be like, with the rights that the person has now.

        Raises:
            tornado.web.HTTPError: 403: they chose a kind of lab that they may not have.
        """
        self.make_sure_of_groups()
        try:
            return spawning.plan(
                self.settings,
                self.user.name,
                self.name,
                self.group_names(),
                self.user_options or {},
                await self.gpu.known(_GPU_PATIENCE),
            )
        except profiles.ProfileError as error:
            raise RefusedError(403, str(error)) from error

    async def start(self) -> Any:
        """Start the lab; the hub calls it. Returns its address and port.

        Raises:
            tornado.web.HTTPError: it does not start, and the person sees why.
        """
        with self._engine_answers():
            return await self._begin()

    async def stop(self, now: bool = False) -> Any:
        """Stop the lab; the hub calls it.

        Raises:
            tornado.web.HTTPError: Docker does not answer.
        """
        with self._engine_answers():
            return await super().stop(now)

    @contextlib.contextmanager
    def _engine_answers(self) -> Iterator[None]:
        """Say in a sentence that Docker does not answer.

        Raises:
            tornado.web.HTTPError: 503.
        """
        try:
            yield
        except APIError:
            raise  # the Engine has answered
        except (DockerException, RequestException) as error:
            self.log.error("The Docker Engine, or the filter before it, does not answer: %s", error)
            raise RefusedError(
                503, "The Docker Engine does not answer; try again soon, or ask an administrator."
            ) from error

    async def _begin(self) -> Any:
        plan = await self.plan()
        for remark in plan.remarks:
            self.log.warning("%s.", remark)
        self.image = plan.image
        self.object_name = plan.name
        self.mem_limit = plan.memory
        self.cpu_limit = plan.cpus
        self.mounts = list(plan.mounts)
        self.extra_host_config = dict(plan.host_config)
        self.extra_create_kwargs = dict(plan.create)
        self._planned = plan.environment
        # DockerSpawner makes it in the hub's own thread, where it asks for the engine's version.
        await self._in_thread(lambda: self.client)
        if self.settings.shared == "cifs":
            await self._refuse_without_share()
        await self._settle_volumes()
        await self._settle_sockets(groups.DOCKER in plan.grants)
        return await super().start()

    async def poll(self) -> Any:
        """Return None while the lab runs; the hub asks twice a minute.

        Who has left ``docker-privileged`` loses the socket here, in a lab that goes on.
        """
        status = await super().poll()
        filtered = self.settings.docker.sockets and not self.settings.docker.raw
        if status is None and filtered:
            may = groups.DOCKER in groups.grants_of(self.group_names())
            person = _socket_key(self.user.orm_user)
            await self._in_thread(
                lambda: self._sockets.settle(asks(self._own_client()), person, may)
            )
        return status

    async def delete_forever(self) -> None:
        """Remove what must not go on without the person; the hub calls it when they are deleted,
        or this lab of theirs. Volumes stay; see :mod:`.leftovers`."""
        await self._in_thread(self._remove_container)
        if not self.name and self.settings.docker.sockets and not self.settings.docker.raw:
            person = _socket_key(self.user.orm_user)
            await self._in_thread(lambda: self._sockets.end(asks(self._own_client()), person))

    def _remove_container(self) -> None:
        try:
            self._own_client().remove_container(self.object_name, v=True, force=True)
        except NotFound:
            return  # as it should be: a lab's container goes when it stops

    async def _settle_volumes(self) -> None:
        """Make the person's volumes, or find that they are theirs.

        Raises:
            tornado.web.HTTPError: 409: one of them is an earlier account's of the same name.
        """
        name = self.user.name
        labels = spawning.volume_labels(name, self.account)
        for volume in self.volume_names().values():
            # Where there is one of that name, the engine answers with it.
            found = await self.docker("create_volume", volume, labels=labels)
            if not self.owns_volume(volume, found.get("Labels")):
                raise RefusedError(409, leftovers.refusal(volume, name))
            leftovers.note(self.settings.data, volume, self.account)

    def owns_volume(self, name: str, labels: Mapping[str, str] | None) -> bool:
        """Say whether a volume is this account's, and not an earlier one's of the same name."""
        return leftovers.theirs(self.settings.data, name, labels, self.account)

    async def _settle_sockets(self, may: bool) -> None:
        """Open the person's socket if they may have one, and close those of all who may not.

        Raises:
            familiar_hub.people_sockets.SocketError: the filter did not do it.
        """
        if not self.settings.docker.sockets or self.settings.docker.raw:
            return
        names = groups.members(self.user.db, groups.DOCKER)
        found = [orm.User.find(self.user.db, name) for name in names]
        members = [_socket_key(member) for member in found if member]
        person = _socket_key(self.user.orm_user)

        def settle() -> tuple[str, ...]:
            ask = asks(self._own_client())
            closed = self._sockets.keep_only(ask, members)
            self._sockets.settle(ask, person, may)
            return closed

        for name in await self._in_thread(settle):
            self.log.warning("The Docker socket of %s was closed: not a member any more.", name)

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(self.executor.submit(call))

    def get_env(self) -> dict[str, str]:
        """Return the lab's environment. What the hub itself sets goes before a profile's."""
        return {**self._planned, **super().get_env()}

    def _render_templates(self, obj: Any, ns: Any = None) -> Any:
        """Leave text as it is: there are no templates here, and a name may hold braces."""
        return obj

    async def _refuse_without_share(self) -> None:
        """Keep Docker from making an ordinary volume where the share on another machine is meant.

        Raises:
            tornado.web.HTTPError: 503: there is no volume that leads to the share.
        """
        name = spawning.shared_volume(self.settings)
        try:
            await self.docker("inspect_volume", name)
        except APIError as error:
            if error.status_code != 404:
                raise
            raise RefusedError(
                503,
                f"The volume {name} of the shared folder is not there; an administrator makes it"
                " with `python -m familiar_hub.share`.",
            ) from error


def _socket_key(person: Any) -> str:
    """Return what the filter calls a person by."""
    return f"{spawning.escaped(person.name)}/{account_of(person)}"
