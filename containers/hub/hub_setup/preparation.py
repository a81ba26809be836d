"""Prepares a deployment: ``python -m hub_setup``, once before the services of Compose start.

It checks all settings first, those of the hub and of the filter, and names every fault at once.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from familiar_hub.settings import Settings, SettingsError
from familiar_hub.socket_settings import SocketSettings, SocketSettingsError

from . import EDGE, FILTER, HUB, TOOLS, certificates, edge
from .authority import now
from .places import PlaceError, folder_for, hand_over, hand_over_secrets, secrets_in

SECRETS = Path("/run/familiar-secrets")
"""Where the hub sees its secrets, and so does this, to check settings that name them."""


@dataclass(frozen=True)
class Places:
    """What is mounted into the preparation.

    Attributes:
        given: the operator's secrets.
        secrets: the hub's.
        sockets: the filter's.
        tools: each tool's folder, by its name.
        certificates: all that certificates need.
    """

    given: Path
    secrets: Path
    sockets: Path
    tools: Mapping[str, Path]
    certificates: certificates.Folders


MOUNTED = Places(
    Path("/given/secrets"),
    SECRETS,
    Path("/sockets"),
    {name: Path("/tools", name) for name in TOOLS},
    certificates.Folders(Path("/given/certificates"), Path("/authority"), Path("/edge")),
)


def prepare(environ: Mapping[str, str], places: Places, say: Callable[[str], None]) -> None:
    """Prepare everything.

    Args:
        environ: the hub's and the filter's variables.
        places: where all is.
        say: takes a sentence about something that was made.

    Raises:
        SettingsError: the settings have faults.
        PlaceError: what the operator gave will not do.
        OSError: something cannot be written.
    """
    shared = tokens(places.tools)
    hand_over_secrets({**secrets_in(places.given), **shared}, places.secrets, HUB)
    settings = checked(environ)
    folder_for(places.sockets / "hub", FILTER, 0o711)
    folder_for(places.sockets, FILTER, 0o700)
    folders = places.certificates
    name, told = "", list[str]()
    if settings.ssl:
        names = tuple(
            environ.get(f"FAMILIAR_TLS_{part}", "").strip() for part in ("CERTIFICATE", "KEY")
        )
        host, at = edge.host_of(settings), now()
        if any(names):
            name = certificates.own(folders, (names[0], names[1]), host, settings.subdomains, at)
        else:
            name, told = certificates.made(folders, host, settings.subdomains, at)
    text = yaml.safe_dump(edge.routing(settings, name), sort_keys=False)
    target = folders.edge / "hub.yml"
    before = target.read_text(encoding="utf-8") if target.exists() else ""
    if before != text:
        hand_over(target, text.encode(), EDGE)
    certificates.clear(folders, before, text)
    folder_for(folders.edge, EDGE, 0o500)
    for sentence in told:
        say(sentence)


def tokens(tools: Mapping[str, Path]) -> dict[str, bytes]:
    """Return what the hub shares with each tool's door, by the name of the hub's secret.

    One that is there stays, so that neither side has to be started anew.

    Raises:
        OSError: a file cannot be written.
    """
    found = {}
    for name, folder in tools.items():
        file = folder / "token"
        token = file.read_bytes() if file.exists() else f"{secrets.token_hex(32)}\n".encode()
        hand_over(file, token, TOOLS[name])
        folder_for(folder, TOOLS[name], 0o500)
        found[f"{name}_token"] = token
    return found


def checked(environ: Mapping[str, str]) -> Settings:
    """Return the hub's settings.

    Raises:
        SettingsError: they have faults, or the filter's have.
    """
    faults: list[str] = []
    try:
        SocketSettings.from_environment(environ)
    except SocketSettingsError as error:
        faults += error.faults
    try:
        settings = Settings.from_environment(environ)
    except SettingsError as error:
        # Both read some of them, and would say the same in other words.
        told = {fault.split()[0] for fault in error.faults}
        more = [fault for fault in faults if fault.split()[0] not in told]
        raise SettingsError([*error.faults, *more]) from error
    if faults:
        raise SettingsError(faults)
    return settings


def main() -> int:
    """Prepare, and return the exit status."""
    try:
        prepare(os.environ, MOUNTED, lambda sentence: print(f"familiar: {sentence}.", flush=True))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    except (PlaceError, OSError) as error:
        print(f"familiar: {error}.", file=sys.stderr)
        return 1
    return 0
