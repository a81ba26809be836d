"""Makes the pictures of the README: a short conversation in JupyterLab, in both themes.

Run it from the repository's root, with Pillow installed:

    PYTHONPATH=tests python -m browser.pictures

It plays the built-in rehearsal, so the pictures show what everybody can see without an account.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from browser.lab import Notebook, chromium, running_lab

FOLDER = Path(__file__).parents[2] / "docs" / "images"
THEMES = {"first-conversation": "JupyterLab Light", "first-conversation-dark": "JupyterLab Dark"}
WIDTH = 800
"""CSS pixels of the window."""
SCALE = 1.65
"""Pixels of a picture for each of those: 1200 across, without the side bars."""
COLOURS = 128
"""Enough for text on a plain ground; a picture then takes a third of the bytes."""
LARGEST = 200_000
"""Bytes that a picture may have."""
MARGIN = 8
"""CSS pixels around the cells."""
CELLS = (
    "%claude name three fictional spaceships, best first",
    "light_years, speed = 4.25, 0.2\n"
    'f"{light_years / speed:.0f} years to Proxima Centauri. Pack a book."',
    'answer = ask("Which did you rank highest?")',
)


def main() -> int:
    """Make the pictures; return the exit status."""
    executable = os.environ.get("FAMILIAR_TEST_BROWSER") or shutil.which("chromium")
    if not executable:
        print("pictures: no Chromium found; set FAMILIAR_TEST_BROWSER to one", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_lab(Path(scratch) / "home") as lab,
        chromium(executable) as browser,
    ):
        page = lab.open(browser, lab.write("first-conversation", *CELLS), (WIDTH, 1000), SCALE)
        notebook = Notebook(page)
        notebook.wait_for_kernel()
        for index in range(len(CELLS)):
            notebook.run(index)
        # Shift+Enter has made an empty cell at the end, which goes.
        page.keyboard.press("Escape")
        page.keyboard.press("d")
        page.keyboard.press("d")
        page.add_style_tag(content=_PLAIN)
        for name, theme in THEMES.items():
            notebook.theme(theme)
            size = _take(notebook, FOLDER / f"{name}.png")
            print(f"{name}.png: {size:,} bytes")
            if size > LARGEST:
                print(f"pictures: that is more than {LARGEST:,}", file=sys.stderr)
                return 1
    return 0


_PLAIN = """
.jp-Cell.jp-mod-active, .jp-Cell.jp-mod-selected {
  background: none !important;
  border-color: transparent !important;
  box-shadow: none !important;
  outline: none !important;
}
.jp-Cell .jp-InputPrompt {
  color: var(--jp-cell-prompt-not-active-font-color) !important;
  opacity: var(--jp-cell-prompt-not-active-opacity) !important;
}
.jp-Collapser, .jp-cell-toolbar { visibility: hidden; }
"""


def _take(notebook: Notebook, file: Path) -> int:
    """Write a picture of the cells, and return its size in bytes."""
    notebook.page.mouse.move(0, 0)
    notebook.resize(WIDTH, 1000)
    first = notebook.cell(0).bounding_box()
    last = notebook.cell(len(CELLS) - 1).bounding_box()
    assert first is not None
    assert last is not None
    file.parent.mkdir(parents=True, exist_ok=True)
    notebook.page.screenshot(
        path=file,
        clip={
            "x": first["x"] - MARGIN,
            "y": first["y"] - MARGIN,
            "width": first["width"] + 2 * MARGIN,
            "height": last["y"] + last["height"] - first["y"] + 2 * MARGIN,
        },
    )
    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT)
    few.save(file, optimize=True)
    return file.stat().st_size


if __name__ == "__main__":
    sys.exit(main())
