"""The platform as people have it: a stack with the real lab's image, and their windows in Chromium.

A person comes in as anybody does: signs up on the page, is let in by the administrator on theirs,
signs in, chooses a lab and starts it. Their labs' familiars talk to the rehearsal, since the kind
of lab that they choose says so.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import uuid4

import nbformat
import requests
import yaml
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from browser.lab import WIDE, Notebook
from compose.stack import ADMIN_PASSWORD, PASSWORD, Images, Stack, running_stack
from deploy.labs import Image
from familiar_hub import spawning
from sandbox.podman import BASE, ROOT

SCREENSHOTS = ROOT / "test-output" / "screenshots"
LOOKING = Path(__file__).parents[1] / "browser" / "looking.js"
PHONE = (390, 844)
WORK = "/home/jovyan/work"
START = 120.0
"""Seconds that a lab has until JupyterLab is shown."""
_PROFILES = """
- name: ordinary
  summary: for everyday work
  environment:
    FAMILIAR_REHEARSAL: "1"
    FAMILIAR_REHEARSAL_SCRIPT: /home/jovyan/.rehearsal.yaml
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1"
- name: small
  summary: one gigabyte
  memory: 1G
"""
_NOTE = """
- id: note
  when: {prompt: {exact: Write a note.}}
  reply:
    - tool_use:
        name: Write
        input: {file_path: /home/jovyan/work/note.txt, content: "written by Claude"}
- id: noted
  when: {tool_result: {regex: ".", is_error: false, name: Write}}
  reply: "It is written."
"""


def _script() -> str:
    """Return the rehearsal's script: one prompt that needs a permission, and the built-in ones."""
    built_in = resources.files("familiar_kernel.rehearsal") / "scripts" / "first_conversation.yaml"
    script = yaml.safe_load(built_in.read_text(encoding="utf-8"))
    script["rules"] = [*yaml.safe_load(_NOTE), *script["rules"]]
    return yaml.safe_dump(script, allow_unicode=True, sort_keys=False)


@dataclass
class Platform:
    """A platform that is up.

    Attributes:
        stack: its containers.
        browser: where its pages are looked at.
    """

    stack: Stack
    browser: Browser
    _people: dict[str, Person] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.stack.url

    # -- windows -----------------------------------------------------------------------------------

    def context(self, size: tuple[int, int] = WIDE, scheme: Any = "light") -> BrowserContext:
        """Return a browser of its own: no cookie of another's is there."""
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            # Who vouches for the certificate is a matter of the tests of the stack.
            ignore_https_errors=True,
        )
        context.set_default_timeout(30_000)
        context.add_init_script(path=LOOKING)
        return context

    def window(self, size: tuple[int, int] = WIDE, scheme: Any = "light") -> Page:
        return self.context(size, scheme).new_page()

    def open(self, page: Page, place: str, sign: str, timeout: float = 60) -> Locator:
        """Open a page, and return what shows that it is there.

        Args:
            place: below the platform's address.
            sign: a selector.
            timeout: seconds for it.
        """
        page.goto(f"{self.url}{place}", wait_until="domcontentloaded")
        found = page.locator(sign).first
        expect(found).to_be_visible(timeout=timeout * 1000)
        return found

    def sign_in(self, page: Page, name: str, password: str = PASSWORD) -> None:
        """Sign in on the page; whether it was right is the caller's to look at."""
        form = self.open(page, "hub/login", "form:has([name=password])")
        form.locator("[name=username]").fill(name)
        form.locator("[name=password]").fill(password)
        form.locator("[type=submit]").click()

    @cached_property
    def admin(self) -> Page:
        """The administrator's window, on their home page."""
        page = self.window()
        self.sign_in(page, "admin", ADMIN_PASSWORD)
        page.wait_for_url("**/hub/spawn")
        self.open(page, "hub/home", "#lab")
        return page

    def as_admin(self, method: str, path: str, body: object = None) -> Any:
        """Ask the hub's API as the administrator's pages do."""
        if not self.admin.url.endswith("/hub/home"):
            self.open(self.admin, "hub/home", "#lab")
        return from_page(self.admin, method, path, body)

    # -- people ------------------------------------------------------------------------------------

    def person(self, name: str, *groups: str) -> Person:
        """Return somebody who has come in, and whose lab runs.

        Args:
            name: theirs.
            groups: that they are put into before they first start their lab.
        """
        if name not in self._people:
            self._people[name] = Person.come_in(self, name, groups)
        person = self._people[name]
        if not person.runs:
            person.start()
        return person


def from_page(page: Page, method: str, path: str, body: object = None) -> Any:
    """Ask the hub's API with what a page has: its cookies and its token against forged requests."""
    return page.evaluate(
        "([method, path, body]) => window.familiar.ask(method, path, body ?? undefined)",
        [method, path, body],
    )


