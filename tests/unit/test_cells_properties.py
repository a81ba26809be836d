"""The grammar against generated text: code stays code, prompts come out literally.

Python itself says what is right: what ``ast`` accepts holds no prompt, and where ``tokenize`` sees
a statement start, and nowhere else, a line becomes a prompt.
"""

from __future__ import annotations

import ast
import inspect
import io
import sysconfig
import tokenize
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from familiar_kernel import cells

# generated code is full of what Python and IPython warn about
pytestmark = pytest.mark.filterwarnings("ignore")


class Familiar:
    """Stands where the runtime will be, and notes what the generated calls hand over."""

    def __init__(self) -> None:
        self.received: list[str] = []

    def prompt_line(self, raw: str) -> str:
        self.received.append(raw)
        return raw

    async def prompt_cell(self, raw: str) -> str:
        self.received.append(raw)
        return raw


class Shell:
    def __init__(self) -> None:
        self.familiar = Familiar()


def run(cell: str) -> tuple[list[str], dict[str, Any]]:
    """Transform a cell, then run it as IPython does; the prompts received, and the variables."""
    source = cells.transform(cell, awaitable=True)
    assert source is not None
    source = TransformerManager().transform_cell(source)
    code = compile(source, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, CodeType)
    shell = Shell()
    names: dict[str, Any] = {"get_ipython": lambda: shell}
    result = eval(code, names)
    if code.co_flags & inspect.CO_COROUTINE:
        with pytest.raises(StopIteration):
            result.send(None)
    return shell.familiar.received, names


# fmt: off
NASTY = [
    "'", '"', "'''", '"""', "\\", "{", "}", "$", "%", "?", "??", "#", "(", ")", "!ls", "\0",
    "\ud800", "\udfff", "%claude", "%%claude", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u202e",
    "\t", "=", ";", ">>> ", "In [1]: ", "\\N{DASH}", "é", "\U0001f9d9", " ",
]
SOUP = [
    "%claude hi", "%claude", "%%claude", "x", "5", "=", "==", " ", "  ", "'", '"', "'''", '"""',
    "f", "rb", "f'", 'rf"', "f'''", "(", ")", "[", "]", "{", "}", "\\", "\n", "\n", "\r\n",
    "# it's", ":", "!", "%", "?", "if x:", "lambda", "\n%claude x", "\n  %claude",
    "x = %claude a", "!echo", "%%bash\n", "%time ", ">>> ", "... ", "In [1]: ", ";", "\t", "\x0c",
    "\u2028", "\\\n", "\r", "é", "}}", "{{", "N{", "!r", ",",
]
INNER = [
    "\n%claude x?\n", "\n  %claude y", "'", '"', "#", "(", "[", "%%claude z", " ", "it's", "é",
    "=",
]
# fmt: on
nasty = st.sampled_from(NASTY)
any_text = st.lists(st.characters() | nasty, max_size=30).map("".join)
one_line = any_text.map(lambda text: text.replace("\n", "").replace("\r", ""))
prompt_text = one_line.map(lambda text: text.lstrip(" \t\f\v\xa0\u1680\u202f\u205f\u3000").lstrip())
body = st.lists(one_line | nasty | st.sampled_from(["\n", "\r\n", "\r", "  "]), max_size=8).map(
    "".join
)


@settings(deadline=None)
@given(prompt_text)
@example("what?")
@example("'\"\\\ud800\0")
def test_a_line_comes_out_literally(text: str) -> None:
    received, _ = run(f"%claude {text}")
    assert received == [text]
    received, _ = run(f"\n  # comment\n\n%claude\t{text}\n\n")
    assert received == [text]


@settings(deadline=None)
@given(prompt_text, prompt_text, prompt_text)
def test_prompts_among_code_come_out_literally(one: str, two: str, three: str) -> None:
    cell = (
        f"a = 5\nif a:\n\t%claude {one}\n\tb = '''\n%claude no'''\n"
        f"x = %claude {two}\r\n%claude {three}"
    )
    received, names = run(cell)
    assert received == [one, two, three]
    assert names["x"] == two
    assert names["b"] == "\n%claude no"


@settings(deadline=None)
@given(body)
@example("\r\n")
@example("what?\n")
def test_a_body_comes_out_literally(text: str) -> None:
    received, _ = run(f"%%claude\n{text}")
    assert received == ["\n" + text]
    assert cells.parse(received[0]).text in (text, text[:-1], text[:-2])


@settings(deadline=None)
@given(prompt_text, body)
def test_a_first_line_and_a_body_come_out_literally(first: str, text: str) -> None:
    received, _ = run(f"\n%%claude  {first}\n{text}")
    assert received == [f"{first}\n{text}"]


