"""The pages in a real browser: by mouse and keyboard, light and dark, on a desk and on a phone."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from browser.lab import chromium, contrasts
from deploy.engines import Engine
from hub.pages_docker import Docks, running_docks
from hub.pages_hub import PASSWORD, pythons
from needs import need

pytest_plugins = ["deploy.lab_fixtures"]
pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOOKING = Path(__file__).parents[1] / "browser" / "looking.js"
DESK, PHONE = (1280, 900), (360, 740)
SIZES = {"desk": DESK, "phone": PHONE}
CONTRAST = 4.5
PATIENCE = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(need("chromium")) as running:
        yield running


def hub_of(python: str) -> str:
    return Path(python).parents[1].name


@pytest.fixture(scope="module", params=pythons(), ids=hub_of)
def docks(
    request: pytest.FixtureRequest,
    docker_engine: Engine,
    podman_engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Docks]:
    folder = tmp_path_factory.mktemp("docks")
    with running_docks(docker_engine, podman_engine, folder, request.param) as running:
        yield running


def signed_in(
    browser: Browser, docks: Docks, name: str, place: str, size: tuple[int, int] = DESK,
    theme: str = "light",
) -> Page:  # fmt: skip
    """Open a page as somebody."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",  # a colour on its way to another is not what is measured
    )
    context.add_init_script(path=LOOKING)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{docks.hub.url}login?next=%2Fhub%2F{place}")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**/hub/{place}")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
    return page


def row(page: Page, kind: str) -> Locator:
    return page.locator("#lab-volumes li").filter(has=page.locator(f"strong:text-is('{kind}')"))


# -- the home page ---------------------------------------------------------------------------------


def test_a_volume_is_reset_with_its_name_typed(docks: Docks, browser: Browser) -> None:
    docks.hub.start("ada")
    docks.inside("ada", "touch /home/kept-home /cache/kept-cache")
    page = signed_in(browser, docks, "ada", "home")
    reset = page.get_by_role("button", name="Reset the volume home")
    expect(reset).to_be_disabled()
    expect(row(page, "home")).to_contain_text("In use by the default server.")
    page.locator("#stop").click()
    # Above JupyterHub's further servers.
    assert page.locator("h2:visible").all_inner_texts() == ["Your lab", "Named Servers"]
    expect(reset).to_be_enabled()  # without the page being loaded again
    expect(row(page, "home")).not_to_contain_text("In use")

    reset.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Reset home?")
    expect(dialog).to_contain_text(docks.volume("ada", "home"))
    go = dialog.get_by_role("button", name="Delete everything in it")
    word = dialog.get_by_label("Type home to confirm")
    expect(word).to_be_focused()
    for wrong in ("", "hom", "cache", "HOME"):
        word.fill(wrong)
        expect(go).to_be_disabled()
        page.keyboard.press("Enter")
        expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(reset).to_be_focused()

    page.keyboard.press("Enter")
    expect(word).to_be_empty()
    page.keyboard.type("home")
    page.keyboard.press("Enter")
    expect(page.locator("#lab-status")).to_have_text("The volume home is new and empty.")
    expect(dialog).to_be_hidden()
    docks.hub.start("ada")
    assert docks.inside("ada", "ls /home /cache").split() == ["/cache:", "kept-cache", "/home:"]


def test_a_refusal_is_told_in_the_dialog(docks: Docks, browser: Browser) -> None:
    docks.hub.person("hasty")
    page = signed_in(browser, docks, "hasty", "home")
    page.get_by_role("button", name="Reset the volume cache").click()
    docks.hub.start("hasty")  # in another window, meanwhile
    page.get_by_label("Type cache to confirm").fill("cache")
    page.get_by_role("button", name="Delete everything in it").click()
    alert = page.get_by_role("dialog").get_by_role("alert")
    expect(alert).to_contain_text("in use by the default server; stop that first")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_server_is_restarted_and_the_page_says_when_it_is_back(
    docks: Docks, browser: Browser
) -> None:
    docks.hub.start("ada")
    identity = docks.inspect(docks.container("ada"))["Id"]
    page = signed_in(browser, docks, "ada", "home")
    page.get_by_role("button", name="Restart the default server").click()
    dialog = page.get_by_role("dialog", name="Restart the default server?")
    expect(dialog).to_contain_text("Files stay")
    dialog.get_by_role("button", name="Restart").click()
    expect(page.locator("#lab-status")).to_have_text(
        re.compile(r"Restarted the default server in [\d.]+ s\.")
    )
    assert docks.inspect(docks.container("ada"))["Id"] == identity


# -- broadcasts ------------------------------------------------------------------------------------


