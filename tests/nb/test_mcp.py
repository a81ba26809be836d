"""``nb mcp``, asked by the official client and by the real Claude Code CLI."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from mcp import ClientSession, StdioServerParameters, stdio_client

from endpoint import Endpoint, running_endpoint
from nb.conftest import SCRIPTS, Nb, written
from nb.test_cli import PLOT, shown, until

pytestmark = pytest.mark.kernel


@asynccontextmanager
async def client(nb: Nb, *options: str) -> AsyncIterator[ClientSession]:
    """The official client, connected to a server in nb's folder."""
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "familiar_kernel.nb", "mcp", *options],
        env=nb.variables,
        cwd=nb.folder,
    )
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 120))


async def call(session: ClientSession, name: str, **arguments: Any) -> Any:
    """Call a tool that goes well; return its JSON where it answers with that, else its content."""
    result = await session.call_tool(name, arguments)
    assert not result.is_error, result.content
    content: Any = result.content
    try:
        return json.loads(content[0].text)
    except ValueError:
        return content


def facts(content: Any) -> dict[str, Any]:
    """Return the first line of a run's answer, and its text as ``text``."""
    if isinstance(content, dict):
        return {**content, "text": ""}
    first, _, rest = content[0].text.partition("\n")
    return {**json.loads(first), "text": rest.strip()}


def test_a_session_of_another_agent(nb: Nb) -> None:
    path = written(nb.folder / "a.ipynb", "# T", "x = 20\nprint('out')", PLOT, "1 / 0")

    async def work() -> None:
        async with client(nb) as session:
            tools: dict[str, Any] = {t.name: t for t in (await session.list_tools()).tools}
            assert tools["list_cells"].annotations.read_only_hint
            assert tools["delete_cells"].annotations.destructive_hint
            assert not tools["insert_cell"].annotations.destructive_hint
            for tool in tools.values():
                assert tool.description
                for name, schema in tool.input_schema.get("properties", {}).items():
                    assert schema.get("description") or name in ("cells", "to", "code", "prompt",
                        "stop_on_error"), (tool.name, name)  # fmt: skip
            opened = await call(session, "open_notebook", path="a.ipynb", kernel="python3")
            assert (opened["started"], opened["state"]) == (True, "running")
            listed = await call(session, "list_cells")
            assert [cell["type"] for cell in listed["cells"]] == ["markdown", *["code"] * 3]
            ran = facts(await call(session, "run_cells", cells=["1"]))
            assert (ran["state"], ran["text"]) == ("ended", "-- cell 1 ({}) --\nout".format(
                listed["cells"][1]["id"]))  # fmt: skip
            picture = await call(session, "run_cells", cells=["2"])
            assert picture[1].type == "image"
            assert picture[1].mime_type == "image/png"
            read = await call(session, "read_cell", cell="2")
            assert read[1].data == picture[1].data
            failed = facts(await call(session, "run_cells", all=True))
            assert [cell["state"] for cell in failed["cells"]] == ["ok", "ok", "error"]
            assert "ZeroDivisionError" in failed["text"]
            scratch = facts(await call(session, "run_code", code="x + 1"))
            assert (scratch["state"], scratch["text"]) == ("ok", "21")
            made = await call(session, "insert_cell", source="x * 2")
            await call(session, "run_cells", cells=[made["id"]])
            await call(session, "set_cell", cell="0", source="# New")
            await call(session, "move_cell", cell="0", to=1)
            await call(session, "delete_cells", cells=["-2"])
            assert (await call(session, "list_kernels"))[0]["kernel"] == "python3"
            for name, arguments, told in (
                ("run_cells", {"cells": ["77"]}, "There is no cell 77"),
                ("run_cells", {}, "Name cells"),
                ("open_notebook", {"path": "none.ipynb"}, "There is no notebook"),
                ("wait_for_job", {"job": "job-99"}, "There is no job"),
            ):
                result: Any = await session.call_tool(name, arguments)
                assert result.is_error
                assert told in result.content[0].text

    run(work)
    sources = [cell.source for cell in nbformat.read(path, 4).cells]
    assert sources == ["x = 20\nprint('out')", "# New", PLOT, "x * 2"]
    assert shown(path, 3)[0].data["text/plain"] == "40"
    assert until(lambda: nb.json("status") == []), "its kernels end with the server"


