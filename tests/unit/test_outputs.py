"""Whose outputs a cell shows, and that an answer never clears anybody else's."""

from __future__ import annotations

import threading

from familiar_kernel.outputs import OutputWatch


class Thread:
    """An iopub thread that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []

    def send_multipart(self, message: list[bytes], copy: bool = True) -> None:
        self.sent.append(message)


def message(kind: str, cell: str, content: bytes = b"{}") -> list[bytes]:
    header = f'{{"msg_id": "m", "msg_type": "{kind}"}}'.encode()
    parent = f'{{"msg_id": "{cell}", "msg_type": "execute_request"}}'.encode()
    return [b"topic", b"<IDS|MSG>", b"signature", header, parent, b"{}", content]


def test_what_the_user_s_code_shows_is_not_the_answer_s() -> None:
    thread = Thread()
    watch = OutputWatch(thread)
    answer = object()
    with watch.sending(answer):
        thread.send_multipart(message("display_data", "a"))
    thread.send_multipart(message("status", "a"))
    assert watch.owned("a", answer)
    thread.send_multipart(message("stream", "b"))
    assert watch.owned("a", answer)
    thread.send_multipart(message("stream", "a"))
    assert not watch.owned("a", answer)
    assert len(thread.sent) == 4


def test_another_answer_in_the_same_cell_counts_as_another() -> None:
    thread = Thread()
    watch = OutputWatch(thread)
    first, second = object(), object()
    for answer in (first, second):
        with watch.sending(answer):
            thread.send_multipart(message("display_data", "a"))
    assert not watch.owned("a", first)
    assert not watch.owned("a", second)


def test_one_who_sends_within_sending_stays_the_sender() -> None:
    thread = Thread()
    watch = OutputWatch(thread)
    answer = object()
    with watch.sending(answer):
        with watch.sending(answer):
            thread.send_multipart(message("display_data", "a"))
        thread.send_multipart(message("display_data", "a"))
    assert watch.owned("a", answer)


def test_another_thread_s_output_waits_until_the_sending_is_over() -> None:
    thread = Thread()
    watch = OutputWatch(thread)
    answer = object()
    other = threading.Thread(target=lambda: thread.send_multipart(message("stream", "a")))
    with watch.sending(answer):
        other.start()
        other.join(0.2)
        assert thread.sent == []
        assert watch.owned("a", answer)
    other.join()
    assert not watch.owned("a", answer)


def test_what_cannot_be_read_counts_as_somebody_else_s_everywhere() -> None:
    thread = Thread()
    watch = OutputWatch(thread)
    assert watch.owned("a", object())
    thread.send_multipart([b"topic", b"<IDS|MSG>", b"s", b"\x81packed", b"\x80", b"\x80", b"\x80"])
    assert not watch.owned("a", object())


def test_a_cell_that_runs_is_remembered_whatever_others_show() -> None:
    thread = Thread()
    watch = OutputWatch(thread)
    thread.send_multipart(message("stream", "runs"))
    for number in range(30_000):
        thread.send_multipart(message("stream", f"cell {number}"))
        thread.send_multipart(message("status", f"cell {number}", b'{"execution_state": "idle"}'))
    assert not watch.owned("runs", object())
    assert not watch.owned("cell 29999", object())
    assert not watch.owned("cell 25000", object())
    assert len(watch._owners) < 25_000
