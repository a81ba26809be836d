"""A real JupyterHub set up by our own configuration, and browsers that visit it."""

from __future__ import annotations

import contextlib
import html
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from hub.pages_hub import PATIENCE, ROOT, acts, free_port, hub_process, wait_for_hub
from needs import need

PACKAGE = ROOT / "deploy" / "hub"
ADMIN_PASSWORD = "the first password of the tests"
PASSWORD = "a long and rare password"

# The hub is the one that a deployment has; only where things are is another place.
_CONFIG = """
import sys

load_subconfig({config!r})
c.JupyterHub.bind_url = "http://127.0.0.1:{port}" + {base_url!r}
c.JupyterHub.hub_ip = c.JupyterHub.hub_connect_ip = "127.0.0.1"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {homes!r}
c.Spawner.cmd = [sys.executable, {lab!r}]
c.Spawner.notebook_dir = ""
{more}
"""


@dataclass
class Answer:
    """What a browser got, after no redirect."""

    status: int
    text: str
    headers: Any

    @property
    def said(self) -> str:
        """What the page tells in its alert, without tags."""
        found = re.search(
            r'(?:class="alert[^>]*>|class="login_error"[^>]*>)(.*?)</(?:div|p)>\s',
            self.text,
            re.DOTALL,
        )
        return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", found[1]).split())) if found else ""


@dataclass
class Browser:
    """One person's browser, with its own cookies."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.trust_env = False

    def get(self, path: str) -> Answer:
        """Ask for a page below the hub's address."""
        return self._send("GET", path)

    def post(self, path: str, page: str | None = "", **fields: str) -> Answer:
        """Send a form.

        Args:
            page: where the form stands, so that its token is sent too; None for no token.
        """
        if page is not None:
            found = re.search(r'name="_xsrf" value="([^"]+)"', self.get(page or path).text)
            assert found, f"{page or path} has no form"
            fields["_xsrf"] = found[1]
        return self._send("POST", path, fields)

    def _send(self, method: str, path: str, fields: dict[str, str] | None = None) -> Answer:
        answer = self.session.request(
            method,
            self.url + path,
            data=fields,
            allow_redirects=False,
            timeout=PATIENCE,
            headers={"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"},
        )
        return Answer(answer.status_code, answer.text, answer.headers)

    def sign_up(self, name: str, password: str = PASSWORD, again: str | None = None) -> Answer:
        return self.post(
            "signup",
            username=name,
            signup_password=password,
            signup_password_confirmation=password if again is None else again,
        )

    def sign_in(self, name: str, password: str = PASSWORD) -> Answer:
        return self.post("login", username=name, password=password)

    @property
    def is_in(self) -> bool:
        """Whether the hub knows who this is."""
        return self.get("home").status == 200


@dataclass
class Hub:
    """A running hub.

    Attributes:
        url: where its own pages are, with a slash at the end.
        folder: what it keeps.
    """

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "hub.log").read_text(errors="replace")

    @property
    def acts(self) -> list[dict[str, Any]]:
        return acts(self.folder / "audit.jsonl")

    def browser(self) -> Browser:
        return Browser(self.url)

    def admin(self) -> Browser:
        """Return the administrator's browser, signed in."""
        browser = self.browser()
        assert browser.sign_in("admin", ADMIN_PASSWORD).status == 302
        return browser

    def approve(self, name: str) -> None:
        answer = self.admin().post(f"authorize/{name}", "authorize", approved="1")
        assert answer.status == 302, answer.text

    def person(self, name: str) -> Browser:
        """Return the browser of somebody who is approved and signed in."""
        browser = self.browser()
        assert browser.sign_up(name).status == 200
        self.approve(name)
        assert browser.sign_in(name).status == 302
        return browser

    def wait_for(self, true: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert self.process.poll() is None, self.log[-4000:]
            assert time.monotonic() < deadline, self.log[-4000:]
            time.sleep(0.1)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the variables of a small hub whose files are in a folder."""
    secret = folder / "admin_password"
    secret.write_text(ADMIN_PASSWORD + "\n")
    return {
        "FAMILIAR_HUB_ADMIN_PASSWORD_FILE": str(secret),
        "FAMILIAR_HUB_DATA": str(folder),
        "ENABLE_JUPYTERHUB_SSL": "0",
        "ENABLE_GPU_SUPPORT": "0",
        **more,
    }


@contextlib.contextmanager
def running_hub(
    folder: Path,
    python: str = sys.executable,
    *,
    more: str = "",
    configuration: Path = PACKAGE / "jupyterhub_config.py",
    **variables: str,
) -> Iterator[Hub]:
    """Run a hub for the time of a ``with`` block.

    Args:
        folder: for all that it writes.
        python: whose JupyterHub it is.
        more: lines of configuration.
        configuration: what these lines and the places of things come after.
        variables: its settings.
    """
    (folder / "homes").mkdir(exist_ok=True)
    port, hub_port, proxy_port = (free_port() for _ in range(3))
    base_url = variables.get("JUPYTERHUB_BASE_URL", "/")
    config = folder / "test_config.py"
    config.write_text(
        _CONFIG.format(
            config=str(configuration),
            port=port,
            hub_port=hub_port,
            proxy_port=proxy_port,
            base_url=base_url,
            proxy=need("configurable-http-proxy"),
            homes=str(folder / "homes" / "{username}"),
            lab=str(Path(__file__).with_name("core_lab.py")),
            more=more.replace("PORT", str(port)),
        )
    )
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    env = {**kept, "PYTHONPATH": str(PACKAGE), **environment(folder, **variables)}
    with hub_process(python, config, env) as process:
        hub = Hub(f"http://127.0.0.1:{port}{base_url}hub/", folder, process)
        wait_for_hub(process, lambda: _serves(hub), lambda: hub.log)
        yield hub


def _serves(hub: Hub) -> bool:
    with contextlib.suppress(requests.RequestException):
        return hub.browser().get("health").status == 200
    return False
