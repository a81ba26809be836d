"""Tools beside the labs: real hubs, real doors, and who gets through them to what."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from hub.core_hub import Browser
from hub.pages_hub import PATIENCE, pythons
from hub.tools_doors import NAMES, Door, Platform, healthy, running_platform

BASE = "/jupyter/"
VISIT = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none", "Accept": "text/html"}
PAGE = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
"""What a browser says where somebody comes to a page, and where the page's own script asks."""


@pytest.fixture(scope="module", params=pythons(), ids=lambda python: Path(python).parents[1].name)
def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("tools")
    with running_platform(folder, request.param, JUPYTERHUB_BASE_URL=BASE) as running:
        yield running


@pytest.fixture(scope="module")
def ada(platform: Platform) -> Browser:
    return platform.hub.person("ada")


def ask(
    url: str, method: str = "GET", session: requests.Session | None = None, /, **headers: str
) -> requests.Response:
    """Ask without following anything; an underscore in a header's name is a dash."""
    session = session or requests.Session()
    session.trust_env = False
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return session.request(method, url, headers=told, allow_redirects=False, timeout=PATIENCE)


def visit(browser: Browser, door: Door, path: str = "") -> requests.Response:
    """Come to a tool as a person does, by whatever the hub has to ask."""
    return browser.session.get(door.url + path, headers=VISIT, timeout=PATIENCE)


def told(answer: requests.Response) -> dict[str, Any]:
    """Return what the tool was sent."""
    assert answer.status_code == 200, (answer.status_code, answer.text)
    found: dict[str, Any] = json.loads(answer.text)
    return found


def token_of(platform: Platform, browser: Browser, *scopes: str) -> str:
    """Return a token that somebody makes for themselves, with some of what they may."""
    name = "ada" if browser.get("home").text.count("ada") else "admin"
    session = browser.session
    page = browser.get("token").text
    xsrf = re.search(r'xsrf_token: "([^"]+)"', page)
    assert xsrf, page
    made = session.post(
        f"{platform.hub.url}api/users/{name}/tokens",
        # Without scopes it has all that its person has; with an empty list it would have none.
        json={"note": "of the tests", **({"scopes": list(scopes)} if scopes else {})},
        headers={"X-XSRFToken": xsrf[1], **PAGE},
        timeout=PATIENCE,
    )
    assert made.status_code == 201, made.text
    return str(made.json()["token"])


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_let_in_unknown(platform: Platform, name: str) -> None:
    door = platform.doors[name]
    sent = ask(f"{door.url}some/page?x=1", **VISIT)
    assert sent.status_code == 302
    assert sent.headers["Location"].startswith(f"{BASE}hub/api/oauth2/authorize?")
    assert f"client_id=service-{name}" in sent.headers["Location"]
    assert door.token not in sent.headers["Location"] + sent.text
    for method, headers in (
        ("POST", {}),
        ("DELETE", {}),
        ("OPTIONS", {}),
        ("GET", {}),
        ("GET", PAGE),
        ("GET", {"Authorization": "token " + "0" * 32}),
        ("GET", {"Authorization": "Bearer " + "0" * 32}),
        ("GET", {"Cookie": f"service-{name}=false"} | PAGE),
    ):
        # Again and again: the proxy uses a connection for several requests if it may.
        for _ in range(5):
            refused = ask(door.url, method, **headers)
            assert refused.status_code == 403, (method, headers)
    # The door's own port is no way around it.
    assert ask(door.direct + f"{BASE}services/{name}/", "POST").status_code == 403
    assert ask(door.direct + "/").status_code == 404


def test_a_person_gets_in_by_the_hub(platform: Platform, ada: Browser) -> None:
    door = platform.doors["mlflow"]
    got = told(visit(ada, door, "a%20b/c?x=1&y=%2F"))
    assert got["uri"] == "/a%20b/c?x=1&y=%2F"
    # What follows needs no hub, and no further redirect.
    answer = ask(f"{door.url}api", "POST", ada.session, **PAGE)
    assert told(answer)["method"] == "POST"
    assert ask(door.url.rstrip("/")).headers["Location"] == f"{BASE}services/mlflow/"


