"""How pip is set up for the person, told to the pip in a build without leaving it in the image.

An index of one's own, a proxy and a firm's certificates are in pip.conf or in the environment. What
of it means something elsewhere is written into one pip.conf, and the authorities into one file; the
build mounts both as secrets. Folders of this machine are mounted where the runtime can do that.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

CERT_IN_BUILD = "/run/secrets/authorities.pem"
"""Where the Containerfile mounts the certificates."""

_CARRIED = (
    "index-url", "extra-index-url", "no-index", "find-links", "trusted-host", "proxy", "timeout",
    "default-timeout", "retries", "prefer-binary", "only-binary", "no-binary", "pre",
)  # fmt: skip
"""The settings that mean the same in a build. ``cert`` is carried as a file."""
_PLACES = ("index-url", "extra-index-url", "find-links")
_CERT_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_LINE = re.compile(r"^(?P<section>[\w:-]+)\.(?P<name>[\w-]+)=(?P<value>['\"].*['\"])$")


@dataclass(frozen=True)
class PipSettings:
    """What a build is told.

    Attributes:
        conf: the text of its pip.conf.
        authorities: the file of certificates that pip trusts; empty for pip's own.
        folders: this machine's folders that the settings name, which exist.
    """

    conf: str = ""
    authorities: str = ""
    folders: tuple[str, ...] = ()


def read(*, mounts: bool) -> PipSettings:
    """Return this person's settings: pip's own account of them, or without pip the variables.

    Args:
        mounts: whether the build can see folders of this machine.
    """
    return settings(_told_by_pip(), os.environ, mounts=mounts)


def settings(told: str, environment: Mapping[str, str], *, mounts: bool) -> PipSettings:
    """Return what a build is told.

    Args:
        told: what ``pip config list`` printed; may be empty.
        environment: the person's variables.
        mounts: whether the build can see folders of this machine.
    """
    found = _merged(told)
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    carried = {name: found[name].split() for name in _CARRIED if found.get(name, "").strip()}
    folders: list[str] = []
    for name in _PLACES:
        kept = []
        for place in carried.get(name, []):
            folder = _folder(place)
            if folder is not None:
                if not (mounts and os.path.isdir(folder)):
                    continue
                folders.append(folder)
            kept.append(place)
        if name in carried:
            carried[name] = kept
    lines = [f"{name} =" + "".join(f"\n    {v}" for v in kept) for name, kept in carried.items()
             if kept]  # fmt: skip
    cert = next(
        (
            path
            for path in (found.get("cert", ""), *map(environment.get, _CERT_VARIABLES))
            if path and os.path.isfile(path)
        ),
        "",
    )
    if cert:
        lines.append(f"cert = {CERT_IN_BUILD}")
    conf = "".join(f"{line}\n" for line in ("[global]", *lines)) if lines else ""
    return PipSettings(conf, cert, tuple(dict.fromkeys(folders)))


def _told_by_pip() -> str:
    """Return what ``pip config list`` prints, or nothing where there is no pip."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _merged(told: str) -> dict[str, str]:
    """Return the settings of all sections: those for ``pip install`` go before the global ones."""
    found: dict[str, str] = {}
    for wanted in ("global", "install"):
        for line in told.splitlines():
            match = _LINE.match(line)
            if match and match["section"] == wanted:
                found[match["name"]] = str(ast.literal_eval(match["value"]))
    return found


def _folder(place: str) -> str | None:
    """Return the folder of this machine that an address names, or None for one of the network."""
    url = urlsplit(place)
    if url.scheme == "file":
        return unquote(url.path)
    return str(Path(place).absolute()) if not url.scheme else None
