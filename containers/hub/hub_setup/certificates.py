"""The files of certificates: the authority's, apart from all else, and what the edge shows.

The authority's key stays in a folder that nothing but the preparation mounts. Its certificate,
which people may trust, is written where the operator finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from . import EDGE
from .authority import (
    Pair,
    fingerprint,
    names_of,
    new_authority,
    new_leaf,
    why_new_authority,
    why_new_leaf,
    why_not,
)
from .places import PlaceError, hand_over

ROOT = (0, 0)
PUBLIC = "ca.pem"
"""What people import, in the operator's folder of certificates."""


@dataclass(frozen=True)
class Folders:
    """Where certificates are.

    Attributes:
        given: the operator's folder: an own certificate lies there, and ``ca.pem`` is put there.
        authority: of the authority, for root alone.
        edge: of the edge.
    """

    given: Path
    authority: Path
    edge: Path


def own(folders: Folders, names: tuple[str, str], host: str, subdomains: bool, at: datetime) -> str:
    """Hand the operator's own certificate to the edge; return the name of its files.

    Args:
        names: of the certificate's file and the key's in the operator's folder.

    Raises:
        PlaceError: it will not do.
        OSError: a file cannot be written.
    """
    for name in names:
        if not name or Path(name).name != name:
            raise PlaceError(
                "FAMILIAR_TLS_CERTIFICATE and FAMILIAR_TLS_KEY are both names of files in the"
                " folder certificates, without a path; set both or none"
            )
    try:
        pair = Pair(*((folders.given / name).read_bytes() for name in names))
    except OSError as error:
        where = Path(str(error.filename)).name
        raise PlaceError(f"certificates/{where} cannot be read: {error.strerror}") from error
    if fault := why_not(pair, names_of(host, subdomains), at):
        raise PlaceError(f"certificates/{names[0]} {fault}")
    return _show(folders, pair)


def made(folders: Folders, host: str, subdomains: bool, at: datetime) -> tuple[str, list[str]]:
    """See that there is a certificate of our own authority, and that it lasts a while.

    Returns:
        the name of its files, and sentences that say what was made and why.

    Raises:
        OSError: a file cannot be written.
    """
    told = []
    authority = _pair(folders.authority / "ca.pem", folders.authority / "ca.key")
    reason = why_new_authority(authority, host, at)
    if authority is None or reason:
        authority = new_authority(host, at)
        hand_over(folders.authority / "ca.key", authority.key, ROOT, 0o600)
        hand_over(folders.authority / "ca.pem", authority.certificate, ROOT, 0o644)
        told.append(
            f"made an authority for {host}, since {reason}; its certificate is"
            f" certificates/{PUBLIC}, SHA-256 {fingerprint(authority.parsed)}"
        )
    hand_over(folders.given / PUBLIC, authority.certificate, ROOT, 0o644)
    names = names_of(host, subdomains)
    leaf = _pair(folders.authority / "leaf.pem", folders.authority / "leaf.key")
    reason = why_new_leaf(leaf, authority, names, at)
    if leaf is None or reason:
        leaf = new_leaf(authority, names, at)
        hand_over(folders.authority / "leaf.key", leaf.key, ROOT, 0o600)
        hand_over(folders.authority / "leaf.pem", leaf.certificate, ROOT, 0o644)
        until = leaf.parsed.not_valid_after_utc
        told.append(f"made a certificate until {until:%Y-%m-%d}, since {reason}")
    return _show(folders, leaf), told


def clear(folders: Folders, *told: str) -> None:
    """Remove the certificates that the edge shows no longer.

    Args:
        folders: where they are.
        told: texts that name those to keep: what the edge is told now, and what it was told
            before, which it may be reading just now.
    """
    for file in folders.edge.iterdir():
        if file.suffix in (".pem", ".key") and not any(file.stem in text for text in told):
            file.unlink()


def _show(folders: Folders, pair: Pair) -> str:
    # Named after itself, so that the edge's configuration changes when it does.
    name = fingerprint(pair.parsed).replace(":", "").lower()[:16]
    hand_over(folders.edge / f"{name}.pem", pair.certificate, EDGE)
    hand_over(folders.edge / f"{name}.key", pair.key, EDGE)
    return name


def _pair(certificate: Path, key: Path) -> Pair | None:
    try:
        return Pair(certificate.read_bytes(), key.read_bytes())
    except FileNotFoundError:
        return None
