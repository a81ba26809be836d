"""Reading a script: what is right is read as it stands, what is wrong is named with its place."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from familiar_kernel.rehearsal.script import Rule, When, built_in, built_in_names, load, loads
from familiar_kernel.rehearsal.server import Seen
from familiar_kernel.rehearsal.steps import (
    KINDS,
    MALFORMED,
    Cut,
    Echo,
    Error,
    Raw,
    Silence,
    StopReason,
    Text,
    ToolUse,
    Usage,
)
from familiar_kernel.rehearsal.templates import NAMES
from familiar_kernel.rehearsal.validation import ScriptError

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "rehearsal"
MANUAL = (ROOT / "docs" / "rehearsal.md").read_text(encoding="utf-8")


def problems(text: str) -> str:
    """Return what is wrong with a script, which must be wrong."""
    with pytest.raises(ScriptError) as caught:
        loads(text, "play.yaml")
    return str(caught.value)


def test_every_kind_of_step_is_read() -> None:
    script = loads(
        """
        title: All of it
        pace: {chunk: 3, delay_ms: 20}
        rules:
          - id: all
            times: 2
            example: Say it all
            reply:
              - thinking: hm
              - {text: "héllo", chunk: 1, delay_ms: 0, repeat: 4, split_utf8: true, literal: true}
              - echo: true
              - echo: json
              - tool_use: {name: Bash, input: {command: "echo {prompt}", list: [1, true, null]}}
              - {error: {status: 529}}
              - {error: {status: 429, type: t, message: m, headers: {retry-after: 3, x: "y z"}}}
              - silence: 1.5
              - cut: true
              - malformed: json
              - raw: "event: ä\\n\\n"
              - raw: {hex: "00 ff"}
              - raw: {base64: "AP8="}
              - stop_reason: max_tokens
              - usage: {input_tokens: 5, output_tokens: 7}
        """
    )
    (rule,) = script.rules
    assert (script.title, rule.id, rule.times, rule.example) == (
        "All of it",
        "all",
        2,
        "Say it all",
    )
    assert rule.reply == (
        Text("hm", thinking=True, chunk=3, delay=0.02),
        Text("héllo", chunk=1, delay=0.0, repeat=4, split_utf8=True, literal=True),
        Echo("verbatim", chunk=3, delay=0.02),
        Echo("json", chunk=3, delay=0.02),
        ToolUse("Bash", {"command": "echo {prompt}", "list": [1, True, None]}),
        Error(529, "overloaded_error", "The rehearsal plays an error 529."),
        Error(429, "t", "m", {"retry-after": "3", "x": "y z"}),
        Silence(1.5),
        Cut(),
        Raw(MALFORMED["json"]),
        Raw("event: ä\n\n".encode()),
        Raw(b"\x00\xff"),
        Raw(b"\x00\xff"),
        StopReason("max_tokens"),
        Usage({"input_tokens": 5, "output_tokens": 7}),
    )


def test_a_reply_may_be_one_text() -> None:
    (rule,) = loads("rules: [{reply: 'Good day.'}]").rules
    assert rule.reply == (Text("Good day."),)
    assert rule.id == "rule 0"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "play.yaml:1: must be a mapping with one of title, pace, rules, otherwise"),
        ("title: x", "play.yaml:1: has no rules"),
        ("rules: 3", "play.yaml:1: rules: must be a list, not 3"),
        (
            "rules:\n- reply: x\n  wen: {}",
            "play.yaml:3: rules[0].wen: is not known here; allowed: id",
        ),
        ("rules:\n- id: a", "play.yaml:2: rules[0]: has no reply"),
        ("rules:\n- reply: []", "rules[0].reply: must have at least one step"),
        ("rules:\n- reply: 7", "rules[0].reply: must be a list, not 7"),
        ("rules: [{times: 0, reply: x}]", "times: must be a whole number from 1"),
        ("rules: [{reply: x, id: a}, {reply: x, id: a}]", "rules[1]: the id 'a' is used twice"),
        ("rules: [{reply: '{match[1]}'}]", "uses {match[1]}, but the rule has no condition that"),
        ("rules: [{reply: x, reply: y}]", "play.yaml:1: rules[0].reply: is given twice"),
        ("rules: [{[a]: x}]", "a key must be plain text"),
        ("rules: &a [*a]", "an alias contains itself"),
        ("rules: [", "play.yaml:1: is not valid YAML"),
        ("a: !!python/object:os.system x", "is not valid YAML"),
        ("\tx", "is not valid YAML"),
        ("rules: \x00", "is not valid YAML"),
    ],
)
def test_an_error_names_its_place_and_what_is_allowed(text: str, told: str) -> None:
    assert told in problems(text)


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("{prompt: {regex: '('}}", "when.prompt.regex: is not a valid regular expression"),
        ("{prompt: {regex: a, exact: b}}", "must have exactly one of contains, exact, regex"),
        ("{prompt: ' '}", "when.prompt: must have more than spaces"),
        ("{turn: 0}", "when.turn: must be a whole number from 1"),
        ("{after: b}", "rules[0]: after names no rule: 'b'; the rules are r"),
        ("{tool_result: {is_error: 1}}", "is_error: must be true or false, not 1"),
        ("{tool_result: {exact: a, regex: b}}", "may have only one of contains, exact, regex"),
        ("{prompt: {regex: (a)}}", "uses {match[2]}, but the pattern '(a)' has no such group"),
        (
            "{prompt: {regex: (a)(b)}}",
            "uses {match[x]}, but the pattern '(a)(b)' has no such group",
        ),
    ],
)
def test_an_error_in_a_condition_is_named(when: str, told: str) -> None:
    reply = "'{match[2]} {match[x]}'" if "match" in told else "x"
    assert told in problems(f"rules: [{{id: r, when: {when}, reply: {reply}}}]")


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("{tekst: x}", "must be a mapping with exactly one of text,"),
        ("{text: x, echo: true}", "must be a mapping with exactly one of text,"),
        ("just text", "must be a mapping with exactly one of text,"),
        ("{silence: 1, chunk: 3}", "chunk: is not known here; allowed: silence"),
        ("{text: 1.0}", "text: must be text (put it in quotes?), not 1.0"),
        ("{text: x, chunk: 0}", "chunk: must be a whole number from 1 to 1000000, not 0"),
        ("{text: x, chunk: true}", "chunk: must be a whole number from 1 to 1000000, not true"),
        ("{text: x, repeat: 99999999}", "repeat: must be a whole number from 1 to 67108864"),
        ("{text: xy, repeat: 60000000}", "repeat: comes to more than 67108864 characters"),
        ("{text: x, delay_ms: soon}", "delay_ms: must be a number from 0 to 600000, not 'soon'"),
        ("{silence: -1}", "silence: must be a number from 0 to 86400, not -1"),
        ("{cut: false}", "cut: must be true"),
        ("{echo: loud}", "echo: must be one of verbatim, json, not 'loud'"),
        ("{malformed: x}", "malformed: must be one of json, utf8, event, index, html, not 'x'"),
        ("{raw: {hex: zz}}", "raw.hex: is not valid hex"),
        ("{raw: {base64: '!'}}", "raw.base64: is not valid base64"),
        ("{raw: {}}", "raw: must be text or have exactly one of hex, base64"),
        ("{error: {}}", "error: has no status"),
        ("{error: {status: 200}}", "status: must be a whole number from 400 to 599, not 200"),
        ("{error: {status: 500, headers: {'a b': c}}}", "is not the name of an HTTP header"),
        ('{error: {status: 500, headers: {a: "b\\nc"}}}', "printable ASCII on one line"),
        ("{error: {status: 500, headers: {Content-Length: 1}}}", "belongs to the connection"),
        ("{tool_use: {input: {}}}", "tool_use: has no name"),
        ("{tool_use: {name: a, input: []}}", "input: must be a mapping, the tool's input"),
        ("{tool_use: {name: a, input: {d: 2020-01-01}}}", "input.d: must be what JSON can hold"),
        ("{tool_use: {name: a, input: {b: ['{earlier[1]}']}}}", "input.b[0]: uses {earlier[1]}"),
        ("{usage: {tokens: 1}}", "usage.tokens: is not known here"),
    ],
)
def test_an_error_in_a_step_is_named(step: str, told: str) -> None:
    found = problems(f"rules:\n- reply:\n  - {step}")
    assert found.startswith("play.yaml:3: rules[0].reply[0]")
    assert told in found


def test_all_wrong_rules_are_reported_with_their_lines() -> None:
    told = problems("rules:\n- reply: x\n  times: no\n- reply: fine\n- id: c\n- replies: y\n")
    lines = told.splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "play.yaml:3:",
        "play.yaml:5:",
        "play.yaml:6:",
    ]


def test_anchors_save_repetition() -> None:
    script = loads("rules: [{id: a, when: &w {prompt: hi}, reply: x}, {id: b, when: *w, reply: y}]")
    assert script.rules[0].when == script.rules[1].when


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"missing\.yaml: cannot be read"):
        load(tmp_path / "missing.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("rules: [{reply: é}]".encode("latin-1"))
    with pytest.raises(ScriptError, match=r"latin\.yaml: cannot be read"):
        load(latin)


def test_the_scripts_that_come_with_the_package_are_good() -> None:
    assert "first_conversation" in built_in_names()
    for name in built_in_names():
        assert built_in(name).rules


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_good(path: Path) -> None:
    assert load(path).rules


def test_there_are_examples() -> None:
    assert list(EXAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", MANUAL, re.DOTALL))
def test_the_scripts_in_the_manual_are_good(text: str) -> None:
    assert loads(text).rules


def test_the_manual_names_everything_that_a_script_may_say() -> None:
    for kind, settings in KINDS.items():
        assert f"| `{kind}:" in MANUAL
        assert all(f"`{setting}`" in MANUAL for setting in settings)
    for name in (*(f.name for f in fields(When)), *MALFORMED, *(f.name for f in fields(Rule))):
        assert f"`{name}" in MANUAL
    assert all(f"`{{{name}" in MANUAL for name in NAMES)
    assert all(f"`{field.name}`" in MANUAL for field in fields(Seen))
