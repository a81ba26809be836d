"""The rehearsal over HTTP: its routes, errors, chunk borders and cuts, and how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from familiar_kernel.rehearsal.command import main
from familiar_kernel.rehearsal.script import loads
from familiar_kernel.rehearsal.server import MODEL, Rehearsal, Seen

SCRIPT = """
rules:
  - {id: once, times: 1, when: {prompt: busy}, reply: [{error: {status: 429, message: later, headers: {retry-after: 7}}}]}
  - {id: fine, when: {prompt: busy}, reply: free}
  - {id: cut, when: {prompt: cut}, reply: [{text: half an answer}, {cut: true}]}
  - {id: broken, when: {prompt: broken}, reply: [{text: x}, {malformed: json}]}
  - {id: split, when: {prompt: split}, reply: [{text: 'aä世👋', repeat: 20, split_utf8: true}]}
  - {id: big, when: {prompt: big}, reply: [{text: 'All work and no play. ', repeat: 50000, chunk: 50}]}
  - {id: silent, when: {prompt: silent}, reply: [{silence: 3600}, {text: x}]}
  - {id: stuck, when: {prompt: stuck}, reply: [{text: started}, {silence: 3600}]}
  - {id: echo, when: {prompt: echo}, reply: [{echo: json}]}
"""  # noqa: E501 - one rule a line reads best


def asks(prompt: str, stream: bool = True, **more: Any) -> dict[str, Any]:
    """Return the body of a request."""
    messages = [{"role": "user", "content": prompt}]
    return {"model": "m", "max_tokens": 9, "messages": messages, "stream": stream, **more}


@asynccontextmanager
async def serving(
    script: str = SCRIPT,
) -> AsyncIterator[tuple[Rehearsal, httpx.AsyncClient, list[Seen]]]:
    seen: list[Seen] = []
    async with (
        Rehearsal(loads(script), watcher=seen.append) as rehearsal,
        httpx.AsyncClient(base_url=rehearsal.url, trust_env=False) as client,
    ):
        yield rehearsal, client, seen


def play(test: Callable[[httpx.AsyncClient, list[Seen]], Awaitable[None]]) -> None:
    """Run a test against a rehearsal of its own."""

    async def run() -> None:
        async with serving() as (_, client, seen):
            await asyncio.wait_for(test(client, seen), 30)

    asyncio.run(run())


def text_of(body: str) -> str:
    """Return the text that a stream of events says."""
    events = [json.loads(line[6:]) for line in body.split("\n") if line.startswith("data: ")]
    return "".join(event.get("delta", {}).get("text", "") for event in events)


def test_it_says_what_it_is() -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        health = (await client.get("/health")).json()
        assert (health["claude"], health["model"]) == (False, MODEL)
        assert MODEL.startswith("rehearsal")
        assert "not Claude" in (await client.get("/")).text
        assert (await client.head("/")).status_code == 200
        answer = (await client.post("/v1/messages", json=asks("who?", stream=False))).json()
        assert answer["model"] == MODEL
        assert "rehearsal, not Claude" in answer["content"][0]["text"]

    play(test)


@pytest.mark.parametrize(
    ("method", "path", "status", "type_"),
    [
        ("GET", "/v1/models", 404, "not_found_error"),
        ("POST", "/nowhere", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages", 400, "invalid_request_error"),
        ("POST", "/v1/messages/count_tokens", 400, "invalid_request_error"),
    ],
)
def test_errors_have_the_apis_shape(method: str, path: str, status: int, type_: str) -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        got = await client.request(method, path)
        assert got.status_code == status
        body = got.json()
        assert (body["type"], body["error"]["type"]) == ("error", type_)
        assert body["error"]["message"]
        assert body["request_id"] == got.headers["request-id"]

    play(test)


@pytest.mark.parametrize("body", [b"{", b"[" * 200_000, b"\xff", b"[]", b"null"])
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        got = await client.post("/v1/messages", content=body)
        assert got.status_code == 400
        assert got.json()["error"]["type"] == "invalid_request_error"

    play(test)


def test_a_rule_may_hold_a_few_times_in_each_session() -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        for session in ("a", "b"):
            headers = {"x-claude-code-session-id": session}
            busy = await client.post("/v1/messages", json=asks("busy"), headers=headers)
            assert (busy.status_code, busy.headers["retry-after"]) == (429, "7")
            assert busy.json()["error"] == {"type": "rate_limit_error", "message": "later"}
            fine = await client.post("/v1/messages", json=asks("busy"), headers=headers)
            assert text_of(fine.text) == "free"
        assert [(s.session, s.rule) for s in seen] == [
            ("a", "once"), ("a", "fine"), ("b", "once"), ("b", "fine"),
        ]  # fmt: skip

    play(test)


def test_tokens_are_counted_without_using_the_script() -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        few = await client.post("/v1/messages/count_tokens", json=asks("x"))
        many = await client.post("/v1/messages/count_tokens", json=asks("x" * 40_000))
        assert many.json()["input_tokens"] - few.json()["input_tokens"] == pytest.approx(10_000, 1)
        assert seen == []

    play(test)


@pytest.mark.parametrize("stream", [True, False])
def test_a_cut_breaks_the_connection(stream: bool) -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/v1/messages", json=asks("cut", stream))
        again = await client.post("/v1/messages", json=asks("echo"))
        assert text_of(again.text) == '"echo"'

    play(test)


def test_what_is_malformed_in_a_stream_is_malformed_in_one_piece() -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        got = await client.post("/v1/messages", json=asks("broken", stream=False))
        with pytest.raises(json.JSONDecodeError):
            got.json()

    play(test)


def test_http_chunks_end_inside_characters() -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        chunks = []
        async with client.stream("POST", "/v1/messages", json=asks("split")) as got:
            chunks = [chunk async for chunk in got.aiter_raw()]
        assert text_of(b"".join(chunks).decode()) == "aä世👋" * 20
        assert sum(0x80 <= chunk[0] < 0xC0 for chunk in chunks) >= 60

    play(test)


def test_a_megabyte_is_streamed_fast() -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        begun = time.monotonic()
        got = await client.post("/v1/messages", json=asks("big"))
        seconds = time.monotonic() - begun
        assert text_of(got.text) == "All work and no play. " * 50_000
        assert seconds < 10

    play(test)


def test_any_prompt_is_heard_literally() -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        prompt = "echo \x00\x1b[0m \u202e \ud800 {match[1]} $HOME \\ \r\n ``` 👋"
        got = await client.post("/v1/messages", content=json.dumps(asks(prompt)).encode("ascii"))
        assert json.loads(text_of(got.text)) == prompt

    play(test)


@pytest.mark.parametrize("prompt", ["silent", "stuck"])
def test_it_stops_at_once_in_the_middle_of_a_silence(
    prompt: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> float:
        async with serving() as (rehearsal, client, seen):
            waiting = asyncio.create_task(client.post("/v1/messages", json=asks(prompt)))
            while not seen:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            begun = time.monotonic()
            await rehearsal.stop()
            took = time.monotonic() - begun
            with pytest.raises(httpx.RemoteProtocolError):
                await waiting
            return took

    with caplog.at_level(logging.INFO):
        assert asyncio.run(run()) < 1
    assert [r for r in caplog.records if r.name.startswith("uvicorn")] == []


@pytest.mark.parametrize("prompt", ["silent", "stuck", "big"])
def test_clients_may_leave_at_any_time(prompt: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        tasks = [
            asyncio.create_task(client.post("/v1/messages", json=asks(prompt))) for _ in range(20)
        ]
        while len(seen) < len(tasks):
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert text_of((await client.post("/v1/messages", json=asks("echo"))).text) == '"echo"'

    with caplog.at_level(logging.INFO):
        play(test)
    assert [r for r in caplog.records if r.name.startswith("uvicorn")] == []


def test_a_hundred_clients_at_once_are_answered_each() -> None:
    async def test(client: httpx.AsyncClient, seen: list[Seen]) -> None:
        prompts = [f"echo {number}" for number in range(100)]
        posts = (client.post("/v1/messages", json=asks(prompt)) for prompt in prompts)
        answers = await asyncio.gather(*posts)
        assert [json.loads(text_of(answer.text)) for answer in answers] == prompts

    play(test)


def test_it_is_a_good_guest_in_another_program(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with serving() as (_, client, _seen):
            for number in (signal.SIGINT, signal.SIGTERM):
                assert signal.getsignal(number) is handlers[number]
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post("/v1/messages", json=asks("cut"))

    # asyncio.run puts a handler of its own for SIGINT in place, so look from inside a loop.
    handlers: dict[int, Any] = {}

    async def outer() -> None:
        handlers.update({n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)})
        await run()

    with caplog.at_level(logging.INFO):
        asyncio.run(outer())
    assert [r for r in caplog.records if r.name.startswith("uvicorn")] == []


def test_it_can_be_stopped_twice_and_started_again() -> None:
    async def run() -> None:
        rehearsal = Rehearsal(loads(SCRIPT))
        await rehearsal.start()
        port = rehearsal.port
        with pytest.raises(RuntimeError, match="started already"):
            await rehearsal.start()
        with pytest.raises(OSError, match="in use"):
            await Rehearsal(loads(SCRIPT), port=port).start()
        await rehearsal.stop()
        await rehearsal.stop()
        again = Rehearsal(loads(SCRIPT), port=port)
        await again.start()
        assert again.port == port
        await again.stop()

    asyncio.run(run())


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_logs_and_ends_cleanly(tmp_path: Path, number: int) -> None:
    script, log = tmp_path / "play.yaml", tmp_path / "log.jsonl"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "familiar_kernel.rehearsal", "--script", str(script)]
    process = subprocess.Popen(
        [*command, "--log", str(log)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("Rehearsal (not Claude) at http://127.0.0.1:")
        url = first.split()[-1]
        exports = [process.stdout.readline() for _ in range(4)]
        assert exports[0] == f"export ANTHROPIC_BASE_URL={url}\n"
        with httpx.Client(base_url=url, trust_env=False) as client:
            got = client.post("/v1/messages", json=asks("echo"))
        assert text_of(got.text) == '"echo"'
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, rest, errors) == (0, "", "")
    (line,) = log.read_text().splitlines()
    told = json.loads(line)
    assert (told["prompt"], told["rule"], told["stream"]) == ("echo", "echo", True)


def test_a_script_can_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert "first_conversation.yaml: good" in capsys.readouterr().out
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("rules:\n- reply: [{text: 1}]\n")
    assert main(["--check", "--script", str(wrong)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{wrong}:2: rules[0].reply[0].text: must be text" in said.err


def test_a_port_that_is_taken_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert "in use" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["x", "-1", "65536", "1.5"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([f"--port={port}"])
    assert "is not a port" in capsys.readouterr().err
