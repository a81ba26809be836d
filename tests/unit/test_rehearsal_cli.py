"""The rehearsal with the real SDK and the real Claude Code CLI in front of it.

Starting a CLI takes about a second, so most tests read the record of one session, in which every
prompt of ``PROMPTS`` was asked in turn.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    Message,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from familiar_kernel.rehearsal.script import Script, built_in, loads
from familiar_kernel.rehearsal.server import MODEL, Rehearsal, Seen
from familiar_kernel.rehearsal.steps import Text

pytestmark = pytest.mark.cli

FAULTS = """
rules:
  - {id: busy, times: 1, when: {prompt: busy}, reply: [{error: {status: 429}}]}
  - {id: free, when: {prompt: busy}, reply: Now I am free.}
  - {id: cut, times: 1, when: {prompt: cut short}, reply: [{text: Half of}, {cut: true}]}
  - {id: uncut, when: {prompt: cut short}, reply: All of it.}
  - id: late
    times: 1
    when: {prompt: cut late}
    reply: [{thinking: A whole thought.}, {text: Half of}, {cut: true}]
  - {id: went-on, when: {prompt: cut late}, reply: ' it.'}
  - {id: lost, when: {prompt: always lost}, reply: [{text: Half of}, {cut: true}]}
  - {id: broken, when: {prompt: broken}, reply: [{text: Before.}, {malformed: json}]}
  - id: noise
    when: {prompt: noise}
    reply: [{text: Before.}, {malformed: html}, {malformed: event}, {text: ' After.'}]
  - id: split
    when: {prompt: split}
    reply: [{text: 'Grüße, 世界 👋 ', repeat: 10, split_utf8: true}]
  - id: big
    when: {prompt: one megabyte}
    reply: [{text: "All work and no play makes a long answer.\\n", chunk: 400, repeat: 25000}]
  - {id: echo, when: {prompt: {regex: '^ ?echo'}}, reply: [{echo: json}]}
"""

ODD = ' echo? <b> ``` {match[1]} $HOME `x` \\n \\ "q" %claude ?? 👋🏽 עברית \t tab\n\n# end '

PROMPTS = (
    "Name three fictional spaceships",
    "which did you rank highest",
    "describe it like a used car salesman",
    "Use a tool and run echo in the shell.",
    "busy",
    "cut short",
    "cut late",
    "always lost",
    "broken",
    "noise",
    "split",
    "one megabyte",
    ODD,
    "What is the airspeed of a swallow?",
    "/compact",
    "so, which did you rank highest?",
)


@dataclass
class Record:
    """What one prompt led to: on the client's side, and as the rehearsal saw it."""

    messages: list[Message] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    """The context's usage, where it was asked for after the turn."""

    @property
    def result(self) -> ResultMessage:
        (result,) = [m for m in self.messages if isinstance(m, ResultMessage)]
        return result

    @property
    def blocks(self) -> list[Any]:
        return [
            block
            for message in self.messages
            if isinstance(message, (AssistantMessage, UserMessage))
            and isinstance(message.content, list)
            for block in message.content
        ]

    @property
    def text(self) -> str:
        """All text of the answer."""
        said = [m for m in self.messages if isinstance(m, AssistantMessage)]
        return "".join(b.text for m in said for b in m.content if isinstance(b, TextBlock))

    @property
    def rules(self) -> list[str]:
        return [seen.rule for seen in self.seen]

    def streamed(self, kind: str) -> str:
        """Return what arrived in deltas of one kind: ``text`` or ``thinking``."""
        events = [m.event for m in self.messages if isinstance(m, StreamEvent)]
        return "".join(event.get("delta", {}).get(kind, "") for event in events)

    def systems(self, subtype: str) -> list[dict[str, Any]]:
        found = [m for m in self.messages if isinstance(m, SystemMessage)]
        return [m.data for m in found if m.subtype == subtype]