@dataclass
class Person:
    """Somebody who has a lab.

    Attributes:
        told: what the pages told them on their way in.
        page: the window in which their JupyterLab is.
    """

    platform: Platform
    name: str
    page: Page
    told: dict[str, str] = field(default_factory=dict)

    @classmethod
    def come_in(cls, platform: Platform, name: str, groups: tuple[str, ...]) -> Person:
        """Sign up, be let in, sign in, and start a lab."""
        person = cls(platform, name, platform.window())
        page, told = person.page, person.told
        form = platform.open(page, "hub/signup", "form:has([name=signup_password])")
        form.locator("[name=username]").fill(name)
        form.locator("[name=signup_password]").fill(PASSWORD)
        form.locator("[name=signup_password_confirmation]").fill(PASSWORD)
        form.locator("[type=submit]").click()
        told["signed up"] = page.get_by_role("alert").inner_text().strip()
        platform.sign_in(page, name)
        told["too early"] = page.locator(".login_error").inner_text().strip()

        admin = platform.admin
        row = platform.open(admin, "hub/authorize", f"tr#{name}")
        told["waits"] = row.inner_text()
        row.get_by_role("button", name="Approve").click()
        expect(row).to_contain_text("approved")
        platform.sign_in(page, name)
        page.wait_for_url("**/hub/spawn")
        for group in groups:
            platform.as_admin("POST", f"groups/{group}/users", {"users": [name]})
        person.start()
        return person

    # -- their lab ---------------------------------------------------------------------------------

    @property
    def stack(self) -> Stack:
        return self.platform.stack

    @property
    def container(self) -> str:
        return f"{self.stack.variables['FAMILIAR_HUB_PREFIX']}-{self.name}"

    def volume(self, kind: str) -> str:
        """Return the name of the volume, as the hub names it."""
        assert kind in spawning.VOLUMES
        return f"{self.container}_{kind}"

    @property
    def runs(self) -> bool:
        done = self.stack.engine.run("container", "inspect", self.container, check=False)
        return done.returncode == 0 and json.loads(done.stdout)[0]["State"]["Running"]

    def start(self, profile: str = "ordinary") -> None:
        """Start the lab on the page, and wait until JupyterLab is shown."""
        page = self.page
        self.platform.open(page, "hub/spawn", "#profile").select_option(profile)
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/hub/spawn-pending/**")
        expect(page.locator("#progress-bar")).to_be_visible()
        self.told["starting"] = page.locator("body").inner_text()
        page.wait_for_url(f"**/user/{self.name}/lab/**", timeout=START * 1000)
        expect(page.locator(".jp-Launcher").first).to_be_visible(timeout=60_000)
        self.run("cat >~/.rehearsal.yaml", given=_script())
        # What the tests look into the page with, from the next page on.
        config = "~/.jupyter/labconfig"
        shown = json.dumps({"exposeAppInBrowser": True})
        self.run(f"mkdir -p {config} && cat >{config}/page_config.json", given=shown)

    def run(self, code: str, check: bool = True, given: str = "") -> str:
        """Run a line of bash in the lab, and return what that wrote."""
        done = self.stack.engine.run(
            "exec", "--interactive", self.container, "bash", "-c", code, check=check, given=given
        )
        return (done.stdout + ("" if check else done.stderr)).strip()

    def in_volume(self, kind: str, code: str) -> str:
        """Run a line of sh beside one of their volumes, whatever their lab does."""
        done = self.stack.engine.run(
            "run", "--rm", "--network=none", "--user=1000", "--workdir=/volume",
            f"--volume={self.volume(kind)}:/volume", "--entrypoint=sh",
            self.stack.variables["HUB_IMAGE"], "-c", code,
        )  # fmt: skip
        return done.stdout.strip()

    def notebook(self, *sources: str, page: Page | None = None) -> Notebook:
        """Open a notebook with these cells, and wait for its kernel."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in sources],
            metadata={
                "kernelspec": {
                    "name": "python-claude",
                    "display_name": "Python + Claude",
                    "language": "python",
                }
            },
        )
        name = f"{uuid4().hex[:8]}.ipynb"
        self.run(f"cat >{WORK}/{name}", given=nbformat.writes(notebook))
        # A workspace of its own, or windows would restore each other's tabs.
        place = f"user/{self.name}/lab/workspaces/{uuid4().hex[:8]}/tree/work/{name}"
        page = page or self.page
        self.platform.open(page, place, ".jp-NotebookPanel .jp-Cell")
        opened = Notebook(page)
        opened.wait_for_kernel()
        return opened

    def home(self) -> Page:
        """Open their home page in another window of their browser."""
        page = self.page.context.new_page()
        self.platform.open(page, "hub/home", "#lab:visible")
        return page

    # -- without a browser -------------------------------------------------------------------------

    @cached_property
    def token(self) -> str:
        """A token that they asked the hub for, with all that they may."""
        page = self.home()
        told = from_page(page, "POST", f"users/{self.name}/tokens", {"note": "mine"})
        page.close()
        return str(told["token"])

    def ask(self, method: str, place: str, body: object = None) -> tuple[int, str]:
        """Ask for a place below the platform's address, with their token."""
        session = requests.Session()
        session.trust_env = False
        answer = session.request(
            method,
            f"{self.platform.url}{place}",
            json=body,
            headers={"Authorization": f"token {self.token}"},
            verify=str(self.stack.authority),
            allow_redirects=False,
            timeout=30,
        )
        return answer.status_code, answer.text


def toast(page: Page, text: str | re.Pattern[str]) -> Locator:
    """Return a notice that JupyterLab shows."""
    return page.locator(".Toastify__toast").filter(has_text=text)


@contextlib.contextmanager
def running_platform(
    image: Image, images: Images, folder: Path, browser: Browser
) -> Iterator[Platform]:
    """Bring a platform up for the time of a ``with`` block.

    Args:
        image: the lab's.
        images: the stack's own.
        folder: for its files; it must not be there.
        browser: in which people come.
    """
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "profiles.yml").write_text(_PROFILES)
    told = {
        "DOCKER_NOTEBOOK_IMAGE": image.name,
        "FAMILIAR_HUB_PROFILES_FILE": "/etc/familiar-hub/profiles.yml",
        "FAMILIAR_HUB_FAILED_LOGINS": "3",
        "SOCKET_LAB_IMAGES": BASE,
    }
    with running_stack(image.engine, images, folder, **told) as stack:
        yield Platform(stack, browser)
