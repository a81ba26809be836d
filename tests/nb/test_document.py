"""A notebook's text: edits replace what they are about, and no other byte."""

from __future__ import annotations

import json
import random
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from familiar_kernel.nb.document import Document, DocumentError
from nb.conftest import notebook

OUTPUTS: list[dict[str, Any]] = [
    new_output("stream", name="stdout", text="one\ntwo"),
    new_output("display_data", data={"text/plain": "a\nb", "application/json": {"z": [1], "a": 2}}),
    new_output("execute_result", data={"text/plain": "é ☃"}, execution_count=7),
    new_output("error", ename="E", evalue="v", traceback=["\x1b[31ma\x1b[0m", "b"]),
]


def text_of(made: nbformat.NotebookNode) -> str:
    return str(nbformat.writes(made)) + "\n"


def test_edits_write_what_nbformat_would() -> None:
    made = notebook(
        "# é",
        "1",
        "print('x')\n2",
        kernelspec={"name": "x", "display_name": "X"},
        z={"b": 1, "a": [0.5]},
    )
    document = Document(text_of(made))
    assert document.kernel_name == "x"
    document = document.with_run(document.cell("1"), OUTPUTS, 7)
    made.cells[1].update(outputs=OUTPUTS, execution_count=7)
    assert document.text == text_of(made)
    document = document.with_source(document.cell("1"), "3\n4")
    made.cells[1].update(source="3\n4", outputs=[], execution_count=None)
    assert document.text == text_of(made)
    document = document.moved(document.cell("0"), 2)
    made.cells.append(made.cells.pop(0))
    assert document.text == text_of(made)
    document = document.inserted(1, "markdown", "new\ncell")
    made.cells.insert(1, new_markdown_cell("new\ncell", id=document.cells[1].id))
    assert document.text == text_of(made)
    while document.cells:
        document = document.deleted(document.cells[0])
        made.cells.pop(0)
        assert document.text == text_of(made)
    document = document.inserted(0, "code", "x")
    made.cells.append(new_code_cell("x", id=document.cells[0].id))
    assert document.text == text_of(made)
    nbformat.validate(nbformat.reads(document.text, 4))


STRANGE = """{ "nbformat":4,"nbformat_minor" : 9,
      "future": {"a":1.50, "b" :1e5, "c": "\\u00e9"},
  "cells":[
 {"id":"one","cell_type":"code","metadata":{"unknown":[1 ,2]},"source":"a = 1",
      "outputs" : [ ],"execution_count": null, "later":  {"x":1}},
 {"id":"two","cell_type":"hologram","source":["x"],"attachments":{"a.png":{"image/png":"AAAA"}}}
 ],
 "metadata":{ }}
"""


