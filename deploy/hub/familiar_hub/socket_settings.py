"""What the proxy of the Engine's socket is told by its environment, all faults named at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .socket_reading import Reference, Refused, reference
from .socket_rules import Limits, Rules

_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class SocketSettingsError(Exception):
    """The environment does not say what the proxy needs.

    Attributes:
        faults: all of them, each a sentence that names the variable and what it may be.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True)
class SocketSettings:
    """Where the proxy listens, and by which rules.

    Attributes:
        engine: the Engine's own socket.
        folder: below it are ``hub/docker.sock`` and ``people/<person>/docker.sock``.
        rules: what clients may.
        group: the ID of the group that may use the hub's socket; None for the proxy's own.
    """

    engine: Path
    folder: Path
    rules: Rules
    group: int | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> SocketSettings:
        """Read them.

        Raises:
            SocketSettingsError: something is missing or cannot be read.
        """
        read = _Reader(environ)
        limits = Limits(
            memory=read.size("SOCKET_PERSON_MEMORY", "2g"),
            cpus=read.number("SOCKET_PERSON_CPUS", "2"),
            pids=int(read.number("SOCKET_PERSON_PIDS", "512")),
            containers=int(read.number("SOCKET_PERSON_CONTAINERS", "10")),
            volumes=int(read.number("SOCKET_PERSON_VOLUMES", "20")),
            networks=int(read.number("SOCKET_PERSON_NETWORKS", "3")),
            context=read.size("SOCKET_PERSON_CONTEXT", "256m"),
        )
        lab = read.images("DOCKER_NOTEBOOK_IMAGE", needed=True)
        rules = Rules(
            images=(*lab, *read.images("SOCKET_LAB_IMAGES")),
            network=read.text(
                "DOCKER_NETWORK_NAME", r"[a-zA-Z0-9][\w.-]+", "the name of the labs' network"
            ),
            prefix=read.text(
                "SOCKET_PREFIX", r"[a-z0-9][a-z0-9.-]*-", "a name that ends in -", "jupyterlab-"
            ),
            shared=read.text(
                "SOCKET_SHARED_VOLUME", r"([a-zA-Z0-9][\w.-]+)?", "the name of a volume", ""
            ),
            gpu=read.text("ENABLE_GPU_SUPPORT", "[012]", "0, 1 or 2", "0") != "0",
            nested=read.text("SOCKET_NESTED", "[01]", "0 or 1", "0") == "1",
            people_on_host=read.text(
                "SOCKET_PEOPLE_ON_HOST", r"(/[\w.-]+)*", "a folder's whole path on the machine", ""
            ),
            raw=read.text("FAMILIAR_HUB_RAW_DOCKER_SOCKET", "[01]", "0 or 1", "0") == "1",
            memory=read.size("SOCKET_LAB_MEMORY", "0"),
            kept=read.images("SOCKET_KEPT_IMAGES"),
            registries=frozenset(read.words("SOCKET_REGISTRIES")),
            limits=limits,
        )
        group = read.text("SOCKET_HUB_GROUP", r"\d*", "a group's number", "")
        found = cls(
            Path(environ.get("DOCKER_SOCKET") or "/var/run/docker.sock"),
            Path(environ.get("SOCKET_FOLDER") or "/run/familiar-hub"),
            rules,
            int(group) if group else None,
        )
        if read.faults:
            raise SocketSettingsError(read.faults)
        return found


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ, self.faults = environ, list[str]()

    def text(self, name: str, form: str, said: str, default: str | None = None) -> str:
        value = self._environ.get(name) or default
        if value is None or not re.fullmatch(form, value, re.ASCII):
            self.faults.append(f"{name} is {value or 'missing'!s}; it has to be {said}.")
            return ""
        return value

    def size(self, name: str, default: str) -> int:
        value = self.text(name, r"\d{1,12}[kmgtKMGT]?", "a size such as 512m or 2g", default)
        figure, unit = (value[:-1], value[-1].lower()) if value[-1:].isalpha() else (value, "")
        return int(figure or 0) * _SIZES[unit]

    def number(self, name: str, default: str) -> float:
        value = self.text(name, r"\d{1,6}(\.\d{1,3})?", "a number", default)
        if value and float(value) < 1 / 100:
            self.faults.append(f"{name} is {value}; it has to be more than nothing.")
        return float(value or 1)

    def words(self, name: str) -> list[str]:
        return self._environ.get(name, "").replace(",", " ").split()

    def images(self, name: str, needed: bool = False) -> tuple[Reference, ...]:
        found = []
        for word in self.words(name):
            try:
                found.append(reference(word))
            except Refused:
                self.faults.append(f"{name} names {word}, which is no image; write name:tag.")
        if needed and not found:
            self.faults.append(f"{name} is missing; it has to be the image of labs, as name:tag.")
        return tuple(found)
