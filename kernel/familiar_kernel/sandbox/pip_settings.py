"""How pip is set up for the person, told to the pip in a build without leaving it in the image.

An index of one's own, a proxy and a firm's certificates are in pip.conf or in the environment. What
of it means something elsewhere is written into one pip.conf, and the authorities into one file; the
build mounts both as secrets. Packages in folders of this machine it cannot see: a folder that is
also an index refers to others, and not every runtime can mount one.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

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
        left_out: the places that only this machine has.
    """

    conf: str = ""
    authorities: str = ""
    left_out: tuple[str, ...] = ()


def read() -> PipSettings:
    """Return this person's settings: pip's own account of them, or without pip the variables."""
    return settings(_told_by_pip(), os.environ)


def settings(told: str, environment: Mapping[str, str]) -> PipSettings:
    """Return what a build is told.

    Args:
        told: what ``pip config list`` printed; may be empty.
        environment: the person's variables.
    """
    found = _merged(told)
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    lines, left_out = [], []
    for name in _CARRIED:
        values = found.get(name, "").split()
        if name in _PLACES:
            left_out += [place for place in values if _is_local(place)]
            values = [place for place in values if not _is_local(place)]
        if values:
            # A value that begins on a line of its own would begin with that line's end.
            lines.append(f"{name} = " + "\n    ".join(values))
    named = (found.get("cert", ""), *(environment.get(v, "") for v in _CERT_VARIABLES))
    cert = next((path for path in named if path and os.path.isfile(path)), "")
    if cert:
        lines.append(f"cert = {CERT_IN_BUILD}")
    conf = "".join(f"{line}\n" for line in ("[global]", *lines)) if lines else ""
    return PipSettings(conf, cert, tuple(dict.fromkeys(left_out)))


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


def _is_local(place: str) -> bool:
    return urlsplit(place).scheme in ("", "file")
