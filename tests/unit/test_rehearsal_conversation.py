"""Reading a conversation from a request, and finding the rule that answers it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from familiar_kernel.rehearsal.conversation import (
    BadRequest,
    Conversation,
    read,
    remembered,
    side_call,
    spoken,
)
from familiar_kernel.rehearsal.matching import choose, fallback, spoken_rules
from familiar_kernel.rehearsal.script import Script, built_in, loads
from familiar_kernel.rehearsal.steps import Text

REMINDER = "<system-reminder>\nMind the gap.\n</system-reminder>\n"

TAG = "<system-reminder>x</system-reminder>"


def user(*blocks: str | dict[str, Any]) -> dict[str, Any]:
    """Return a user's message of text and other blocks."""
    content = [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]
    return {"role": "user", "content": content}


def assistant(*blocks: str | dict[str, Any]) -> dict[str, Any]:
    """Return a model's message."""
    return user(*blocks) | {"role": "assistant"}


def tool_use(id_: str = "t1", name: str = "Bash") -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": {}}


def tool_result(text: Any, id_: str = "t1", is_error: bool = False) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": text, "is_error": is_error}


def conversation(*messages: dict[str, Any], model: str = "some-model", **more: Any) -> Conversation:
    return read({"model": model, "messages": list(messages), **more})


def rule(script: Script, *messages: dict[str, Any], **more: Any) -> str | None:
    """Return the id of the rule that answers, or None."""
    found = choose(script, conversation(*messages, **more), {}).rule
    return found.id if found else None


# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("hello", "hello"),
        ("", ""),
        ("  two lines\n ", "  two lines\n "),
        (REMINDER, None),
        (REMINDER + REMINDER, None),
        (REMINDER + "hello", "hello"),
        ("hello\n" + REMINDER, "hello"),
        (f"what is {TAG} for?", f"what is {TAG} for?"),
        (f"say {TAG}", f"say {TAG}"),
        ("<local-command-stdout>ok</local-command-stdout>\n", None),
        ("<command-name>/compact</command-name>\n <command-args></command-args>\n", None),
        ("[Request interrupted by user]", None),
        ("[Request interrupted by user] why?", "[Request interrupted by user] why?"),
    ],
)
def test_the_persons_words_are_told_from_the_clis(block: str, said: str | None) -> None:
    assert spoken(block) == said


@given(st.text().filter(lambda text: "system-reminder" not in text))
def test_words_come_through_unchanged(text: str) -> None:
    prompt = conversation(user(REMINDER, text)).now.prompt
    assert prompt == text


def test_turns_and_rounds() -> None:
    talk = conversation(
        user("one"),
        {"role": "system", "content": "not said by anybody"},
        assistant({"type": "thinking", "thinking": "hm"}, "first ", tool_use(), "answer"),
        user(tool_result([{"type": "text", "text": "out"}]), REMINDER),
        assistant("done"),
        {"role": "user", "content": "two"},
    )
    assert [(m.turn, m.prompt, m.answer, m.answered) for m in talk.moments] == [
        (1, "one", "first answer", True),
        (1, "one", "done", True),
        (2, "two", "", False),
    ]
    (result,) = talk.moments[1].results
    assert (result.name, result.text, result.is_error) == ("Bash", "out", False)
    assert list(talk.said_before()) == ["one", "first answer", "done"]


def test_prompts_that_had_no_answer_are_prompts_of_their_own() -> None:
    talk = conversation(user(REMINDER, "failed\n", "[Request interrupted by user]\n", "again"))
    assert [(m.turn, m.prompt) for m in talk.moments] == [(1, "failed"), (2, "again")]


def test_a_request_to_go_on_is_the_same_prompt_once_more() -> None:
    talk = conversation(
        user("tell me"),
        assistant("Once up"),
        user("Your response above was cut off mid-stream. Resume …"),
    )
    assert [(m.turn, m.prompt) for m in talk.moments] == [(1, "tell me"), (1, "tell me")]


