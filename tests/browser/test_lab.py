"""What a person sees: the kernel in a real JupyterLab, in a real browser.

One JupyterLab and one browser serve all tests, and one notebook, run once, those that only look
(``gallery``). The pictures stay in ``test-output/screenshots``, to be looked at by people.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from browser.lab import WIDE, Lab, Notebook, chromium, contrasts, cut_words, running_lab
from needs import need

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "test-output" / "screenshots"
SCRIPT = ROOT / "tests" / "scripts" / "browser.yaml"
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
NARROW = 420
"""Pixels: half of a small laptop's window, or a telephone."""
READABLE = 4.5
"""The contrast that people with weak eyes need to read a text (WCAG 2.2, level AA)."""
HEADING = "Rehearsal, not Claude"
LIVE = "[aria-live], [role=log], [role=status], [role=alert]"

# The gallery's cells. Prompts are named after what the script answers.
MARKDOWN, TOOLS, REFUSED, SIGNED_OUT, OPTION, STATUS, USAGE, HELP, QUOTED, WHOLE, EMPTY = range(11)
GALLERY = (
    "%claude show everything that Markdown can do",
    "%claude use a tool",
    "%claude refuse this",
    "%claude sign me out",
    "%claude --modle opus who are you?",
    "%claude_status",
    "%claude",
    "%claude_help",
    "# Quotation marks are its own business.\n%claude what's in a \"name\", isn't it?\nstr(1)",
    "%%claude\nDon't you think that it's enough?\n\n```python\nprint(\"hi\")\n```",
    "",
)

Open = Callable[..., Notebook]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need("jupyterlab")
    with running_lab(tmp_path_factory.mktemp("lab") / "home", SCRIPT) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(need("chromium")) as running:
        yield running


@pytest.fixture
def open_notebook(lab: Lab, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Open]:
    """A function that opens a notebook; its window and kernel end with the test."""
    name = re.sub(r"\W+", "-", request.node.name)
    pages: list[Page] = []

    def opened(*sources: str) -> Notebook:
        pages.append(lab.open(browser, lab.write(name, *sources)))
        notebook = Notebook(pages[-1])
        notebook.wait_for_kernel()
        return notebook

    yield opened
    for page in pages:
        page.context.close()
    lab.shut_kernel_down(f"{name}.ipynb")


@pytest.fixture(scope="module")
def gallery(lab: Lab, browser: Browser) -> Iterator[Notebook]:
    """A notebook with one of everything, already run. Leave it as it is, but for theme and size."""
    page = lab.open(browser, lab.write("gallery", *GALLERY))
    notebook = Notebook(page)
    notebook.wait_for_kernel()
    for index in range(EMPTY):
        notebook.run(index)
    notebook.save()
    yield notebook
    page.context.close()


@pytest.fixture(params=[LIGHT, DARK])
def themed(gallery: Notebook, request: pytest.FixtureRequest) -> Notebook:
    """The gallery, in each theme."""
    gallery.theme(request.param)
    return gallery


# -- choosing the kernel ---------------------------------------------------------------------------


def test_the_launcher_offers_the_kernel_with_its_logo(lab: Lab, browser: Browser) -> None:
    page = lab.open(browser, None)
    with contextlib.closing(page.context):
        card = page.locator('.jp-LauncherCard[data-category="Notebook"][title="Python + Claude"]')
        expect(card).to_be_visible(timeout=60_000)
        logo = card.locator("img")
        assert "/kernelspecs/python-claude/logo-svg" in (logo.get_attribute("src") or "")
        page.wait_for_function(
            "logo => logo.complete && logo.naturalWidth > 0", arg=logo.element_handle()
        )
        _shoot(page, "launcher")
        card.click()
        notebook = Notebook(page)
        notebook.wait_for_kernel()
        expect(notebook.panel.locator(".jp-KernelName")).to_contain_text("Python + Claude")
    lab.shut_kernel_down("Untitled.ipynb")


# -- an answer while it comes ----------------------------------------------------------------------


