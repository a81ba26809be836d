"""Everything that a front end does with a kernel, done with a plain ipykernel and through a
sandbox: what comes back is the same, message for message."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from kernels import CELL_TIMEOUT, Kernel, running_kernel

pytestmark = [pytest.mark.kernel]

CELLS = {
    "a result": "1 + 1",
    "nothing": "",
    "a comment": "# nothing",
    "print": "print('one'); print('two')",
    "both streams": "import sys\nprint('out', flush=True); print('err', file=sys.stderr)",
    "a display": "from IPython.display import display\ndisplay('shown')\nprint('after')",
    "a display that is updated": "h = display('first', display_id='mine')\nh.update('second')",
    "cleared": "from IPython.display import clear_output\nprint('a'); clear_output(); print('b')",
    "cleared with the next": "print('gone'); clear_output(wait=True); print('stays')",
    "a table": "import pandas\nprint(pandas.DataFrame({'a': [1, 2]}))",
    "an error": "1 / 0",
    "a syntax error": "def f(:",
    "an error of its own": "class Own(Exception): pass\nraise Own('said')",
    "an exit that is caught": "try:\n    exit\nexcept SystemExit: pass",
    "an assignment": "x = 5",
    "what was assigned": "x, _ , In[1], sorted(Out)[:2]",
    "a magic": "%history -n 1-2",
    "a line of shell": "!echo from the shell",
    "captured": "%%capture got\nprint('unseen')",
    "what was captured": "got.stdout",
    "help": "len?",
    "a cell that awaits": "import asyncio\nawait asyncio.sleep(0.01)\n'awaited'",
    "a thread's output": "import threading\n"
    "t = threading.Thread(target=print, args=('from a thread',)); t.start(); t.join()",
    "Unicode": "print('\\N{SNOWMAN} \\N{GRINNING FACE}'); '\\ud800'.encode('utf-8', 'replace')",
    "the next input": "get_ipython().set_next_input('proposed')",
    "a picture": "from IPython.display import Image\nimport base64\n"
    "Image(data=base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
    "hgGAWjR9awAAAABJRU5ErkJggg=='))",
    "matplotlib": "%matplotlib inline\nimport matplotlib.pyplot as p\n"
    "p.figure(figsize=(1, 1)); p.plot([1, 2]); p.show(); p.get_backend()",
    "JSON": "from IPython.display import JSON\nJSON({'a': [1]})",
    "LaTeX": "from IPython.display import Math\nMath('a^2')",
    "several displays": "for i in range(3): display(i)",
    "a long output": "print('line\\n' * 5000)",
}

OPTIONS = {
    "silent": ("print('said'); 6", {"silent": True}),
    "no history": ("7", {"store_history": False}),
    "expressions": ("y = 3", {"user_expressions": {"a": "y + 1", "b": "nothing_such"}}),
    "no stdin": ("input('asked')", {"allow_stdin": False}),
}

REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "complete": ("shell", "complete_request", {"code": "impor", "cursor_pos": 5}),
    "complete an attribute": ("shell", "complete_request", {"code": "''.joi", "cursor_pos": 6}),
    "inspect": ("shell", "inspect_request", {"code": "len", "cursor_pos": 3, "detail_level": 0}),
    "is complete": ("shell", "is_complete_request", {"code": "for i in x:"}),
    "history": (
        "shell",
        "history_request",
        {"output": False, "raw": True, "hist_access_type": "tail", "n": 3},
    ),
    "comms": ("shell", "comm_info_request", {"target_name": "nothing"}),
    "usage": ("control", "usage_request", {}),
    "subshells": ("control", "list_subshell_request", {}),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, own_home: Path) -> Iterator[Kernel]:
    home = tmp_path_factory.mktemp("plain")
    with running_kernel(home, arguments=(), module="ipykernel_launcher") as kernel:
        yield kernel


@pytest.fixture(scope="module")
def both(plain: Kernel, boxed: Kernel) -> tuple[Kernel, Kernel]:
    return plain, boxed


def recorded(kernel: Kernel, code: str, **options: Any) -> list[tuple[str, Any]]:
    """Run a cell, and return all that came of it, without what is each kernel's own."""
    ran = kernel.run(code, **{"allow_stdin": False, **options})
    told = [(m["msg_type"], m["content"]) for _, m in ran.messages]
    joined: list[tuple[str, Any]] = []
    for kind, content in told:
        # How a stream is cut into messages is a matter of time.
        last = joined[-1] if joined else ("", {})
        if kind == last[0] == "stream" and content["name"] == last[1]["name"]:
            joined[-1] = (kind, {**content, "text": last[1]["text"] + content["text"]})
        else:
            joined.append((kind, content))
    return [*((k, normal(c)) for k, c in joined), ("execute_reply", normal(ran.reply["content"]))]