def test_a_broadcast_is_written_sent_and_remembered(docks: Docks, browser: Browser) -> None:
    docks.hub.start("ada")
    docks.hub.start("bare")
    page = signed_in(browser, docks, "admin", "home")
    page.get_by_role("link", name="Broadcast").click()
    expect(page.locator("#broadcast-servers")).to_have_text(re.compile(r"^\d+ servers now\.$"))
    message = page.get_by_label("Message")
    count = page.locator("#message-count")
    message.fill("🦉" * 140)
    expect(count).to_have_text("140 of 140 characters")
    expect(message).to_have_attribute("aria-invalid", "false")
    message.press("End")
    message.press_sequentially("xx")
    expect(page.locator("#message-fault")).to_have_text("2 too many")
    expect(message).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Send to all").click()
    expect(page.locator("#message-fault")).to_contain_text("has 142 characters")
    assert page.locator("#outcome").is_hidden()

    text = "<img src=x onerror=window.pwned=1> & more"
    message.fill(text)
    page.get_by_label("Type").select_option("in-progress")
    page.get_by_label("Closes itself after (seconds)").fill("30")
    page.get_by_role("button", name="Send to all").click()
    expect(page.locator("#outcome-status")).to_contain_text("Delivered to")
    rows = page.locator("#outcome tbody tr")
    expect(rows.first).to_contain_text("has no jupyterlab_notifications_extension")
    expect(rows.filter(has_text="ada")).to_contain_text("delivered")
    expect(message).to_be_empty()
    told = docks.inside("ada", "tail -1 /home/lab.jsonl")
    assert '"autoClose": 30000' in told
    assert '"type": "in-progress"' in told
    past = page.locator("#history > li").first
    expect(past).to_contain_text(text)
    expect(past).to_contain_text("admin, in progress: delivered to")
    past.locator("summary").click()
    expect(past.locator("details")).to_contain_text("bare: its image has no")
    assert page.evaluate("window.pwned") is None
    page.reload()
    expect(page.locator("#history > li").first).to_contain_text(text)


def test_a_time_that_is_none_is_not_sent(docks: Docks, browser: Browser) -> None:
    page = signed_in(browser, docks, "admin", "broadcast")
    page.get_by_label("Message").fill("x")
    page.get_by_label("Closes itself after (seconds)").fill("-5")
    page.get_by_role("button", name="Send to all").click()
    assert page.locator("#stay:invalid").count() == 1
    assert page.locator("#outcome").is_hidden()


def test_only_administrators_have_the_page(docks: Docks, browser: Browser) -> None:
    docks.hub.person("ada")
    page = signed_in(browser, docks, "ada", "home")
    expect(page.locator("#lab")).to_be_visible()
    assert page.get_by_role("link", name="Broadcast").count() == 0
    answer = page.goto(f"{docks.hub.url}broadcast")
    assert answer is not None
    assert answer.status == 403


# -- for everybody ---------------------------------------------------------------------------------

PLACES = {
    "home": ("ada", "home", ""),
    "reset": ("idle", "home", "Reset the volume workspace"),
    "restart": ("ada", "home", "Restart the default server"),
    "broadcast": ("admin", "broadcast", ""),
}


LOOKS = list(product(PLACES, ("desk", "phone"), ("light", "dark")))
ONCE = list(zip(PLACES, cycle(("phone", "desk")), ("dark", "light", "light", "dark"), strict=False))
"""Each page once, for other JupyterHubs than ours."""


@pytest.mark.parametrize(("name", "size", "theme"), ONCE)
def test_everything_can_be_read_and_reached(
    docks: Docks, browser: Browser, name: str, size: str, theme: str
) -> None:
    look_at(docks, browser, name, SIZES[size], theme)


@pytest.mark.parametrize("docks", [sys.executable], ids=hub_of, indirect=True)
@pytest.mark.parametrize(("name", "size", "theme"), [look for look in LOOKS if look not in ONCE])
def test_everything_can_be_read_and_reached_in_all_sizes_and_themes(
    docks: Docks, browser: Browser, name: str, size: str, theme: str
) -> None:
    look_at(docks, browser, name, SIZES[size], theme)


def look_at(docks: Docks, browser: Browser, name: str, size: tuple[int, int], theme: str) -> None:
    person, place, button = PLACES[name]
    docks.hub.start("ada")
    docks.hub.person("idle")
    page = signed_in(browser, docks, person, place, size, theme)
    ours = page.locator("#lab:visible, #broadcast")
    expect(ours).to_be_visible()
    if place == "broadcast":
        page.get_by_label("Message").fill("To be read on all screens.")
        page.get_by_role("button", name="Send to all").click()
        expect(page.locator("#outcome-status")).to_contain_text("Delivered")
        expect(page.get_by_role("button", name="Send to all")).to_be_enabled()
    if button:
        page.get_by_role("button", name=button).click()
        ours = page.get_by_role("dialog")
        expect(ours).to_be_visible()
    seen = contrasts(ours)
    assert len(seen) > 3
    assert {text: value for text, value in seen.items() if value < CONTRAST} == {}
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "nothing is cut off"
    for control in ours.locator(
        "button:visible, input:visible, select:visible, textarea:visible"
    ).all():
        box = control.bounding_box()
        assert box is not None
        assert min(box["height"], box["width"]) >= 24, "a finger finds it"
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
        names = control.evaluate(
            "e => e.getAttribute('aria-label') || e.textContent"
            " || [...(e.labels || [])].map(l => l.textContent).join()"
        )
        assert names.strip(), control


def test_all_of_it_works_with_the_keyboard(docks: Docks, browser: Browser) -> None:
    docks.hub.start("ada")
    page = signed_in(browser, docks, "admin", "broadcast")
    page.get_by_label("Message").focus()
    page.keyboard.type("By keyboard")
    page.keyboard.press("Tab")
    page.keyboard.type("success")
    page.keyboard.press("Tab")
    page.keyboard.type("12")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Send to all")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#history > li").first).to_contain_text("By keyboard")
    expect(page.locator("#history > li").first).to_contain_text("success")
