"""The state of widgets that a notebook keeps."""

from __future__ import annotations

from typing import Any

from familiar_kernel.nb.document import Document
from familiar_kernel.nb.widgets import STATE, VIEW, merged, metadata_of, models_of, shown


def model(**state: Any) -> dict[str, Any]:
    return {"model_name": "AModel", "state": state}


OLD = {
    "slider": model(value=1, layout="IPY_MODEL_layout"),
    "layout": model(),
    "text": model(value=""),
    "link": model(source=["IPY_MODEL_slider", "value"], target=["IPY_MODEL_text", "value"]),
    "forgotten": model(layout="IPY_MODEL_other"),
    "other": model(),
}


def test_what_is_shown_stays_with_all_that_belongs_to_it() -> None:
    kept = merged(OLD, {}, {}, {"slider"})
    assert kept.keys() == {"slider", "layout", "link", "text"}
    assert merged(OLD, {}, {}, set()) == {}


def test_what_was_made_now_stays_and_replaces() -> None:
    made = {"new": model(), "slider": model(value=5)}
    kept = merged(OLD, made, {}, set())
    assert kept == {**made, "text": OLD["text"], "link": OLD["link"]}


def test_what_was_changed_now_is_merged() -> None:
    kept = merged(OLD, {}, {"slider": {"value": 9}, "unknown": {"value": 1}}, {"slider"})
    assert kept["slider"]["state"] == {"value": 9, "layout": "IPY_MODEL_layout"}
    assert OLD["slider"]["state"]["value"] == 1
    assert "unknown" not in kept


def test_models_are_read_and_written() -> None:
    assert models_of(metadata_of(OLD)) == OLD
    wrong: Any
    for wrong in (None, {}, [], {STATE: 1}, {STATE: {}}, {STATE: {"state": []}}):
        assert models_of(wrong) == {}
    view: Any = {"output_type": "display_data", "data": {VIEW: {"model_id": "slider"}}}
    assert shown([view, {"data": {VIEW: 3}}, {"text": ""}, {"data": []}]) == {"slider"}


def test_metadata_is_edited_where_it_stands() -> None:
    for text, expected in (
        (
            '{\n "cells": [],\n "metadata": {\n  "a": 1.0\n },\n "nbformat": 4\n}',
            '{\n "cells": [],\n "metadata": {\n  "widgets": {\n   "x": 1\n  },\n  "a": 1.0\n },\n'
            ' "nbformat": 4\n}',
        ),
        (
            '{\n "cells": [],\n "metadata": {},\n "nbformat": 4\n}',
            '{\n "cells": [],\n "metadata": {\n  "widgets": {\n   "x": 1\n  }\n },\n'
            ' "nbformat": 4\n}',
        ),
        (
            '{"metadata": {"widgets": 7, "a": 1.0}, "cells": [], "nbformat": 4}',
            '{"metadata": {"widgets": {"x": 1}, "a": 1.0}, "cells": [], "nbformat": 4}',
        ),
    ):
        after = Document(text).with_metadata("widgets", {"x": 1})
        assert after.text == expected
        assert after.metadata["widgets"] == {"x": 1}
        assert after.with_metadata("widgets", {"x": 1}).text == expected
    without = Document('{"cells": [], "nbformat": 4}')
    assert without.with_metadata("widgets", {}) is without