def normal(value: Any) -> Any:
    """Return a content without ids, paths and times."""
    text = json.dumps(value, sort_keys=True, default=str)
    text = re.sub(r"0x[0-9a-f]{6,}", "0x", text)
    text = re.sub(r"/tmp/ipykernel_\d+/\d+\.py", "cell.py", text)
    text = re.sub(r"(/[\w.+-]+)+/(site-packages|lib)/[\w./+-]+", "path", text)
    text = re.sub(r'"image/png": "[^"]+"', '"image/png": ""', text)
    text = re.sub(r'"engine_uuid": "[^"]+"', '"engine_uuid": ""', text)
    return json.loads(text)


@pytest.fixture(scope="module")
def recordings(both: tuple[Kernel, Kernel]) -> dict[str, tuple[Any, Any]]:
    """All cells, in order, in either kernel."""
    ours = [{name: recorded(kernel, code) for name, code in CELLS.items()} for kernel in both]
    return {name: (ours[0][name], ours[1][name]) for name in CELLS}


@pytest.mark.parametrize("name", list(CELLS))
def test_a_cell_brings_the_same_messages(recordings: dict[str, tuple[Any, Any]], name: str) -> None:
    direct, sandboxed = recordings[name]
    if name == "the next input":
        for kind, content in direct:
            if kind == "execute_reply":
                content["payload"][0]["replace"] = False  # it may only be put below
    assert sandboxed == direct


@pytest.mark.parametrize("name", list(OPTIONS))
def test_the_options_of_a_cell_hold(both: tuple[Kernel, Kernel], name: str) -> None:
    code, options = OPTIONS[name]
    for kernel in both:
        kernel.run("%reset -f")
        kernel.run("%xmode Minimal")
    direct, sandboxed = (recorded(kernel, code, **options) for kernel in both)
    for told in (direct, sandboxed):
        for _, content in told:
            content.pop("execution_count", None)
    assert sandboxed == direct


@pytest.mark.parametrize("name", list(REQUESTS))
def test_a_request_is_answered_alike(both: tuple[Kernel, Kernel], name: str) -> None:
    channel, kind, content = REQUESTS[name]
    direct, sandboxed = (kernel.request(kind, channel, **content) for kernel in both)
    if name == "usage":
        assert sandboxed.keys() >= direct.keys() - {"host_cpu_percent"}
        return
    if name == "history":
        assert len(sandboxed["history"]) == len(direct["history"]) == 3
        return
    assert normal(sandboxed) == normal(direct)


def test_the_kernel_says_what_it_is(both: tuple[Kernel, Kernel]) -> None:
    direct, sandboxed = (kernel.request("kernel_info_request") for kernel in both)
    assert sandboxed["status"] == "ok"
    assert sandboxed["protocol_version"] == direct["protocol_version"]
    assert sandboxed["supported_features"] == direct["supported_features"]
    assert sandboxed["language_info"]["name"] == "python"
    assert sandboxed["language_info"]["file_extension"] == ".py"
    assert "Python + Claude" in sandboxed["banner"] or "claude" in sandboxed["banner"]


def test_the_connection_is_the_outer_kernels_own(boxed: Kernel) -> None:
    told = boxed.request("connect_request")
    assert told["shell_port"] == boxed.manager.shell_port


def test_what_follows_an_error_is_aborted(both: tuple[Kernel, Kernel]) -> None:
    for kernel in both:
        requests = [
            kernel.execute(code) for code in ("import time; time.sleep(0.3)", "1/0", "2", "3")
        ]
        replies = [kernel.collect(request).status for request in requests]
        assert replies == ["ok", "error", "aborted", "aborted"]
        goes_on = [kernel.execute(code, stop_on_error=False) for code in ("1/0", "4")]
        assert [kernel.collect(request).status for request in goes_on] == ["error", "ok"]


def test_an_error_aborts_prompts_and_a_failed_prompt_aborts_code(boxed: Kernel) -> None:
    for cells in (("1/0", "%claude hello", "5"), ("%claude --nonsense hello", "6")):
        requests = [boxed.execute(code) for code in ("import time; time.sleep(0.3)", *cells)]
        replies = [boxed.collect(request).status for request in requests]
        assert replies == ["ok", "error", *["aborted"] * (len(cells) - 1)]
    assert boxed.run("7").status == "ok"


