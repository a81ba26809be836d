"""Certificates, as openssl judges them, and when they are made anew."""

from __future__ import annotations

import os
import stat
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from hub_setup import authority, certificates
from hub_setup.authority import Pair, names_of, new_authority, new_leaf, now
from hub_setup.certificates import Folders
from hub_setup.places import PlaceError
from needs import need

HOSTS = [("lab.example.org", True), ("localhost", False), ("192.168.1.7", False), ("::1", False)]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    found = Folders(*(tmp_path / name for name in ("given", "authority", "edge")))
    for folder in (found.given, found.authority, found.edge):
        folder.mkdir()
    return found


@pytest.fixture(autouse=True)
def owners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whoever runs the tests own all, where that is not root."""
    if os.geteuid() != 0:
        monkeypatch.setattr(os, "fchown", lambda *_: None)


def verified(folder: Path, by: Pair, leaf: Pair, *options: str) -> str:
    """Return what openssl says of a certificate; OK if all is well."""
    (folder / "by.pem").write_bytes(by.certificate)
    (folder / "leaf.pem").write_bytes(leaf.certificate)
    done = subprocess.run(
        [
            need("openssl"), "verify", "-x509_strict", "-purpose", "sslserver", *options,
            "-CAfile", str(folder / "by.pem"), str(folder / "leaf.pem"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "OK" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize(("host", "subdomains"), HOSTS)
def test_a_certificate_is_good_for_its_host_only(
    tmp_path: Path, host: str, subdomains: bool
) -> None:
    by = new_authority(host, now())
    leaf = new_leaf(by, names_of(host, subdomains), now())
    kind = "-verify_ip" if names_of(host)[0].value != host else "-verify_hostname"
    assert verified(tmp_path, by, leaf, kind, host) == "OK"
    assert "mismatch" in verified(tmp_path, by, leaf, "-verify_hostname", "other.example")
    below = verified(tmp_path, by, leaf, "-verify_hostname", f"ada.{host}")
    assert (below == "OK") == subdomains


@pytest.mark.parametrize(("host", "subdomains"), HOSTS)
def test_the_authority_vouches_for_nothing_else(
    tmp_path: Path, host: str, subdomains: bool
) -> None:
    # Whoever steals its key can still not be somebody's bank.
    by = new_authority(host, now())
    for other in ("bank.example", "10.0.0.1", "2001:db8::1", f"x{host}" if subdomains else "a.b"):
        said = verified(tmp_path, by, new_leaf(by, names_of(other), now()))
        assert "subtree violation" in said, (other, said)


def test_a_name_in_another_script(tmp_path: Path) -> None:
    by = new_authority("lübeck.example", now())
    leaf = new_leaf(by, names_of("lübeck.example"), now())
    assert verified(tmp_path, by, leaf, "-verify_hostname", "xn--lbeck-kva.example") == "OK"


def test_it_is_made_once_and_renewed_a_month_before_its_end(folders: Folders) -> None:
    begin = now()
    first, told = certificates.made(folders, "localhost", False, begin)
    assert [line.split(",")[0][:9] for line in told] == ["made an a", "made a ce"]
    end = begin + timedelta(days=authority.LEAF_DAYS)
    for at, same in ((begin, True), (end - timedelta(days=31), True)):
        again, told = certificates.made(folders, "localhost", False, at)
        assert ((again == first), told) == (same, [])
    late, told = certificates.made(folders, "localhost", False, end - timedelta(days=29))
    assert late != first
    assert len(told) == 1
    assert told[0].endswith("since the one there was ends soon")
    certificates.clear(folders, late)
    assert {file.stem for file in folders.edge.iterdir()} == {late}


def test_another_address_makes_another_authority(folders: Folders) -> None:
    certificates.made(folders, "localhost", False, now())
    before = (folders.given / "ca.pem").read_bytes()
    _, told = certificates.made(folders, "lab.example.org", False, now())
    assert "since the one there was is for another address" in told[0]
    assert (folders.given / "ca.pem").read_bytes() != before
    # More names of the same host need a new certificate only.
    _, told = certificates.made(folders, "lab.example.org", True, now())
    assert len(told) == 1
    assert "has other names" in told[0]


@pytest.mark.parametrize("name", ["ca.pem", "ca.key", "leaf.pem", "leaf.key"])
def test_what_is_lost_or_broken_is_made_anew(tmp_path: Path, folders: Folders, name: str) -> None:
    for broken in (None, b"nonsense"):
        first, _ = certificates.made(folders, "localhost", False, now())
        file = folders.authority / name
        file.unlink() if broken is None else file.write_bytes(broken)
        second, told = certificates.made(folders, "localhost", False, now())
        assert second != first
        assert told
        pair = certificates._pair(folders.edge / f"{second}.pem", folders.edge / f"{second}.key")
        by = certificates._pair(folders.authority / "ca.pem", folders.authority / "ca.key")
        assert pair
        assert by
        assert verified(tmp_path, by, pair) == "OK"


def test_keys_are_nobody_else_s(folders: Folders) -> None:
    name, _ = certificates.made(folders, "localhost", False, now())
    modes = {
        file: stat.S_IMODE(file.stat().st_mode)
        for folder in (folders.given, folders.authority, folders.edge)
        for file in folder.iterdir()
    }
    assert modes[folders.authority / "ca.key"] == 0o600
    assert modes[folders.edge / f"{name}.key"] == 0o400
    # The authority's key is in no folder that another one mounts.
    key = (folders.authority / "ca.key").read_bytes()
    for folder in (folders.given, folders.edge):
        assert all(key not in file.read_bytes() for file in folder.iterdir())
    assert [file.name for file in folders.given.iterdir()] == ["ca.pem"]
    if os.geteuid() == 0:
        assert (folders.edge / f"{name}.key").stat().st_uid == 65532
        assert (folders.authority / "ca.key").stat().st_uid == 0


def _given(folders: Folders, pair: Pair) -> None:
    (folders.given / "mine.pem").write_bytes(pair.certificate)
    (folders.given / "mine.key").write_bytes(pair.key)


def test_a_certificate_of_one_s_own_is_shown_as_it_is(folders: Folders) -> None:
    by = new_authority("lab.example.org", now())
    leaf = new_leaf(by, names_of("lab.example.org"), now())
    chain = Pair(leaf.certificate + by.certificate, leaf.key)
    _given(folders, chain)
    name = certificates.own(folders, ("mine.pem", "mine.key"), "lab.example.org", False, now())
    assert (folders.edge / f"{name}.pem").read_bytes() == chain.certificate
    assert not list(folders.authority.iterdir())
    # One for a whole domain will do as well.
    wild = new_leaf(by, authority.names_of("example.org", True), now())
    _given(folders, wild)
    assert certificates.own(folders, ("mine.pem", "mine.key"), "lab.example.org", False, now())


@pytest.mark.parametrize(
    ("host", "subdomains", "days", "said"),
    [
        ("other.example", False, 0, "certificates/mine.pem is not for other.example"),
        ("lab.example.org", True, 0, "certificates/mine.pem is not for *.lab.example.org"),
        ("10.0.0.1", False, 0, "certificates/mine.pem is not for 10.0.0.1"),
        ("lab.example.org", False, 400, "certificates/mine.pem ended on "),
    ],
)
def test_one_s_own_that_will_not_do(
    folders: Folders, host: str, subdomains: bool, days: int, said: str
) -> None:
    by = new_authority("lab.example.org", now())
    _given(folders, new_leaf(by, names_of("lab.example.org"), now()))
    at = now() + timedelta(days=days)
    with pytest.raises(PlaceError) as caught:
        certificates.own(folders, ("mine.pem", "mine.key"), host, subdomains, at)
    assert str(caught.value).startswith(said)
    assert not list(folders.edge.iterdir())


def test_files_of_one_s_own_that_will_not_do(folders: Folders) -> None:
    by = new_authority("localhost", now())
    one, other = (new_leaf(by, names_of("localhost"), now()) for _ in range(2))
    for pair, said in (
        (Pair(one.certificate, other.key), "mine.pem does not belong to the key"),
        (Pair(b"", one.key), "mine.pem is no certificate in PEM"),
        (
            Pair(one.certificate, b"x"),
            "mine.pem has a key that is none in PEM",
        ),
    ):
        _given(folders, pair)
        with pytest.raises(PlaceError, match=said):
            certificates.own(folders, ("mine.pem", "mine.key"), "localhost", False, now())
    for names in (("mine.pem", ""), ("../mine.pem", "mine.key")):
        with pytest.raises(PlaceError, match="set both or none"):
            certificates.own(folders, names, "localhost", False, now())
    with pytest.raises(PlaceError, match=r"certificates/gone.pem cannot be read: No such file"):
        certificates.own(folders, ("gone.pem", "mine.key"), "localhost", False, now())
