"""Attacks on the channels between: on what the person is asked, on clients that read, and on the
memory of the outer kernel."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from familiar_kernel.outer.stdin import _Asked, _meant, _nothing
from familiar_kernel.outer.watch import GROWTH
from familiar_kernel.sandbox.forward import read, sound_header
from kernels import Kernel
from sandbox import attacks
from sandbox.attacks import until
from sandbox.podman import Podman

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SCRIPTS = Path(__file__).parents[1] / "scripts"

LEAVING = """
import json, zmq
kernel = get_ipython().kernel
def leave(header=None, prompt='never answered'):
    head = header or json.dumps(kernel.session.msg_header('input_request'), default=str).encode()
    parent = json.dumps(kernel.get_parent()['header'], default=str).encode()
    content = json.dumps({'prompt': prompt, 'password': False}).encode()
    parts = [head, parent, b'{}', content]
    frames = [b'outer', b'<IDS|MSG>', kernel.session.sign(parts), *parts]
    kernel.stdin_socket.send_multipart(frames)
def answers():
    found = []
    while kernel.stdin_socket.poll(300):
        found.append(kernel.stdin_socket.recv_multipart()[-1].decode())
    return found
"""


@pytest.fixture(scope="module")
def asking(podman: Podman) -> Iterator[Kernel]:
    """A sandboxed kernel in whose turns Claude asks the person before it runs code."""
    with (
        attacks.place_of(podman) as place,
        attacks.sandboxed(podman, place, script=SCRIPTS / "tools.yaml") as kernel,
    ):
        kernel.run(LEAVING)
        yield kernel


def asked(kernel: Kernel) -> str:
    """Wait for the next question, and return it."""
    return str(kernel.client.get_stdin_msg(timeout=20)["content"]["prompt"])


def test_an_answer_for_claude_does_not_reach_a_question_that_was_left(asking: Kernel) -> None:
    request = asking.execute("leave()", allow_stdin=True)
    assert asked(asking) == "[sandbox] never answered"
    assert asking.collect(request).status == "ok"
    request = asking.execute("%claude run 6 * 7", allow_stdin=True)
    assert "run_python" in asked(asking)
    asking.client.input("y")
    assert "42" in asking.collect(request, timeout=20).text()
    assert asking.value("answers()") == []


def test_a_question_that_was_interrupted_takes_no_answer(asking: Kernel) -> None:
    request = asking.execute("input('left')", allow_stdin=True)
    assert asked(asking) == "[sandbox] left"
    asking.interrupt()
    assert asking.collect(request, timeout=20).status == "error"
    request = asking.execute("%claude run 6 * 7", allow_stdin=True)
    assert "run_python" in asked(asking)
    asking.client.input("y")
    assert "42" in asking.collect(request, timeout=20).text()


def test_one_request_has_one_question_of_bounded_size(asking: Kernel) -> None:
    outer = psutil.Process(asking.pid)
    before = outer.memory_info().rss
    request = asking.execute(
        "head = kernel.session.msg_header('input_request')\n"
        "import time\nfor i in range(20):\n"
        "    big = {**head, 'msg_id': str(i) + 'x' * (20 << 20)}\n"
        "    leave(json.dumps(big, default=str).encode())\n"
        "leave(prompt='p' * (20 << 20)); time.sleep(8)",
        allow_stdin=True,
    )
    assert len(asked(asking)) == 10_000
    assert asking.collect(request, timeout=60).status == "ok"
    assert outer.memory_info().rss - before < 300 << 20


ENDLESS = """
import socket, struct, time
def peer(name, kind):
    s = socket.socket(socket.AF_UNIX); s.connect('/run/familiar/' + name)
    hello = b'\\xff' + bytes(8) + b'\\x7f\\x03\\x00'
    s.sendall(hello + b'NULL'.ljust(20, b'\\0') + bytes(32))
    got = b''
    while len(got) < 64: got += s.recv(64 - len(got))
    told = b'\\x0bSocket-Type' + struct.pack('>I', len(kind)) + kind
    body = b'\\x05READY' + told + b'\\x08Identity' + struct.pack('>I', 0)
    s.sendall(b'\\x04' + bytes([len(body)]) + body)
    s.recv(1000)
    return s
part, s = bytes(16 << 20), peer('shell', b'ROUTER')
for i in range(300):
    s.sendall(b'\\x03' + struct.pack('>Q', len(part))); s.sendall(part)
