"""The tests' own tools: what they would hide if they were wrong."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from kernels import Ran
from needs import need


def test_what_is_there_is_found() -> None:
    assert need("sh").endswith("/sh")
    assert need("psutil").endswith("__init__.py")


def test_what_is_missing_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAMILIAR_TEST_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool"):
        need("no-such-tool")


def test_what_is_missing_fails_where_all_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAMILIAR_TEST_REQUIRE", "all")
    with pytest.raises(pytest.fail.Exception, match="no_such_package"):
        need("no_such_package")


def test_a_browser_that_is_named_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAMILIAR_TEST_BROWSER", sys.executable)
    assert need("chromium") == sys.executable


def message(kind: str, text: str = "", display: str = "", wait: bool = True) -> Any:
    content: dict[str, Any] = {"data": {"text/plain": text}, "transient": {"display_id": display}}
    return 0.0, {"msg_type": kind, "content": {**content, "wait": wait}}


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        ([message("display_data", "a", "1"), message("update_display_data", "b", "1")], ["b"]),
        ([message("display_data", "a", "1"), message("update_display_data", "b", "2")], ["a"]),
        ([message("display_data", "a"), message("display_data", "a")], ["a", "a"]),
        ([message("display_data", "a"), message("clear_output")], ["a"]),
        ([message("display_data", "a"), message("clear_output", wait=False)], []),
        (
            [message("display_data", "a"), message("clear_output"), message("display_data", "b")],
            ["b"],
        ),
    ],
)
def test_outputs_are_kept_as_front_ends_keep_them(messages: list[Any], kept: list[str]) -> None:
    ran = Ran({"content": {"status": "ok"}}, messages)
    assert [output["data"]["text/plain"] for output in ran.outputs()] == kept