def hurried(script: Script) -> Script:
    """Return a script without its pauses between chunks, and with larger ones."""
    return replace(
        script,
        rules=tuple(
            replace(
                rule,
                reply=tuple(
                    replace(step, delay=0.0, chunk=40) if isinstance(step, Text) else step
                    for step in rule.reply
                ),
            )
            for rule in script.rules
        ),
    )


@asynccontextmanager
async def session(
    folder: Path, script: Script, *, env: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[tuple[ClaudeSDKClient, list[Seen]]]:
    """Connect a real CLI, at home in ``folder``, to a rehearsal of its own."""
    seen: list[Seen] = []
    async with Rehearsal(script, watcher=seen.append) as rehearsal:
        environment = {
            **rehearsal.environment,
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "CLAUDE_CONFIG_DIR": str(folder / "config"),
            "HOME": str(folder),
        }
        settings = ClaudeAgentOptions(
            env=environment | (env or {}),
            cwd=folder,
            setting_sources=[],
            include_partial_messages=True,
            max_buffer_size=20 * 1024 * 1024,
            **{"allowed_tools": ["Bash"], **options},
        )
        async with ClaudeSDKClient(settings) as client:
            yield client, seen


async def ask(client: ClaudeSDKClient, seen: list[Seen], prompt: str) -> Record:
    """Ask one prompt and return the record of its turn."""
    before = len(seen)
    await client.query(prompt)
    messages = [message async for message in client.receive_response()]
    return Record(messages, seen[before:])


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """What became of every prompt, asked in one session."""
    first, faults = hurried(built_in()), loads(FAULTS)
    script = replace(first, rules=first.rules + faults.rules)
    folder = tmp_path_factory.mktemp("cli")

    async def run() -> dict[str, Record]:
        found: dict[str, Record] = {}
        async with session(folder, script) as (client, seen):
            for prompt in PROMPTS:
                found[prompt] = await ask(client, seen, prompt)
                if prompt == "busy":
                    found[prompt].usage = dict(await client.get_context_usage())
        return found

    return asyncio.run(asyncio.wait_for(run(), 120))


def test_thinking_and_text_arrive_in_pieces_under_the_rehearsals_name(
    records: dict[str, Record],
) -> None:
    record = records["Name three fictional spaceships"]
    assert record.streamed("thinking").startswith("Three ships that nobody has flown")
    assert "**The Marmalade Paradox**" in record.streamed("text")
    assert record.streamed("text") == record.text == record.result.result
    models = {m.model for m in record.messages if isinstance(m, AssistantMessage)}
    assert models == {MODEL}
    assert (record.result.subtype, record.result.is_error) == ("success", False)
    assert record.result.usage is not None
    assert record.result.usage["output_tokens"] > 100
    assert record.result.total_cost_usd is not None


def test_later_answers_depend_on_earlier_ones(records: dict[str, Record]) -> None:
    assert "**The Marmalade Paradox.**" in records["which did you rank highest"].text
    assert "feel that hull" in records["describe it like a used car salesman"].text
    assert [s.turn for s in records["which did you rank highest"].seen] == [2]


def test_a_tool_is_used_and_its_result_is_checked(records: dict[str, Record]) -> None:
    record = records["Use a tool and run echo in the shell."]
    assert record.rules == ["tool", "tool-answered"]
    (call,) = [b for b in record.blocks if isinstance(b, ToolUseBlock)]
    assert (call.name, call.input["command"]) == (
        "Bash",
        'echo "All hands to the breakfast deck"',
    )
    (result,) = [b for b in record.blocks if isinstance(b, ToolResultBlock)]
    assert "All hands to the breakfast deck" in str(result.content)
    assert record.text.endswith("on their way to the **breakfast** deck.\n")


def test_a_rate_limit_that_passes_is_retried(records: dict[str, Record]) -> None:
    record = records["busy"]
    assert record.rules == ["busy", "free"]
    (retry,) = record.systems("api_retry")
    assert (retry["error_status"], retry["error"]) == (429, "rate_limit")
    assert record.text == "Now I am free."


def test_the_context_usage_can_be_asked_for(records: dict[str, Record]) -> None:
    usage = records["busy"].usage
    assert usage["totalTokens"] > 100
    assert usage["maxTokens"] > usage["totalTokens"]


def test_a_stream_that_is_cut_once_is_asked_for_again(records: dict[str, Record]) -> None:
    record = records["cut short"]
    assert record.rules == ["cut", "uncut"]
    assert record.streamed("text") == "Half ofAll of it."
    assert record.result.result == record.text == "All of it."


def test_a_stream_that_is_cut_after_a_block_is_continued(records: dict[str, Record]) -> None:
    record = records["cut late"]
    assert record.rules == ["late", "went-on"]
    assert {seen.prompt for seen in record.seen} == {"cut late"}
    assert record.streamed("text") == "Half of it."
    assert not record.result.is_error


def test_a_stream_that_is_always_cut_fails_and_the_session_lives(
    records: dict[str, Record],
) -> None:
    result = records["always lost"].result
    assert result.is_error
    assert (result.terminal_reason, result.api_error_status) == ("api_error", None)
    assert not records["noise"].result.is_error


def test_an_event_that_is_no_json_fails_the_turn(records: dict[str, Record]) -> None:
    record = records["broken"]
    assert record.streamed("text") == "Before."
    assert record.result.is_error
    assert "JSON" in str(record.result.result)


def test_noise_between_events_does_no_harm(records: dict[str, Record]) -> None:
    assert records["noise"].text == "Before. After."


def test_characters_in_pieces_come_together(records: dict[str, Record]) -> None:
    record = records["split"]
    assert record.text == record.streamed("text") == "Grüße, 世界 👋 " * 10


def test_a_megabyte_arrives_whole(records: dict[str, Record]) -> None:
    record = records["one megabyte"]
    assert record.text == "All work and no play makes a long answer.\n" * 25_000
    assert record.streamed("text") == record.text


def test_a_prompt_is_delivered_literally(records: dict[str, Record]) -> None:
    assert json.loads(records[ODD].text) == ODD


def test_an_unknown_prompt_is_told_what_this_is(records: dict[str, Record]) -> None:
    record = records["What is the airspeed of a swallow?"]
    assert record.rules == [""]
    assert "rehearsal, not Claude" in record.text


def test_compaction_is_a_side_call_and_keeps_the_memory(records: dict[str, Record]) -> None:
    assert records["/compact"].rules == ["(compact)"]
    assert records["so, which did you rank highest?"].rules == ["ranking"]


def test_a_fresh_conversation_remembers_nothing_and_a_resumed_one_everything(
    tmp_path: Path,
) -> None:
    """The CLI is let ask for titles as well; no rule is used for them."""
    script = hurried(built_in())
    chatty = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": ""}

    async def run() -> None:
        async with session(tmp_path, script, env=chatty) as (client, seen):
            forgotten = await ask(client, seen, "which did you rank highest")
            assert "I know of no ranking" in forgotten.text
            assert "do not know what" in (await ask(client, seen, "used car salesman, please")).text
            ships = await ask(client, seen, "name three fictional spaceships")
            assert "(structured)" in [s.rule for s in seen]
            session_id = ships.result.session_id
            assert {s.session for s in seen} == {session_id}
        async with session(tmp_path, script, resume=session_id) as (client, seen):
            assert (await ask(client, seen, "which did you rank highest")).rules == ["ranking"]

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_tool_that_cannot_be_had_is_told_from_one_that_ran(tmp_path: Path) -> None:
    async def run() -> Record:
        none = {"allowed_tools": [], "disallowed_tools": ["Bash"]}
        async with session(tmp_path, hurried(built_in()), **none) as (client, seen):
            return await ask(client, seen, "Use a tool and run echo in the shell.")

    record = asyncio.run(asyncio.wait_for(run(), 60))
    assert record.rules == ["tool", "tool-refused"]
    assert "nobody has been called to breakfast" in record.text
