"""The platform as a group has it: in real Chromium, with the real lab's image, on a real Engine.

Two people, of whom one is in docker-privileged. They share one platform, in the order of the tests,
and each test runs alone as well.
"""

from __future__ import annotations

import json
import re
import time

import pytest
from playwright.sync_api import Page, expect

from compose.platform_world import (
    PHONE,
    SCREENSHOTS,
    Person,
    Platform,
    toast,
)
from compose.stack import ADMIN_PASSWORD
from familiar_hub.spawning import HOME, VOLUMES
from sandbox.podman import BASE

pytest_plugins = ["compose.platform_fixtures"]
# The first test waits for the builds.
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

RECONNECTED = 180.0
"""Seconds: JupyterLab waits longer after each look at a hub that is not back yet."""
QUESTION = "%claude Name three fictional spaceships and rank them."


# -- coming in, and working ------------------------------------------------------------------------


def test_people_come_in_when_they_are_approved(ada: Person, grace: Person) -> None:
    for person in (ada, grace):
        told = person.told
        assert told["signed up"] == "Your account waits for an administrator's approval."
        assert told["too early"] == "Your account waits for an administrator's approval."
        assert "waits for approval" in told["waits"]
        assert "Your server is starting up." in told["starting"]
        page = person.page
        person.platform.open(page, f"user/{person.name}/lab/tree/work?reset", ".jp-Launcher")
        names = page.locator(".jp-LauncherCard").all_inner_texts()
        assert {"Python + Claude", "Python + Claude (sandboxed)", "Terminal"} <= set(names)
        described = person.stack.inspect(person.container)
        assert described["Config"]["Image"] == person.stack.variables["DOCKER_NOTEBOOK_IMAGE"]


def test_a_conversation_and_a_file_that_lasts(ada: Person) -> None:
    notebook = ada.notebook(
        QUESTION,
        "answer = ask('Which did you rank highest?')\n"
        "open('kept.txt', 'w').write(answer.text)\n"
        "print('kept')",
    )
    notebook.watch(0)
    expect(notebook.run(0)).to_contain_text("The Marmalade Paradox")
    grown = [len(sample.text) for sample in notebook.watched() if sample.text]
    assert len(grown) > 3, "it came at once"
    assert grown[0] < grown[-1] / 2
    expect(notebook.run(1)).to_contain_text("kept")
    assert "I put her above Quiet Aunt Vera" in ada.in_volume("workspace", "cat kept.txt")
    assert ada.in_volume("workspace", "stat -c %u kept.txt") == "1000"


# -- each for themselves ---------------------------------------------------------------------------


def test_nobody_reaches_another_s_server(platform: Platform, ada: Person, grace: Person) -> None:
    began = platform.stack.inspect(grace.container)["State"]["StartedAt"]
    page = ada.page.context.new_page()
    for place in ("lab", "api/contents", "files/work/secret.txt"):
        answer = page.goto(f"{platform.url}user/grace/{place}")
        assert answer is not None
        assert answer.status == 403, place
    page.close()
    workspace = "users/grace/volumes/workspace/reset"
    refused = {
        ("GET", "user/grace/api/contents", None): (403,),
        ("POST", "user/grace/api/kernels", "{}"): (403,),
        ("POST", "user/grace/jupyterlab-notifications-extension/ingest", "{}"): (403,),
        ("GET", "hub/api/users/grace", None): (403, 404),
        ("GET", "hub/api/users/grace/lab", None): (403, 404),
        ("POST", "hub/api/users/grace/server/restart", None): (403, 404),
        ("DELETE", "hub/api/users/grace/server", None): (403, 404),
        ("POST", f"hub/api/{workspace}", json.dumps({"confirm": grace.volume("workspace")})): (
            403,
            404,
        ),
        ("POST", "hub/api/users/grace/tokens", "{}"): (403, 404),
        ("GET", "hub/api/users", None): (403,),
        ("GET", "hub/api/broadcasts", None): (403,),
        ("POST", "hub/api/broadcasts", json.dumps({"message": "x", "kind": "info"})): (403,),
    }
    for (method, place, body), statuses in refused.items():
        status, told = ada.ask(method, place, json.loads(body) if body else None)
        assert status in statuses, (method, place, status, told[:300])
    assert ada.ask("GET", "user/ada/api/contents")[0] == 200, "the token is a good one"
    assert platform.stack.inspect(grace.container)["State"]["StartedAt"] == began


