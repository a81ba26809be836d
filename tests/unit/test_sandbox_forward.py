"""Messages as frames: taken apart, read, cut into pieces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from familiar_kernel.sandbox.forward import Body, pieces, read, reply_to, taken_apart

HEADER = b'{"msg_id": "abc_1", "msg_type": "stream"}'


def stream(text: str, *, ascii_only: bool = False) -> Body:
    content = json.dumps({"name": "stdout", "text": text}, ensure_ascii=ascii_only)
    return Body(HEADER, b"{}", b"{}", content.encode("utf-8", "surrogatepass"))


@given(st.text(max_size=300), st.integers(1, 60), st.booleans())
def test_the_pieces_of_a_stream_are_the_whole(text: str, limit: int, ascii_only: bool) -> None:
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    found = [json.loads(p.content) for p in pieces(stream(text, ascii_only=ascii_only), limit)]
    assert "".join(content["text"] for content in found) == text
    assert all(c < "\ud800" or c > "\udfff" for content in found for c in content["text"])
    assert {content["name"] for content in found} <= {"stdout"}


@pytest.mark.parametrize(
    "text", ["\\" * 50, "\n" * 50, '"' * 50, "\\n" * 50, "😀" * 30, "é\n" * 40]
)
@pytest.mark.parametrize("limit", range(1, 20))
def test_no_escape_is_cut(text: str, limit: int) -> None:
    for ascii_only in (False, True):
        body = stream(text, ascii_only=ascii_only)
        assert "".join(json.loads(p.content)["text"] for p in pieces(body, limit)) == text


def test_pieces_are_bounded_and_have_ids_of_their_own() -> None:
    found = pieces(stream("x" * 10_000 + "\n" * 5_000), 1000)
    assert max(len(p.content) for p in found) <= 1100
    ids = [json.loads(p.header)["msg_id"] for p in found]
    assert ids[0] == "abc_1"
    assert len(set(ids)) == len(ids)


def test_what_is_no_plain_stream_stays_whole() -> None:
    for content in (b'{"text": "' + b"x" * 100 + b'", "name": "stdout"}', b"[" * 100, b"{}"):
        assert pieces(Body(HEADER, b"{}", b"{}", content), 10)[0].content == content


def test_a_message_is_taken_apart() -> None:
    frames = [b"a", b"b", b"<IDS|MSG>", b"sig", b"h", b"p", b"m", b"c", b"buffer"]
    identities, body = taken_apart(frames)
    assert identities == [b"a", b"b"]
    assert body == Body(b"h", b"p", b"m", b"c", (b"buffer",))
    assert body.frames(identities, b"sig") == frames


@pytest.mark.parametrize("frames", [[], [b"a"], [b"<IDS|MSG>", b"s", b"h", b"p", b"m"]])
def test_no_message_is_refused(frames: list[bytes]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        taken_apart(frames)


@pytest.mark.parametrize("part", [b"", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a": ' * 50_000])
def test_a_part_that_is_no_object_is_refused(part: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read(part)


def test_replies() -> None:
    assert reply_to("execute_request") == "execute_reply"
    assert reply_to("comm_msg") == ""
