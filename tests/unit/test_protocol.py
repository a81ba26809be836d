"""The link's messages: what is sent is what arrives, and neighbouring versions get along."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from familiar_kernel.familiar import protocol
from familiar_kernel.familiar.protocol import Prompt, ProtocolError, TextDelta, TurnFinished

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates included


@given(any_text, st.dictionaries(st.sampled_from(["model", "effort"]), any_text), st.integers())
def test_a_message_arrives_as_it_was_sent(text: str, options: dict[str, str], number: int) -> None:
    message = Prompt("turn", text, options, number)
    line = protocol.encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert protocol.decode(line) == message


def test_fields_of_a_newer_version_are_dropped() -> None:
    line = json.dumps({"type": "TextDelta", "turn": "t", "text": "x", "later": 1}).encode()
    assert protocol.decode(line) == TextDelta("t", "x")


def test_fields_of_an_older_version_have_their_defaults() -> None:
    line = json.dumps({"type": "TurnFinished", "turn": "t", "outcome": "stopped"}).encode()
    assert protocol.decode(line) == TurnFinished("t", "stopped")


@pytest.mark.parametrize(
    "line",
    [b"", b"nonsense", b"[]", b"{}", b'{"type": "Nothing"}', b'{"type": "TextDelta"}', b"\xff"],
)
def test_a_line_that_is_no_message_is_named(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message"):
        protocol.decode(line)