def test_a_tool_learns_nothing_that_is_not_its_business(platform: Platform, ada: Browser) -> None:
    door = platform.doors["mlflow"]
    answer = visit(ada, door)
    got = told(answer)
    seen = {name.lower() for name in got["headers"]}
    assert not seen & {"cookie", "authorization", "origin", "referer", "x-forwarded-host"}
    # MLflow lets whoever comes from its own machine do more, and all come by a door that is there.
    assert got["headers"]["X-Forwarded-For"] == "192.0.2.1"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", got["headers"]["Host"])
    by_token = ask(door.url, Authorization=f"token {token_of(platform, ada)}")
    assert "Authorization" not in told(by_token)["headers"]
    assert door.token not in json.dumps(got)
    assert "A_SECRET_OF_THE_DOOR" not in got["environment"]
    assert "FAMILIAR_TOOL_TOKEN_FILE" not in got["environment"]
    assert got["environment"]["TOLD"] == "1"
    # And it can set nothing on the hub's origin.
    assert "tossed" not in answer.headers.get("Set-Cookie", "")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_where_a_tool_redirects_to_is_below_its_prefix(platform: Platform, ada: Browser) -> None:
    door = platform.doors["tensorboard"]
    visit(ada, door)
    sent = ask(f"{door.url}elsewhere", "GET", ada.session, **VISIT)
    assert sent.headers["Location"] == f"{BASE}services/tensorboard/there?now=1"


def test_what_a_stranger_sends_is_not_read(platform: Platform) -> None:
    host, _, port = platform.doors["mlflow"].direct.removeprefix("http://").partition(":")
    for size in (100_000_000_000, 1000):
        with socket.create_connection((host, int(port)), PATIENCE) as connection:
            line = f"POST {BASE}services/mlflow/size HTTP/1.1"
            head = f"{line}\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n"
            connection.sendall(head.encode())
            # Nothing of it has been sent.
            assert connection.recv(4096).startswith(b"HTTP/1.1 403 ")


def test_large_files_go_through(platform: Platform, ada: Browser) -> None:
    door = platform.doors["mlflow"]
    bearer = {"Authorization": f"token {token_of(platform, ada)}"}
    size = 120_000_000
    session = requests.Session()
    session.trust_env = False
    sent = session.post(f"{door.url}size", b"x" * size, headers=bearer, timeout=PATIENCE)
    assert sent.text == str(size)
    got = ask(f"{door.url}size?bytes={size}", **bearer)
    assert len(got.content) == size


@pytest.mark.parametrize(
    "path", ["private", "private/x?y", "%70rivate/", "/private", "private%2Fx"]
)
def test_some_of_a_tool_is_open_to_nobody(platform: Platform, path: str) -> None:
    admin = platform.hub.admin()
    door = platform.doors["mlflow"]
    assert told(visit(admin, door, "privately"))["uri"] == "/privately"
    assert visit(admin, door, path).status_code == 403


def test_glances_is_for_administrators(platform: Platform, ada: Browser) -> None:
    admin = platform.hub.admin()
    assert visit(ada, platform.doors["glances"]).status_code == 403
    own = token_of(platform, ada)
    assert ask(platform.doors["glances"].url, Authorization=f"token {own}").status_code == 403
    for name in NAMES:
        told(visit(admin, platform.doors[name]))


def test_the_hub_s_pages_lead_to_the_tools_that_one_may_use(
    platform: Platform, ada: Browser
) -> None:
    page = ada.get("home").text
    led = [name for name in NAMES if f'href="{BASE}services/{name}/"' in page]
    assert led == ["mlflow", "tensorboard"]
    page = platform.hub.admin().get("home").text
    assert all(f'href="{BASE}services/{name}/"' in page for name in NAMES)


