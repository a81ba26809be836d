"""What the log keeps of cells, and what Claude reads of it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from familiar_kernel.cell_log import CELL_SIZE, CELLS_KEPT, TOTAL_SIZE, CellLog, Output
from familiar_kernel.namespace import reading
from familiar_kernel.namespace.probe.fitting import fitted

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
"""One pixel."""


def begin(log: CellLog, name: str, code: str = "1", number: int = 1) -> None:
    note(log, name, "execute_input", {"code": code, "execution_count": number})


def note(log: CellLog, name: str, kind: str, content: dict[str, Any]) -> None:
    log.note(name.encode(), kind.encode(), json.dumps(content).encode())


def say(log: CellLog, name: str, text: str) -> None:
    note(log, name, "stream", {"name": "stdout", "text": text})


def test_a_cell_and_what_it_showed() -> None:
    log = CellLog()
    begin(log, "a", "print('x'); 1 + 1", 7)
    say(log, "a", "x\n")
    note(log, "a", "execute_result", {"data": {"text/plain": "2"}})
    cell = log.get("a")
    assert cell is not None
    assert (cell.number, cell.code) == (7, "print('x'); 1 + 1")
    assert reading.outputs_text(cell.outputs()) == "x\n2"
    assert reading.outputs_text(cell.outputs(since=1)) == "2"
    say(log, "nobody", "output of no cell")
    assert len(log.cells()) == 1


def test_a_cleared_cell_shows_what_came_after() -> None:
    log = CellLog()
    begin(log, "a")
    say(log, "a", "before")
    note(log, "a", "clear_output", {"wait": True})
    cell = log.get("a")
    assert cell is not None
    assert reading.outputs_text(cell.outputs()) == "before"
    say(log, "a", "after")
    assert reading.outputs_text(cell.outputs()) == "after"
    assert reading.outputs_text(cell.outputs(since=1)) == "after"
    note(log, "a", "clear_output", {"wait": False})
    assert cell.outputs() == []
    say(log, "a", "last")
    assert reading.outputs_text(cell.outputs(since=2)) == "last"


def test_a_chatty_cell_keeps_its_beginning_and_its_end() -> None:
    log = CellLog()
    begin(log, "a")
    for number in range(3000):
        say(log, "a", f"{number} " + "x" * 1000)
    cell = log.get("a")
    assert cell is not None
    assert cell.size <= CELL_SIZE
    text = reading.outputs_text(cell.outputs())
    assert text.startswith("0 ")
    assert "2999 " in text
    assert cell.dropped == 3000 - len(cell.outputs())
    assert len(cell.outputs(since=2990)) == 10


def test_the_log_is_bounded() -> None:
    log = CellLog()
    for number in range(CELLS_KEPT + 20):
        begin(log, f"cell {number}", number=number)
    assert len(log.cells()) == CELLS_KEPT
    assert log.cells()[-1].number == CELLS_KEPT + 19
    for number in range(100):
        begin(log, f"large {number}")
        say(log, f"large {number}", "x" * (CELL_SIZE // 2 - 1000))
    assert sum(cell.size for cell in log.cells()) <= TOTAL_SIZE


def test_what_terminals_show_is_what_is_read() -> None:
    outputs = [
        Output("stream", {"text": "10%\r 50%\r100%\n\x1b[31mred\x1b[0m\r\n"}),
        Output("error", {"traceback": ["\x1b[0;31mValueError\x1b[0m: x"]}),
        Output("display_data", {"data": {"image/png": PNG}}),
        Output("display_data", {"data": {"image/svg+xml": "<svg/>"}}),
        Output("display_data", {"data": {}}),
    ]
    text = reading.outputs_text(outputs)
    assert text == "100%\nred\r\nValueError: x\n[image/png]\n<svg/> [image/svg+xml]\n[nothing]"
    picture, _ = reading.pictures(outputs, fitted)
    assert picture == {"type": "image", "data": PNG, "mimeType": "image/png"}


def test_a_long_line_is_read_quickly() -> None:
    long = Output("stream", {"name": "stdout", "text": "x" * 2_000_000})
    began = time.process_time()
    assert len(reading.outputs_text([long])) == 2_000_000
    bar = Output("stream", {"name": "stdout", "text": "10 %\r20 %\r30 %\r\ndone\r\n"})
    assert reading.outputs_text([bar]).replace("\r", "") == "30 %\ndone"
    assert time.process_time() - began < 0.5


def test_pictures_are_bounded() -> None:
    broken = Output("display_data", {"data": {"image/png": "A" * 4_000_000}})
    small = Output("display_data", {"data": {"image/png": f"{PNG[:9]}\n{PNG[9:]}"}})
    blocks = reading.pictures([small, broken, *[small] * 5], fitted)
    assert len(blocks) == reading.MAX_PICTURES
    assert "are no PNG" in reading.pictures([broken], fitted)[0]["text"]
    assert blocks[0]["data"] == PNG


@given(st.text(max_size=300), st.integers(0, 200))
def test_what_is_shortened_says_so(text: str, limit: int) -> None:
    short = reading.shortened(text, limit)
    assert short == text if len(text) <= limit else "left out" in short
    assert len(short) <= limit + 60


def test_pages_of_cells_begin_with_the_newest() -> None:
    log = CellLog()
    for number in range(1, 41):
        begin(log, str(number), f"cell_{number}()", number)
        say(log, str(number), "x" * 2000)
    first = reading.cells_content(log.cells(), 1)[0]["text"]
    assert first.startswith("Page 1 of ")
    assert "cell_40()" in first
    assert "cell_1()" not in first
    with pytest.raises(ValueError, match="There is no page 99"):
        reading.cells_content(log.cells(), 99)
    assert "No cell has run yet" in reading.cells_content([], 1)[0]["text"]