_STATUS = """
import os, sys, urllib.error, urllib.request
for url, token in (each.split("|") for each in sys.argv[1:]):
    headers = {"Authorization": "token " + os.environ[token]} if token else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        print(urllib.request.urlopen(request, timeout=20).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""


def test_a_lab_has_nothing_but_its_own(ada: Person, grace: Person) -> None:
    stack = grace.stack
    told = stack.inspect(grace.container)
    prefix = stack.variables["FAMILIAR_HUB_PREFIX"]
    assert {(m["Type"], m["Name"], m["Destination"]) for m in told["Mounts"]} == {
        *(("volume", grace.volume(kind), place) for kind, place in VOLUMES.items()),
        ("volume", f"{prefix}--shared", f"{HOME}/shared"),
    }
    assert list(told["NetworkSettings"]["Networks"]) == [stack.variables["DOCKER_NETWORK_NAME"]]
    # What the kernel of the machine says of who they are there.
    status = grace.run("cat /proc/1/status; id -u")
    assert re.search(r"CapBnd:\s0+\n", status)
    assert re.search(r"NoNewPrivs:\s1", status)
    assert status.endswith("1000")
    find = "find / -xdev -name docker.sock -o -name jupyterhub.sqlite -o -name admin_password"
    assert grace.run(f"{find} 2>/dev/null; ls /run/familiar* /srv/jupyterhub 2>&1 | cut -c1-9") in (
        "ls: canno\nls: canno",
    )
    grace.run("echo mine >~/work/secret.txt")
    assert ada.run("cat ~/work/secret.txt", check=False).endswith("No such file or directory")


def test_a_lab_asks_the_hub_as_itself(ada: Person, grace: Person) -> None:
    hub, own = "http://hub:8081/hub/api", "JUPYTERHUB_API_TOKEN"
    other = f"http://{ada.container}:8888/user/ada/api/contents"
    asked = {
        f"{hub}/user|{own}": 200,
        f"{hub}/user|": 403,
        f"{hub}/users|{own}": 403,
        f"{hub}/users/ada|{own}": 404,
        f"{hub}/proxy|{own}": 403,
        # Labs see each other, and each asks the hub who is there.
        f"{other}|": 403,
        f"{other}|{own}": 403,
        f"http://127.0.0.1:8888/user/grace/api/contents|{own}": 200,
    }
    places = " ".join(f"'{each}'" for each in asked)
    found = grace.run(f"python - {places}", given=_STATUS).split()
    assert dict(zip(asked, map(int, found), strict=True)) == asked


# -- self-service ----------------------------------------------------------------------------------


def test_a_restart_leaves_the_container_and_its_files(ada: Person) -> None:
    notebook = ada.notebook("fleeting = 41; print('set')", "fleeting")
    expect(notebook.run(0)).to_contain_text("set")
    ada.run("echo kept >~/work/before.txt; echo inside >/tmp/in-the-container")
    before = ada.stack.inspect(ada.container)

    page = ada.home()
    page.get_by_role("button", name="Restart the default server").click()
    dialog = page.get_by_role("dialog", name="Restart the default server?")
    dialog.get_by_role("button", name="Restart").click()
    expect(page.locator("#lab-status")).to_have_text(
        re.compile(r"Restarted the default server in [\d.]+ s\."), timeout=60_000
    )
    page.screenshot(path=SCREENSHOTS / "hub-home.png", full_page=True)
    page.close()
    after = ada.stack.inspect(ada.container)
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] != before["State"]["StartedAt"]

    again = ada.notebook("fleeting")
    expect(again.run(0)).to_contain_text("NameError")
    told = ada.run("cat ~/work/before.txt /tmp/in-the-container")
    assert told.split() == ["kept", "inside"]


def test_a_volume_is_reset_when_the_lab_is_stopped(grace: Person) -> None:
    grace.run("echo x >~/work/doomed.txt; echo y >~/kept.txt")
    page = grace.home()
    reset = page.get_by_role("button", name="Reset the volume workspace")
    expect(reset).to_be_disabled()
    confirmed = {"confirm": grace.volume("workspace")}
    place = "hub/api/users/grace/volumes/workspace/reset"
    status, told = grace.ask("POST", place, confirmed)
    assert status == 409, told
    assert "stop" in told
    assert grace.run("cat ~/work/doomed.txt") == "x"

    page.locator("#stop").click()
    expect(reset).to_be_enabled()
    status, told = grace.ask("POST", place, {"confirm": "workspace"})
    assert status == 400, told
    reset.click()
    dialog = page.get_by_role("dialog", name="Reset workspace?")
    expect(dialog).to_contain_text(grace.volume("workspace"))
    go = dialog.get_by_role("button", name="Delete everything in it")
    expect(go).to_be_disabled()
    dialog.get_by_label("Type workspace to confirm").fill("workspace")
    go.click()
    expect(page.locator("#lab-status")).to_have_text("The volume workspace is new and empty.")
    page.close()

    grace.start()
    assert "doomed.txt" not in grace.run("ls -A ~/work")
    assert grace.run("cat ~/kept.txt") == "y"
    grace.run("touch ~/work/it-is-mine")


# -- notices ---------------------------------------------------------------------------------------


def test_a_broadcast_is_a_toast_in_every_lab(
    platform: Platform, ada: Person, grace: Person
) -> None:
    text = "At 18:00 the machine restarts for ten minutes. Save what you are doing."
    notebook = ada.notebook(QUESTION)
    notebook.run(0)
    platform.open(grace.page, "user/grace/lab/tree/work?reset", ".jp-Launcher")
    page = platform.admin
    platform.open(page, "hub/broadcast", "#broadcast")
    expect(page.locator("#broadcast-servers")).to_have_text("2 servers now.")
    message = page.get_by_label("Message")
    message.press_sequentially(text[:5])
    expect(page.locator("#message-count")).to_have_text("5 of 140 characters")
    message.fill(text)
    expect(page.locator("#message-count")).to_have_text(f"{len(text)} of 140 characters")
    page.get_by_label("Type").select_option("warning")
    page.get_by_role("button", name="Send to all").click()
    for person in (ada, grace):
        expect(toast(person.page, text)).to_be_visible()
    expect(page.locator("#outcome-status")).to_contain_text("Delivered to 2 of 2 servers")
    rows = page.locator("#outcome tbody tr")
    assert [row.split("\t")[:3] for row in rows.all_inner_texts()] == [
        ["ada", "default", "delivered"],
        ["grace", "default", "delivered"],
    ]
    page.screenshot(path=SCREENSHOTS / "hub-broadcast.png")
    ada.page.screenshot(path=SCREENSHOTS / "hub-toast.png")
    for person in (ada, grace):
        toast(person.page, text).get_by_role("button").last.click()


def test_a_familiar_that_needs_its_person_says_so(ada: Person, grace: Person) -> None:
    folder = "~/.ipython/profile_default"
    ada.run(f"mkdir -p {folder}; cat >{folder}/ipython_kernel_config.py", given=_AT_ONCE)
    platform = ada.platform
    platform.open(grace.page, "user/grace/lab/tree/work?reset", ".jp-Launcher")
    elsewhere = ada.page.context.new_page()
    platform.open(elsewhere, "user/ada/lab/workspaces/other/tree/work?reset", ".jp-Launcher")
    notebook = ada.notebook("%claude Write a note.")
    notebook.start(0)
    asked = "Claude asks to use Write"
    expect(toast(elsewhere, asked)).to_be_visible(timeout=90_000)
    assert toast(grace.page, asked).count() == 0
    box = notebook.output(0).get_by_role("textbox")
    box.fill("y")
    box.press("Enter")
    notebook.finish(0)
    expect(notebook.output(0)).to_contain_text("It is written.")
    assert ada.run("cat ~/work/note.txt") == "written by Claude"
    elsewhere.close()
    ada.run(f"rm {folder}/ipython_kernel_config.py")


_AT_ONCE = "c.Notifications.after = 0\n"


# -- Docker ----------------------------------------------------------------------------------------


def test_a_member_of_docker_privileged_runs_containers(ada: Person) -> None:
    inside = f"docker run --rm --network=none {BASE} sh -c 'id -u; hostname'"
    told = ada.run(inside).split()
    assert told[0] == "0"
    assert told[1] != ada.run("hostname")
    refused = {
        "--privileged": "HostConfig.Privileged may not be set here",
        "--volume=/:/host": "no folders of the machine",
        "--pid=host": "HostConfig.PidMode",
        "--cap-add=SYS_ADMIN": "HostConfig.CapAdd",
    }
    for option, sentence in refused.items():
        said = ada.run(f"docker run --rm --network=none {option} {BASE} true", check=False)
        assert sentence in said, said
    # Nobody else's containers are there to be seen.
    assert ada.run("docker ps --all --quiet") == ""


def test_docker_is_podman_for_all_others(grace: Person) -> None:
    assert "podman version" in grace.run("docker --version")
    assert grace.run("echo ${DOCKER_HOST:-none}; ls /run/familiar-docker 2>&1 | tail -c 26") == (
        "none\nNo such file or directory"
    )


# -- the hub ends, and goes on ---------------------------------------------------------------------


def test_labs_outlive_the_hub(platform: Platform, ada: Person) -> None:
    stack = platform.stack
    notebook = ada.notebook(
        QUESTION, "kept = 41", "kept + 1", "%claude Which did you rank highest?"
    )
    notebook.run(0)
    notebook.run(1)
    began = stack.inspect(ada.container)["State"]["StartedAt"]
    stack.compose("restart", "hub")
    # JupyterLab says that the server is not there, and offers another one.
    away = notebook.page.get_by_role("dialog", name="Server unavailable or unreachable")
    deadline = time.monotonic() + RECONNECTED
    while not notebook.page.evaluate("looking.kernelIsIdle()"):
        assert time.monotonic() < deadline
        if away.count():
            away.get_by_role("button", name="Dismiss").click()
        notebook.page.wait_for_timeout(300)
    expect(notebook.run(2)).to_contain_text("42")
    expect(notebook.run(3)).to_contain_text("I put her above Quiet Aunt Vera")
    assert notebook.page.locator(".jp-Dialog").count() == 0
    assert stack.inspect(ada.container)["State"]["StartedAt"] == began
    page = ada.home()
    expect(page.locator("#lab-servers")).to_contain_text("running")
    page.close()


# -- signing in and out ----------------------------------------------------------------------------


def test_signing_out(platform: Platform, ada: Person) -> None:
    page = platform.window()
    platform.sign_in(page, "ada")
    page.wait_for_url("**/user/ada/lab/**")
    platform.open(page, "hub/home", "#lab:visible")
    page.locator("#logout").click()
    page.wait_for_url("**/hub/login**")
    for place in ("hub/home", "user/ada/lab"):
        platform.open(page, place, "form:has([name=password])")
    # Her other window is another sign-in, and goes on.
    ada.home().close()


def test_a_wrong_password_and_too_many(platform: Platform) -> None:
    page = platform.window()
    error = page.locator(".login_error")
    for _ in range(3):
        platform.sign_in(page, "nobody", "a wrong password")
        expect(error).to_have_text(re.compile("Invalid username or password"))
    platform.sign_in(page, "nobody", "a wrong password")
    expect(error).to_have_text(re.compile("too many", re.IGNORECASE))
    platform.sign_in(page, "admin", ADMIN_PASSWORD)
    page.wait_for_url("**/hub/spawn")


# -- on a phone, in the dark -----------------------------------------------------------------------


def test_the_pages_fit_a_phone(platform: Platform, ada: Person) -> None:
    wide: list[str] = []

    def look(page: Page, name: str) -> None:
        page.screenshot(path=SCREENSHOTS / f"hub-phone-{name}.png")
        # JupyterLab itself is not made for phones.
        if "/hub/" in page.url and page.evaluate("document.documentElement.scrollWidth") > PHONE[0]:
            wide.append(name)

    page = platform.window(PHONE, "dark")
    for name, sign in (
        ("login", "form:has([name=password])"),
        ("signup", "form:has([name=signup_password])"),
    ):
        platform.open(page, f"hub/{name}", sign)
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        look(page, name)
    platform.sign_in(page, "ada")
    page.wait_for_url("**/user/ada/lab/**")
    ada.run("touch ~/work/a-file")
    platform.open(page, "user/ada/lab/tree/work", ".jp-DirListing-item[title*=a-file]")
    look(page, "jupyterlab")
    platform.open(page, "hub/home", "#lab:visible")
    look(page, "home")
    page.context.close()
    page = platform.window(PHONE, "dark")
    platform.sign_in(page, "admin", ADMIN_PASSWORD)
    page.wait_for_url("**/hub/spawn")
    look(page, "spawn")
    for name, sign in (("authorize", "tr#ada"), ("broadcast", "#broadcast")):
        platform.open(page, f"hub/{name}", sign)
        look(page, name)
    page.context.close()
    assert wide == []