def test_an_answer_grows_in_its_cell(open_notebook: Open) -> None:
    notebook = open_notebook("%claude answer slowly, please", "")
    notebook.watch(0)
    notebook.start(0)
    output = notebook.output(0)
    expect(output.locator("details[open]")).to_contain_text("Then the order", timeout=60_000)
    _shoot(notebook.page, "thinking")
    expect(output.locator("details:not([open])")).to_be_visible()
    expect(output).to_contain_text("what there is to see")
    _shoot(notebook.page, "answering")
    notebook.finish(0)
    expect(output).to_contain_text("tokens in")
    _shoot(notebook.page, "answered")
    samples = notebook.watched()

    thinking = [s for s in samples if s.thinking.startswith("Thinking")]
    assert thinking
    assert all(s.is_open and "A slow answer" not in s.text for s in thinking)
    answer = [s for s in samples if "A slow answer" in s.text]
    assert all(re.fullmatch(r"Thought for \d+ s", s.thinking) and not s.is_open for s in answer)
    lengths = [len(s.text) for s in answer]
    assert len(set(lengths)) >= 6
    assert lengths == sorted(lengths)
    assert not any(s.is_live for s in samples)

    # Nothing flickers: the output is never empty again, and only the thought that folds is lost.
    heights = [s.height for s in samples if s.text]
    assert min(heights) > 0
    grown = [s.height for s in answer]
    assert grown == sorted(grown)


def test_formulas_and_code_stay_in_shape_while_the_answer_goes_on(open_notebook: Open) -> None:
    notebook = open_notebook("%claude how do formulas behave?", "")
    notebook.watch(0)
    notebook.run(0)
    samples = notebook.watched()
    first = next(place for place, s in enumerate(samples) if s.formulas == 2)
    after = samples[first:]
    assert len(after) >= 5
    assert all(s.formulas == 2 for s in after)
    heights = [s.height for s in after]
    assert heights == sorted(heights)


def test_a_long_thought_does_not_throw_the_page_about(open_notebook: Open) -> None:
    """It takes a part of the window only, so that a reader is not lost when it folds."""
    notebook = open_notebook("%claude ponder this", "")
    notebook.watch(0)
    notebook.run(0)
    samples = notebook.watched()
    thought = max(s.height for s in samples if s.is_open)
    assert 100 < thought < WIDE[1] * 2 / 3, f"{thought:.0f} of {WIDE[1]} pixels"


def test_the_stop_button_ends_the_turn_and_keeps_the_text(open_notebook: Open) -> None:
    notebook = open_notebook("%claude stop me", "%claude do you remember?")
    notebook.start(0)
    output = notebook.output(0)
    expect(output).to_contain_text("and then", timeout=60_000)
    notebook.click_stop()
    notebook.finish(0, timeout=5)
    expect(output).to_contain_text("Here begins a long story. And then")
    expect(output.locator("em", has_text="Stopped")).to_be_visible()
    expect(output.locator('[data-mime-type="application/vnd.jupyter.stderr"]')).to_contain_text(
        "Stopped"
    )
    _shoot(notebook.page, "stopped")
    expect(notebook.run(1)).to_contain_text("You have asked me 2 times.")


# -- an answer that is there -----------------------------------------------------------------------


def test_markdown_is_rendered(gallery: Notebook) -> None:
    output = gallery.output(MARKDOWN)
    expect(output.locator("h2", has_text="What there is")).to_be_visible()
    expect(output.locator("ul ul li", has_text="with a list in it")).to_be_visible()
    expect(output.locator("td", has_text="$12.50")).to_be_visible()
    expect(output.locator("th")).to_have_count(3)
    expect(output.locator("a[href='https://example.org/']")).to_be_visible()
    expect(output.locator("blockquote")).to_be_visible()
    expect(output.locator("mjx-container")).to_have_count(2)
    expect(output.locator("pre")).to_contain_text("def crates(voyages: int) -> float:")
    colours = output.locator("pre").evaluate(
        "pre => new Set([...pre.querySelectorAll('span')].map(s => getComputedStyle(s).color)).size"
    )
    assert colours >= 3, "the code is not highlighted"


