"""What goes with a prompt by itself, as it arrives at the endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from endpoint import Endpoint
from kernels import CELL_TIMEOUT, Kernel, running_kernel

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SCRIPT = Path(__file__).parents[1] / "scripts" / "tools.yaml"


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, own_home: Path, endpoint: Endpoint
) -> Iterator[Kernel]:
    with running_kernel(
        tmp_path_factory.mktemp("context"), arguments=(), env=endpoint.environment
    ) as kernel:
        yield kernel


@pytest.fixture
def fresh(shared: Kernel) -> Kernel:
    """The kernel, with nothing that Claude has not been told, and the default mode."""
    shared.run("%claude_context full")
    assert shared.run("%claude hello").status == "ok"
    return shared


def sent(endpoint: Endpoint) -> str:
    """The blocks of the newest prompt, the prompt itself last."""
    message = next(m for m in reversed(endpoint.last["messages"]) if m["role"] == "user")
    content: list[dict[str, Any]] = message["content"]
    return "\n".join(block.get("text", "") for block in content)


def inspected(kernel: Kernel, code: str) -> str:
    kernel.client.inspect(code, len(code))
    while True:
        reply = kernel.client.get_shell_msg(timeout=CELL_TIMEOUT)
        if reply["msg_type"] == "inspect_reply":
            return str(reply["content"]["data"].get("text/plain", ""))


def test_a_prompt_carries_what_happened_since_the_last(fresh: Kernel, endpoint: Endpoint) -> None:
    fresh.run("lamp = [1, 2]; print('lit')")
    fresh.run("lamp[5]")
    fresh.run("%claude hello")
    told = sent(endpoint)
    assert "lamp = [1, 2]; print('lit')\nOutput:\nlit" in told
    assert "IndexError" in told
    assert "lamp" in told.split("Variables:")[1]
    assert told.endswith("hello")
    fresh.run("%claude hello")
    assert sent(endpoint) == "hello"


def test_shift_tab_shows_exactly_what_is_sent(fresh: Kernel, endpoint: Endpoint) -> None:
    fresh.run("inspected_one = 'here'")
    preview = inspected(fresh, "%claude hello")
    assert "tokens" in preview.splitlines()[0]
    fresh.run("%claude hello")
    assert preview.split("\n\n", 1)[1].replace("\n\n", "\n") == sent(endpoint).replace("\n\n", "\n")
    assert "Unknown option" in inspected(fresh, "%claude --nonsense hello")


def test_it_can_be_left_out_and_switched_off(fresh: Kernel, endpoint: Endpoint) -> None:
    fresh.run("left_out = 1")
    fresh.run("%claude --no-context hello")
    assert sent(endpoint) == "hello"
    fresh.run("left_out_too = 1")
    fresh.run("ask('hello', context=False)")
    assert sent(endpoint) == "hello"
    assert "cells that failed" in fresh.run("%claude_context errors").text()
    fresh.run("fine = 1")
    fresh.run("1 / 0")
    fresh.run("%claude hello")
    assert "ZeroDivisionError" in sent(endpoint)
    assert "fine = 1" not in sent(endpoint)
    fresh.run("%claude_context off")
    fresh.run("1 / 0")
    fresh.run("%claude hello")
    assert sent(endpoint) == "hello"
    assert fresh.run("%claude_context maybe").reply["content"]["ename"] == "UsageError"


def test_variables_and_files_are_named_with_an_at(fresh: Kernel, endpoint: Endpoint) -> None:
    fresh.run("%claude_context off")
    fresh.run("shelf = {'book': 'Dune'}; open('notes.txt', 'w').write('from a file')")
    fresh.run("%claude explain @shelf and @file:notes.txt to me@example.org")
    told = sent(endpoint)
    assert "@shelf:" in told
    assert "Dune" in told
    assert "The file notes.txt:\nfrom a file" in told
    assert told.endswith("explain @shelf and @file:notes.txt to me@example.org")


def test_a_turn_that_failed_has_not_been_told(fresh: Kernel, endpoint: Endpoint) -> None:
    fresh.run("important = 'yes'")
    assert fresh.run("%claude --model none-such-model-for-this-test fail").status in ("ok", "error")
    fresh.run("'another cell'")
    preview = inspected(fresh, "%claude hello")
    assert "'another cell'" in preview


def test_claudes_tools_are_there_from_the_first_turn(fresh: Kernel, endpoint: Endpoint) -> None:
    tools = {tool["name"] for tool in endpoint.last["tools"]}
    assert {
        f"mcp__notebook__{name}"
        for name in ("list_variables", "describe_variable", "read_cells", "run_python")
    } <= tools
    assert "mcp__notebook__" not in json.dumps(endpoint.last["messages"])


def test_claude_looks_at_a_plot(fresh: Kernel, endpoint: Endpoint) -> None:
    fresh.run("import matplotlib.pyplot as plt; figure, axes = plt.subplots(); axes.plot([1, 2])")
    for expression in ("figure", "axes"):
        fresh.run(f"%claude look at {expression}", allow_stdin=False)
        (result,) = endpoint.last["messages"][-1]["content"]
        assert '"media_type": "image/png"' in json.dumps(result)
        assert "matplotlib" in json.dumps(result)
    fresh.run("plain = 7")
    assert "has no picture" in fresh.run("%claude look at plain", allow_stdin=False).text()


def test_pictures_reach_claude(fresh: Kernel, endpoint: Endpoint) -> None:
    encoded = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
        "rkJggg=="
    )
    fresh.run(f"import base64, IPython.display as d; png = base64.b64decode('{encoded}')")
    request = fresh.execute("%claude run d.Image(png)", allow_stdin=True)
    fresh.client.get_stdin_msg(timeout=CELL_TIMEOUT)
    fresh.client.input("y")
    assert fresh.collect(request).status == "ok"
    (result,) = endpoint.last["messages"][-1]["content"]
    assert result["type"] == "tool_result"
    assert '"media_type": "image/png"' in json.dumps(result)
