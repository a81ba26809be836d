"""What a person sees and does with the sandboxed kernel, in a real JupyterLab: as with any kernel.

One JupyterLab and one browser serve all tests, and one notebook, run once, those that only look
(``tour``). The pictures stay in ``test-output/screenshots``, to be looked at by people.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect

from browser.lab import WIDE, Lab, Notebook, chromium, contrasts, running_lab
from needs import need
from sandbox import podman as setup

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "test-output" / "screenshots"
SCRIPT = ROOT / "tests" / "scripts" / "browser.yaml"
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
NARROW = 420
"""Pixels: half of a small laptop's window, or a telephone."""
READABLE = 4.5
"""The contrast that people with weak eyes need to read a text (WCAG 2.2, level AA)."""
SANDBOXED = "python-claude-sandboxed"
WITH_WIDGETS = "with-widgets"
"""A kernelspec that the tests install as a person would, to let widgets through."""
LABEL = "[sandbox] "

# The tour's cells.
CODE, PANDAS, STYLED, PLOT, SLIDER, SCRIPTED, PROMPT, STATUS, ERROR, EMPTY = range(10)
TOUR = (
    "ships = ['Marmalade Paradox', 'Quiet Aunt Vera']\nprint(len(ships), 'ships')\nships",
    "import pandas\ntable = pandas.DataFrame({'crates': [1234, 7], 'price': [5.0, 12.5]},"
    " index=ships)\ntable",
    # As pandas' Styler writes it, which needs Jinja.
    "from IPython.display import HTML\nHTML('<style>#T_a td { background-color: #023858;"
    ' color: #f1f1f1 }</style><table id="T_a"><tr><td>1234</td></tr></table>\')',
    "%matplotlib inline\nimport matplotlib.pyplot as plt\n"
    "plt.figure(figsize=(4, 2)); plt.plot([3, 1, 2]); plt.show()",
    "import ipywidgets\nipywidgets.IntSlider(7)",
    "from IPython.display import Javascript\nJavascript('document.title = \"taken\"')",
    "%claude show everything that Markdown can do",
    "%sandbox_status",
    "1 / 0",
    "",
)

Open = Callable[..., Notebook]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need("jupyterlab")
    home = tmp_path_factory.mktemp("lab") / "home"
    prefix = home.with_name("prefix")
    install = [str(Path(sys.executable).with_name("familiar")), "install", "--sandboxed"]
    options = ["--name", WITH_WIDGETS, "--display-name", "With widgets"]
    options += ["--env", "FAMILIAR_SANDBOX_WIDGETS=1", "--prefix"]
    subprocess.run([*install, *options, str(prefix)], check=True, stdout=subprocess.DEVNULL)
    env = {
        **setup.ready().variables,
        "FAMILIAR_SANDBOX_IMAGE": setup.IMAGE,
        "JUPYTER_PATH": str(prefix / "share" / "jupyter"),
    }
    with running_lab(home, SCRIPT, env) as running:
        running.root.chmod(0o755)  # the sandbox's user is another one
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(need("chromium")) as running:
        yield running


@pytest.fixture
def open_notebook(lab: Lab, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Open]:
    """A function that opens a notebook; its window and kernel end with the test."""
    name = "sandbox-" + re.sub(r"\W+", "-", request.node.name)
    pages: list[Page] = []

    def opened(*sources: str, kernel: str = SANDBOXED) -> Notebook:
        pages.append(lab.open(browser, lab.write(name, *sources, kernel=kernel)))
        notebook = Notebook(pages[-1])
        notebook.wait_for_kernel()
        return notebook

    yield opened
    for page in pages:
        page.context.close()
    lab.shut_kernel_down(f"{name}.ipynb")


@pytest.fixture(scope="module")
def tour(lab: Lab, browser: Browser) -> Iterator[Notebook]:
    """A notebook with one of everything, already run. Leave it as it is, but for theme and size."""
    page = lab.open(browser, lab.write("sandbox-tour", *TOUR, kernel=SANDBOXED))
    notebook = Notebook(page)
    notebook.wait_for_kernel()
    for index in range(EMPTY):
        notebook.run(index)
    notebook.save()
    yield notebook
    page.context.close()


