"""``nb`` on a notebook that JupyterLab has open: neither loses what the other one did."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, expect

from browser.lab import Lab, Notebook, chromium, running_lab
from nb.conftest import SCRIPTS, Nb
from needs import need

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need("jupyterlab")
    with running_lab(tmp_path_factory.mktemp("nb") / "home", SCRIPTS / "browser.yaml") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(need("chromium")) as running:
        yield running


@pytest.fixture
def nb(lab: Lab, tmp_path: Path) -> Iterator[Nb]:
    home = lab.root.parent
    variables = {**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    typed = Nb(lab.root, {**variables, "HOME": str(home), "JUPYTER_DATA_DIR": str(home / "data")})
    yield typed
    typed("shutdown", "--all")


def test_what_nb_ran_is_not_overwritten_by_a_front_end(lab: Lab, browser: Browser, nb: Nb) -> None:
    path = lab.write("beside", "print('from nb')", "1")
    page = lab.open(browser, path)
    with contextlib.closing(page.context):
        notebook = Notebook(page)
        notebook.wait_for_kernel()
        nb.ok("open", path.name, "--kernel", "python3")
        nb.ok("exec", "0")
        notebook.select(1)
        page.keyboard.type("23")
        page.keyboard.press("ControlOrMeta+s")
        dialog = page.locator(".jp-Dialog")
        expect(dialog).to_contain_text("has changed on disk", timeout=20_000)
        assert nbformat.read(path, 4).cells[0].outputs[0].text == "from nb\n"
        dialog.get_by_role("button", name="Revert").click()
        expect(notebook.output(0)).to_contain_text("from nb")
    lab.shut_kernel_down(path.name)


def test_what_a_front_end_saved_meanwhile_is_kept(lab: Lab, browser: Browser, nb: Nb) -> None:
    slow = (
        "import time\nwhile not __import__('os').path.exists('go'): time.sleep(0.05)\nprint('ran')"
    )
    path = lab.write("meanwhile", slow, "1")
    page = lab.open(browser, path)
    with contextlib.closing(page.context):
        notebook = Notebook(page)
        notebook.wait_for_kernel()
        nb.ok("open", path.name, "--kernel", "python3")
        running = nb.start("exec", "0")
        while nb.json("status")[0]["state"] != "busy":
            assert running.poll() is None
            time.sleep(0.1)
        notebook.select(1)
        page.keyboard.type("23")
        notebook.save()
        (lab.root / "go").touch()
        assert running.wait(60) == 0
        made = nbformat.read(path, 4)
        assert (made.cells[0].outputs[0].text, "23" in made.cells[1].source) == ("ran\n", True)
    lab.shut_kernel_down(path.name)


def test_widgets_are_drawn_without_a_kernel(lab: Lab, browser: Browser, nb: Nb) -> None:
    code = "import ipywidgets\nslider = ipywidgets.IntSlider(7, description='loud')\nslider"
    path = lab.write("widgets", code, "slider.value = 9", kernel="python3")
    nb.ok("open", path.name)
    nb.ok("exec", "0")
    nb.ok("exec", "1")
    page = lab.open(browser, path)
    with contextlib.closing(page.context):
        notebook = Notebook(page)
        expect(notebook.output(0).locator(".widget-readout")).to_have_text("9", timeout=30_000)
    lab.shut_kernel_down(path.name)