def test_the_thought_can_be_unfolded(gallery: Notebook) -> None:
    thought = gallery.output(MARKDOWN).locator("details")
    expect(thought.locator("p")).not_to_be_visible()
    thought.locator("summary").click()
    expect(thought.locator("p")).to_have_text("A list, a table, a fence and two formulas.")
    thought.locator("summary").click()


def test_the_answer_stands_apart_from_the_thought(gallery: Notebook) -> None:
    thought = gallery.output(TOOLS).locator("details").bounding_box()
    answer = gallery.output(TOOLS).locator("p", has_text="I will ask the shell.").bounding_box()
    assert thought
    assert answer
    assert answer["y"] - (thought["y"] + thought["height"]) >= 8


def test_tools_show_as_one_line_each_with_their_state(gallery: Notebook) -> None:
    lines = gallery.output(TOOLS).locator("li")
    expect(lines).to_have_text(
        ["✓ Bash echo All hands on deck", "✗ Bash ls no-such-folder — failed"]
    )
    expect(gallery.output(TOOLS)).to_contain_text("one of the two things worked.")


def test_failures_say_what_to_do(gallery: Notebook) -> None:
    refused = gallery.output(REFUSED)
    expect(refused).to_contain_text("The conversation no longer fits into the model's context.")
    expect(refused).to_contain_text("Begin a fresh one with %claude_reset")
    signed_out = gallery.output(SIGNED_OUT)
    expect(signed_out).to_contain_text("You are not signed in to Claude.")
    expect(signed_out).to_contain_text("Run %claude_auth here")
    option = gallery.output(OPTION)
    expect(option).to_contain_text("--modle")
    expect(option).to_contain_text("--model")
    for output in (refused, signed_out, option):
        expect(output).not_to_contain_text("Traceback")


def test_the_status_is_that_of_this_kernel(gallery: Notebook) -> None:
    status = gallery.output(STATUS)
    expect(status).to_contain_text("Rehearsal")
    # The text that is there, not what is in view: a row above the window's edge has no inner text.
    rows = dict(row.locator("td").all_text_contents() for row in status.locator("tbody tr").all())
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", rows["Session"])
    assert rows["Turns"] == "4"
    assert rows["Signed in"] == "not needed for a rehearsal"
    assert rows["Rehearsal"] == "a script answers, not Claude"


@pytest.mark.parametrize("cell", [USAGE, HELP])
def test_help_names_the_ways_to_talk_and_the_commands(gallery: Notebook, cell: int) -> None:
    output = gallery.output(cell)
    for told in ("%%claude", 'ask("text")', "--no-thinking", "%claude_status", "%claude_reset"):
        expect(output).to_contain_text(told)


# -- themes and widths -----------------------------------------------------------------------------


def test_everything_is_readable_in_both_themes(themed: Notebook) -> None:
    faint = {
        f"{GALLERY[cell]} → {text}": round(contrast, 1)
        for cell in range(EMPTY)
        for shown in themed.output(cell).locator(".jp-OutputArea-output").all()
        for text, contrast in contrasts(shown).items()
        # The colours of highlighted code and of links are the theme's.
        if contrast < READABLE and cell != MARKDOWN
    }
    assert not faint


def test_pictures_in_both_themes(themed: Notebook, request: pytest.FixtureRequest) -> None:
    theme = request.node.callspec.params["themed"].split()[-1].lower()
    for width, name in ((WIDE[0], "wide"), (NARROW, "narrow")):
        file = SCREENSHOTS / f"gallery-{theme}-{name}.png"
        file.unlink(missing_ok=True)
        themed.picture(file, width)
        assert file.exists()