# -- choosing the kernel ---------------------------------------------------------------------------


def test_the_launcher_offers_the_kernel_with_its_logo(lab: Lab, browser: Browser) -> None:
    page = lab.open(browser, None)
    with contextlib.closing(page.context):
        card = page.locator(
            '.jp-LauncherCard[data-category="Notebook"]', has_text="Python + Claude (sandboxed)"
        ).first
        expect(card).to_be_visible(timeout=60_000)
        logo = card.locator("img")
        assert f"/kernelspecs/{SANDBOXED}/logo-svg" in (logo.get_attribute("src") or "")
        page.wait_for_function(
            "logo => logo.complete && logo.naturalWidth > 0", arg=logo.element_handle()
        )
        _shoot(page, "launcher")
        card.click()
        notebook = Notebook(page)
        notebook.wait_for_kernel()
        name = notebook.panel.locator(".jp-KernelName")
        expect(name).to_contain_text("Python + Claude (sandboxed)")
    lab.shut_kernel_down("Untitled.ipynb")


# -- a look around ---------------------------------------------------------------------------------


def test_code_runs_and_its_outputs_look_like_those_of_any_kernel(tour: Notebook) -> None:
    expect(tour.output(CODE)).to_contain_text("2 ships")
    expect(tour.output(CODE)).to_contain_text("['Marmalade Paradox', 'Quiet Aunt Vera']")
    expect(tour.output(PANDAS).locator("table.dataframe tbody tr")).to_have_count(2)
    shaded = tour.output(STYLED).locator("td").first
    assert shaded.evaluate("cell => getComputedStyle(cell).backgroundColor") == "rgb(2, 56, 88)"
    picture = tour.output(PLOT).locator("img")
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("img => img.complete && img.naturalWidth") > 200
    expect(tour.output(ERROR)).to_contain_text("ZeroDivisionError")


def test_a_widget_is_text_and_script_is_named_as_left_out(tour: Notebook) -> None:
    expect(tour.output(SLIDER)).to_contain_text("IntSlider(value=7)")
    expect(tour.output(SLIDER)).not_to_contain_text("Error displaying widget")
    expect(tour.output(SCRIPTED)).to_contain_text("Javascript object")
    assert tour.page.title() != "taken"


def test_an_answer_is_rendered(tour: Notebook) -> None:
    output = tour.output(PROMPT)
    expect(output.locator("h2", has_text="What there is")).to_be_visible()
    expect(output.locator("td", has_text="$12.50")).to_be_visible()
    expect(output.locator("mjx-container")).to_have_count(2)
    expect(output.locator("details summary")).to_have_text(re.compile(r"Thought for \d+ s"))


def test_the_status_is_a_table_of_this_sandbox(tour: Notebook, lab: Lab) -> None:
    status = tour.output(STATUS)
    rows = dict(row.locator("td").all_text_contents() for row in status.locator("tbody tr").all())
    assert rows["Image"] == setup.IMAGE
    assert rows["Network"] == "none"
    assert rows["Workspace"] == f"{lab.root.resolve()}, read-only, as /workspace"
    assert re.fullmatch(r"\d+ MB of 2g", rows["Memory"])


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_everything_is_readable_in_both_themes(tour: Notebook, theme: str) -> None:
    tour.theme(theme)
    faint = {
        f"{TOUR[cell]} → {text}": round(contrast, 1)
        for cell in range(EMPTY)
        # The colours of code, of errors and of links are the theme's; a Styler's are pandas'.
        if cell not in (PROMPT, ERROR, STYLED)
        for shown in tour.output(cell).locator(".jp-OutputArea-output").all()
        for text, contrast in contrasts(shown).items()
        if contrast < READABLE
    }
    assert not faint
    for width, name in ((WIDE[0], "wide"), (NARROW, "narrow")):
        file = SCREENSHOTS / f"sandbox-tour-{theme.split()[-1].lower()}-{name}.png"
        file.unlink(missing_ok=True)
        tour.picture(file, width)
        assert file.exists()


