"""Who comes in and who does not: a real hub with its own accounts, asked as browsers ask."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from familiar_hub import passwords
from hub.core_hub import ADMIN_PASSWORD, PASSWORD, Hub, running_hub
from hub.pages_hub import pythons

COMMON = "qwertyuiop"
"""A password that many have."""


@pytest.fixture(scope="module", params=pythons(), ids=lambda python: Path(python).parents[1].name)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    with running_hub(
        folder,
        request.param,
        FAMILIAR_HUB_MINIMUM_PASSWORD_LENGTH="8",
        FAMILIAR_HUB_FAILED_LOGINS="3",
    ) as running:
        yield running


def accounts(hub: Hub) -> dict[str, bool]:
    """Return the accounts as they are stored: name, and whether it is approved."""
    with sqlite3.connect(hub.folder / "jupyterhub.sqlite") as database:
        rows = database.execute("select username, is_authorized from users_info").fetchall()
    return {name: bool(approved) for name, approved in rows}


def test_nobody_comes_in_without_approval(hub: Hub) -> None:
    browser = hub.browser()
    answer = browser.sign_up("ada")
    assert (answer.status, answer.said) == (
        200,
        "Your account waits for an administrator's approval.",
    )
    refused = browser.sign_in("ada")
    assert (refused.status, refused.said) == (
        403,
        "Your account waits for an administrator's approval.",
    )
    assert not browser.is_in
    hub.approve("ada")
    assert browser.sign_in("ada").status == 302
    assert browser.is_in


def test_a_link_approves_nobody(hub: Hub) -> None:
    hub.browser().sign_up("bea")
    admin = hub.admin()
    for path in ("authorize/bea", "authorize/bea?approved=1", "discard/bea"):
        assert admin.get(path).status == 405
    assert accounts(hub)["bea"] is False
    assert admin.get("confirm/whatever").status == 404


def test_only_a_form_of_the_hub_approves(hub: Hub) -> None:
    hub.browser().sign_up("cleo")
    admin = hub.admin()
    assert admin.post("authorize/cleo", None, approved="1").status == 403
    assert admin.post("authorize/cleo", None, approved="1", _xsrf="guessed").status == 403
    assert admin.post("discard/cleo", None).status == 403
    assert accounts(hub)["cleo"] is False


def test_only_an_administrator_approves(hub: Hub) -> None:
    hub.browser().sign_up("dora")
    person = hub.person("mallory")
    # Their own form's token is good; they are not.
    answer = person.post("authorize/dora", "change-password", approved="1")
    assert answer.status in (403, 404)
    assert person.post("discard/dora", "change-password").status in (403, 404)
    assert person.get("authorize").status in (403, 404)
    assert person.post("change-password/dora", "change-password", new_password=PASSWORD).status in (
        403,
        404,
    )
    assert accounts(hub)["dora"] is False
    nobody = hub.browser()
    assert nobody.post("authorize/dora", "login", approved="1").status in (302, 403)
    assert accounts(hub)["dora"] is False


def test_who_is_shut_out_is_out_at_once(hub: Hub) -> None:
    person = hub.person("eve")
    person.get("spawn")
    hub.wait_for(lambda: "User eve took" in hub.log)
    admin = hub.admin()
    assert admin.post("authorize/eve", "authorize", approved="0").status == 302
    assert not person.is_in
    assert accounts(hub)["eve"] is False
    assert person.sign_in("eve").status == 403
    hub.wait_for(lambda: "User eve server took" in hub.log)
    # And back again.
    hub.approve("eve")
    assert person.sign_in("eve").status == 302


def test_the_administrator_stays(hub: Hub) -> None:
    admin = hub.admin()
    assert admin.post("authorize/admin", "authorize", approved="0").status == 400
    assert accounts(hub)["admin"] is True
    assert admin.post("discard/admin", "authorize").status == 400
    assert hub.admin().is_in


def test_accounts_are_discarded_before_approval_only(hub: Hub) -> None:
    hub.browser().sign_up("fay")
    admin = hub.admin()
    assert admin.post("discard/fay", "authorize").status == 302
    assert "fay" not in accounts(hub)
    hub.person("gil")
    assert admin.post("discard/gil", "authorize").status == 400
    assert "gil" in accounts(hub)
    assert admin.post("discard/nobody", "authorize").status == 404
    assert admin.post("authorize/nobody", "authorize", approved="1").status == 404
    assert admin.post("authorize/gil", "authorize", approved="yes").status == 400


@pytest.mark.parametrize(
    "name",
    ["admin", "ADMIN", " admin ", "", ".", "..", "a b", "a/b", "../x", "a,b", "_x", "1a", "-a",
     "ünï", "a\u0301", "\uff41dmin", "\u0430dmin", "x" * 33, "x" * 200, "a\nb", "a\0b",
     "a%2Fb", "<b>", "a'b"],
)  # fmt: skip
def test_names_that_cannot_be_had(hub: Hub, name: str) -> None:
    before = accounts(hub)
    answer = hub.browser().sign_up(name)
    assert answer.status == 400, answer.said
    assert accounts(hub) == before


@pytest.mark.parametrize("name", ["a.b_c-d", "x" * 32, "a--b", "a.", "Zoe"])
def test_odd_names_that_can(hub: Hub, name: str) -> None:
    person = hub.person(name)
    assert person.is_in
    assert accounts(hub)[name.lower()] is True


@pytest.mark.parametrize(
    ("password", "again", "why"),
    [
        ("short", None, "at least 8"),
        (COMMON, None, "Many people"),
        ("x" * 73, None, "too long"),
        ("ü" * 37, None, "too long"),
        (PASSWORD, PASSWORD + " ", "differ"),
    ],
)
def test_passwords_that_will_not_do(hub: Hub, password: str, again: str | None, why: str) -> None:
    answer = hub.browser().sign_up("hal", password, again)
    assert answer.status == 400
    assert why in answer.said
    assert "hal" not in accounts(hub)


def test_a_name_is_had_once(hub: Hub) -> None:
    hub.browser().sign_up("ida")
    assert "taken" in hub.browser().sign_up("ida", "another long password").said
    assert "taken" in hub.browser().sign_up("IDA").said


@pytest.mark.parametrize("name", ["joe", "nobody-of-this-name"])
def test_a_name_is_locked_whether_or_not_there_is_one(hub: Hub, name: str) -> None:
    if name == "joe":
        hub.person(name)
    browser = hub.browser()
    told = [browser.sign_in(name, f"wrong password {n}") for n in range(5)]
    assert [answer.status for answer in told] == [403] * 5
    assert ["too many" in answer.said for answer in told] == [False] * 3 + [True] * 2
    # Also the right one is not looked at any more.
    assert "too many" in browser.sign_in(name).said
    assert not browser.is_in
    # And nobody else is locked.
    assert hub.admin().is_in


def test_a_stranger_locks_nobody_out_who_has_been_here(hub: Hub) -> None:
    known = hub.person("kai")
    known.get("logout")
    assert not known.is_in
    stranger = hub.browser()
    for number in range(6):
        stranger.sign_in("kai", f"wrong password {number}")
    assert "too many" in stranger.sign_in("kai").said
    assert known.sign_in("kai").status == 302
    known.get("logout")
    # Its own attempts are as few, and another person's cookie is nobody's.
    for number in range(6):
        known.sign_in("kai", f"wrong password {number}")
    assert "too many" in known.sign_in("kai").said
    others = hub.person("luz")
    others.get("logout")
    assert "too many" in others.sign_in("kai").said


def test_a_name_that_nobody_can_have_is_not_counted(hub: Hub) -> None:
    browser = hub.browser()
    for _ in range(6):
        answer = browser.sign_in("a" * 100_000)
        assert (answer.status, "too many" in answer.said) == (403, False)
    assert "a" * 100 not in str(hub.acts)


def test_what_is_sent_to_the_hub_is_short(hub: Hub) -> None:
    # The hub does not wait for the rest of what is too long, and so does not keep it.
    where = urlsplit(hub.url)
    begun = b"POST /hub/login HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    told = {}
    for size in (1 << 19, 1 << 24):
        with socket.create_connection((where.hostname or "", where.port or 0), 5) as raw:
            raw.settimeout(2)
            raw.sendall(begun % size + b"x" * (1 << 18))
            with contextlib.suppress(TimeoutError):
                told[size] = raw.recv(12)
    assert told == {1 << 24: told.get(1 << 24)}
    assert told[1 << 24][9:10] in (b"4", b"5")
    assert hub.admin().is_in


def test_no_password_breaks_the_sign_in(hub: Hub) -> None:
    browser = hub.browser()
    for password in ("x" * 200, "a\0b", "", "\ud7ff" * 30):
        assert browser.sign_in("ida", password).status == 403
        browser = hub.browser()
        break_name = "kim" + str(len(password))
        assert browser.sign_in(break_name, password).status == 403
    assert hub.browser().post("login", password="x").status == 400


def test_a_new_password_ends_other_sessions(hub: Hub) -> None:
    here = hub.person("lea")
    there = hub.browser()
    assert there.sign_in("lea").status == 302
    new = "another long password"
    wrong = here.post(
        "change-password", old_password="no", new_password=new, new_password_confirmation=new
    )
    assert wrong.status == 400
    assert there.is_in
    done = here.post(
        "change-password", old_password=PASSWORD, new_password=new, new_password_confirmation=new
    )
    assert (done.status, done.said) == (200, "The password is changed.")
    assert here.is_in
    assert not there.is_in
    assert hub.browser().sign_in("lea").status == 403
    assert hub.browser().sign_in("lea", new).status == 302


def test_an_administrator_sets_a_password(hub: Hub) -> None:
    person = hub.person("mia")
    new = "a password from above"
    answer = hub.admin().post(
        "change-password/mia", new_password=new, new_password_confirmation=new
    )
    assert answer.status == 200
    assert not person.is_in
    assert person.sign_in("mia", new).status == 302


def test_the_page_of_accounts_has_no_links_that_change_something(hub: Hub) -> None:
    hub.browser().sign_up("nan")
    page = hub.admin().get("authorize").text
    assert 'action="/hub/authorize/nan"' in page
    assert 'href="/hub/authorize/' not in page
    assert 'href="/hub/discard/' not in page


def test_what_is_on_record(hub: Hub) -> None:
    person = hub.person("rex")
    new = "another long and rare one"
    person.post("change-password", old_password=PASSWORD, new_password=new,
                new_password_confirmation=new)  # fmt: skip
    hub.admin().post("authorize/rex", "authorize", approved="0")
    for _ in range(6):
        hub.browser().sign_in("zed", "wrong password")
    events = hub.acts
    kinds = {event["event"] for event in events}
    assert {"account.seeded", "account.asked", "account.approved", "account.shut-out",
            "account.locked", "account.password"} <= kinds  # fmt: skip
    approved = [each for each in events if each["event"] == "account.approved"]
    assert {each["by"] for each in approved} == {"admin"}
    for secret in (PASSWORD, ADMIN_PASSWORD, "wrong password"):
        assert secret not in hub.log
        assert secret not in str(hub.acts)


def test_too_many_that_wait_close_the_sign_up(tmp_path: Path) -> None:
    with running_hub(tmp_path, FAMILIAR_HUB_PENDING_ACCOUNTS="2") as hub:
        said = [hub.browser().sign_up(name).status for name in ("ada", "bea", "cleo")]
        assert said == [200, 200, 400]
        hub.approve("ada")
        assert hub.browser().sign_up("cleo").status == 200


@pytest.mark.parametrize("name", ["9lives", "a" * 33, "a b", "ada/../root"])
def test_a_name_that_cannot_be_had_is_told_what_one_is_like(hub: Hub, name: str) -> None:
    answer = hub.browser().sign_up(name)
    assert answer.status == 400
    assert "have at most 32 characters" in answer.said


def test_with_a_pattern_of_their_own_that_is_what_is_told(tmp_path: Path) -> None:
    with running_hub(tmp_path, FAMILIAR_HUB_USERNAME_PATTERN="[a-z]+<?") as hub:
        answer = hub.browser().sign_up("t1")
        assert (answer.status, "it must be like [a-z]+<?" in answer.said) == (400, True)
        assert hub.browser().sign_up("ada").status == 200


def test_an_error_says_what_it_is_before_its_number(hub: Hub) -> None:
    for browser, path, status, heading in (
        (hub.browser(), "nowhere", 404, "Not found"),
        (hub.admin(), "authorize/nobody", 405, "Not this way"),
        (hub.person("vera"), "authorize", 403, "Not allowed"),
    ):
        answer = browser.get(path)
        assert answer.status == status, path
        assert f"<h1>{heading}</h1>" in answer.text
        assert f"(error {status})" in answer.text
        assert ("There is nothing at this address." in answer.text) == (status == 404)


def test_sign_up_can_be_closed(tmp_path: Path) -> None:
    with running_hub(tmp_path, FAMILIAR_HUB_SIGNUP="0") as hub:
        assert hub.browser().get("signup").status == 404
        assert hub.browser().post("signup", "login", username="ada").status == 404
        assert hub.admin().is_in


def test_a_name_that_becomes_the_administrators_is_taken_from_who_asked_for_it(
    tmp_path: Path,
) -> None:
    with running_hub(tmp_path) as hub:
        hub.browser().sign_up("root")
        hub.person("friend")
    with running_hub(tmp_path, JUPYTERHUB_ADMIN="root") as hub:
        assert hub.browser().sign_in("root").status == 403
        assert hub.browser().sign_in("root", ADMIN_PASSWORD).status == 302
    # Who was approved keeps the password, unless the operator says otherwise.
    with running_hub(tmp_path, JUPYTERHUB_ADMIN="friend") as hub:
        assert hub.browser().sign_in("friend").status == 302
    with running_hub(
        tmp_path, JUPYTERHUB_ADMIN="friend", FAMILIAR_HUB_ADMIN_PASSWORD_RESET="1"
    ) as hub:
        assert hub.browser().sign_in("friend").status == 403
        assert hub.browser().sign_in("friend", ADMIN_PASSWORD).status == 302


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_lock_opens_again() -> None:
    clock = Clock()
    lockout = passwords.Lockout(3, 600, clock)
    for _ in range(3):
        assert not lockout.locked("ada")
        lockout.attempted("ada")
    assert lockout.locked("ada")
    clock.now = 599
    assert lockout.locked("ada")
    clock.now = 600
    assert not lockout.locked("ada")
    # The count begins anew; a day later it does too.
    lockout.attempted("ada")
    assert not lockout.locked("ada")
    clock.now = 86_400 + 5
    lockout.attempted("ada")
    assert not lockout.locked("ada")


def test_a_lock_forgets_success_and_does_not_grow() -> None:
    lockout = passwords.Lockout(2, 600, Clock())
    lockout.attempted("ada")
    lockout.succeeded("ada")
    lockout.attempted("ada")
    assert not lockout.locked("ada")
    for number in range(20_000):
        lockout.attempted(f"name{number}")
    assert len(lockout._failures) <= 10_000


def test_what_bcrypt_cannot_tell_apart_is_not_the_same() -> None:
    assert "nobody can type" in passwords.trouble_with("abcdefgh\0ijk", 8)
    stored = passwords.encoded("x" * 72)
    assert passwords.fits("x" * 72, stored)
    assert not passwords.fits("x" * 73, stored)
    assert not passwords.fits("x" * 72 + "\0", stored)
    assert not passwords.fits("", stored)
