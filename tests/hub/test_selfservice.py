"""Whose lab it is: own or admin only, with every way in which somebody else might ask."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.pages_hub import Hub

pytest_plugins = ["hub.pages_fixtures"]

ACTS = (
    ("GET", "api/users/{}/lab"),
    ("POST", "api/users/{}/volumes/home/reset"),
    ("POST", "api/users/{}/server/restart"),
    ("GET", "api/users/{}/server/restart"),
    ("POST", "api/users/{}/servers/second/restart"),
)


@pytest.fixture(scope="module", autouse=True)
def labs(hub: Hub) -> None:
    hub.start("ada")
    hub.person("mallory")


def test_ones_own(hub: Hub) -> None:
    lab = hub.ask("GET", "api/users/ada/lab", token=hub.person("ada"))
    assert lab.status == 200
    [server] = lab.data["servers"]
    assert (server["name"], server["ready"], server["pending"]) == ("", True, None)
    # A process is no container: there is nothing to reset, and nothing to restart in place.
    assert server["restartable"] is False
    assert lab.data["volumes"] == []


def test_an_administrators(hub: Hub) -> None:
    assert hub.ask("GET", "api/users/ada/lab", token=hub.person("admin")).status == 200


@pytest.mark.parametrize(("method", "path"), ACTS)
def test_somebody_elses_and_nobodys_look_the_same(hub: Hub, method: str, path: str) -> None:
    token = hub.person("mallory")
    answers = [
        hub.ask(method, path.format(name), {"confirm": "x"} if method == "POST" else None,
                token=token)
        for name in ("ada", "nobody", "a%2Fb", "ada%00", "..%2Fmallory")
    ]  # fmt: skip
    assert {answer.status for answer in answers} <= {404, 400}
    assert answers[0].text == answers[1].text
    assert (
        hub.ask(method, path.format("ada"), {} if method == "POST" else None, token="").status
        == 403
    )


def test_whoever_a_server_is_shared_with_may_not(hub: Hub) -> None:
    scopes = ["access:servers", "read:servers", "servers"]
    shared = hub.ask(
        "POST",
        "api/shares/ada/",
        {"user": "mallory", "scopes": [f"{s}!server=ada/" for s in scopes]},
    )
    assert shared.status == 200, shared
    token = hub.person("mallory")
    assert hub.ask("GET", "api/users/ada/server", token=token).status in (200, 405), "it is shared"
    for method, path in ACTS[:4]:
        body: object = {} if method == "POST" else None
        assert hub.ask(method, path.format("ada"), body, token=token).status == 404
    hub.ask("DELETE", "api/shares/ada/")


def test_a_labs_own_token_may_not(hub: Hub) -> None:
    """Or code in a notebook could delete its person's files."""
    given = hub.ask(
        "POST",
        "api/users/ada/tokens",
        {"scopes": ["access:servers!server=ada/", "users:activity!user"]},
    )
    assert given.status == 201, given
    for method, path in ACTS[:4]:
        body: object = {} if method == "POST" else None
        answer = hub.ask(method, path.format("ada"), body, token=given.data["token"])
        assert answer.status in (403, 404), (path, answer)