# -- turns -----------------------------------------------------------------------------------------


def test_an_answer_grows_and_names_are_completed_meanwhile(open_notebook: Open) -> None:
    notebook = open_notebook("marmalade = 1", "%claude answer slowly, please", "")
    notebook.run(0)
    assert _completed(notebook, 2, "marm") == "marmalade"  # the first one takes its time
    notebook.watch(1)
    notebook.start(1)
    output = notebook.output(1)
    expect(output.locator("details[open]")).to_contain_text("First the question", timeout=60_000)
    assert _completed(notebook, 2, "marm") == "marmalade"
    expect(notebook.prompt(1)).to_have_text("[*]:")
    _shoot(notebook.page, "turn")
    notebook.finish(1)
    expect(output).to_contain_text("tokens in")
    samples = notebook.watched()
    answer = [s for s in samples if "A slow answer" in s.text]
    lengths = [len(s.text) for s in answer]
    assert len(set(lengths)) >= 6
    assert lengths == sorted(lengths)
    assert not any(s.is_live for s in samples)


def test_names_and_commands_are_completed(open_notebook: Open) -> None:
    notebook = open_notebook("marmalade = 1", "")
    notebook.run(0)
    assert _completed(notebook, 1, "marm") == "marmalade"
    assert _completed(notebook, 1, "%claude_stat") == "%claude_status"
    assert _completed(notebook, 1, "%sandbox_st") == "%sandbox_status"
    assert _completed(notebook, 1, "%claude --effort hig") == "%claude --effort high"


def test_the_stop_button_ends_a_turn_and_a_cell(open_notebook: Open) -> None:
    notebook = open_notebook(
        "%claude stop me", "import time\nprint('begun', flush=True)\ntime.sleep(600)", "'goes on'"
    )
    notebook.start(0)
    expect(notebook.output(0)).to_contain_text("and then", timeout=60_000)
    notebook.click_stop()
    notebook.finish(0, timeout=5)
    expect(notebook.output(0).locator("em", has_text="Stopped")).to_be_visible()
    notebook.start(1)
    expect(notebook.output(1)).to_contain_text("begun")
    notebook.click_stop()
    notebook.finish(1, timeout=5)
    expect(notebook.output(1)).to_contain_text("KeyboardInterrupt")
    expect(notebook.run(2)).to_contain_text("goes on")
    _shoot(notebook.page, "stopped")


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_claude_asks_in_the_cell_before_it_acts(open_notebook: Open, theme: str) -> None:
    name = theme.split()[-1].lower()
    notebook = open_notebook("numbers = [3, 1, 2]", "%claude sort my numbers", "numbers")
    notebook.theme(theme)
    notebook.run(0)
    notebook.start(1)
    output = notebook.output(1)
    question = output.locator("input.jp-Stdin-input")
    expect(question).to_be_visible(timeout=60_000)
    expect(output).to_contain_text("Claude asks to use run_python")
    expect(output.locator(".jp-Stdin-prompt")).not_to_contain_text(LABEL.strip())
    _shoot(notebook.page, f"permission-{name}")
    notebook.resize(NARROW)
    _shoot(notebook.page, f"permission-{name}-narrow")
    notebook.resize(*WIDE)
    question.fill("y")
    question.press("Enter")
    notebook.finish(1)
    expect(output).to_contain_text("smallest: 1")
    expect(output).to_contain_text("sorted them")
    expect(notebook.run(2)).to_contain_text("[1, 2, 3]")
    _shoot(notebook.page, f"permission-{name}-after")


# -- the person is asked by code -------------------------------------------------------------------


def test_what_code_asks_is_labelled(open_notebook: Open) -> None:
    notebook = open_notebook("name = input('Your name? ')\nname[::-1]", "")
    notebook.start(0)
    output = notebook.output(0)
    field = output.locator("input.jp-Stdin-input")
    expect(field).to_be_visible()
    expect(output.locator(".jp-Stdin-prompt")).to_have_text(f"{LABEL}Your name? ")
    _shoot(notebook.page, "input")
    field.fill("Vera")
    field.press("Enter")
    notebook.finish(0)
    expect(output).to_contain_text("'areV'")


