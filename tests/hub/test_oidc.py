"""People whom a provider knows: who comes in, by which name, and with which groups."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from hub.core_hub import Browser, Hub, running_hub
from hub.pages_hub import pythons

SECRET = "the secret of the hub at the provider"


class Provider(BaseHTTPRequestHandler):
    """Knows one person, whom the test names."""

    person: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = parse_qs(asked.query)
        if asked.path == "/authorize":
            self.send_response(302)
            back, state = query["redirect_uri"][0], query["state"][0]
            self.send_header("Location", f"{back}?code=code&state={state}")
            self.end_headers()
        else:
            self.answer(self.person)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"access_token": "token", "token_type": "Bearer"})

    def answer(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module", params=pythons(), ids=lambda python: Path(python).parents[1].name)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("oidc")
    (folder / "client").write_text(SECRET)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    provider = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with running_hub(
            folder,
            request.param,
            JUPYTERHUB_ADMIN="boss",
            FAMILIAR_HUB_AUTHENTICATOR="oidc",
            FAMILIAR_HUB_OIDC_CLIENT_ID="lab",
            FAMILIAR_HUB_OIDC_CLIENT_SECRET_FILE=str(folder / "client"),
            FAMILIAR_HUB_OIDC_AUTHORIZE_URL=f"{provider}/authorize",
            FAMILIAR_HUB_OIDC_TOKEN_URL=f"{provider}/token",
            FAMILIAR_HUB_OIDC_USERDATA_URL=f"{provider}/userdata",
            FAMILIAR_HUB_OIDC_GROUPS_CLAIM="groups",
            FAMILIAR_HUB_OIDC_ALLOW="staff",
        ) as running:
            yield running
    finally:
        server.shutdown()
        server.server_close()


def signed_in(hub: Hub, name: str, *groups: str) -> tuple[Browser, int]:
    """Return a browser that came from the provider, and what the hub answered."""
    Provider.person = {"preferred_username": name, "groups": list(groups)}
    browser = hub.browser()
    answer = browser.get("oauth_login")
    assert answer.status == 302
    back = browser.session.get(answer.headers["Location"], allow_redirects=False)
    told = browser.session.get(back.headers["Location"], allow_redirects=False)
    return browser, told.status_code


def groups_of(hub: Hub, name: str) -> set[str]:
    with sqlite3.connect(hub.folder / "jupyterhub.sqlite") as database:
        rows = database.execute(
            "select groups.name from groups join user_group_map on groups.id = group_id"
            " join users on users.id = user_id where users.name = ?",
            [name],
        )
        return {group for (group,) in rows}


def test_members_of_the_groups_come_in_and_nobody_else(hub: Hub) -> None:
    browser, status = signed_in(hub, "ada@example.org", "staff")
    assert status == 302
    assert browser.is_in
    stranger, status = signed_in(hub, "mallory@example.org", "others")
    assert status == 403
    assert not stranger.is_in


def test_groups_are_the_providers_also_the_protected_ones(hub: Hub) -> None:
    signed_in(hub, "bea", "staff", "docker-privileged")
    assert groups_of(hub, "bea") == {"staff", "docker-privileged"}
    signed_in(hub, "bea", "staff")
    assert groups_of(hub, "bea") == {"staff"}


@pytest.mark.parametrize("name", ["a/b", "a b", "..", "x" * 201, "a\n"])
def test_names_that_cannot_be_had(hub: Hub, name: str) -> None:
    browser, status = signed_in(hub, name, "staff")
    assert status == 403
    assert not browser.is_in


def test_there_are_no_accounts_of_the_hubs_own(hub: Hub) -> None:
    browser, _ = signed_in(hub, "cleo", "staff")
    for path in ("signup", "authorize", "change-password"):
        assert browser.get(path).status == 404, path
    assert SECRET not in hub.log
