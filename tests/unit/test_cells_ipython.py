"""The grammar in a real IPython shell: what runs, what is displayed, and what In and Out hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from familiar_kernel import cells


class Familiar:
    """Stands where the runtime will be. Its answers are strings, which IPython would display."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []

    def prompt_line(self, raw: str) -> str:
        self.received.append(("line", raw))
        if raw == "fail":
            raise RuntimeError("no answer")
        return f"answer to {raw}"

    async def prompt_cell(self, raw: str) -> str:
        self.received.append(("cell", raw))
        if raw == "fail":
            raise RuntimeError("no answer")
        return f"answer to {raw}"


class Shell(InteractiveShell):
    """IPython with the grammar in front of its own transformers, as in the kernel."""

    familiar: Familiar

    def transform_cell(self, raw_cell: str) -> str:
        changed = cells.transform(raw_cell, awaitable=True)
        manager: TransformerManager = self.input_transformer_manager
        return manager.transform_cell(raw_cell if changed is None else changed)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    untyped: Any = Shell  # IPython declares no types here
    config = Config({"HistoryManager": {"hist_file": ":memory:"}})
    shell = untyped(config=config, ipython_dir=str(tmp_path))
    shell.familiar = Familiar()
    shell.user_ns["get_ipython"] = lambda: shell
    yield shell
    shell.history_manager.end_session()
    shell.restore_sys_module_state()


def run(shell: Any, cell: str, **arguments: Any) -> Any:
    arguments = {"store_history": True} | arguments
    result = shell.run_cell(cell, **arguments)
    assert result.success
    return result


PROMPTS = {
    "line": ("%claude what?", [("cell", "what?")]),
    "cell": ("%%claude\nwhat??\n%time x\n", [("cell", "\nwhat??\n%time x\n")]),
    "mixed": ("x = 1\n%claude ?x \\", [("line", "?x \\")]),
    "first": ("%claude a?\nif 1: pass", [("line", "a?")]),
    "block": ("for i in range(2):\n    %claude a?", [("line", "a?")] * 2),
    "with magics": ("%time pass\ny = !echo '''\n%claude a?", [("line", "a?")]),
    "pasted": (">>> for i in range(2):\n...     %claude a?\n", [("line", "a?")] * 2),
    "pasted from IPython": ("In [3]: x = 1\n   ...: %claude a?", [("line", "a?")]),
    "all indented": ("    x = 1\n    %claude a?", [("line", "a?")]),
    "in time": ("%%time\n%claude a\nx = 1", [("line", "a")]),
    "control characters": ("x = 1\n%claude a\0\x1b\u202eb", [("line", "a\0\x1b\u202eb")]),
}


@pytest.mark.parametrize("interactivity", ["last_expr", "last_expr_or_assign", "all"])
@pytest.mark.parametrize("store_history", [True, False])
@pytest.mark.parametrize(("cell", "received"), PROMPTS.values(), ids=PROMPTS)
def test_a_prompt_runs_and_displays_nothing(
    shell: Any,
    capsys: pytest.CaptureFixture[str],
    cell: str,
    received: list[tuple[str, str]],
    store_history: bool,
    interactivity: str,
) -> None:
    shell.ast_node_interactivity = interactivity
    result = run(shell, cell, store_history=store_history)
    assert shell.familiar.received == received
    assert result.result is None
    assert "answer" not in capsys.readouterr().out
    assert not shell.user_ns["Out"]


def test_in_out_and_counter(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "6 * 7")
    run(shell, "%claude what?")
    assert shell.user_ns["_"] == 42
    run(shell, "%%claude\nagain?")
    run(shell, "x = %claude is it?\nx + '!'")
    assert shell.user_ns["In"][2:] == [
        "(await get_ipython().familiar.prompt_cell('what?'), None)[1]",
        "(await get_ipython().familiar.prompt_cell('\\nagain?'), None)[1]",
        "x = get_ipython().familiar.prompt_line('is it?')\nx + '!'",
    ]
    raw = [entry[2] for entry in shell.history_manager.get_range(raw=True)]
    assert raw == ["6 * 7", "%claude what?", "%%claude\nagain?", "x = %claude is it?\nx + '!'"]
    assert shell.user_ns["Out"] == {1: 42, 4: "answer to is it?!"}
    assert shell.execution_count == 5
    assert capsys.readouterr().out.split("\n")[:2] == ["Out[1]: 42", "Out[4]: 'answer to is it?!'"]


@pytest.mark.parametrize("cell", ["%claude fail", "x = 1\n\n%claude fail\ny = 1", "%%claude fail"])
def test_an_error_fails_the_cell_at_the_right_line(shell: Any, cell: str) -> None:
    result = shell.run_cell(cell, store_history=True)
    assert isinstance(result.error_in_exec, RuntimeError)
    trace = result.error_in_exec.__traceback__
    lines = []
    while trace:
        if "prompt_" not in trace.tb_frame.f_code.co_name and "<" in trace.tb_frame.f_code.co_name:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    assert lines == [cell[: cell.index("%")].count("\n") + 1]
    assert "y" not in shell.user_ns


def test_a_lone_surrogate_arrives(shell: Any) -> None:
    run(shell, "%claude a\ud800b", store_history=False)
    run(shell, "x = 1\n%claude a\udc80b?", store_history=False)
    assert shell.familiar.received == [("cell", "a\ud800b"), ("line", "a\udc80b?")]


@pytest.mark.parametrize("cell", ["%claude?", "%claude??", "?%claude", "%%claude?"])
def test_help_stays_with_ipython(shell: Any, cell: str) -> None:
    asked: list[str] = []
    shell.register_magic_function(lambda line, body=None: None, "line_cell", "claude")
    shell.inspector.pinfo = lambda _object, name, *_rest, **_options: asked.append(name)
    run(shell, cell)
    assert asked == [cell.strip("?")]
    assert shell.familiar.received == []


def test_a_help_line_between_prompts(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "%claude a?\nprint?\n%claude b??\nlen?")
    assert shell.familiar.received == [("line", "a?"), ("line", "b??")]
    assert "Docstring" in capsys.readouterr().out