# -- the kernel's life -----------------------------------------------------------------------------


def test_the_menu_restarts_the_kernel(open_notebook: Open) -> None:
    notebook = open_notebook("kept = 1", "'kept' in globals()")
    notebook.run(0)
    notebook.page.get_by_role("menuitem", name="Kernel", exact=True).click()
    notebook.page.get_by_role("menuitem", name=re.compile("^Restart Kernel…")).click()
    notebook.page.locator(".jp-Dialog").get_by_role("button", name="Confirm").click()
    expect(notebook.page.locator(".jp-Dialog")).to_have_count(0)
    notebook.page.wait_for_timeout(500)
    notebook.wait_for_kernel()
    expect(notebook.run(1)).to_contain_text("False")


def test_a_dead_sandbox_says_so_and_the_next_cell_works(open_notebook: Open) -> None:
    notebook = open_notebook(
        "import os; os._exit(3)", "'alive'", "%claude do you remember?", "%sandbox_restart", "2"
    )
    told = "The sandbox has ended: its Python ended with status 3."
    expect(notebook.run(0)).to_contain_text(told)
    expect(notebook.run(1)).to_contain_text("alive")
    expect(notebook.run(2)).to_contain_text("You have asked me 1 times.")
    expect(notebook.run(3)).to_contain_text("A fresh sandbox starts")
    expect(notebook.run(4)).to_contain_text("2")
    expect(notebook.page.locator(".jp-Dialog")).to_have_count(0)
    _shoot(notebook.page, "ended")


# -- widgets and the debugger ----------------------------------------------------------------------


def test_a_slider_works_where_widgets_are_let_through(open_notebook: Open) -> None:
    notebook = open_notebook(
        "import ipywidgets\nslider = ipywidgets.IntSlider(7)\nslider",
        "slider.value",
        kernel=WITH_WIDGETS,
    )
    output = notebook.run(0)
    handle = output.locator(".noUi-handle")
    expect(handle).to_be_visible()
    handle.focus()
    handle.press("ArrowRight")
    expect(output.locator(".widget-readout")).to_have_text("8")
    expect(notebook.run(1)).to_contain_text("8")
    _shoot(notebook.page, "slider")


def test_the_debugger_stops_at_a_breakpoint_and_shows_variables(open_notebook: Open) -> None:
    notebook = open_notebook("crates = 7", "price = 5\ntotal = crates * price\ntotal")
    page = notebook.page
    notebook.run(0)
    variables = notebook.debug()
    expect(variables).to_contain_text("crates", timeout=30_000)
    gutter = notebook.cell(1).locator(".cm-breakpoint-gutter .cm-gutterElement")
    gutter.nth(2).click()
    notebook.start(1)
    callstack = page.locator(".jp-DebuggerCallstack-body")
    expect(callstack).to_contain_text("<module>", timeout=30_000)
    expect(variables).to_contain_text("price")
    expect(variables).not_to_contain_text("total")
    _shoot(page, "debugger")
    page.keyboard.press("F9")
    notebook.finish(1)
    expect(notebook.output(1)).to_contain_text("35")


def _completed(notebook: Notebook, index: int, text: str) -> str:
    """Type something, complete it with Tab, and return what stands there; leaves the cell empty."""
    keyboard = notebook.page.keyboard
    notebook.select(index)
    editor = notebook.cell(index).locator(".cm-content")
    keyboard.type(text)
    offered: Locator = notebook.page.locator(".jp-Completer-item")
    # The first answer may take a second, and JupyterLab waits no longer.
    for _ in range(3):
        keyboard.press("Tab")
        with contextlib.suppress(TimeoutError):
            offered.first.click(timeout=5000)
            break
    expect(offered.first).not_to_be_visible()
    shown = editor.inner_text()
    keyboard.press("ControlOrMeta+a")
    keyboard.press("Delete")
    return shown


def _shoot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"sandbox-{name}.png")