@pytest.mark.parametrize("width", [900, NARROW])
def test_nothing_sticks_out_of_a_narrow_window(gallery: Notebook, width: int) -> None:
    gallery.resize(width)
    try:
        for cell in range(EMPTY):
            output = gallery.output(cell)
            output.scroll_into_view_if_needed()
            edge = output.evaluate("area => area.getBoundingClientRect().right")
            # Tables are not among these: JupyterLab lets a wide one scroll in its output.
            right = output.evaluate(
                "area => Math.max(...[...area.querySelectorAll('p, li, h2, h6, pre, small')]"
                ".map(each => each.getBoundingClientRect().right))"
            )
            assert right <= edge + 1, GALLERY[cell]
    finally:
        gallery.resize(*WIDE)


@pytest.mark.parametrize("cell", [REFUSED, SIGNED_OUT, OPTION, USAGE, HELP])
def test_no_word_is_cut_in_two(gallery: Notebook, cell: int) -> None:
    gallery.resize(900)
    try:
        gallery.output(cell).scroll_into_view_if_needed()
        assert not cut_words(gallery.output(cell))
    finally:
        gallery.resize(*WIDE)


# -- the editor ------------------------------------------------------------------------------------


def test_a_prompts_colours_end_with_its_line(gallery: Notebook) -> None:
    """JupyterLab colours prompts as Python; an apostrophe in one must not spoil the cell."""
    gallery.theme(LIGHT)
    for cell, line, text in ((QUOTED, 2, "str"), (WHOLE, 3, "```python"), (WHOLE, 1, "Don")):
        gallery.cell(cell).scroll_into_view_if_needed()
        shown = gallery.cell(cell).locator(".cm-line").nth(line)
        assert shown.inner_text().startswith(text)
        first = shown.evaluate("line => looking.firstColour(line)")
        red = "rgb(186, 33, 33)"  # of strings
        assert first != red
    assert (
        "what's in a \"name\", isn't it?"
        in gallery.cell(QUOTED).locator(".cm-content").inner_text()
    )


def test_tab_completes_the_commands(gallery: Notebook) -> None:
    gallery.cell(EMPTY).scroll_into_view_if_needed()
    gallery.select(EMPTY)
    keyboard = gallery.page.keyboard
    editor = gallery.cell(EMPTY).locator(".cm-content")
    keyboard.type("%cla")
    keyboard.press("Tab")
    offered = gallery.page.locator(".jp-Completer-item")
    expect(offered.filter(has_text="%claude_thinking")).to_be_visible()
    names = set(gallery.page.locator(".jp-Completer-match").all_inner_texts())
    assert names >= {"%claude", "%%claude", "%claude_help", "%claude_status"}
    _shoot(gallery.page, "completion")
    keyboard.press("Escape")
    keyboard.type("ude_stat")
    keyboard.press("Tab")
    expect(offered).to_have_count(1)
    keyboard.press("Enter")
    expect(editor).to_have_text("%claude_status")
    keyboard.press("ControlOrMeta+a")
    keyboard.press("Delete")


# -- who does not see ------------------------------------------------------------------------------


def test_a_screen_reader_finds_each_answer_by_its_heading(gallery: Notebook) -> None:
    for cell in (MARKDOWN, TOOLS, QUOTED, WHOLE):
        gallery.output(cell).scroll_into_view_if_needed()
        view = gallery.output(cell).aria_snapshot()
        assert view.startswith(f'- heading "{HEADING}" [level=6]'), view
    view = gallery.output(TOOLS).aria_snapshot()
    assert "- list:" in view
    assert "- listitem:" in view
    view = gallery.output(MARKDOWN).aria_snapshot()
    for told in (
        'heading "What there is" [level=2]',
        "- table",
        'columnheader "crates"',
        "- math",
        "- blockquote",
    ):
        assert told in view, view


def test_no_output_makes_a_screen_reader_speak_unasked(gallery: Notebook) -> None:
    outputs = gallery.panel.locator(".jp-Cell-outputArea")
    assert outputs.count() >= EMPTY
    assert outputs.locator(LIVE).count() == 0
    assert not any(
        area.evaluate(f"area => area.closest('{LIVE}') !== null") for area in outputs.all()
    )