"""


def test_a_message_without_end_ends_the_sandbox_and_not_the_machine(podman: Podman) -> None:
    with attacks.place_of(podman) as place, attacks.sandboxed(podman, place) as kernel:
        kernel.run("kept = 1")
        outer = psutil.Process(kernel.pid)
        before = most = outer.memory_info().rss
        request = kernel.execute(ENDLESS)
        end = time.monotonic() + 60
        while not kernel.client.shell_channel.socket.poll(50) and time.monotonic() < end:
            most = max(most, outer.memory_info().rss)
        ran = kernel.collect(request, timeout=10)
        assert "it sent more than can be held outside" in ran.told
        assert GROWTH / 2 < most - before < 2 * GROWTH
        assert until(lambda: outer.memory_info().rss - before < GROWTH / 2, 10)
        assert kernel.value("'kept' in globals()") is False


HEADERS = {
    "no id": b'{"msg_type": "stream"}',
    "UTF-16": json.dumps({"msg_id": "a", "msg_type": "stream"}).encode("utf-16-le"),
    "a byte order mark": b'\xef\xbb\xbf{"msg_id": "a", "msg_type": "stream"}',
    "an id that is a list": b'{"msg_id": [1], "msg_type": "stream"}',
    "an id that is a date": b'{"msg_id": "9999-99-99T99:99:99.9Z", "msg_type": "stream"}',
    "an id that is long": b'{"msg_id": "' + b"x" * 1000 + b'", "msg_type": "stream"}',
    "a wrong date": b'{"msg_id": "a", "msg_type": "stream", "date": "9999-99-99T99:99:99.9Z"}',
    "a list as date": b'{"msg_id": "a", "msg_type": "stream", "date": [1]}',
    "a list as version": b'{"msg_id": "a", "msg_type": "stream", "version": []}',
    "half a character": b'{"msg_id": "a", "msg_type": "stream", "username": "\xed\xa0\x80"}',
}
PASSES = {"a wrong date", "a list as date", "a list as version"}


@pytest.mark.parametrize("name", HEADERS)
def test_any_header_can_be_read_by_any_client(name: str) -> None:
    from jupyter_client.jsonutil import extract_dates

    try:
        header = json.loads(sound_header(read(HEADERS[name])))
    except ValueError:
        assert name not in PASSES
        return
    assert name in PASSES
    read_by_clients = extract_dates(header)
    assert not isinstance(read_by_clients["date"], str)
    assert int(read_by_clients["version"].split(".")[0]) == 5


def test_no_header_makes_a_client_fail(asking: Kernel) -> None:
    asking.run(
        "def forge(head, parent=None, metadata=b'{}'):\n"
        "    parent = parent or json.dumps(kernel.get_parent()['header'], default=str).encode()\n"
        '    parts = [head, parent, metadata, b\'{"name": "stdout", "text": "x"}\']\n'
        "    sign = kernel.session.sign(parts)\n"
        "    kernel.iopub_socket.send_multipart([b'stream', b'<IDS|MSG>', sign, *parts])\n"
        "good = json.dumps(kernel.session.msg_header('stream'), default=str).encode()"
    )
    lines = [f"forge({header!r})" for header in HEADERS.values()]
    lines += [f"forge(good, parent={header!r})" for header in HEADERS.values()]
    lines += [f"forge(good, metadata={header!r})" for header in HEADERS.values()]
    # The client parses each of them: one that cannot be parsed raises here.
    ran = asking.collect(asking.execute("\n".join([*lines, "print('done')"])), timeout=20)
    assert "done" in ran.stream()
    assert asking.run("1 + 1").text() == "2"


# -- Stop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.0, 0.1, 0.3, 0.5])
def test_stop_while_a_sandbox_starts_stops_what_waits(asking: Kernel, after: float) -> None:
    asking.run("%sandbox_restart")
    requests = [asking.execute("import time; time.sleep(20)"), asking.execute("1")]
    # The outer kernel answers this itself, behind the cells: so it has them before the Stop.
    asking.request("complete_request", code="%claude --m", cursor_pos=11)
    time.sleep(after)
    asking.interrupt()
    assert asking.collect(requests[0], timeout=10).status == "error"
    assert asking.collect(requests[1], timeout=10).status in ("aborted", "ok")
    assert asking.run("1 + 1", timeout=20).text() == "2"
    asking.run(LEAVING)


def test_a_stop_that_was_confirmed_stops_no_later_cell(asking: Kernel) -> None:
    for number in range(30):
        asking.interrupt()
        assert asking.run(f"{number}").text() == f"{number}"


def test_an_end_while_nothing_runs_is_told_with_the_next_cell(asking: Kernel) -> None:
    asking.run("z = 1")
    asking.run("exit()")
    assert until(lambda: asking.run("z").status == "error", 10)
    asking.run("import os, threading; threading.Timer(0.2, os._exit, [3]).start()")
    time.sleep(1.5)
    ran = asking.run("1 + 1", timeout=20)
    assert ran.text() == "2"
    assert "ended while nothing ran: its Python ended with status 3" in ran.stream("stderr")
    assert asking.run("1").stream("stderr") == ""


# -- which question --------------------------------------------------------------------------------


def test_which_question_an_answer_is_for() -> None:
    first = _Asked("id-1", "request-1", None, _nothing)
    second = _Asked("id-2", "request-2", None, _nothing)
    both = [first, second]
    assert _meant(both, "id-1") is first
    assert _meant(both, "request-1") is first
    assert _meant(both, "") is second
    assert _meant(both, "another") is None
    assert _meant([], "") is None
