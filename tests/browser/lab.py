"""A real JupyterLab and a real browser: what a person does in one, and what there is to see.

The server runs on loopback in a home of its own, with the kernelspec that the package's
installation brought. Its kernels talk to the rehearsal, because their environment says so;
everything else is as a person has it. The tests click, type and look; the one thing that they do
through a back door is to change the theme.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

START_TIMEOUT = 60.0
"""Seconds that a JupyterLab has until it serves."""
TURN_TIMEOUT = 90.0
"""Seconds that a cell has: the first turn waits for a kernel, a host and a CLI."""
PATIENCE = 15.0
"""Seconds that anything else has to appear in the page."""
WIDE = (1280, 900)
"""Width and height of an ordinary window, in CSS pixels."""

_LOOKING = Path(__file__).with_name("looking.js")
_BROWSER_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_LEAD_ELSEWHERE = (
    "ANTHROPIC_",
    "CLAUDE_",
    "FAMILIAR_",
    "IMAGE_",
    "IPYTHON",
    "JUPYTER",
    "PYTEST_",
    "XDG_",
)
"""Beginnings of the variables by which a person's own settings could reach the server."""
_DISPLAY_NAMES = {
    "python-claude": "Python + Claude",
    "python-claude-sandboxed": "Python + Claude (sandboxed)",
}
_SETTINGS: dict[str, dict[str, object]] = {
    # No question about news and no look for updates: the tests ask nobody outside this machine.
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


@contextlib.contextmanager
def chromium(executable: str) -> Iterator[Browser]:
    """Run a headless Chromium for the time of a ``with`` block."""
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_BROWSER_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Lab:
    """A running JupyterLab.

    Attributes:
        url: where it serves.
        root: the folder whose notebooks it opens.
        log: what it writes.
    """

    def __init__(self, url: str, token: str, root: Path, log: Path) -> None:
        self.url = url
        self.root = root
        self.log = log
        self._token = token

    def write(self, name: str, *sources: str, kernel: str = "python-claude") -> Path:
        """Write a notebook for a kernel under test, with one code cell for each source."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in sources],
            metadata={
                "kernelspec": {
                    "name": kernel,
                    "display_name": _DISPLAY_NAMES.get(kernel, kernel),
                    "language": "python",
                }
            },
        )
        path = self.root / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    def open(
        self,
        browser: Browser,
        path: Path | None,
        size: tuple[int, int] = WIDE,
        scale: float = 1,
        *,
        route: Callable[[Page], None] | None = None,
        alone: bool = False,
    ) -> Page:
        """Open a notebook in a window of its own, or the launcher where ``path`` is None.

        Args:
            browser: the browser.
            path: the notebook, somewhere under :attr:`root`.
            size: of the window, in CSS pixels.
            scale: pixels of a screenshot for each of those.
            route: called with the empty page, to get in the way of its requests.
            alone: whether no other window opens the tabs that this one has when it is closed.
        """
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, device_scale_factor=scale
        )
        context.add_init_script(path=_LOOKING)
        page = context.new_page()
        page.set_default_timeout(30_000)
        if route is not None:
            route(page)
        if path is None:
            # A workspace of its own, or windows would restore each other's tabs.
            place = f"lab/workspaces/{uuid.uuid4().hex}"
        else:
            workspace = f"workspaces/{uuid.uuid4().hex}/" if alone else ""
            place = f"doc/{workspace}tree/{path.relative_to(self.root).as_posix()}"
        page.goto(f"{self.url}/{place}?token={self._token}", wait_until="domcontentloaded")
        return page

    def api(self, method: str, place: str) -> Any:
        """Ask the server's own interface."""
        request = urllib.request.Request(
            f"{self.url}/api/{place}",
            method=method,
            headers={"Authorization": f"token {self._token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            body = reply.read()
        return json.loads(body) if body else None

    def shut_kernels_down(self) -> None:
        """End all kernels, so that what comes next has the machine to itself."""
        for session in self.api("GET", "sessions"):
            self.api("DELETE", f"sessions/{session['id']}")

    def shut_kernel_down(self, name: str) -> None:
        """End the kernel of one notebook, given as its path under :attr:`root`."""
        for session in self.api("GET", "sessions"):
            if session["path"] == name:
                self.api("DELETE", f"sessions/{session['id']}")


@contextlib.contextmanager
def running_lab(
    home: Path,
    script: Path | None = None,
    env: Mapping[str, str] | None = None,
    settings: Mapping[str, dict[str, object]] | None = None,
) -> Iterator[Lab]:
    """Run a JupyterLab for the time of a ``with`` block.

    Args:
        home: an empty directory; becomes HOME, and holds all that Jupyter writes.
        script: the rehearsal's script, by default the built-in one.
        env: further variables for the server and its kernels.
        settings: JupyterLab's settings by the plugin's id, beside those that all tests have.

    Raises:
        RuntimeError: it does not serve in time; the message ends with its log.
    """
    root = home / "notebooks"
    root.mkdir(parents=True)
    overrides = home / "lab-settings"
    for plugin, chosen in {**_SETTINGS, **(settings or {})}.items():
        package, name = plugin.split(":")
        file = overrides / package / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(chosen))
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(_LEAD_ELSEWHERE)
    }
    variables |= {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(overrides),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "FAMILIAR_REHEARSAL": "1",
        "FAMILIAR_REHEARSAL_SCRIPT": str(script or ""),
        "JUPYTER_TOKEN": (token := secrets.token_hex(16)),
        **(env or {}),
    }
    log = home / "jupyterlab.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ServerApp.ip=127.0.0.1",
                "--ServerApp.port=0",
                f"--ServerApp.root_dir={root}",
                "--LabApp.news_url=None",
                "--LabApp.extension_manager=readonly",
                "--LabApp.expose_app_in_browser=True",
            ],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        lab = Lab(_address(server, home / "runtime", log), token, root, log)
        yield lab
        lab.shut_kernels_down()
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _address(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """Wait until the server serves, and return where: it writes that down once it has its port."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError):  # half written
                port = json.loads(file.read_text())["port"]
                if port:
                    return f"http://127.0.0.1:{port}"
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab does not serve:\n{log.read_text(errors='replace')[-4000:]}")


@dataclass(frozen=True)
class Sample:
    """What an answer looked like from one moment on, while it grew.

    Attributes:
        at: milliseconds since the watch began.
        height: of the cell's output area, in pixels.
        scroll: how far the notebook was scrolled, in pixels.
        text: what the outputs showed, without the thinking.
        outputs: in how many outputs that was.
        formulas: how many formulas stood there, typeset.
        thinking: the summary of the thinking block, or empty.
        is_open: whether that block was open.
        is_live: whether anything there would make a screen reader speak at each change.
    """

    at: float
    height: float
    scroll: float
    text: str
    outputs: int
    formulas: int
    thinking: str
    is_open: bool
    is_live: bool


def contrasts(element: Locator) -> dict[str, float]:
    """Return how strongly each visible piece of text stands out from its ground."""
    return dict(element.evaluate("element => looking.contrasts(element)"))


def cut_words(element: Locator) -> list[str]:
    """Return the words that go on in the next line without a hyphen."""
    words: list[str] = element.evaluate("element => looking.cutWords(element)")
    return words


class Notebook:
    """A notebook that is open in a page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        expect(self.panel.locator(".jp-Cell").first).to_be_visible(timeout=60_000)

    @property
    def cells(self) -> Locator:
        return self.panel.locator(".jp-Notebook .jp-Cell")

    def cell(self, index: int) -> Locator:
        return self.cells.nth(index)

    def output(self, index: int) -> Locator:
        """Where a cell's outputs are shown; it is there once there are any."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def wait_for_kernel(self) -> None:
        """Wait until the kernel has started, is connected and is idle."""
        self.page.wait_for_function("() => looking.kernelIsIdle()", timeout=60_000)

    def select(self, index: int) -> None:
        """Click into a cell's text."""
        self.cell(index).locator(".cm-content").click()

    def start(self, index: int) -> None:
        """Run a cell with Shift+Enter, and do not wait for it."""
        self.select(index)
        self.page.keyboard.press("Shift+Enter")

    def finish(self, index: int, timeout: float = TURN_TIMEOUT) -> None:
        """Wait until a cell that was started is done."""
        expect(self.prompt(index)).to_have_text(re.compile(r"\[\d+\]:"), timeout=timeout * 1000)

    def run(self, index: int) -> Locator:
        """Run a cell to its end and return its output area."""
        self.start(index)
        self.finish(index)
        return self.output(index)

    def prompt(self, index: int) -> Locator:
        """The cell's number, ``[*]:`` while it runs."""
        return self.cell(index).locator(".jp-InputPrompt")

    def click_stop(self) -> None:
        """Press the toolbar's square."""
        self.panel.locator('[data-jp-item-name="interrupt"]').click()

    def debug(self) -> Locator:
        """Enable the debugger and return its list of variables.

        JupyterLab asks the kernel many times what it debugs after it has run a cell, and forgets
        a click that comes in between; a person clicks again.
        """
        self.wait_for_kernel()
        variables = self.page.locator(".jp-DebuggerVariables")
        for _ in range(3):
            self.panel.locator('.jp-DebuggerBugButton[aria-pressed="false"]').click()
            with contextlib.suppress(AssertionError):
                expect(variables).to_be_visible(timeout=10_000)
                break
        expect(variables).to_be_visible()
        return variables

    def save(self) -> None:
        """Save with the keyboard, and wait until the file is written."""
        self.page.keyboard.press("ControlOrMeta+s")
        self.page.wait_for_function("() => looking.isSaved()")

    def theme(self, name: str) -> None:
        """Change the theme: ``JupyterLab Light`` or ``JupyterLab Dark``."""
        self.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name
        )
        is_light = "true" if name.endswith("Light") else "false"
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-light", is_light)

    def watch(self, index: int) -> None:
        """Begin to look at a cell's output with every frame; :meth:`watched` has what was seen."""
        self.page.evaluate("index => looking.watch(index)", index)

    def watched(self) -> list[Sample]:
        """Stop watching, and return what there was to see: one sample for each change."""
        samples = self.page.evaluate("() => looking.watched()")
        return [Sample(**sample) for sample in samples]

    def resize(self, width: int, height: int = WIDE[1]) -> None:
        """Make the window this large, and wait until JupyterLab has laid everything out anew."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.evaluate(
            "() => new Promise(done => setTimeout(() => requestAnimationFrame(done), 300))"
        )

    def picture(self, file: Path, width: int = WIDE[0]) -> None:
        """Take a picture of the whole notebook, in a window as high as that needs."""
        before = self.page.viewport_size
        assert before is not None
        self.resize(width, before["height"])
        height, seen = 0, before["height"]
        while height != seen:
            # How high a cell is, JupyterLab only knows when the cell has been in the window.
            height = seen
            self.resize(width, height + 150)
            seen = self.page.evaluate("() => looking.height()")
        self.page.evaluate("() => looking.goToTop()")
        expect(self.cells.first).to_be_in_viewport(ratio=1)
        expect(self.cells.last).to_be_in_viewport(ratio=1)
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file)
        self.resize(before["width"], before["height"])
