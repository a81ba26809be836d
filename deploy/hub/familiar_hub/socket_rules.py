"""Who may use the Engine, and within which bounds: what the rest of the socket's policy goes by.

There are two kinds of clients. The hub starts labs, and needs little else. A person of the group
docker-privileged works with containers of their own. What belongs to whom is written on each
object as a label that only the proxy sets. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .socket_reading import Reference, Refused

OWNER = "familiar-hub.owner"
"""The label that says whose a container, volume or network is."""
IMAGE_OWNER = "familiar-hub.image"
"""The same of an image. A container has its image's labels, too: with one name for both, what an
operator makes of somebody's image would be that person's."""
RESERVED = ("familiar-hub.", "com.centurylinklabs.watchtower", "traefik.")
"""How labels begin that only operators set: other programs of the platform act on them."""
PROJECT = "com.docker.compose.project"
"""What Compose goes by: an operator's `compose exec hub` must not end in somebody's container."""
PEOPLE = "localhost/person/"
"""How the names of people's images begin. No registry is called so."""
SLUG = r"[a-z0-9](?:[a-z0-9.-]{0,198}[a-z0-9])?"
"""A person's name as the hub escapes it. It has no underscore, which ends it in other names."""
ACCOUNT = r"[0-9A-Za-z]{1,40}"
"""Which of the accounts that have had a name one after the other."""
RAW_SOCKET = "/var/run/docker.sock"
"""The Engine's own socket, as the Engine sees it."""


@dataclass(frozen=True)
class Who:
    """A client of the proxy. Which socket it uses says who it is.

    Attributes:
        slug: the person's name as the hub escapes it; empty for the hub.
        account: which account of that name; empty where the hub does not say.
    """

    slug: str = ""
    account: str = ""

    def __post_init__(self) -> None:
        if self.slug and not re.fullmatch(SLUG, self.slug):
            raise Refused(f"{self.slug[:80]!r} is no person's name as the hub escapes it.")
        if self.account and not (self.slug and re.fullmatch(ACCOUNT, self.account)):
            raise Refused(f"{self.account[:80]!r} is no account of a person.")

    @property
    def owner(self) -> str:
        """What the label says. Who is given the name of somebody who has left finds nothing of
        theirs."""
        return f"person/{self.key}" if self.slug else "hub"

    @property
    def key(self) -> str:
        """What the hub calls a person by."""
        return f"{self.slug}/{self.account}" if self.account else self.slug

    @property
    def prefix(self) -> str:
        """How the names of a person's containers, volumes and networks begin."""
        return f"person_{self.slug}_"

    @property
    def default_network(self) -> str:
        """The network of a person's containers that ask for none."""
        return f"{self.prefix}default"

    @property
    def repository(self) -> str:
        """How the names of a person's images begin: none becomes a lab's, or another person's, by
        its name."""
        return f"{PEOPLE}{self.slug}/"

    def __str__(self) -> str:
        return self.owner


HUB = Who()


@dataclass(frozen=True)
class Limits:
    """What a person may take from the machine.

    Attributes:
        memory: bytes of each container; it has no swap beside.
        cpus: cores of each container.
        pids: processes of each container.
        containers: how many there may be, running or not.
        volumes: how many there may be.
        networks: how many there may be; the Engine has addresses for about thirty in all.
        context: bytes of what is sent for a build.
    """

    memory: int = 2 << 30
    cpus: float = 2.0
    pids: int = 512
    containers: int = 10
    volumes: int = 20
    networks: int = 3
    context: int = 256 << 20


@dataclass(frozen=True)
class Rules:
    """What the operator has decided.

    Attributes:
        images: of labs; the hub runs and pulls no others.
        network: the only one that labs are on.
        prefix: how the names of the hub's containers and volumes begin.
        shared: a volume that every lab may have; its driver's options are the operator's.
        gpu: whether labs may have GPUs.
        nested: whether labs may run rootless podman: SETUID and SETGID in addition to what is
            left, seccomp off, and all of /proc in sight.
        people_on_host: the folder with a folder for each person's socket, as the Engine sees it.
        raw: whether labs may have the Engine's own socket. Who has it is root on the machine.
        memory: bytes that a lab may have; 0 for no bound.
        kept: images beside the labs' that no person may replace: the hub's own, the proxy's.
        registries: from which people may pull, beside the Engine's own choice.
        limits: of each person.
    """

    images: tuple[Reference, ...]
    network: str
    prefix: str = "jupyterlab-"
    shared: str = ""
    gpu: bool = False
    nested: bool = False
    people_on_host: str = ""
    raw: bool = False
    memory: int = 0
    kept: tuple[Reference, ...] = ()
    registries: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)

    def keeps(self, image: Reference) -> bool:
        """Say whether a repository is the platform's own, whatever the tag."""
        return any(image.repository == one.repository for one in (*self.images, *self.kept))

    def pullable(self, image: Reference) -> bool:
        """Say whether a person may pull an image of that name."""
        trusted = not image.host or image.host in self.registries
        return trusted and not self.keeps(image)


def labelled(where: str, value: Mapping[str, str], who: Who) -> dict[str, str]:
    """Return labels with the one that says whose the thing is.

    Raises:
        Refused: one of them is the operators'.
    """
    for key, held in value.items():
        if key != OWNER or held != who.owner:  # what was inspected is made anew as it was
            _check_label(where, key, held, who)
    return {**value, OWNER: who.owner}


def labelled_image(value: Mapping[str, str], who: Who) -> dict[str, str]:
    """Return the labels of an image that is built.

    Raises:
        Refused: one of them is the operators'.
    """
    for key, held in value.items():
        _check_label("labels", key, held, who)
    return {**value, IMAGE_OWNER: who.owner, OWNER: ""}


def check_inherited(labels: Mapping[str, str], who: Who) -> None:
    """Check the labels that a person's container gets from its image.

    Raises:
        Refused: one of them is the operators'.
    """
    for key, held in labels.items():
        if key not in (OWNER, IMAGE_OWNER):
            _check_label("The image's labels", key, held, who)


def _check_label(where: str, key: str, held: str, who: Who) -> None:
    if key.lower().startswith(RESERVED):
        raise Refused(f"{where}: {key[:60]} is set by operators only: leave it out.")
    if key == PROJECT and not held.startswith(who.prefix):
        raise Refused(f"{where}: choose a project of Compose that begins with {who.prefix}.")
