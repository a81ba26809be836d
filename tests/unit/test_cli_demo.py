"""`familiar demo`: the real notebook on the real kernel, and the screen it is shown on."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest

from familiar_kernel import demo
from familiar_kernel.resources import resource

NOTEBOOK = resource("examples/first_conversation.ipynb")


def bundle(markdown: str, *, whole: bool = False) -> tuple[dict[str, str], dict[str, object]]:
    """Return an answer so far (or whole) as the kernel publishes it."""
    data = {"text/markdown": f"###### Claude\n\n{markdown}\n"}
    if whole:
        data["text/markdown"] += "\n<small>1.0 s</small>\n"
        data["text/plain"] = "the words\n\n[1.0 s]"
    return data, {"familiar": {"outcome": "complete"} if whole else {}}


def on_screen(*versions: str, columns: int = 80) -> list[str]:
    """Return the lines on the screen after an answer's versions, of which the last is whole."""
    screen = demo.Screen(out := io.StringIO())
    screen._width = columns
    for version in versions[:-1]:
        screen.display(*bundle(version))
    screen.display(*bundle(versions[-1], whole=True))
    return out.getvalue().splitlines()


def test_words_appear_as_they_come() -> None:
    screen = demo.Screen(out := io.StringIO())
    seen = []
    for text in ("*Waiting for the first words…*", "One tw", "One two\nthr"):
        screen.display(*bundle(text))
        seen.append(out.getvalue())
    assert seen == ["", "    One", "    One two"]
    screen.display(*bundle("One two\nthree", whole=True))
    assert out.getvalue() == "    One two\n    three\n    [1.0 s]\n"


def test_a_thought_is_folded_but_not_forgotten() -> None:
    lines = on_screen(
        "<details open><summary>Thinking… 1 s</summary>\n\nHow many \n\n</details>",
        "<details><summary>Thought for 2 s</summary></details>\n\nThree.",
        "<details><summary>Thought for 2 s</summary>\n\nHow many?\n\n</details>\n\nThree.",
    )
    assert lines == ["    [thinking] How … [thought for 2 s]", "    Three.", "    [1.0 s]"]


def test_long_lines_are_wrapped_between_words() -> None:
    words = [f"word{number}" for number in range(40)]
    versions = [" ".join(words[:end]) for end in range(1, len(words) + 1)]
    lines = on_screen(*versions, columns=30)
    assert max(map(len, lines)) <= 30
    assert " ".join("\n".join(lines[:-1]).split()) == versions[-1]
    assert all(line.startswith("    ") and line == line.rstrip() for line in lines)


def test_what_was_shown_in_a_form_that_did_not_last_is_shown_again() -> None:
    # A code block that grows is closed for the time being.
    lines = on_screen("Look:\n```\na = \n```\n", "Look:\n```\na = 1\nb\n```\n\nDone.")
    assert "".join(lines[-7:-1]).replace(" ", "").endswith("a=1b```Done.")


def test_other_output_is_shown_as_text() -> None:
    screen = demo.Screen(out := io.StringIO())
    screen.display({"text/plain": "<Figure>", "image/png": "..."}, {})
    screen.output("\x1b[31m  red\x1b[0m\n")
    assert out.getvalue() == "    <Figure>\n      red\n"


def test_the_notebook_is_clean_and_for_our_kernel() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python-claude"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def start(directory: Path, **variables: str) -> subprocess.Popen[str]:
    code = "import sys; from familiar_kernel.cli import main; sys.exit(main())"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC", "CLAUDE"))}
    return subprocess.Popen(
        [sys.executable, "-c", code, "demo", "--output-dir", str(directory / "out")],
        env={**environment, "HOME": str(directory), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def demonstrate(directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    with start(directory, **variables) as process:
        out, err = process.communicate(timeout=150)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.slow
@pytest.mark.cli
@pytest.mark.kernel
def test_the_demo(tmp_path: Path) -> None:
    told = demonstrate(tmp_path)
    assert told.returncode == 0, told.stderr
    assert told.stderr == ""

    # The conversation, in its order, and that the later answers know the earlier ones.
    conversation = " ".join(told.stdout.split())
    places = [
        conversation.index(text)
        for text in (
            "In [1]: %claude name three fictional spaceships",
            "[rehearsal, not Claude",
            'ask("Which did you rank highest?")',
            "I put her above Quiet Aunt Vera",
            "In [5]: %%claude Describe it like a used car salesman.",
            "feel that hull",
            "Written: ",
            "jupyter lab ",
        )
    ]
    assert places == sorted(places)

    notebook = nbformat.read(tmp_path / "out" / "first_conversation.ipynb", as_version=4)
    assert notebook.metadata.kernelspec.name == "python-claude"
    answers = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "display_data"
    ]
    assert len(answers) == 3
    assert all(set(answer.data) == {"text/markdown", "text/plain"} for answer in answers)
    assert all(answer.metadata["familiar"]["rehearsal"] for answer in answers)
    page = (tmp_path / "out" / "first_conversation.html").read_text()
    assert "<strong>Quiet Aunt Vera</strong>" in page


@pytest.mark.slow
@pytest.mark.cli
@pytest.mark.kernel
def test_a_demo_that_fails_says_why(tmp_path: Path) -> None:
    told = demonstrate(tmp_path, FAMILIAR_CLAUDE_CLI=str(tmp_path / "none"))
    assert told.returncode == 1
    assert "familiar: a cell failed: " in told.stderr
    assert "Traceback" not in told.stderr
    assert (tmp_path / "out" / "first_conversation.ipynb").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    told = demonstrate(tmp_path)
    assert told.returncode == 1
    assert told.stderr.startswith("familiar: ")
    assert "Traceback" not in told.stderr


@pytest.mark.slow
@pytest.mark.cli
@pytest.mark.kernel
def test_ctrl_c_in_an_answer_ends_everything(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        assert process.stdout is not None
        # The answer has begun; the kernel, its host and the CLI run.
        assert any("[thinking]" in line for line in process.stdout)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("familiar: stopped\n"), err
    assert "Traceback" not in err
    _, left = psutil.wait_procs(children, timeout=10)
    assert left == []
