"""What the door is told by its environment: the same variables as the hub's, read at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

TOKEN = re.compile(r"[A-Za-z0-9_-]{32,128}")
"""What hub and door share: random, and nothing that a header or an address would change."""


class SettingsError(ValueError):
    """The environment does not say what the door needs; the text holds a line for each fault."""


@dataclass(frozen=True)
class Settings:
    """Where the hub is, and who the door is to it.

    Attributes:
        name: the tool's, and the service's at the hub.
        token: what proves to the hub that this is the service.
        base_url: the path that the hub is served under, with slashes around it.
        hub: where the door reaches the hub's own port.
        origin: the beginning of the hub's address as people type it; empty where only one is known.
        services_origin: the beginning of this service's; another one where each person's lab has
            an origin of its own.
    """

    name: str
    token: str = field(repr=False)
    base_url: str = "/"
    hub: str = "http://hub:8081"
    origin: str = ""
    services_origin: str = ""

    @property
    def prefix(self) -> str:
        """The path of this service, with slashes around it."""
        return f"{self.base_url}services/{self.name}/"

    @property
    def scope(self) -> str:
        """What somebody must have to be let in."""
        return f"access:services!service={self.name}"

    @property
    def tls(self) -> bool:
        """Whether people come by https."""
        return (self.services_origin or self.origin).startswith("https://")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], names: frozenset[str]) -> Settings:
        """Return what these variables say.

        Args:
            names: the tools that there are.

        Raises:
            SettingsError: something is missing or cannot be read.
        """
        faults: list[str] = []
        name = environ.get("FAMILIAR_TOOL", "")
        if name not in names:
            faults.append(
                f"FAMILIAR_TOOL is {name!r}; it may be one of {', '.join(sorted(names))}."
            )
        base_url = environ.get("JUPYTERHUB_BASE_URL", "").strip("/ ")
        if not re.fullmatch(r"([\w.~-]+(/[\w.~-]+)*)?", base_url, re.ASCII):
            faults.append("JUPYTERHUB_BASE_URL may be a path such as / or /jupyter/.")
        host = environ.get("FAMILIAR_HUB_HOST") or "hub"
        if not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", host):
            faults.append("FAMILIAR_HUB_HOST may be the hub's name on the tools' network.")
        public = environ.get("FAMILIAR_HUB_PUBLIC_URL", "").strip().rstrip("/")
        if public and not re.fullmatch(r"https?://[^/?#@\s]+", public):
            faults.append(
                "FAMILIAR_HUB_PUBLIC_URL may be an address such as https://lab.example.org."
            )
        subdomains = environ.get("FAMILIAR_HUB_SUBDOMAINS") == "1"
        if subdomains and not public:
            faults.append("FAMILIAR_HUB_SUBDOMAINS is 1, which needs FAMILIAR_HUB_PUBLIC_URL.")
        token = _token(environ.get("FAMILIAR_TOOL_TOKEN_FILE", ""), faults)
        if faults:
            raise SettingsError("\n".join(faults))
        parts = urlsplit(public)
        return cls(
            name=name,
            token=token,
            base_url=f"/{base_url}/" if base_url else "/",
            hub=f"http://{host if ':' in host else host + ':8081'}",
            origin=public,
            services_origin=f"{parts.scheme}://{name}--service.{parts.netloc}"
            if subdomains
            else "",
        )


def _token(name: str, faults: list[str]) -> str:
    if not name:
        faults.append("FAMILIAR_TOOL_TOKEN_FILE is empty; it must name the file with the token.")
        return ""
    try:
        token = Path(name).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        faults.append(f"FAMILIAR_TOOL_TOKEN_FILE names {name}, which cannot be read: {why}.")
        return ""
    if not TOKEN.fullmatch(token):
        faults.append(
            f"FAMILIAR_TOOL_TOKEN_FILE names {name}, which may hold 32 to 128 letters, digits,"
            " - and _ (`openssl rand -hex 32`)."
        )
    return token