def test_a_lone_note_is_answered_as_a_prompt() -> None:
    assert conversation(user(REMINDER)).now.prompt == REMINDER


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ([], "JSON object"),
        ({}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"model": "m", "messages": [3]}, "messages.0.role"),
        ({"model": "m", "messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
    ],
)
def test_what_the_api_would_refuse_is_refused(request_: Any, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        read(request_)


def test_the_session_is_found_in_the_metadata() -> None:
    metadata = {"user_id": json.dumps({"device_id": "d", "session_id": "s-1"})}
    assert conversation(user("x"), metadata=metadata).session == "s-1"
    assert conversation(user("x"), metadata={"user_id": "somebody"}).session == "somebody"
    assert read({"model": "m", "messages": [user("x")]}, "from-header").session == "from-header"


# -- the CLI's own requests -----------------------------------------------------------------------


def test_a_title_is_given_without_using_the_script() -> None:
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string"}, "n": {"type": "integer"}},
    }
    talk = conversation(
        user("<session>\nhi\n</session>\n\nWrite the title"),
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    aside = side_call(talk)
    assert aside is not None
    assert json.loads(aside.answer) == {"title": "Rehearsal session", "n": 0}


def test_an_ordinary_prompt_is_no_side_call() -> None:
    talk = conversation(user("CRITICAL: Respond with TEXT ONLY. What is 1 + 1?"), max_tokens=1000)
    assert side_call(talk) is None


def test_memory_survives_compaction() -> None:
    script = built_in()
    asked = [user("name three spaceships"), assistant("Marmalade ...")]
    compact = user("CRITICAL: Respond with TEXT ONLY. ... then a <summary> block.")
    talk = conversation(*asked, compact)
    aside = side_call(talk, spoken_rules(script, talk))
    assert aside is not None
    assert aside.kind == "compact"
    assert remembered(aside.answer) == ["ships"]
    continued = "This session is being continued from a previous conversation.\n" + aside.answer
    assert rule(script, user(continued, "which did you rank highest?")) == "ranking"


# -- matching -------------------------------------------------------------------------------------


def only(when: str) -> Script:
    """Return a script with one rule."""
    return loads(f"rules: [{{id: hit, when: {when}, reply: x}}]")


@pytest.mark.parametrize(
    ("when", "prompt", "hit"),
    [
        ("{prompt: 'hello  World'}", "oh, HELLO\nworld!", True),
        ("{prompt: hello}", "goodbye", False),
        ("{prompt: 'a.c'}", "abc", False),
        ("{prompt: {exact: Hello}}", "Hello", True),
        ("{prompt: {exact: Hello}}", "hello", False),
        ("{prompt: {exact: Hello}}", "Hello ", False),
        ("{prompt: {exact: ''}}", "", True),
        ("{prompt: {regex: '^a+$'}}", "aaa", True),
        ("{prompt: {regex: '^a+$'}}", "AAA", False),
        ("{turn: 1}", "x", True),
        ("{turn: 2}", "x", False),
        ("{model: some}", "x", True),
        ("{model: {exact: some}}", "x", False),
        ("{}", "anything", True),
    ],
)
def test_conditions_on_the_prompt(when: str, prompt: str, hit: bool) -> None:
    assert (rule(only(when), user(prompt)) == "hit") is hit


def test_earlier_text_is_what_was_said_before_this_prompt() -> None:
    script = only("{earlier: zebra}")
    assert rule(script, user("zebra")) is None
    assert rule(script, user("zebra"), assistant("?"), user("and?")) == "hit"
    assert rule(script, user("x"), assistant("A zebra!"), user("and?")) == "hit"


def test_the_latest_earlier_text_gives_the_groups() -> None:
    script = loads("rules: [{when: {earlier: {regex: 'is (\\w+)'}}, reply: '{earlier[1]}'}]")
    talk = conversation(user("it is red"), assistant("no, it is blue"), user("so?"))
    assert choose(script, talk, {}).variables["earlier[1]"] == "blue"


RESULTS = """
rules:
  - {id: call, when: {prompt: go}, reply: [{tool_use: {name: Bash}}]}
  - {id: bad, when: {tool_result: {is_error: true}}, reply: x}
  - {id: good, when: {tool_result: {regex: 'n=(\\d+)', name: Bash}}, reply: '{result[1]}'}
  - {id: other, when: {tool_result: {name: Read}}, reply: x}
"""


def test_conditions_on_tool_results() -> None:
    script = loads(RESULTS)
    before = (user("go"), assistant(tool_use()))
    assert rule(script, user("go")) == "call"
    assert rule(script, *before, user(tool_result("n=5"))) == "good"
    assert rule(script, *before, user(tool_result("n=5", is_error=True))) == "bad"
    assert rule(script, *before, user(tool_result("nothing"))) is None
    read_ = (user("go"), assistant(tool_use(name="Read")))
    assert rule(script, *read_, user(tool_result("n=5"))) == "other"
    both = (user("go"), assistant(tool_use(), tool_use("t2", "Read")))
    line = choose(script, conversation(*both, user(tool_result("z"), tool_result("n=7"))), {})
    assert line.variables["result[1]"] == "7"


def test_a_rule_for_prompts_does_not_answer_a_tool_result() -> None:
    script = loads("rules: [{id: any, reply: [{tool_use: {name: Bash}}]}]")
    assert rule(script, user("go"), assistant(tool_use()), user(tool_result("x"))) is None


def test_after_knows_which_rules_have_answered() -> None:
    script = loads(
        """
        rules:
          - {id: second, when: {prompt: b, after: first}, reply: x}
          - {id: third, when: {prompt: c, after: [first, second]}, reply: x}
          - {id: first, when: {prompt: a}, reply: x}
        """
    )
    a, b, c = (user(text) for text in "abc")
    said = assistant("...")
    assert rule(script, b) is None
    assert rule(script, a, said, b) == "second"
    assert rule(script, a, b) is None, "the first prompt had no answer"
    assert rule(script, a, said, c) is None
    assert rule(script, a, said, b, said, c) == "third"


def test_a_rule_that_failed_has_not_answered() -> None:
    script = loads(
        """
        rules:
          - {id: fails, times: 1, when: {prompt: a}, reply: [{error: {status: 529}}]}
          - {id: works, when: {prompt: a}, reply: x}
          - {id: hit, when: {after: works}, reply: x}
        """
    )
    assert rule(script, user("a"), assistant("x"), user("b")) == "hit"


def test_times_limits_a_rule() -> None:
    script = loads("rules: [{id: once, times: 1, reply: x}, {id: then, reply: y}]")
    talk = conversation(user("a"))
    assert choose(script, talk, {}).rule is script.rules[0]
    assert choose(script, talk, {"once": 1}).rule is script.rules[1]


def test_the_first_conversation_depends_on_what_was_said() -> None:
    script = built_in()
    ships, ranking = user("Name three fictional spaceships"), user("which did you rank highest")
    salesman, said = user("describe it like a used car salesman"), assistant("...")
    assert rule(script, ships) == "ships"
    assert rule(script, ranking) == "ranking-forgotten"
    assert rule(script, salesman) == "salesman-forgotten"
    assert rule(script, ships, said, ranking) == "ranking"
    assert rule(script, ships, said, salesman) == "salesman-forgotten"
    assert rule(script, ships, said, ranking, said, salesman) == "salesman"


def test_every_example_of_the_first_conversation_is_answered() -> None:
    script = built_in()
    for known in script.rules:
        if known.example:
            assert rule(script, user(known.example)) is not None


@pytest.mark.parametrize(
    "unit", ["three ", "rank ", "run use ", "<system-reminder>", "<command-name>", " ", "x"]
)
def test_a_prompt_of_a_megabyte_is_understood_soon(unit: str) -> None:
    begun = time.monotonic()
    assert rule(built_in(), user(unit * (1_000_000 // len(unit)))) is None
    assert time.monotonic() - begun < 10


def text_of(script: Script, *messages: dict[str, Any]) -> str:
    (step,) = fallback(script, conversation(*messages))
    assert isinstance(step, Text)
    return step.text


def test_the_unknown_prompt_is_told_what_this_is() -> None:
    told = text_of(built_in(), user("What is the airspeed of a swallow?"))
    assert "rehearsal, not Claude" in told
    assert "- Name three fictional spaceships and rank them." in told
    assert "forgotten" not in told


def test_the_unknown_tool_result_is_shown() -> None:
    told = text_of(loads(RESULTS), user("go"), assistant(tool_use()), user(tool_result("odd\nout")))
    assert "> odd\n> out" in told


def test_a_script_may_bring_its_own_last_resort() -> None:
    assert text_of(loads("{rules: [], otherwise: 'Pardon?'}"), user("x")) == "Pardon?"