def test_without_the_pages_cookie_and_its_sign_nothing_is_done(hub: Hub) -> None:
    """A form on another site has the cookie of whoever looks at it, and not its sign."""
    import http.cookiejar
    import urllib.error
    import urllib.parse
    import urllib.request

    from hub.pages_hub import PASSWORD

    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar)
    )
    browser.open(f"{hub.url}login").read()
    sign = next(cookie.value for cookie in jar if cookie.name == "_xsrf")
    form = urllib.parse.urlencode({"username": "admin", "password": PASSWORD, "_xsrf": sign})
    browser.open(f"{hub.url}login?next=%2Fhub%2Fhome", form.encode()).read()

    def post(**headers: str) -> int:
        request = urllib.request.Request(
            f"{hub.url}api/broadcasts", json.dumps({"message": "x"}).encode(),
            {"Content-Type": "application/json", **headers},
        )  # fmt: skip
        try:
            with browser.open(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as err:
            return err.code

    assert post() == 403
    assert post(Origin="https://elsewhere.example", **{"X-XSRFToken": "0" * 32}) == 403
    assert post(**{"Content-Type": "text/plain"}) == 403
    sign = next(cookie.value for cookie in jar if cookie.name == "_xsrf" and cookie.value != sign)
    assert post(**{"X-XSRFToken": str(sign)}) == 202
    page = browser.open(f"{hub.url}home")
    assert page.headers.get("Access-Control-Allow-Origin") is None


def test_a_server_that_cannot_be_restarted_says_so(hub: Hub) -> None:
    token = hub.person("ada")
    answer = hub.ask("POST", "api/users/ada/server/restart", token=token)
    assert answer.status == 409
    assert answer.data["message"] == (
        "Here a server cannot be restarted in place; stop and start it."
    )
    assert hub.ask("GET", "api/users/ada/server/restart", token=token).status == 404
    assert hub.ask("POST", "api/users/ada/servers/no-such/restart", token=token).status == 404
    assert "no-such" not in hub.ask("GET", "api/users/ada/lab", token=token).text, "none was made"
    act = [one for one in hub.audit() if one["event"] == "server.restart"][-1]
    assert act | {"at": ""} == {
        "at": "", "event": "server.restart", "by": "ada", "person": "ada", "server": "",
        "outcome": "refused", "reason": answer.data["message"],
    }  # fmt: skip


def test_a_volume_that_is_not_there_is_unknown(hub: Hub) -> None:
    answer = hub.ask("POST", "api/users/ada/volumes/home/reset", {}, token=hub.person("ada"))
    assert answer.status == 404
    assert "no volume of this kind" in answer.data["message"]


def test_what_administrators_do_through_jupyterhub_is_on_record(hub: Hub) -> None:
    # First, since making a person is on record, too.
    admin, mallory = hub.person("admin"), hub.person("mallory")
    assert hub.ask("POST", "api/users/newcomer?x=secret-in-a-query", token=admin).status == 201
    assert hub.ask("PATCH", "api/users/newcomer", {"admin": True}, token=admin).status == 200
    assert hub.ask("DELETE", "api/users/newcomer", token=admin).status == 204
    assert hub.ask("DELETE", "api/users/ada", token=mallory).status in (403, 404)
    # An answer is on its way before its act is on record.
    hub.wait_for(lambda: hub.audit()[-1].get("path") == "/hub/api/users/ada")
    acts = [(one["by"], one["method"], one["path"], one["status"]) for one in hub.audit()
            if one["event"] == "hub.request"][-4:]  # fmt: skip
    assert acts[:3] == [
        ("admin", "POST", "/hub/api/users/newcomer", 201),
        ("admin", "PATCH", "/hub/api/users/newcomer", 200),
        ("admin", "DELETE", "/hub/api/users/newcomer", 204),
    ]
    assert acts[3][:3] == ("mallory", "DELETE", "/hub/api/users/ada")
    # What was refused, and what people do to their own, stands apart.
    theirs = by_admins(hub)
    assert "/hub/api/users/newcomer" in [one.get("path") for one in theirs]
    assert "mallory" not in [one["by"] for one in theirs]
    assert "secret-in-a-query" not in str(hub.audit())
    assert not any("/activity" in one.get("path", "") for one in hub.audit())


def by_admins(hub: Hub) -> list[dict[str, Any]]:
    lines = (hub.folder / "audit.log").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_no_request_without_an_administrators_rights_fills_their_log(hub: Hub) -> None:
    admin = hub.person("admin")
    body = {"scopes": ["access:servers!user=admin"], "note": "as a lab's"}
    weak = hub.ask("POST", "api/users/admin/tokens", body, token=admin).data["token"]
    before = len(hub.audit())
    for token, path in (
        (weak, "api/users/nobody"),
        (weak, "api/groups/x"),
        (admin, "api/users/admin"),
    ):
        assert hub.ask("POST", path, {}, token=token).status in (403, 404, 409), path
    hub.wait_for(lambda: len(hub.audit()) >= before + 3)
    assert not [one for one in by_admins(hub) if one.get("status", 0) >= 400]


def test_an_administrator_who_steps_down_is_among_them(hub: Hub) -> None:
    boss = hub.person("admin")
    assert hub.ask("POST", "api/users/deputy", {"admin": True}, token=boss).status == 201
    body = {"note": "mine"}
    token = hub.ask("POST", "api/users/deputy/tokens", body, token=boss).data["token"]
    assert hub.ask("PATCH", "api/users/deputy", {"admin": False}, token=token).status == 200
    hub.wait_for(lambda: by_admins(hub)[-1]["by"] == "deputy")
    assert by_admins(hub)[-1]["method"] == "PATCH"


@pytest.mark.parametrize("name", ["login", "signup", "activity", "error"])
def test_no_name_keeps_an_act_off_the_record(hub: Hub, name: str) -> None:
    admin = hub.person("admin")
    for method, status in (("POST", 201), ("DELETE", 204)):
        assert hub.ask(method, f"api/users/{name}", token=admin).status == status
        hub.wait_for(lambda wanted=method: latest_by_admins(hub) == (wanted, name))


def latest_by_admins(hub: Hub) -> tuple[str, str]:
    act = by_admins(hub)[-1]
    return act.get("method", ""), act.get("path", "").removeprefix("/hub/api/users/")


def test_the_metrics_are_the_hubs(hub: Hub) -> None:
    text = hub.ask("GET", "metrics", token=hub.metrics_token).text
    assert 'jupyterhub_familiar_server_restarts_total{outcome="refused"}' in text
    assert hub.ask("GET", "metrics", token=hub.person("mallory")).status == 403