# -- the file --------------------------------------------------------------------------------------


def test_the_saved_answers_are_there_without_a_kernel(
    gallery: Notebook, lab: Lab, browser: Browser
) -> None:
    """In the person's own window, and in that of someone who was sent the file."""
    saved = lab.root / "gallery.ipynb"
    notebook = nbformat.read(saved, as_version=4)
    for cell in (MARKDOWN, TOOLS, QUOTED, WHOLE):
        answers = [o for o in notebook.cells[cell].outputs if o.output_type == "display_data"]
        assert [set(o.data) for o in answers] == [{"text/markdown", "text/plain"}]
        assert [set(o.metadata) for o in answers] == [{"familiar"}]
    notebook.cells.append(nbformat.v4.new_markdown_cell("Have a look at this."))
    sent = lab.root / "sent.ipynb"
    nbformat.write(notebook, sent)

    for file in (saved, sent):
        page = lab.open(browser, file, route=_without_kernels)
        with contextlib.closing(page.context):
            again = Notebook(page)
            expect(page.locator(".jp-Dialog")).to_contain_text(
                "Error Starting Kernel", timeout=30_000
            )
            page.get_by_role("button", name="Ok", exact=True).click()
            page.locator(".jp-Dialog").get_by_role("button", name="No Kernel").click()
            expect(page.locator(".jp-Dialog")).to_have_count(0)
            output = again.output(MARKDOWN)
            expect(output.locator("td", has_text="Marmalade Paradox")).to_be_visible()
            expect(output.locator("mjx-container")).to_have_count(2)
            expect(output.locator("details summary")).to_have_text(re.compile(r"Thought for \d+ s"))
            expect(output.locator(f"h6:has-text('{HEADING}')")).to_have_count(1)
            expect(again.output(TOOLS).locator("li")).to_have_count(2)
            expect(again.output(SIGNED_OUT)).to_contain_text("You are not signed in to Claude.")
            _shoot(page, f"reloaded-{file.stem}")


def test_run_all_stops_at_a_prompt_that_fails(open_notebook: Open) -> None:
    notebook = open_notebook(
        "%claude are you there?", "%claude refuse this", "print('not reached')"
    )
    notebook.page.get_by_role("menuitem", name="Run", exact=True).click()
    notebook.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    notebook.finish(0)
    expect(notebook.output(0)).to_contain_text("Aye.")
    notebook.finish(1)
    expect(notebook.output(1)).to_contain_text("no longer fits")
    expect(notebook.prompt(2)).to_have_text("[ ]:")
    expect(notebook.cell(2).locator(".jp-OutputArea-output")).to_have_count(0)


# -- permission ------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_claude_asks_in_the_cell_before_it_acts(open_notebook: Open, theme: str) -> None:
    notebook = open_notebook("numbers = [3, 1, 2]", "%claude sort my numbers", "numbers")
    notebook.theme(theme)
    notebook.run(0)
    notebook.start(1)
    output = notebook.output(1)
    question = output.locator("input.jp-Stdin-input")
    expect(question).to_be_visible(timeout=60_000)
    expect(output).to_contain_text("Claude asks to use run_python")
    expect(output.locator("pre code", has_text="numbers.sort()")).to_be_visible()
    expect(output.locator(".jp-Stdin-prompt")).to_contain_text("[a]lways for run_python")
    _shoot(notebook.page, f"permission-{theme.split()[-1].lower()}")
    notebook.resize(NARROW)
    _shoot(notebook.page, f"permission-{theme.split()[-1].lower()}-narrow")
    notebook.resize(1280)
    question.fill("y")
    question.press("Enter")
    notebook.finish(1)
    expect(output).to_contain_text("sorted them")
    notebook.run(2)
    expect(notebook.output(2)).to_contain_text("[1, 2, 3]")
    _shoot(notebook.page, f"permission-{theme.split()[-1].lower()}-after")


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_claude_asks_what_it_has_to_know(open_notebook: Open, theme: str) -> None:
    notebook = open_notebook("%claude plan the voyage")
    notebook.theme(theme)
    notebook.start(0)
    output = notebook.output(0)
    field = output.locator("input.jp-Stdin-input")
    expect(field).to_be_visible(timeout=60_000)
    expect(output).to_contain_text("Which harbour shall we leave from?")
    expect(output.locator("li", has_text="Last Lantern")).to_be_visible()
    _shoot(notebook.page, f"question-{theme.split()[-1].lower()}")
    notebook.resize(NARROW)
    _shoot(notebook.page, f"question-{theme.split()[-1].lower()}-narrow")
    notebook.resize(1280)
    field.fill("2")
    field.press("Enter")
    expect(output.locator(".jp-Stdin-prompt", has_text="Numbers, with commas")).to_be_visible()
    field.last.fill("1, 3")
    field.last.press("Enter")
    notebook.finish(0)
    expect(output).to_contain_text("Then it is settled")
    expect(output).to_contain_text("Which harbour shall we leave from? Last Lantern")
    _shoot(notebook.page, f"question-{theme.split()[-1].lower()}-after")