@pytest.mark.parametrize("password", [False, True])
def test_input_is_asked_for(both: tuple[Kernel, Kernel], password: bool) -> None:
    ask = "__import__('getpass').getpass('Secret: ')" if password else "input('Name: ')"
    for kernel, label in zip(both, ("", "[sandbox] "), strict=True):
        request = kernel.execute(f"said = {ask}\nsaid.upper()", allow_stdin=True)
        asked = kernel.client.get_stdin_msg(timeout=CELL_TIMEOUT)["content"]
        assert asked == {
            "prompt": f"{label}{'Secret' if password else 'Name'}: ",
            "password": password,
        }
        kernel.client.input("ada")
        assert kernel.collect(request).text() == "'ADA'"


def test_a_comm_goes_both_ways_with_buffers(start_sandboxed: Callable[..., Any]) -> None:
    with start_sandboxed(widgets=True) as kernel:
        request = kernel.execute(
            "from comm import create_comm\n"
            "got = []\n"
            "c = create_comm(target_name='t', data={'a': 1}, buffers=[b'\\x00\\xff'])\n"
            "def on(m):\n"
            "    got.append((m['content']['data'], [bytes(b) for b in m['buffers']]))\n"
            "    c.send({'back': 2}, buffers=[b'there'])\n"
            "c.on_msg(on)\n"
        )
        opened = kernel.until(request, lambda m: m["msg_type"] == "comm_open")
        assert opened["content"]["data"] == {"a": 1}
        assert [bytes(b) for b in opened["buffers"]] == [b"\x00\xff"]
        assert kernel.collect(request).status == "ok"
        comm = opened["content"]["comm_id"]
        message = kernel.client.session.msg("comm_msg", {"comm_id": comm, "data": {"x": 1}})
        kernel.client.session.send(kernel.client.shell_channel.socket, message, buffers=[b"here"])
        back = kernel.until_any(lambda m: m["msg_type"] == "comm_msg")
        assert back["content"]["data"] == {"back": 2}
        assert [bytes(b) for b in back["buffers"]] == [b"there"]
        assert kernel.value("got") == [({"x": 1}, [b"here"])]
        info = kernel.request("comm_info_request", target_name="t")
        assert list(info["comms"]) == [comm]