def test_long_code_is_a_job_that_can_be_waited_for_and_cancelled(nb: Nb) -> None:
    slow = "import time\nfor i in range({}): print(i, flush=True); time.sleep(0.1)"
    written(nb.folder / "a.ipynb", slow.format(30), slow.format(600))

    async def work() -> None:
        async with client(nb, "--keep") as session:
            await call(session, "open_notebook", path="a.ipynb", kernel="python3")
            began = facts(await call(session, "run_cells", cells=["0"], wait_seconds=2.0))
            assert began["state"] == "running"
            assert "cell 0" in began["doing"]
            heard: list[str] = []

            async def told(progress: float, total: float | None, message: str | None) -> None:
                heard.append(str(message))

            waited = await session.call_tool(
                "wait_for_job", {"job": began["job"]}, progress_callback=told
            )
            ended = facts(waited.content)
            assert ended["cells"][0]["state"] == "ok"
            assert ended["text"].endswith("29")
            assert any("runs" in message for message in heard)

            # A call that is cancelled interrupts its code.
            running = asyncio.create_task(call(session, "run_cells", cells=["1"]))
            await asyncio.sleep(1.5)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await asyncio.sleep(1.0)
            after = facts(await call(session, "run_code", code="'free'", wait_seconds=10))
            assert after["text"] == "'free'"
            # A large answer comes in pages.
            large = await call(session, "run_code", code="print('y' * 20_000)")
            assert len(large[0].text) < 9000
            assert "[page 1 of 3]" in large[0].text
            job = json.loads(large[0].text.partition("\n")[0])["job"]
            third = await call(session, "wait_for_job", job=job, page=3)
            assert "[page 3 of 3]" in third[0].text

    run(work)
    assert shown(nb.folder / "a.ipynb", 1)[-1].ename == "KeyboardInterrupt"
    kept = nb.json("status")
    assert kept[0]["state"] == "running"
    assert psutil.pid_exists(kept[0]["pid"])


SCRIPT = """
  - id: nb-open
    when: {prompt: {regex: '^open (.*)$'}}
    reply:
      - tool_use: {name: mcp__nb__open_notebook, input: {path: "{match[1]}", kernel: python3}}
  - id: nb-run
    when: {prompt: {exact: run it}}
    reply:
      - tool_use: {name: mcp__nb__run_cells, input: {all: true}}
"""


@pytest.mark.cli
def test_claude_code_drives_it(nb: Nb, tmp_path: Path) -> None:
    path = written(nb.folder / "a.ipynb", "print(6 * 7)")
    text = (SCRIPTS / "tools.yaml").read_text()
    head, _, tail = text.partition("rules:")
    script = tmp_path / "script.yaml"
    script.write_text(f"{head}rules:{SCRIPT}{tail}")
    with running_endpoint(script) as endpoint:
        _drive(nb, endpoint)
    assert shown(path, 0)[0].text == "42\n"


def _drive(nb: Nb, endpoint: Endpoint) -> None:
    from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage

    server: Any = {
        "command": sys.executable,
        "args": ["-m", "familiar_kernel.nb", "mcp"],
        "env": {"JUPYTER_RUNTIME_DIR": nb.variables["JUPYTER_RUNTIME_DIR"]},
    }
    options = ClaudeAgentOptions(
        mcp_servers={"nb": server},
        allowed_tools=["mcp__nb__open_notebook", "mcp__nb__run_cells"],
        cwd=nb.folder,
        env={**endpoint.environment, "HOME": nb.variables["HOME"]},
        setting_sources=[],
    )

    async def work() -> None:
        async with ClaudeSDKClient(options) as claude:
            for prompt in ("open a.ipynb", "run it"):
                await claude.query(prompt)
                async for message in claude.receive_response():
                    if isinstance(message, ResultMessage):
                        assert not message.is_error, message

    asyncio.run(asyncio.wait_for(work(), 120))
    asked = str(endpoint.last["messages"])
    assert "started" in asked
    assert "42" in asked


def test_it_speaks_nothing_but_the_protocol(nb: Nb) -> None:
    done = nb("mcp", input="this is no message\n")
    assert done.returncode == 0
    for line in done.stdout.splitlines():
        json.loads(line)
