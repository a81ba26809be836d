"""What is prepared before services start: secrets, folders, routing; and every fault at once."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
import yaml

from familiar_hub.settings import SettingsError
from hub_setup import TOOLS, backup, certificates
from hub_setup import preparation as setup
from hub_setup.places import MOST_SECRET_BYTES, PlaceError, hand_over, secrets_in


@pytest.fixture(autouse=True)
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[Path, tuple[int, int]]:
    """Note who is to own what; only root could make it so."""
    found: dict[Path, tuple[int, int]] = {}

    def chown(path: Path | int, user: int, group: int) -> None:
        name = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else str(path)
        found[Path(name)] = (user, group)

    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(os, "fchown", chown)
    return found


@pytest.fixture
def places(tmp_path: Path) -> setup.Places:
    names = ("given", "secrets", "sockets", "certificates", "authority", "edge")
    folders = {name: tmp_path / name for name in names}
    tools = {name: tmp_path / "tools" / name for name in TOOLS}
    for folder in (*folders.values(), *tools.values()):
        folder.mkdir(parents=True)
    (folders["given"] / "admin_password").write_text("a password that is long\n")
    (folders["given"] / ".hidden").write_text("an editor's")
    return setup.Places(
        folders["given"], folders["secrets"], folders["sockets"], tools,
        certificates.Folders(folders["certificates"], folders["authority"], folders["edge"]),
    )  # fmt: skip


def environment(places: setup.Places, **more: str) -> dict[str, str]:
    return {
        "FAMILIAR_HUB_PUBLIC_URL": "https://lab.example.org:8443",
        "FAMILIAR_HUB_ADMIN_PASSWORD_FILE": str(places.secrets / "admin_password"),
        "DOCKER_NOTEBOOK_IMAGE": "lab:1",
        "DOCKER_NETWORK_NAME": "labs",
        **more,
    }


def test_a_certificate_that_the_edge_may_be_reading_stays_until_the_next_preparation(
    places: setup.Places,
) -> None:
    def shown(host: str) -> set[str]:
        told = environment(places, FAMILIAR_HUB_PUBLIC_URL=f"https://{host}")
        setup.prepare(told, places, lambda sentence: None)
        return {file.stem for file in places.certificates.edge.glob("*.pem")}

    first = shown("one.example.org")
    both = shown("two.example.org")
    assert first < both
    assert shown("two.example.org") == both - first
    assert len(both - first) == 1


def test_everybody_gets_their_own(
    places: setup.Places, owners: dict[Path, tuple[int, int]]
) -> None:
    (places.secrets / "old").write_text("of an earlier start")
    said: list[str] = []
    setup.prepare(environment(places), places, said.append)
    assert sorted(file.name for file in places.secrets.iterdir()) == [
        "admin_password", "glances_token", "mlflow_token", "tensorboard_token",
    ]  # fmt: skip
    password = places.secrets / "admin_password"
    assert password.read_text() == "a password that is long\n"
    assert stat.S_IMODE(password.stat().st_mode) == 0o400
    assert owners[places.secrets] == (1000, 1000)
    assert stat.S_IMODE(places.sockets.stat().st_mode) == 0o700
    assert owners[places.sockets] == owners[places.sockets / "hub"] == (64101, 1000)
    assert owners[places.certificates.edge] == (65532, 65532)
    assert len(said) == 2
    routing = yaml.safe_load((places.certificates.edge / "hub.yml").read_text())
    assert routing["http"]["routers"]["hub"]["rule"] == "Host(`lab.example.org`)"
    assert routing["http"]["middlewares"]["to-https"]["redirectScheme"]["port"] == "8443"


def test_a_second_start_leaves_what_was_handed_over(places: setup.Places) -> None:
    setup.prepare(environment(places), places, lambda _: None)
    routing = places.certificates.edge / "hub.yml"
    before = routing.stat().st_mtime_ns
    token = (places.secrets / "mlflow_token").read_bytes()
    said: list[str] = []
    setup.prepare(environment(places), places, said.append)
    assert said == []
    assert routing.stat().st_mtime_ns == before
    # A hub and a tool that run on know each other still.
    assert (places.secrets / "mlflow_token").read_bytes() == token
    assert (places.tools["mlflow"] / "token").read_bytes() == token


def test_every_fault_is_named_at_once(places: setup.Places) -> None:
    told = environment(
        places,
        FAMILIAR_HUB_MEMORY="much",
        FAMILIAR_HUB_MEMROY="1G",
        DOCKER_NETWORK_NAME="not a name",
        SOCKET_PERSON_CPUS="none",
    )
    with pytest.raises(SettingsError) as caught:
        setup.prepare(told, places, lambda _: None)
    for name in ("MEMORY", "MEMROY", "DOCKER_NETWORK_NAME", "SOCKET_PERSON_CPUS"):
        assert [fault for fault in caught.value.faults if name in fault], name
    assert not list(places.certificates.edge.iterdir())


def test_a_fault_that_both_find_is_named_once(places: setup.Places) -> None:
    with pytest.raises(SettingsError) as caught:
        setup.prepare(environment(places, ENABLE_GPU_SUPPORT="7"), places, lambda _: None)
    assert caught.value.faults == ("ENABLE_GPU_SUPPORT is '7'; it may be 0, 1 or 2.",)


def test_what_the_filter_alone_refuses(places: setup.Places) -> None:
    with pytest.raises(SettingsError, match="SOCKET_NESTED"):
        setup.prepare(environment(places, SOCKET_NESTED="2"), places, lambda _: None)


def test_a_file_that_is_no_secret(places: setup.Places) -> None:
    (places.given / "film").write_bytes(bytes(MOST_SECRET_BYTES + 1))
    with pytest.raises(PlaceError, match="secrets/film is too large"):
        secrets_in(places.given)


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "token"
    target.write_text("old")
    # Somebody's link in its way leads nowhere.
    (tmp_path / ".token.new").symlink_to(tmp_path / "elsewhere")
    hand_over(target, b"new", (1, 1))
    assert target.read_text() == "new"
    assert not (tmp_path / "elsewhere").exists()


def test_a_database_is_copied_while_it_is_written(tmp_path: Path) -> None:
    source, target = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    with sqlite3.connect(source) as made:
        made.execute("CREATE TABLE pair (one INTEGER, two INTEGER)")
    made.close()
    done = threading.Event()

    def write() -> None:
        number, there = 0, sqlite3.connect(source, timeout=60)
        while not done.is_set():
            number += 1
            with there:
                there.execute("INSERT INTO pair VALUES (?, 0)", (number,))
                there.execute("UPDATE pair SET two = ?", (number,))
            done.wait(0.005)  # SQLite is no fair queue
        there.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            target.unlink(missing_ok=True)
            backup.copy_database(source, target)
            copy = sqlite3.connect(target)
            # A transaction is in it whole, or not at all.
            [(last, least, most)] = copy.execute(
                "SELECT max(one), min(two), max(two) FROM pair"
            ).fetchall()
            copy.close()
            assert last == least == most
    finally:
        done.set()
        writer.join()


def test_a_damaged_database_is_no_backup(tmp_path: Path) -> None:
    source = tmp_path / "a.sqlite"
    source.write_bytes(b"SQLite format 3\0" + bytes(8000))
    with pytest.raises(sqlite3.Error):
        backup.copy_database(source, tmp_path / "b.sqlite")