def test_a_widget_hears_while_its_cell_awaits(start_sandboxed: Callable[..., Any]) -> None:
    with start_sandboxed(widgets=True) as kernel:
        request = kernel.execute(
            "import asyncio, ipywidgets\n"
            "w = ipywidgets.IntSlider(value=1); came = asyncio.Event()\n"
            "w.observe(lambda change: came.set(), 'value')\n"
            "display(w)\nawait asyncio.wait_for(came.wait(), 20)\nw.value"
        )
        shown = kernel.until(
            request,
            lambda m: "application/vnd.jupyter.widget-view+json" in m["content"].get("data", {}),
        )
        model = shown["content"]["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
        data = {"method": "update", "state": {"value": 7}, "buffer_paths": []}
        message = kernel.client.session.msg("comm_msg", {"comm_id": model, "data": data})
        kernel.client.shell_channel.send(message)
        assert kernel.collect(request).text().endswith("7")


def test_without_the_switch_no_widget_passes(boxed: Kernel) -> None:
    ran = boxed.run("import ipywidgets\nipywidgets.HTML('<img src=x onerror=alert(1)>')")
    assert ran.status == "ok"
    assert not ran.of("comm_open", "comm_msg")
    assert "widget-view" not in str([o["data"].keys() for o in ran.outputs()])
    assert "HTML" in ran.text()


def test_code_is_interrupted(boxed: Kernel) -> None:
    for wait in ("time.sleep(60)", "await asyncio.sleep(60)", "input('waits')"):
        request = boxed.execute(
            f"import time, asyncio; print('begun', flush=True)\n{wait}", allow_stdin=True
        )
        boxed.until(request, lambda m: m["content"].get("text") == "begun\n")
        if "input" in wait:
            boxed.client.get_stdin_msg(timeout=CELL_TIMEOUT)
        time.sleep(0.2)
        began = time.monotonic()
        boxed.interrupt()
        ran = boxed.collect(request, timeout=20)
        assert ran.status == "error"
        assert ran.reply["content"]["ename"] in ("KeyboardInterrupt", "CancelledError")
        assert time.monotonic() - began < 3
    assert boxed.run("1").status == "ok"


def test_a_turn_is_interrupted_and_the_code_behind_it_is_not(boxed: Kernel) -> None:
    request = boxed.execute("%claude Name three fictional spaceships and rank them.")
    boxed.until(request, lambda m: m["msg_type"] == "display_data")
    boxed.interrupt()
    stopped = boxed.collect(request, timeout=20)
    assert stopped.reply["content"]["ename"] == "TurnStopped"
    assert boxed.run("6 * 7").text() == "42"


def test_names_are_completed_during_a_turn(boxed: Kernel) -> None:
    boxed.run("a_name_of_mine = 1")
    boxed.request("complete_request", code="a_name_of", cursor_pos=9)  # jedi is loaded now
    request = boxed.execute("%claude Name three fictional spaceships and rank them.")
    boxed.until(request, lambda m: m["msg_type"] == "display_data")
    began = time.monotonic()
    found = boxed.request("complete_request", code="a_name_of", cursor_pos=9)
    assert found["matches"] == ["a_name_of_mine"]
    assert time.monotonic() - began < 5
    assert request not in boxed._replies  # the turn goes on
    boxed.interrupt()
    boxed.collect(request, timeout=20)


def test_subshells_run_beside_a_cell(boxed: Kernel) -> None:
    subshell = boxed.request("create_subshell_request", "control")["subshell_id"]
    assert boxed.request("list_subshell_request", "control")["subshell_id"] == [subshell]
    busy = boxed.execute("import time; time.sleep(1.5)")
    message = boxed.client.session.msg("execute_request", dict(code="'beside'", silent=False))
    message["header"]["subshell_id"] = subshell
    boxed.client.shell_channel.send(message)
    ran = boxed.collect(message["header"]["msg_id"], timeout=1.4)
    assert ran.text() == "'beside'"
    boxed.collect(busy)
    assert (
        boxed.request("delete_subshell_request", "control", subshell_id=subshell)["status"] == "ok"
    )
    unknown = boxed.client.session.msg("execute_request", dict(code="1", silent=False))
    unknown["header"]["subshell_id"] = "nothing"
    boxed.client.shell_channel.send(unknown)
    assert boxed.collect(unknown["header"]["msg_id"], timeout=10).status == "error"


def test_the_debugger_stops_and_shows_variables(start_sandboxed: Callable[..., Any]) -> None:
    with start_sandboxed() as kernel:
        code = "def half(cake):\n    piece = cake / 2\n    return piece\nhalf(12)"
        assert kernel.debug("debugInfo")["body"]["isStarted"] is False
        kernel.attach_debugger(code, 3)
        request = kernel.execute(code)
        thread = kernel.until_stopped()
        frame = kernel.debug("stackTrace", threadId=thread)["body"]["stackFrames"][0]
        scope = kernel.debug("scopes", frameId=frame["id"])["body"]["scopes"][0]
        found = kernel.debug("variables", variablesReference=scope["variablesReference"])
        assert {v["name"]: v["value"] for v in found["body"]["variables"]}["piece"] == "6.0"
        kernel.debug("continue", threadId=thread)
        assert kernel.collect(request).text() == "6.0"
        kernel.run("known = 5")
        names = {v["name"] for v in kernel.debug("inspectVariables")["body"]["variables"]}
        assert "known" in names
        kernel.debug("disconnect", restart=False, terminateDebuggee=True)
        assert kernel.run("1").status == "ok"


def test_a_kernel_is_restarted(start_sandboxed: Callable[..., Any]) -> None:
    with start_sandboxed() as kernel:
        kernel.run("kept = 1")
        first = kernel.value("__import__('os').uname().nodename")
        assert first == "sandbox"
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=60)
        assert kernel.run("kept").status == "error"
        assert kernel.run("%claude hello").status == "ok"


def test_an_encrypted_connection_works(
    start_sandboxed: Callable[..., AbstractContextManager[Kernel]],
) -> None:
    with start_sandboxed(traits={"transport_encryption": "required"}) as kernel:
        assert kernel.run("6 * 7").text() == "42"


def test_a_message_with_a_wrong_signature_does_nothing(boxed: Kernel) -> None:
    client = boxed.client
    key, client.session.key = client.session.key, b"wrong"
    try:
        client.execute("forged = 1")
        with pytest.raises(Empty):
            client.get_shell_msg(timeout=1)
    finally:
        client.session.key = key
    assert "forged" not in boxed.value("sorted(globals())")


def test_state_and_files_stay(boxed: Kernel) -> None:
    boxed.run("state = [1]")
    boxed.run("open('/tmp/kept', 'w').write('here')")
    assert boxed.value("(state, open('/tmp/kept').read())") == ([1], "here")


def test_large_outputs_pass_whole(boxed: Kernel) -> None:
    ran = boxed.run("import os, base64\nprint('x' * 3_000_000)")
    assert len(ran.stream()) == 3_000_001
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(2_000_000)).decode()
    ran = boxed.run(
        "data = base64.b64encode(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(2_000_000)).decode()\n"
        "display({'image/png': data, 'text/plain': 'big'}, raw=True)"
    )
    assert ran.outputs()[0]["data"]["image/png"] == picture
