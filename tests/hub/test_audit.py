"""The audit log: whole lines, for its owner alone, bounded, and without secrets."""

from __future__ import annotations

import json
import logging
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from familiar_hub import audit
from familiar_hub.metrics import AUDIT_FAILURES

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "audit.log"
    audit.configure(None)


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_entry_says_when_what_and_who() -> None:
    told = json.loads(audit.entry("volume.reset", by="ada", at=AT, kind="home", reason=None))
    assert told == {
        "at": "2026-01-02T03:04:05.678+00:00",
        "event": "volume.reset",
        "by": "ada",
        "kind": "home",
    }


@pytest.mark.parametrize(
    "name",
    ["token", "api_token", "Password", "passwd", "cookie", "client_secret", "apikey", "_xsrf"],
)
def test_a_fact_that_sounds_like_a_secret_is_refused(name: str, file: Path) -> None:
    audit.configure(file)
    with pytest.raises(ValueError, match="sounds like a secret"):
        audit.record("event", by="ada", admin=True, **{name: "x"})
    assert file.read_text() == ""


def test_a_name_can_forge_no_line_and_fool_no_terminal(file: Path) -> None:
    audit.configure(file)
    audit.record(
        "event", by='ada"}\n{"event": "forged\x1b[2J\u202e', admin=True, person="x" * 10_000
    )
    [told] = lines(file)
    assert told["by"] == 'ada"}\n{"event": "forged\x1b[2J\u202e'
    assert file.read_text().isascii()
    assert "\x1b" not in file.read_text()
    assert len(str(told["person"])) == 500


def test_only_its_owner_reads_it_also_where_it_was_open_before(file: Path) -> None:
    file.touch(mode=0o644)
    audit.configure(file)
    audit.record("event", by="ada", admin=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_in_its_place_is_not_followed(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    file.symlink_to(other)
    with pytest.raises(audit.AuditError, match=r"cannot be written .*make its folder"):
        audit.configure(file)
    assert other.read_text() == ""


def test_a_folder_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(audit.AuditError, match="No such file"):
        audit.configure(tmp_path / "nowhere" / "audit.log")


def test_it_is_bounded_and_the_newest_lines_are_kept(file: Path) -> None:
    audit.configure(file, largest=2000, kept=2)
    for number in range(200):
        audit.record("event", by="ada", admin=True, number=number)
    files = [file, file.with_name("audit.log.1"), file.with_name("audit.log.2")]
    assert sorted(file.parent.iterdir()) == sorted([*files, audit.people_file(file)])
    assert all(one.stat().st_size <= 2000 for one in files)
    assert all(stat.S_IMODE(one.stat().st_mode) == 0o600 for one in files)
    numbers = [told["number"] for one in reversed(files) for told in lines(one)]
    assert numbers == list(range(200 - len(numbers), 200))
    assert len(numbers) > 40


def test_people_cannot_push_the_acts_of_administrators_out(file: Path) -> None:
    audit.configure(file, largest=2000, kept=2)
    audit.record("account.approved", by="admin", admin=True, account="mallory")
    for number in range(500):
        audit.record("server.restart", by="mallory", admin=False, number=number)
    [kept] = lines(file)
    assert kept["event"] == "account.approved"
    people = file.with_name("audit-people.log")
    assert stat.S_IMODE(people.stat().st_mode) == 0o600
    assert {told["by"] for told in lines(people)} == {"mallory"}
    assert sum(one.stat().st_size for one in file.parent.iterdir()) < 4 * 2000


def test_threads_write_whole_lines(file: Path) -> None:
    audit.configure(file, largest=20_000, kept=9)

    def many(name: str) -> None:
        for number in range(100):
            audit.record("event", by=name, admin=True, number=number, text="x" * 300)

    threads = [threading.Thread(target=many, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in file.parent.iterdir():
        assert all(len(str(told["text"])) == 300 for told in lines(one))


def test_what_cannot_be_written_is_in_the_hubs_log(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audit.configure(file)
    file.unlink()
    file.mkdir()  # stands for a full disk or a lost right: root may write anywhere else
    before = AUDIT_FAILURES._value.get()
    with caplog.at_level(logging.ERROR):
        audit.record("volume.reset", by="ada", admin=True, kind="home")
    assert AUDIT_FAILURES._value.get() == before + 1
    [told] = caplog.messages
    assert '"event": "volume.reset"' in told
    assert "Is a directory" in told


def test_without_a_file_the_hubs_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    audit.configure(None)
    with caplog.at_level(logging.INFO):
        audit.record("volume.reset", by="ada", admin=True)
    assert '"by": "ada"' in caplog.text