# -- in the background -----------------------------------------------------------------------------


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_an_answer_grows_while_other_cells_run(open_notebook: Open, theme: str) -> None:
    name = theme.split()[-1].lower()
    notebook = open_notebook(
        "%claude --bg slowly, please",
        "%claude --bg sort my numbers",
        "numbers = [3, 1, 2]; get_ipython().familiar.background._asked = 0",
        "%claude_turns",
        "%claude_allow 1",
        "%claude_resume",
    )
    notebook.theme(theme)
    notebook.run(0)
    notebook.run(1)
    notebook.run(2)  # runs while both go on
    first, second = notebook.output(0), notebook.output(1)
    expect(first).to_contain_text("And it has an end", timeout=60_000)
    expect(second).to_contain_text("It waits for you", timeout=60_000)
    expect(second.locator("pre code", has_text="numbers.sort()")).to_be_visible()
    expect(notebook.run(3)).to_contain_text("needs you: %claude_allow 1")
    _shoot(notebook.page, f"background-{name}")
    notebook.resize(NARROW)
    _shoot(notebook.page, f"background-{name}-narrow")
    notebook.resize(1280)
    expect(notebook.run(4)).to_contain_text("is allowed")
    expect(second).to_contain_text("sorted them", timeout=60_000)
    expect(second).to_contain_text("smallest: 1")
    notebook.run(5)
    _shoot(notebook.page, f"background-{name}-after")


def test_a_person_who_is_needed_is_told(open_notebook: Open) -> None:
    need("jupyterlab_notifications_extension")
    notebook = open_notebook(
        "get_ipython().kernel.notifications.after = 1",
        "%claude_notify",
        "%claude_notify test",
        "%claude --bg sort my numbers",
    )
    notebook.run(0)
    expect(notebook.run(1)).to_contain_text("its server is known")
    link = notebook.output(1).get_by_role("link", name="Where a notice leads")
    expect(link).to_have_attribute("href", re.compile(r"/lab/tree/test_a_person[^%\\]*\.ipynb$"))
    expect(notebook.run(2)).to_contain_text("sent")
    toasts = notebook.page.locator(".Toastify__toast")
    expect(toasts.filter(has_text="This is a test")).to_be_visible()
    notebook.run(3)
    asked = toasts.filter(has_text="Claude asks to use run_python")
    expect(asked).to_be_visible(timeout=60_000)
    expect(asked).to_contain_text("numbers.sort()")
    _shoot(notebook.page, "notified")


def _shoot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def _without_kernels(page: Page) -> None:
    """Let no kernel be had in a page: whatever an output shows there, the file holds."""

    def refuse(route: Route) -> None:
        if route.request.method == "GET":
            route.fulfill(json=[])
        else:
            route.fulfill(status=503, json={"message": "no kernels here"})

    page.route(re.compile(r"/api/sessions"), refuse)
