"""A link to somebody's lab that an administrator follows: what its page may do at the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page

from browser.lab import chromium
from hub.core_hub import ADMIN_PASSWORD, Browser, Hub, running_hub
from needs import need

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

_LAB = Path(__file__).with_name("hostile_lab.py")
_TOKEN = """
const token = text => (text.match(/xsrf_token:\\s*"([^"]+)"/) || [])[1] || '';
const read = (how, from = window) =>
    from.fetch('/hub/home', how).then(answer => answer.text()).then(token);
const later = seconds => new Promise(resolve => setTimeout(resolve, 1000 * seconds));
const page = window => token(window.document.documentElement.innerHTML);
const frame = async (kind, where) => {
    const made = document.createElement(kind);
    made.src = made.data = where;
    document.body.append(made);
    await later(1);
    return made;
};
const window_at = async where => {
    const opened = window.open('about:blank');
    opened.location = where;
    await later(1.5);
    return opened;
};
"""
# Each is what a script may try to read the token of the hub's forms.
WAYS = {
    "fetch": "read({})",
    "fetch, as if from the hub's page": "read({referrer: '/hub/home'})",
    "fetch of the same origin": "read({mode: 'same-origin'})",
    "fetch of what the browser keeps": "read({cache: 'force-cache'})",
    "an older way to fetch": """new Promise(resolve => {
        const asked = new XMLHttpRequest();
        asked.open('GET', '/hub/home');
        asked.onload = () => resolve(token(asked.responseText));
        asked.send();
    })""",
    "a cookie": """(() => {
        history.pushState({}, '', '/hub/home');
        return (document.cookie.match(/_xsrf=([^;]+)/) || [])[1];
    })()""",
    "a frame": "page((await frame('iframe', '/hub/home')).contentWindow)",
    "an object": "page((await frame('object', '/hub/home')).contentWindow)",
    "fetch by a frame of a static file": (
        "read({}, (await frame('iframe', '/hub/static/js/home.js')).contentWindow)"
    ),
    "a window": "page(await window_at('/hub/home'))",
    "fetch by a window": "read({}, await window_at('/hub/home'))",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    more = f"c.Spawner.cmd = [sys.executable, {str(_LAB)!r}]\nc.JupyterHub.cleanup_servers = True\n"
    with running_hub(tmp_path_factory.mktemp("hub"), more=more) as hub:
        yield hub


@pytest.fixture(scope="module")
def mallory(hub: Hub) -> Browser:
    """Somebody with a lab, which runs."""
    browser = hub.person("mallory")
    assert browser.get("spawn").status == 302
    hub.wait_for(lambda: browser.session.get(_lab(hub)).status_code == 200)
    return browser


def _lab(hub: Hub) -> str:
    return f"{hub.url.removesuffix('hub/')}user/mallory/look"


@pytest.fixture(scope="module")
def admin(hub: Hub) -> Iterator[Page]:
    """A browser in which an administrator is signed in, and has looked at the hub's pages."""
    with chromium(need("chromium")) as browser:
        page = browser.new_page()
        page.goto(f"{hub.url}login?next=%2Fhub%2Fhome")
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", ADMIN_PASSWORD)
        page.click("input[type=submit]")
        page.wait_for_url(f"{hub.url}home")
        yield page


@pytest.mark.parametrize("way", list(WAYS))
def test_no_script_of_a_lab_reads_the_hubs_token(
    hub: Hub, mallory: Browser, admin: Page, way: str
) -> None:
    admin.goto(_lab(hub))
    script = f"""async () => {{ {_TOKEN}
        try {{ return String(await {WAYS[way]} || ''); }} catch (error) {{ return ''; }}
    }}"""
    assert admin.evaluate(script) == ""


def test_no_link_makes_somebody_an_administrator(hub: Hub, mallory: Browser, admin: Page) -> None:
    admin.goto(_lab(hub))
    script = f"""async () => {{ {_TOKEN}
        const found = await read({{}});
        const asked = {{method: 'PATCH', body: '{{"admin": true}}', referrer: '/hub/admin',
                         headers: {{'X-XSRFToken': found}}}};
        return (await fetch('/hub/api/users/mallory', asked)).status;
    }}"""
    assert admin.evaluate(script) == 403
    assert "hub/admin" not in mallory.get("home").text


def test_the_hubs_own_pages_work(hub: Hub, mallory: Browser, admin: Page) -> None:
    answers: list[Any] = []
    admin.on("response", lambda answer: answers.append((answer.status, answer.url)))
    admin.goto(f"{hub.url}admin")
    admin.get_by_text("mallory", exact=True).first.wait_for()
    assert not [answer for answer in answers if answer[0] >= 400]


def test_what_a_browser_has_already_is_not_refused(hub: Hub) -> None:
    style = f"{hub.url}static/css/style.min.css"
    since = {"If-Modified-Since": requests.get(style, timeout=20).headers["Last-Modified"]}
    again = requests.get(style, headers={"Sec-Fetch-Mode": "no-cors", **since}, timeout=20)
    assert again.status_code == 304
