"""Broadcasts: what one may say, and a real hub that says it to labs that behave and misbehave."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from familiar_hub.broadcast import (
    FAILURES_REMEMBERED,
    KINDS,
    LONGEST,
    REMEMBERED,
    Broadcast,
    Delivery,
    Notice,
    NoticeError,
    after_restart,
    fault_of,
    notice_of,
    with_latest,
)
from hub.pages_hub import Hub, running_hub

pytest_plugins = ["hub.pages_fixtures"]

# -- what one may say ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_notice_is_what_the_extension_takes(kind: str) -> None:
    notice = notice_of({"message": "  Back at noon. ", "kind": kind, "auto_close": 12})
    assert notice.payload() == {
        "message": "Back at noon.",
        "type": kind,
        "autoClose": 12_000,
        "immediate": True,
        "actions": [],
    }


def test_without_a_time_it_stays_until_it_is_closed() -> None:
    assert notice_of({"message": "x"}) == Notice("x", "info", None)
    assert notice_of({"message": "x"}).payload()["autoClose"] is False


@pytest.mark.parametrize("text", ["é" * LONGEST, "🦉" * LONGEST, "  " + "x" * LONGEST + "\n"])
def test_140_characters_are_counted_as_people_count(text: str) -> None:
    assert len(notice_of({"message": text}).message) == LONGEST


REFUSED: dict[str, tuple[object, str]] = {
    "nothing": (None, "Say what to send"),
    "a list": ([1], "Say what to send"),
    "no message": ({}, "message is empty"),
    "spaces": ({"message": " \n "}, "message is empty"),
    "no text": ({"message": {"a": 1}}, "message is empty"),
    "141": ({"message": "x" * 141}, "has 141 characters"),
    "two lines": ({"message": "a\nb"}, "one line of plain text"),
    "an escape": ({"message": "a\x1b[2J"}, "one line of plain text"),
    "a turned direction": ({"message": "a\u202eb"}, "one line of plain text"),
    "half a character": ({"message": "a\ud800"}, "one line of plain text"),
    "another kind": ({"message": "x", "kind": "party"}, "is one of info, success"),
    "a kind that is no text": ({"message": "x", "kind": ["info"]}, "is one of info, success"),
    "never seen": ({"message": "x", "auto_close": 0}, "from 1 to 3600"),
    "for days": ({"message": "x", "auto_close": 1e6}, "from 1 to 3600"),
    "true seconds": ({"message": "x", "auto_close": True}, "from 1 to 3600"),
    "a command": ({"message": "x", "actions": [{"commandId": "x"}]}, "has no actions"),
    "data": ({"message": "x", "data": {}, "immediate": False}, "has no data, immediate"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_is_refused_in_a_sentence(case: str) -> None:
    body, why = REFUSED[case]
    with pytest.raises(NoticeError, match=why):
        notice_of(body)


def test_every_status_that_is_no_success_has_a_reason() -> None:
    assert [status for status in range(100, 600) if not fault_of(status)] == [200, 201, 202, 204]
    assert "jupyterlab_notifications_extension" in fault_of(404)


# -- the history -----------------------------------------------------------------------------------


def _broadcast(number: int, **more: Any) -> Broadcast:
    return Broadcast(f"{number:x}", "2026-01-02T03:04:05", "admin", Notice("x"), 3, **more)


def test_the_history_is_bounded_and_the_newest_comes_first() -> None:
    history: list[Broadcast] = []
    for number in range(REMEMBERED + 7):
        history = with_latest(history, _broadcast(number))
    assert len(history) == REMEMBERED
    assert history[0].id == f"{REMEMBERED + 6:x}"
    again = with_latest(history, _broadcast(REMEMBERED + 6, state="done"))
    assert len(again) == REMEMBERED
    assert again[0].state == "done"


def test_it_keeps_all_counts_and_the_first_failures() -> None:
    all_of_them = [Delivery(f"p{n}", "", "gone" if n % 2 else "") for n in range(2000)]
    kept = _broadcast(1).having(all_of_them, 3.0).ended().remembered()
    assert (kept.delivered, kept.failed) == (1000, 1000)
    assert len(kept.deliveries) == FAILURES_REMEMBERED
    assert not any(one.delivered for one in kept.deliveries)
    assert Broadcast.from_dict(json.loads(json.dumps(kept.as_dict()))) == kept


def test_what_was_under_way_when_the_hub_ended_is_cut_off() -> None:
    states = [one.state for one in after_restart([_broadcast(1), _broadcast(2, state="done")])]
    assert states == ["cut off", "done"]


# -- a real hub ------------------------------------------------------------------------------------

WELL = ("ada", "grace-2")
MISBEHAVING = {
    "slow": "did not answer within 2 s",
    "bare": "has no jupyterlab_notifications_extension",
    "broken": "answered 500",
    "elsewhere": "did not accept the hub's token (307)",
    "endless": "was not reached (no proper answer)",
    "torn": "was not reached",
}


@pytest.fixture(scope="module")
def labs(hub: Hub) -> dict[str, str]:
    """Labs of all kinds, started; also one with a name, and one that has just died."""
    for name in (*WELL, *MISBEHAVING, "dead"):
        hub.start(name)
    hub.start("ada", "second")
    hub.person("away")  # who has no server
    state = _column(hub, "SELECT s.state FROM spawners s JOIN users u ON u.id = s.user_id"
                    " WHERE u.name = 'dead'")  # fmt: skip
    os.kill(json.loads(state[0])["pid"], signal.SIGKILL)
    return {**MISBEHAVING, "dead": "was not reached (connection refused)"}


def _column(hub: Hub, query: str) -> list[Any]:
    with sqlite3.connect(f"file:{hub.folder}/hub.sqlite?mode=ro", uri=True) as database:
        return [row[0] for row in database.execute(query)]


@pytest.mark.slow
def test_everybody_who_can_be_told_is_told_and_the_others_have_a_reason(
    hub: Hub, labs: dict[str, str]
) -> None:
    began = time.monotonic()
    done = hub.broadcast({"message": "Back at noon.", "kind": "warning", "auto_close": 30})
    took = time.monotonic() - began
    results = {(one["person"], one["server"]): one["reason"] for one in done["deliveries"]}
    good = {("ada", ""), ("ada", "second"), ("grace-2", "")}
    assert set(results) == good | {(name, "") for name in labs}
    assert {key for key, reason in results.items() if not reason} == good
    for name, reason in labs.items():
        assert reason in results[name, ""], (name, results)
    assert (done["delivered"], done["failed"], done["servers"]) == (3, len(labs), 3 + len(labs))
    assert took < 10, "the slow ones are waited for at the same time"
    for lab in ("ada", "ada-second", "grace-2"):
        told = hub.told(lab)[-1]
        assert told["body"] == {
            "message": "Back at noon.", "type": "warning", "autoClose": 30_000, "immediate": True,
            "actions": [],
        }  # fmt: skip


@pytest.mark.slow
def test_a_token_opens_one_lab_for_five_minutes_and_is_gone_after_use(
    hub: Hub, labs: dict[str, str]
) -> None:
    hub.broadcast({"message": "Once more."})
    seen = {lab: hub.told(lab)[-1] for lab in ("ada", "ada-second", "grace-2", *labs) if
            hub.told(lab)}  # fmt: skip
    assert len(seen) >= 8
    for lab, told in seen.items():
        person, _, server = lab.partition("-") if lab == "ada-second" else (lab, "", "")
        assert told["name"] == person
        wanted = [f"access:servers!server={person}/{server}"]
        wanted += [f"read:users:{what}!user={person}" for what in ("groups", "name")]
        assert set(told["scopes"]) <= set(wanted), "it may do nothing else"
        assert wanted[0] in told["scopes"]
        assert hub.ask("GET", "api/user", token=told["token"]).status == 403, "it is gone"
    assert not [note for note in _column(hub, "SELECT note FROM api_tokens") if "roadcast" in note]
    written = hub.log + str(hub.audit()) + (hub.folder / "broadcasts.json").read_text()
    history = hub.ask("GET", "api/broadcasts").text
    for told in seen.values():
        assert told["token"] not in written + history
        assert len(told["token"]) >= 32


def test_only_administrators_send_and_read(hub: Hub) -> None:
    token = hub.person("mallory")
    hub.person("grace-2")
    for method, path, body in (
        ("POST", "api/broadcasts", {"message": "pwned"}),
        ("GET", "api/broadcasts", None),
        ("GET", "api/broadcasts/0123456789abcdef", None),
        ("GET", "broadcast", None),
    ):
        answer = hub.ask(method, path, body, token=token)
        # A page knows no tokens: it sends whoever has no cookie to sign in.
        assert answer.status in (403, 404) or "<form" in answer.text, (path, answer)
        assert hub.ask(method, path, body, token="").status in (403, 200)
    assert not any(
        one["event"] == "broadcast.sent" and one["by"] == "mallory" for one in hub.audit()
    )
    assert not any("pwned" in str(told) for told in hub.told("ada"))


def test_what_cannot_be_sent_is_refused_and_on_record(hub: Hub) -> None:
    answer = hub.ask("POST", "api/broadcasts", {"message": "x", "actions": [{"label": "x"}]})
    assert answer.status == 400
    assert "has no actions" in answer.data["message"]
    assert hub.ask("POST", "api/broadcasts").status == 400
    assert hub.audit()[-1]["event"] == "broadcast.refused"
    assert hub.ask("GET", "api/broadcasts/0123456789abcdef").status == 404


@pytest.mark.slow
def test_one_at_a_time(hub: Hub, labs: dict[str, str]) -> None:
    first = hub.ask("POST", "api/broadcasts", {"message": "first"})
    second = hub.ask("POST", "api/broadcasts", {"message": "second"})
    assert (first.status, second.status) == (202, 409)
    assert "under way" in second.data["message"]
    path = f"api/broadcasts/{first.data['id']}"
    assert hub.ask("GET", path).data["state"] == "under way"
    hub.wait_for(lambda: hub.ask("GET", path).data["state"] == "done")
    whole = hub.ask("GET", path).data["deliveries"]
    assert hub.ask("GET", f"{path}?since=4").data["deliveries"] == whole[4:]
    assert hub.ask("GET", f"{path}?since=-1").status == 400


@pytest.mark.slow
def test_the_hub_goes_on_while_labs_are_slow(hub: Hub, labs: dict[str, str]) -> None:
    begun = hub.ask("POST", "api/broadcasts", {"message": "slowly"})
    path = f"api/broadcasts/{begun.data['id']}"
    slowest = 0.0
    while hub.ask("GET", path).data["state"] == "under way":
        began = time.monotonic()
        assert hub.ask("GET", "health", token="").status == 200
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1.5


@pytest.mark.slow
def test_the_history_survives_the_hub(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        hub.start("ada")
        hub.start("bare")
        done = hub.broadcast({"message": "Remember me."})
        path = f"api/broadcasts/{done['id']}"
    file = tmp_path / "broadcasts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with running_hub(tmp_path) as hub:
        [kept] = hub.ask("GET", "api/broadcasts").data["broadcasts"]
        assert kept["notice"]["message"] == "Remember me."
        assert (kept["state"], kept["delivered"], kept["failed"]) == ("done", 1, 1)
        assert [one["person"] for one in kept["deliveries"]] == ["bare"]
        assert hub.ask("GET", path).data == kept
    file.write_text("{broken")
    with running_hub(tmp_path) as hub:
        assert hub.ask("GET", "api/broadcasts").data["broadcasts"] == []
        assert "history of broadcasts cannot be read" in hub.log
    assert (tmp_path / "broadcasts.unreadable").read_text() == "{broken"
