"""The docs say what is so: the reference is the code's, links lead somewhere, examples can be run.

What a page says of the world no test can check; that it names only what exists, these do.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import unicodedata
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from familiar_kernel import cells, commands

if TYPE_CHECKING:
    from conftest import StartKernel

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=fence)$", re.M | re.S
)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\((?P<target>[^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *#*$", re.M)

each_page = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])


@cache
def generator(name: str = "generate") -> ModuleType:
    """Return docs/generate.py, or what stands beside it, as a module; docs/ is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page, each as its language and its text."""
    return [(found["language"], found["text"]) for found in _FENCE.finditer(text)]


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    found: set[str] = set()
    for heading in _HEADING.finditer(prose(text)):
        title = _LINK.sub(lambda link: link[0].partition("](")[0].lstrip("!["), heading["title"])
        kept = (c for c in title.lower() if c in " -_" or unicodedata.category(c)[0] in "LN")
        slug = "".join(kept).replace(" ", "-")
        number = 0
        while (anchor := slug if not number else f"{slug}-{number}") in found:
            number += 1
        found.add(anchor)
    return found


def dead_links(page: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    dead = []
    for link in _LINK.finditer(prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link["target"]):
            continue
        path, _, anchor = link["target"].partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            dead.append(link["target"])
    return dead


def compile_cell(cell: str) -> None:
    """Compile what the kernel makes of a cell.

    Raises:
        SyntaxError: it is no Python.
    """
    with_calls = cells.transform(cell, awaitable=True)
    python = TransformerManager().transform_cell(cell if with_calls is None else with_calls)
    compile(python, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_readers_of_pages(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# What `%claude` is\n## Twice\n## Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](other.md#what-claude-is) [b](other.md#twice-1) [c](#one) [d](https://no.where)\n"
        "[e](none.md) [f](other.md#thrice) [g](#two) ![h](none.png) [`i` [j]](other.md#one)\n"
        "```python\n[k](none.md)\n# Two\n```\n"
    )
    assert dead_links(page) == ["none.md", "other.md#thrice", "#two", "none.png", "other.md#one"]
    assert blocks(page.read_text()) == [("python", "[k](none.md)\n# Two\n")]


def test_the_reference_is_made_from_the_code() -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == generator().reference(), "run: python docs/generate.py"


def test_the_hubs_reference_is_made_from_the_code() -> None:
    written = (ROOT / "docs" / "hub-reference.md").read_text(encoding="utf-8")
    assert written == generator("generate_hub").reference(), "run: python docs/generate_hub.py"


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


@each_page
def test_python_examples_compile(page: Path) -> None:
    for language, text in blocks(page.read_text(encoding="utf-8")):
        if language == "python":
            compile_cell(text)


def test_an_example_that_is_no_python_is_found() -> None:
    compile_cell("%claude what's up?")
    with pytest.raises(SyntaxError):
        compile_cell("answer = claude what is it")


@each_page
def test_what_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    made = generator()
    settings = {
        f"{owner.__name__}.{name}" for owner in made.OWNERS for name in made.own_settings(owner)
    }
    classes = "|".join(owner.__name__ for owner in made.OWNERS)
    named = set(re.findall(rf"\b(?:{classes})\.[a-z]\w*", text))
    assert named <= settings
    known = {command.name for command in commands.COMMANDS}
    assert set(re.findall(r"%((?:claude|sandbox)_[a-z]\w*)", text)) <= known
    variables = set(re.findall(r"\b(?:FAMILIAR|IMAGE)_[A-Z_]+\b", text))
    of_sandboxes = {f"FAMILIAR_SANDBOX_{name.upper()}" for name in made.own_settings(made.Sandbox)}
    tests = {"FAMILIAR_TEST_REQUIRE", "FAMILIAR_TEST_BROWSER"}
    # Of the lab, whose scripts read them; of the platform; and what `make` takes.
    rooms = [ROOT / "containers" / "lab", ROOT / "deploy" / "compose"]
    lab = [p for room in rooms for p in room.rglob("*") if p.is_file()]
    of_lab = set(re.findall(r"FAMILIAR_[A-Z_]+\b", "\n".join(p.read_text("utf-8") for p in lab)))
    of_lab |= set(re.findall(r"^(\w+) \?=", (ROOT / "Makefile").read_text("utf-8"), re.M))
    of_lab |= {variable.name for variable in generator("generate_hub").VARIABLES}
    assert variables <= {*made.VARIABLES, *tests} | of_sandboxes | of_lab
    subcommands = set(re.findall(r"`familiar ([a-z-]+)", text))
    subcommands |= set(re.findall(r"^\$ (?:\S*/)?familiar ([a-z-]+)", text, re.M))
    assert subcommands <= set(made.SUBCOMMANDS)


def test_the_how_to_helps_with_every_error() -> None:
    how_to = (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8")
    missing = [kind for kind, *_ in generator().troubles() if f"`{kind}`" not in how_to]
    assert missing == []


@pytest.mark.kernel
@pytest.mark.cli
def test_the_examples_of_the_how_to_run(start_kernel: StartKernel, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%claude hello")])
    nbformat.write(notebook, home / "analysis.ipynb")
    kernel = start_kernel(home=home, script=None, env={"FAMILIAR_REHEARSAL": "1"})
    kernel.run("from traitlets.config import Config; c = Config()")
    text = (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8")
    failed = {
        example: ran.error
        for language, example in blocks(text)
        if language == "python" and (ran := kernel.run(example)).status != "ok"
    }
    assert failed == {}
    assert nbformat.read(home / "analysis-done.ipynb", as_version=4).cells[0].outputs