def test_a_token_must_have_the_scope(platform: Platform, ada: Browser) -> None:
    mlflow, tensorboard = platform.doors["mlflow"], platform.doors["tensorboard"]
    less = token_of(platform, ada, "read:users:name!user")
    assert ask(mlflow.url, Authorization=f"token {less}").status_code == 403
    just = token_of(platform, ada, "access:services!service=tensorboard")
    assert ask(mlflow.url, Authorization=f"token {just}").status_code == 403
    assert ask(tensorboard.url, Authorization=f"token {just}").status_code == 200
    # Another service is nobody here, and neither is this one itself.
    for door in platform.doors.values():
        assert ask(mlflow.url, Authorization=f"token {door.token}").status_code == 403
    # In an address it would end up in logs.
    assert ask(f"{tensorboard.url}?token={just}").status_code == 400


def test_other_sites_pages_do_nothing_with_a_person_s_cookie(
    platform: Platform, ada: Browser
) -> None:
    door = platform.doors["mlflow"]
    visit(ada, door)
    host = door.url.split("/")[2]
    for headers, status in (
        (PAGE, 200),
        ({"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://elsewhere.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"http://{host}"}, 200),
        ({}, 403),
    ):
        assert ask(door.url, "POST", ada.session, **headers).status_code == status, headers
    cookies = [cookie for cookie in ada.session.cookies if cookie.name == "service-mlflow"]
    assert [cookie.path for cookie in cookies] == [f"{BASE}services/mlflow/"]
    assert cookies[0].has_nonstandard_attr("HttpOnly")
    assert cookies[0].get_nonstandard_attr("SameSite") == "Lax"


def socket_says(url: str, text: str, **headers: str) -> str | int:
    """Return what a websocket echoes, or the status with which it was not opened."""

    async def talk() -> str | int:
        request = HTTPRequest(f"ws{url.removeprefix('http')}socket", headers=headers)
        try:
            connection = await websocket_connect(request)
        except HTTPClientError as error:
            return error.code
        await connection.write_message(text)
        answer = await connection.read_message()
        connection.close()
        assert isinstance(answer, str)
        return answer

    return asyncio.run(talk())


def test_websockets_have_the_same_door(platform: Platform, ada: Browser) -> None:
    door = platform.doors["mlflow"]
    assert socket_says(door.url, "hello") == 403
    assert socket_says(door.url, "hello", Authorization="token " + "0" * 32) == 403
    token = token_of(platform, ada)
    assert socket_says(door.url, "hello", Authorization=f"token {token}") == "hello"
    visit(ada, door)
    kept = "; ".join(
        f"{cookie.name}={cookie.value}"
        for cookie in ada.session.cookies
        if cookie.path in (f"{BASE}services/mlflow/", "/", BASE)
    )
    origin = door.url.split(BASE)[0]
    assert socket_says(door.url, "hello", Cookie=kept, Origin=origin) == "hello"
    assert socket_says(door.url, "hello", Cookie=kept, Origin="http://elsewhere.org") == 403


def lab_environment(platform: Platform, browser: Browser, name: str) -> dict[str, str]:
    """Start somebody's lab, and return what its processes have in their environment."""
    answer = browser.get("spawn")
    assert answer.status == 302, answer.text

    def ready() -> bool:
        return browser.session.get(
            f"{platform.hub.url}user-redirect/", headers=VISIT, timeout=PATIENCE
        ).url.endswith(f"/user/{name}/")

    platform.hub.wait_for(ready)
    for process in psutil.Process(platform.hub.process.pid).children(recursive=True):
        found = process.environ()
        if found.get("JUPYTERHUB_USER") == name:
            return found
    raise AssertionError("there is no lab")


def test_a_lab_s_token_opens_mlflow_and_nothing_else(platform: Platform) -> None:
    hub, mlflow = platform.hub, platform.doors["mlflow"]
    bea = hub.person("bea")
    lab = lab_environment(platform, bea, "bea")
    # By the hub's name on the labs' network.
    assert lab["MLFLOW_TRACKING_URI"] == f"http://hub:8000{BASE}services/mlflow"
    token = lab["MLFLOW_TRACKING_TOKEN"]
    address = f"{mlflow.url.rstrip('/')}/api/2.0/mlflow/runs/log-metric"
    by_token = ask(address, "POST", Authorization=f"Bearer {token}")
    assert told(by_token)["uri"] == "/api/2.0/mlflow/runs/log-metric"
    bearer = {"Authorization": f"Bearer {token}"}
    for name in ("tensorboard", "glances"):
        assert ask(platform.doors[name].url, **bearer).status_code == 403
    assert ask(f"{hub.url}api/users/bea/server", "DELETE", **bearer).status_code in (403, 404)
    assert ask(f"{hub.url}api/users/bea/tokens", "POST", **bearer).status_code in (403, 404)
    assert ask(f"{hub.url}api/users", **bearer).status_code == 403
    lab_itself = f"{hub.url.removesuffix('hub/')}user/bea/api/kernels"
    assert ask(lab_itself, **bearer).status_code == 403
    assert (
        ask(f"{hub.url}api/user", **bearer).json()["scopes"].count("access:services!service=mlflow")
    )
    # The lab's own token is not for tools.
    own = lab["JUPYTERHUB_API_TOKEN"]
    assert ask(mlflow.url, Authorization=f"token {own}").status_code == 403
    # It ends with the lab.
    stop = token_of_all(platform, bea)
    assert ask(f"{hub.url}api/users/bea/server", "DELETE", **stop).status_code in (202, 204)
    hub.wait_for(lambda: ask(f"{hub.url}api/user", **bearer).status_code == 403)


def token_of_all(platform: Platform, browser: Browser) -> dict[str, str]:
    page = browser.get("token").text
    xsrf = re.search(r'xsrf_token: "([^"]+)"', page)
    assert xsrf
    return {
        "X-XSRFToken": xsrf[1],
        "Cookie": "; ".join(f"{c.name}={c.value}" for c in browser.session.cookies),
        **PAGE,
    }


def test_the_doors_secrets_stand_nowhere(platform: Platform, ada: Browser) -> None:
    visit(ada, platform.doors["mlflow"], "?private=words")
    written = platform.hub.log + "".join(door.log for door in platform.doors.values())
    written += ada.get("home").text + ada.get("token").text + str(platform.hub.acts)
    for door in platform.doors.values():
        written += " ".join(psutil.Process(door.process.pid).cmdline())
    for process in psutil.Process(platform.hub.process.pid).children(recursive=True):
        written += " ".join(process.cmdline()) + json.dumps(process.environ())
    for door in platform.doors.values():
        assert door.token not in written
    logged = platform.doors["mlflow"].log
    assert f"200 GET {BASE}services/mlflow/" in logged
    assert "private=words" not in logged
    assert "code=" not in logged


def test_a_door_ends_with_its_tool(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("ends")
    public = "http://lab.localhost"
    with running_platform(
        folder, FAMILIAR_HUB_SUBDOMAINS="1", FAMILIAR_HUB_PUBLIC_URL=public
    ) as platform:
        mlflow, glances = platform.doors["mlflow"], platform.doors["glances"]
        # Where people come by other hosts' names, labs find MLflow by the hub's on their network.
        asked = "client_id=service-mlflow"
        assert asked in ask(mlflow.url, Host="hub:8000", **VISIT).headers["Location"]
        assert asked not in ask(mlflow.url, Host="other", **VISIT).headers.get("Location", "")
        own = "mlflow--service.lab.localhost"
        sent = ask(mlflow.url, Host=own, **VISIT)
        assert sent.headers["Location"].startswith(f"{public}/hub/api/oauth2/authorize?")
        assert f"redirect_uri=http%3A%2F%2F{own}%2F" in sent.headers["Location"]
        # What the hub is asked for is what it knows of the service.
        to_hub = (
            f"{mlflow.url.split('/services')[0]}{sent.headers['Location'].removeprefix(public)}"
        )
        assert ask(to_hub, Host="lab.localhost", **VISIT).status_code == 302
        # The container's engine starts a container anew whose process has ended.
        (tool,) = psutil.Process(mlflow.process.pid).children()
        tool.kill()
        assert mlflow.process.wait(PATIENCE) == 1
        assert "ended by itself" in mlflow.log
        assert not healthy(mlflow)
        (tool,) = psutil.Process(glances.process.pid).children()
        os.kill(glances.process.pid, signal.SIGTERM)
        assert glances.process.wait(PATIENCE) == 0
        assert not tool.is_running()