@settings(deadline=None)
@given(prompt_text, body)
def test_the_text_after_the_options_is_literal(first: str, text: str) -> None:
    assert cells.parse(f"--model m --no-thinking -- {first}").text == first
    parsed = cells.parse(f"--effort=low --\n{text}x")
    assert parsed == cells.ParsedPrompt({"effort": "low"}, f"{text}x", help=False)


@settings(deadline=None)
@given(any_text)
def test_parse_returns_or_tells_in_one_sentence(raw: str) -> None:
    try:
        parsed = cells.parse(raw)
    except cells.PromptSyntaxError as error:
        assert str(error).endswith(".")  # noqa: PT017
    else:
        without_line_end = raw.removesuffix("\n").removesuffix("\r")
        assert raw.endswith(parsed.text) or without_line_end.endswith(parsed.text)


soup = st.lists(st.sampled_from(SOUP), max_size=25).map("".join)


@settings(max_examples=1500, deadline=None)
@given(soup)
@example("f'{x:%claude}'\n5 \\\n%claude")
def test_any_text_transforms_into_text_without_prompts(cell: str) -> None:
    """Whatever the text, nothing is raised, what is no prompt stays, and no prompt is left."""
    spans = cells.prompts(cell)
    result = cells.transform(cell, awaitable=True)
    assert (result is None) == (not spans)
    try:
        ast.parse(cell)
    except SyntaxError:
        pass
    else:
        assert not spans
    if result is None:
        return
    assert cells.prompts(result) == []
    assert cells.transform(result, awaitable=True) is None
    if not cells.is_whole_cell_prompt(cell):
        rest, done = "", 0
        for span in spans:
            rest, done = rest + cell[done : span.start], span.end
        for span in spans:
            call = f"{LINE_CALL}({span.raw!r})"
            text = call if span.kind == "assign" else f"({call}, None)[1]"
            assert text in result
            result = result.replace(text, "", 1)
        assert result == rest + cell[done:]


LINE_CALL = "get_ipython().familiar.prompt_line"


# --- valid Python ---------------------------------------------------------------------------------

inner = st.lists(st.sampled_from(INNER), max_size=6).map("".join)
quoted = st.tuples(
    st.sampled_from(["", "r", "b", "Rb", "f", "rf", "F", "u"]),
    st.sampled_from(["'''", '"""']),
    inner,
).map(lambda parts: f"{parts[0]}{parts[1]} {parts[2].replace('é', 'e')} {parts[1]}")
simple = st.sampled_from(
    ["5", "a", "'it\\'s %claude x'", '"#"', "b'('", "f'{a}}}'", "rf'\\{a:>5}'", "f'{{'"]
)
values = st.recursive(
    simple | quoted,
    lambda inside: st.one_of(
        inside.map(lambda one: f"({one}\n%claude\n)"),
        inside.map(lambda one: f"[{one},  # it's ) '''\n%claude\n]"),
        inside.map(lambda one: f"{{'a': {one}\n%claude\n}}"),
        inside.map(lambda one: f"f('=', k={one})"),
        st.tuples(inside, inside).map(lambda both: f"{both[0]} + \\\n{both[1]}"),
        inside.map(lambda one: f"{one} \\\n%claude"),
        st.just("f'''{\na\n%claude\n:>{5}} }} {{ \n%claude hi\n'''"),
        st.just("f'{a[\"b\"]!r:%claude}'"),
        st.just("f\"{a['{']:{a}}\""),
    ),
    max_leaves=4,
)
statements = st.one_of(
    values,
    values.map(lambda one: f"x = {one}"),
    values.map(lambda one: f"x: int = {one}"),
    values.map(lambda one: f"x == {one}; y = 1  # = %claude x"),
    values.map(lambda one: f"def f(a={one}):\n    '''\n%claude doc'''\n\n    return 1"),
    values.map(lambda one: f"if x:\n    y = {one}\n    # '''\nelse:\n\tpass"),
    st.sampled_from(["", "# %claude it's", "    # \\", "pass;", "\x0c"]),
)
programs = st.lists(statements, min_size=1, max_size=5).map("\n".join)


# fmt: off
SPECIAL = [
    "%claude hi?", "if a:\n  %claude\t'it is' ", "x = %claude a\\", "%claude", "!ls '\"",
    "y = !ls (", "%time '", "a?", "?b", "%claude?", "z = %time \\\n%claude", ",f '",
    "%claude_status", "\r", '%claude # \u2028\'"""',
]
# fmt: on
mixed_cells = st.lists(statements | st.sampled_from(SPECIAL), min_size=1, max_size=5).map("\n".join)