def test_what_is_not_known_stays_byte_for_byte() -> None:
    document = Document(STRANGE)
    after = document.with_run(document.cell("one"), OUTPUTS[:1], 3).text
    head, tail = STRANGE.split('"outputs" : [ ],"execution_count": null')
    assert after.startswith(head + '"outputs" : [')
    assert after.endswith(tail)
    assert json.loads(after)["cells"][0]["outputs"][0]["text"] == ["one\n", "two"]
    swapped = document.moved(document.cell("two"), 0).text
    for cell in document.cells:
        assert document.text[slice(*cell.span)] in swapped
    assert [cell.id for cell in Document(swapped).cells] == ["two", "one"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("indent", [None, 0, 1, 2, "\t"])
def test_any_style_of_json_is_kept(indent: int | str | None, newline: str) -> None:
    made = json.loads(text_of(notebook("# a", "1", "2")))
    text = json.dumps(made, indent=indent).replace("\n", newline)
    document = Document(text)
    ran = document.with_run(document.cell("2"), OUTPUTS, 1)
    assert ran.with_run(ran.cell("2"), [], None).text == text
    back = ran.inserted(1, "code", "x\ny")
    assert back.deleted(back.cells[1]).text == ran.text
    assert ("\n" in back.text) == (indent is not None)
    assert back.text.count("\r\n") == (back.text.count("\n") if newline == "\r\n" else 0)


@pytest.mark.parametrize("minor", range(6))
def test_every_minor_version_of_4(minor: int) -> None:
    made = json.loads(text_of(notebook("# a", "1", "1", "2")))
    made["nbformat_minor"] = minor
    if minor < 5:
        for cell in made["cells"]:
            del cell["id"]
    document = Document(json.dumps(made, indent=1))
    ran = document.with_run(document.cell("-1"), OUTPUTS, 1).inserted(0, "code", "new")
    nbformat.validate(json.loads(ran.text))
    assert bool(ran.cells[0].id) == (minor == 5)
    assert ran.version == (4, minor)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1"),
        ("[]", "a notebook is a JSON object"),
        ('{"nbformat": 4', "line 1, column 15"),
        ('{"cells": [], "nbformat": 4, "nbformat_minor": 5} x', "something follows it"),
        ('{"cells": []}', "names no nbformat"),
        ('{"nbformat": 4}', "no list of cells"),
        ('{"nbformat": 4, "cells": {}}', "no list of cells"),
        ('{"nbformat": 3, "worksheets": []}', "jupyter nbconvert"),
        ('{"nbformat": 4, "cells": [1]}', "a cell was expected"),
        ('{"nbformat": 4, "cells": [{}]}', "cell 0 has no type"),
        ('{"nbformat": 4, "cells": [{"cell_type": "code", "source": 1}]}', "cell 0 has no"),
        ('{"nbformat": 4, "cells": [], "x": ' + "[" * 100_000, "too deeply"),
    ],
)  # fmt: skip
def test_what_is_no_notebook_is_told(text: str, told: str) -> None:
    with pytest.raises(DocumentError, match=r"\w") as raised:
        Document(text)
    assert told in str(raised.value)


def test_cells_are_named() -> None:
    made = notebook("a", "b", "c", "d", "e")
    for cell, id in zip(made.cells, ("12345678", "abcd1", "abcd2", "wxyz", "0"), strict=True):
        cell.id = id
    document = Document(text_of(made))

    def chosen(*references: str) -> list[int]:
        return [cell.index for cell in document.chosen(references)]

    assert chosen("1", "-2", "wxyz") == [1, 3]
    assert chosen("2:4", "3:", "12345678", ":1") == [2, 3, 4, 0]
    assert chosen("0") == [4]  # an id wins
    assert chosen("1234") == [0]
    for reference in ("9", "-9", "abcd", "nothing", "wxy", "7:9", ""):
        with pytest.raises(DocumentError, match="\\."):
            document.chosen([reference])


def test_halves_of_characters_do_not_reach_the_file() -> None:
    document = Document(text_of(notebook("1")))
    output = new_output("stream", name="stdout", text="a\ud800b")
    document.with_run(document.cells[0], [output], 1).text.encode("utf-8")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.text(), values, max_size=3), max_size=4), st.randoms())
def test_any_edits_keep_all_else(extras: list[dict[str, Any]], chance: random.Random) -> None:
    made = new_notebook(cells=[new_code_cell(f"{i}") for i in range(len(extras))])
    raw = json.loads(nbformat.writes(made))
    for cell, extra in zip(raw["cells"], extras, strict=True):
        cell["metadata"] = extra
    text = json.dumps(raw, indent=chance.choice([None, 1, 4]), ensure_ascii=chance.random() < 0.5)
    document = Document(text)
    expected = {cell["id"]: cell["metadata"] for cell in raw["cells"]}
    for _ in range(5):
        if document.cells:
            cell = chance.choice(document.cells)
            document = document.with_run(cell, chance.sample(OUTPUTS, 2), chance.randint(0, 9))
            document = document.moved(document.cells[cell.index], chance.randrange(len(extras)))
    kept = {cell["id"]: cell["metadata"] for cell in json.loads(document.text)["cells"]}
    assert kept == expected