def is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def through_ipython(cell: str) -> str | None:
    """What IPython makes of a cell; None when it refuses it."""
    try:
        return TransformerManager().transform_cell(cell)
    except SyntaxError:
        return None


@settings(max_examples=500, deadline=None)
@given(mixed_cells)
def test_ipython_makes_of_a_prompt_what_it_makes_of_any_call(cell: str) -> None:
    """Code reaches IPython as it is, and IPython leaves the generated calls alone."""
    changed = cells.transform(cell, awaitable=True)
    whole = cells.is_whole_cell_prompt(cell)
    plain, done, calls = "", 0, []
    for number, span in enumerate(cells.prompts(cell)):
        way = "await get_ipython().familiar.prompt_cell" if whole else LINE_CALL
        call = f"{way}({span.raw!r})"
        calls.append(call if span.kind == "assign" else f"({call}, None)[1]")
        start = span.line_start if whole else span.start
        plain, done = f"{plain}{cell[done:start]}prompt_{number}()", span.end
    expected = through_ipython(plain + cell[done:])
    if expected is None or not is_python(expected):
        return  # it fails whatever becomes of its prompts
    for number, call in enumerate(calls):
        expected = expected.replace(f"prompt_{number}()", call)
    assert through_ipython(cell if changed is None else changed) == expected


def statement_starts(source: str) -> set[int]:
    """The lines, from 0, before which tokenize says that a statement may be put."""
    starts, depth = {0}, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.OP and token.string in "([{":
            depth += 1
        elif token.type == tokenize.OP and token.string in ")]}":
            depth -= 1
        elif token.type == tokenize.NEWLINE or (token.type == tokenize.NL and not depth):
            starts.add(token.end[0] if token.end[1] else token.start[0])
    return starts


def check_against_tokenize(source: str) -> None:
    """Put a prompt before every line and compare what is found with what tokenize says.

    A prompt after a backslash would end the joined line early, so none is put there.
    """
    assert cells.transform(source, awaitable=True) is None
    lines = source.split("\n")
    starts = statement_starts(source)
    text, expected = "", []
    for number, line in enumerate(lines):
        if not (number and lines[number - 1].endswith("\\")):
            if number in starts:
                expected.append(len(text))
            text += f"%claude line {number}?\n"
        text += line + "\n"
    found = cells.prompts(text)
    assert [span.start for span in found] == expected
    assert all(text.startswith(f"%claude {span.raw}\n", span.start) for span in found)


@settings(max_examples=500, deadline=None)
@given(programs)
def test_valid_python_holds_no_prompt_and_statement_starts_are_found(source: str) -> None:
    try:
        ast.parse(source)
    except SyntaxError:
        return  # a few combinations, such as b"" + f"" next to each other, are not Python
    check_against_tokenize(source)


def test_many_generated_programs_are_python() -> None:
    """The property above would prove little if Python refused nearly all of its programs."""
    outcomes: list[bool] = []

    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @given(programs)
    def count(source: str) -> None:
        try:
            ast.parse(source)
            outcomes.append("%claude" in source)
        except SyntaxError:
            outcomes.append(False)

    count()
    assert sum(outcomes) > len(outcomes) / 4


STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
# fmt: off
MODULES = [
    "_pydecimal", "argparse", "ast", "dataclasses", "doctest", "enum", "inspect", "json/decoder",
    "pdb", "pydoc", "pydoc_data/topics", "re/_parser", "string", "tarfile", "textwrap",
    "tokenize", "traceback", "turtle", "typing", "zipfile", "test/test_fstring",
    "test/test_grammar", "test/test_string_literals", "test/test_tokenize",
]
# fmt: on
# some modules become packages, and some builds of Python leave the tests out
FOUND = [name for name in MODULES if (STANDARD_LIBRARY / f"{name}.py").exists()]


@pytest.mark.parametrize("name", FOUND)
def test_the_standard_library(name: str) -> None:
    check_against_tokenize((STANDARD_LIBRARY / f"{name}.py").read_text("utf-8"))


@settings(deadline=None)
@given(programs, prompt_text)
def test_line_numbers_stay(source: str, text: str) -> None:
    try:
        ast.parse(source)
    except SyntaxError:
        return
    result = cells.transform(f"{source}\n%claude {text}\nx = %claude {text}\n1/0", awaitable=True)
    assert result is not None
    last = ast.parse(result).body[-3:]
    above = source.count("\n") + 1
    assert [node.lineno for node in last] == [above + 1, above + 2, above + 3]
    assert result.startswith(f"{source}\n")
