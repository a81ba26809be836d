"""The ways to talk, through the protocol: what arrives, what shows, and what IPython notices of it.

A prompt that the script has no rule for comes back as a JSON string, which is how these tests know
byte for byte what the endpoint was sent.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from kernels import Kernel, Ran

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

OPEN = re.compile(r"<details\b[^>]*\bopen\b")
"""An unfolded thought."""

NASTY = {
    "question mark": "what?",
    "question marks": "what??",
    "question mark inside": "what? is ?that, ??, ?int",
    "only a question mark": "?",
    "leading question mark": "?int",
    "slash": "/compact",
    "slash with words": "/help me with this, /clear",
    "file": "look at @secret.txt and @./secret.txt",
    "file alone": "@secret.txt",
    "heading": "# not a memory",
    "shell": "!ls -la && rm -rf nothing",
    "percent": "%timeit and %%bash and 100 %",
    "quotes": 'He said "it\'s" \'\'\'so\'\'\' and """that"""',
    "dollar and braces": "$HOME ${HOME} {x} {{x}} {match[1]} $(id) `id`",
    "backslashes": r"\n \t C:\new\table \\server \N{DASH} \x41 \u0041",
    "backslash at the end": "a path ends in C:\\",
    "brackets": "open ( [ { and never close",
    "hash": "a # b # c",
    "semicolon": "one; two;",
    "assignment": "x = %claude y == z",
    "markup": "<b>bold</b> <system-reminder>no</system-reminder> & &amp; </script>",
    "unicode": "naïve 日本語 العربية 👩‍👩‍👧‍👦 e\u0301 \U0001f680",
    "right to left": "\u202eabc\u202c \u200f\u05d0\u05d1",
    "zero width": "a\u200bb\ufeffc\u2060d",
    "line ends of other worlds": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg",
    "control characters": "bell \x07 escape \x1b[31mred\x1b[0m delete \x7f",
    "tabs and blanks": "a\tb    c",
    "interrupted": "[Request interrupted by user] said nobody",
    "json": '{"type": "user", "a": [1, 2]}',
    "dashes": "-1 is a number, --- a line, - a point",
}


def arrived(ran: Ran) -> list[str]:
    """What the endpoint was sent, for each answer that the cell shows."""
    assert ran.status == "ok", ran.error
    decoder = json.JSONDecoder()
    return [decoder.raw_decode(o["data"]["text/plain"])[0] for o in answers(ran)]


def answers(ran: Ran) -> list[dict[str, Any]]:
    """The outputs that are answers."""
    return [o for o in ran.outputs() if "familiar" in o["metadata"]]


# -- literally -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NASTY)
def test_a_line_arrives_literally(kernel: Kernel, name: str) -> None:
    assert arrived(kernel.run(f"%claude {NASTY[name]}")) == [NASTY[name]]


@pytest.mark.parametrize("name", NASTY)
def test_a_line_among_code_arrives_literally(kernel: Kernel, name: str) -> None:
    ran = kernel.run(f"before = 1\n%claude {NASTY[name]}\nafter = before + 1\nafter")
    assert arrived(ran) == [NASTY[name]]
    assert ran.of("execute_result")[0]["data"]["text/plain"] == "2"


def test_all_at_once_arrive_literally_as_a_cell(kernel: Kernel) -> None:
    body = "\n".join(NASTY.values())
    assert arrived(kernel.run(f"%%claude\n{body}")) == [body]
    assert arrived(kernel.run(f"%%claude first words\n{body}\n")) == [f"first words\n{body}"]


@pytest.mark.parametrize("name", NASTY)
def test_ask_sends_literally(kernel: Kernel, name: str) -> None:
    assert arrived(kernel.run(f"answer = ask({NASTY[name]!r})")) == [NASTY[name]]


@pytest.mark.parametrize(
    "body",
    [
        "```python\nprint('a fence')\n```",
        "%claude not one by itself\n%%claude nor this\n!ls",
        "  indented\n\n\nblank lines\n\tand a tab",
        '"""\nquotes of three\n"""\n\'\'\'',
        "x = 1\nx?\nx??\n?x",
        "ends in a backslash \\\nand goes on \\",
        "# a heading\n\n- a point\n\n| a | b |\n| - | - |",
        "In [1]: not pasted\n>>> nor this",
        "mathematics $e^{i\\pi} = -1$ and $$\\int_0^1 x\\,dx$$",
        "carriage\rreturn",
    ],
)
def test_a_cell_arrives_literally(kernel: Kernel, body: str) -> None:
    assert arrived(kernel.run(f"%%claude\n{body}")) == [body]


def test_windows_line_ends_stay(kernel: Kernel) -> None:
    assert arrived(kernel.run("%%claude\r\none\r\ntwo\r\n\r\nthree")) == ["one\r\ntwo\r\n\r\nthree"]
    assert arrived(kernel.run("x = 1\r\n%claude a line\r\nx")) == ["a line"]


def test_a_file_that_a_prompt_names_is_not_read(kernel: Kernel) -> None:
    kernel.run("open('secret.txt', 'w').write('the secret')")
    for prompt in ("@secret.txt", "what is in @secret.txt ?", f"see @{kernel.home}/secret.txt"):
        ran = kernel.run(f"%claude {prompt}")
        assert arrived(ran) == [prompt]


def test_nul_and_every_control_character(kernel: Kernel) -> None:
    text = "a" + "".join(map(chr, range(32))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))) + "z"
    assert arrived(kernel.run(f"answer = ask({text!r})")) == [text]


def test_a_lone_surrogate_becomes_a_replacement_character(kernel: Kernel) -> None:
    ran = kernel.run(r"answer = ask('half \ud83d a pair, whole \ud83d\ude80, low \udc00')")
    assert arrived(ran) == ["half \ufffd a pair, whole \U0001f680, low \ufffd"]


@pytest.mark.parametrize("code", ["%claude half \ud83d of it", "%%claude\nhalf \ud83d of it"])
def test_a_cell_with_half_a_character_is_answered(kernel: Kernel, code: str) -> None:
    """A browser can send one; jupyter_client's own packer cannot."""
    session = kernel.client.session
    message = session.msg("execute_request", {"code": code, "silent": False})
    pack = session.pack
    session.pack = lambda value: json.dumps(value, default=str).encode("ascii")
    try:
        kernel.client.shell_channel.send(message)
    finally:
        session.pack = pack
    ran = kernel.collect(message["header"]["msg_id"], timeout=20)
    assert arrived(ran) == ["half \ufffd of it"]


# -- where a prompt may stand --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("for i in range(3):\n    %claude again", ["again"] * 3),
        ("if True:\n    %claude yes\nelse:\n    %claude no", ["yes"]),
        ("def f():\n    %claude inside\nf(); f()", ["inside"] * 2),
        ("%claude one\n%claude two", ["one", "two"]),
        ("with open('/dev/null'):\n\t%claude a tab before", ["a tab before"]),
        ("\n\n  \n%claude after blank lines\n\n", ["after blank lines"]),
        ("# a comment\n%claude below it\n# and one more", ["below it"]),
        ("    %claude indented", ["indented"]),
        ("    %%claude indented\n    body\n      more", ["indented\nbody\n  more"]),
        ("try:\n    1/0\nexcept ZeroDivisionError:\n    %claude caught", ["caught"]),
        ("class C:\n    def m(self):\n        %claude method\nC().m()", ["method"]),
        ("async def f():\n    %claude in a coroutine\nawait f()", ["in a coroutine"]),
        ("import asyncio\nawait asyncio.sleep(0)\n%claude among awaits", ["among awaits"]),
        (">>> %claude pasted", ["pasted"]),
        ("In [3]: %claude pasted", ["pasted"]),
    ],
)
def test_where_a_prompt_may_stand(kernel: Kernel, code: str, expected: list[str]) -> None:
    assert arrived(kernel.run(code)) == expected


@pytest.mark.parametrize(
    "code",
    [
        'text = "%claude is a string"',
        'text = """\n%claude is a line of a string\n"""',
        "text = '''\n%%claude\nwhat?\n'''",
        "# %claude is a comment",
        "text = f'''\n%claude {1 + 1}\n'''",
        "claude = 3; total = 10 %claude",
        "claude = 3; total = (10\n%claude\n)",
        "text = 'a' \\\n'%claude joined'",
        "text = dict(\na='x',\nb='''%claude\n%claude''')",
        "%%writefile heredoc.txt\n%claude is a line of a file",
        "print('''\n%claude\n''')",
    ],
)
def test_what_only_contains_a_prompt_stays_code(kernel: Kernel, code: str) -> None:
    ran = kernel.run(code)
    assert ran.status == "ok", ran.error
    assert not answers(ran)


def test_a_heredoc_keeps_its_text(kernel: Kernel) -> None:
    ran = kernel.run("text = '''\n%claude what?\n%%claude\n'''\ntext")
    assert ran.of("execute_result")[0]["data"]["text/plain"] == repr("\n%claude what?\n%%claude\n")


def test_an_assignment_keeps_the_answer(kernel: Kernel) -> None:
    ran = kernel.run("kept = %claude say something?\nkept.text, type(kept).__name__")
    assert ran.of("execute_result")[0]["data"]["text/plain"] == "('something?', 'Answer')"
    assert len(answers(ran)) == 1


def test_a_traceback_names_the_line_of_the_cell(kernel: Kernel) -> None:
    ran = kernel.run("%claude one\n\n%claude two\n1/0")
    assert ran.status == "error"
    assert re.search(r"line 4|-> 4 1/0", ran.error), ran.error


# -- options and help ----------------------------------------------------------------------------


def test_options_come_before_the_prompt(kernel: Kernel) -> None:
    said = kernel.run("%claude --model claude-test-model which model")
    assert said.text().startswith("claude-test-model")
    said = kernel.run("%%claude --model=claude-test-model\nwhich model")
    assert said.text().startswith("claude-test-model")
    assert not kernel.run("%claude which model").text().startswith("claude-test-model")
    assert arrived(kernel.run("%claude -- --model is text")) == ["--model is text"]
    assert arrived(kernel.run("%claude not at the start --model x")) == [
        "not at the start --model x"
    ]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("%claude --colour red hello", "--colour"),
        ("%%claude --modle x\nhello", "--model"),
        ("%claude --effort enormous hello", "xhigh"),
        ("x = %claude --nonsense hello", "--nonsense"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_the_known_ones(
    kernel: Kernel, code: str, told: str
) -> None:
    before = kernel.value("get_ipython().familiar._familiar.number")
    ran = kernel.run(code)
    assert ran.status == "error"
    assert ran.reply["content"]["ename"] == "UsageError"
    assert told in ran.stream("stderr") + ran.error
    assert "--effort" in ran.stream("stderr") + ran.error
    assert kernel.value("get_ipython().familiar._familiar.number") == before


def test_an_option_without_its_value_says_how_it_is_written(kernel: Kernel) -> None:
    ran = kernel.run("%claude --model")
    assert ran.reply["content"]["ename"] == "UsageError"
    assert "--model NAME" in ran.stream("stderr")


@pytest.mark.parametrize(
    "code", ["%claude", "%%claude", "%%claude\n", "%%claude\n  \n", "%claude -h"]
)
def test_alone_it_shows_its_usage(kernel: Kernel, code: str) -> None:
    ran = kernel.run(code)
    assert ran.status == "ok"
    assert "--no-thinking" in ran.text()
    assert "%claude_status" in ran.text()
    assert not answers(ran)


@pytest.mark.parametrize(
    "code", ["%claude?", "?%claude", "%claude??", "%claude_status?", "%claude_reset?"]
)
def test_a_question_mark_behind_the_name_is_help(kernel: Kernel, code: str) -> None:
    ran = kernel.run(code)
    assert ran.status == "ok"
    (page,) = ran.reply["content"]["payload"]
    assert page["source"] == "page"
    assert code.strip("?%") in page["data"]["text/plain"]
    assert not ran.outputs()


# -- ask -----------------------------------------------------------------------------------------


def test_what_ask_returns(new_mind: Kernel) -> None:
    new_mind.run("answer = ask('a thought and a text')")
    assert new_mind.value("answer.text") == "Then a **text**."
    assert new_mind.value("answer.thinking") == "First a thought."
    assert new_mind.value("str(answer)") == "Then a **text**."
    assert new_mind.value("f'{answer}'") == "Then a **text**."
    assert new_mind.value("answer.number") == 1
    assert new_mind.value("answer.session_id == CLAUDE_SESSION_ID")
    assert new_mind.value("answer.usage")["output_tokens"] > 0
    assert new_mind.value("answer.usage")["input_tokens"] > 0
    assert new_mind.value("answer.cost_usd") is None  # a rehearsal costs nothing
    assert new_mind.value("answer.rehearsal")
    assert new_mind.value("answer.outcome") == "complete"
    assert 0 < new_mind.value("answer.seconds") < 60
    assert "rehearsal" in new_mind.value("answer.model")
    new_mind.run("second = ask('which turn')")
    assert new_mind.value("(second.number, second.text)") == (2, "2")


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("[ask(f'say {n}').text for n in range(3)]", "['0', '1', '2']"),
        ("{n: str(ask('say ' + n)) for n in 'ab'}", "{'a': 'a', 'b': 'b'}"),
        ("(lambda p: ask(p).text.upper())('say loud')", "'LOUD'"),
        ("f\"<{ask('say in a string')}>\"", "'<in a string>'"),
        ("len(ask('say four').text) + 1", "5"),
        ("def f(p):\n    return ask(p).text\nf('say x') + f('say y')", "'xy'"),
        ("max((ask(f'say {n}') for n in (3, 1, 2)), key=str).text", "'3'"),
        ("'a' in ask('say abc').text and ask('say yes').text", "'yes'"),
    ],
)
def test_ask_in_expressions(kernel: Kernel, code: str, result: str) -> None:
    ran = kernel.run(code)
    assert ran.status == "ok", ran.error
    assert ran.of("execute_result")[0]["data"]["text/plain"] == result


def test_a_loop_of_asks_has_an_output_each(kernel: Kernel) -> None:
    ran = kernel.run("for n in range(4):\n    ask(f'say number {n}')")
    assert [o["data"]["text/plain"].split("\n")[0] for o in answers(ran)] == [
        f"number {n}" for n in range(4)
    ]


def test_printed_text_and_answers_keep_their_order(kernel: Kernel) -> None:
    ran = kernel.run("print('before')\nask('say first')\nprint('between')\n%claude say second")
    seen = []
    for _, message in ran.messages:
        content = message["content"]
        if message["msg_type"] == "stream":
            seen.append(content["text"].strip())
        elif message["msg_type"] in ("display_data", "update_display_data"):
            seen.append(content["data"].get("text/plain", "").split("\n")[0])
    order = [word for word in seen if word]
    assert order == ["before", "first", "between", "second"]


def test_the_last_value_does_not_show_twice(kernel: Kernel) -> None:
    ran = kernel.run("ask('say once')")
    assert len(ran.outputs()) == 1
    assert not ran.of("execute_result")
    # Not through "_": once any cell has used that name itself, IPython leaves it alone.
    kept = f"Out[{ran.reply['content']['execution_count']}].text"
    assert kernel.run(kept).of("execute_result")[0]["data"]["text/plain"] == "'once'"


def test_a_later_cell_shows_it_again(kernel: Kernel) -> None:
    first = kernel.run("kept = ask('say again')")
    again = kernel.run("kept")
    (shown,) = again.outputs()
    assert shown["data"]["text/markdown"] == answers(first)[0]["data"]["text/markdown"]
    assert shown["metadata"]["familiar"] == answers(first)[0]["metadata"]["familiar"]
    assert kernel.run("display(kept)").text().startswith("again")


def test_out_and_in(kernel: Kernel) -> None:
    count = kernel.run("ask('say in Out')").reply["content"]["execution_count"]
    assert kernel.value(f"Out[{count}].text") == "in Out"
    assert kernel.value(f"In[{count}]") == "ask('say in Out')"
    count = kernel.run("%claude say what?").reply["content"]["execution_count"]
    # In holds what ran, as it does for IPython's own magics; the history holds what was typed.
    assert "say what?" in kernel.value(f"In[{count}]")
    assert kernel.run(f"%history {count}").stream() == "%claude say what?\n"
    assert not kernel.value(f"{count} in Out")


ERRORS = "__import__('familiar_kernel.exceptions').exceptions"


@pytest.mark.parametrize("value", ["1", "None", "b'bytes'", "['a']", "object()"])
def test_ask_takes_text(kernel: Kernel, value: str) -> None:
    ran = kernel.run(f"ask({value})")
    assert ran.reply["content"]["ename"] == "AskTypeError"
    assert "str" in ran.reply["content"]["evalue"]
    assert ran.error.startswith("ask() takes")
    assert kernel.value(f"issubclass({ERRORS}.AskTypeError, TypeError)")


@pytest.mark.parametrize("value", ["''", "' '", r"'\n\t '"])
def test_ask_wants_some_text(kernel: Kernel, value: str) -> None:
    ran = kernel.run(f"ask({value})")
    assert ran.reply["content"]["ename"] == "AskValueError"
    assert "empty" in ran.reply["content"]["evalue"]
    assert ran.error.startswith("the prompt is empty")
    assert kernel.value(f"issubclass({ERRORS}.AskValueError, ValueError)")


def test_ask_with_options(kernel: Kernel) -> None:
    ran = kernel.run("ask('which model', model='claude-test-model', thinking=False).text")
    assert ran.of("execute_result")[0]["data"]["text/plain"] == "'claude-test-model'"


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ("effort='enormous'", "AskValueError", "xhigh"),
        ("model=3", "AskTypeError", "model"),
        ("thinking='maybe'", "AskTypeError", "thinking"),
        ("colour='red'", "TypeError", "colour"),
    ],
)
def test_ask_checks_its_options(kernel: Kernel, options: str, error: str, told: str) -> None:
    ran = kernel.run(f"ask('hello', {options})")
    assert ran.reply["content"]["ename"] == error
    assert told in ran.reply["content"]["evalue"]
    assert not answers(ran)


# -- threads -------------------------------------------------------------------------------------


def test_a_thread_may_ask(kernel: Kernel) -> None:
    ran = kernel.run(
        textwrap.dedent(
            """
            import threading
            told = []
            def work(n):
                told.append(ask(f"say from thread {n}").text)
            threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            sorted(told)
            """
        )
    )
    assert ran.status == "ok", ran.error
    expected = [f"from thread {n}" for n in range(3)]
    assert ran.of("execute_result")[0]["data"]["text/plain"] == repr(expected)
    assert sorted(o["data"]["text/plain"].split("\n")[0] for o in answers(ran)) == expected


def test_an_executor_may_ask_while_the_cell_awaits(kernel: Kernel) -> None:
    ran = kernel.run(
        "import asyncio\n"
        "told = await asyncio.gather(*(asyncio.to_thread(ask, f'say {n}') for n in 'ab'))\n"
        "sorted(a.text for a in told)"
    )
    assert ran.of("execute_result")[0]["data"]["text/plain"] == "['a', 'b']"


# -- capture, time, display ----------------------------------------------------------------------


def test_capture_magic_holds_the_answer(kernel: Kernel) -> None:
    ran = kernel.run("%%capture held\n%claude say captured")
    assert ran.status == "ok", ran.error
    assert not ran.outputs()
    assert kernel.value("held.outputs[0].data['text/plain'].split('\\n')[0]") == "captured"
    shown = kernel.run("held.show()")
    assert shown.text().startswith("captured")


def test_capture_output_holds_one_output(kernel: Kernel) -> None:
    ran = kernel.run(
        "from IPython.utils.capture import capture_output\n"
        "with capture_output() as held:\n"
        "    answer = ask('say captured too')\n"
        "    print('printed')\n"
        "len(held.outputs), held.stdout, answer.text"
    )
    assert ran.of("execute_result")[0]["data"]["text/plain"] == "(1, 'printed\\n', 'captured too')"
    assert len(ran.outputs()) == 1


def test_an_output_widget_takes_the_answer(kernel: Kernel) -> None:
    ran = kernel.run(
        "import ipywidgets\nout = ipywidgets.Output()\nwith out:\n    answer = ask('say widget')\n"
        "answer.text"
    )
    assert ran.status == "ok", ran.error
    assert ran.of("execute_result")[0]["data"]["text/plain"] == "'widget'"


def test_time_magic_around_a_prompt(kernel: Kernel) -> None:
    ran = kernel.run("%%time\n%claude say timed")
    assert ran.status == "ok", ran.error
    assert answers(ran)[0]["data"]["text/plain"].startswith("timed")
    assert "Wall time" in ran.stream()
    ran = kernel.run("%time ask('say timed as well').text")
    assert ran.of("execute_result")[0]["data"]["text/plain"] == "'timed as well'"


# -- In, Out, history, silence -------------------------------------------------------------------


def test_counts_and_history(kernel: Kernel) -> None:
    first = kernel.run("'before'").reply["content"]["execution_count"]
    cells = ["%claude say one?", "%%claude\nsay two", "x = ask('say three')", "'after'"]
    counts = [kernel.run(code).reply["content"]["execution_count"] for code in cells]
    assert counts == [first + n for n in range(1, 5)]
    listed = kernel.run(f"%history -n {first + 1}-{first + 4}").stream()
    for code in ("%claude say one?", "%%claude", "say two", "x = ask('say three')"):
        assert code in listed
    request = kernel.client.history(hist_access_type="tail", n=4, output=False, raw=True)
    reply = kernel.client.get_shell_msg(timeout=20)
    while reply["parent_header"]["msg_id"] != request:
        reply = kernel.client.get_shell_msg(timeout=20)
    # the cell with %history is the newest
    assert [h[2] for h in reply["content"]["history"][:3]] == cells[1:]


def test_the_cell_is_echoed_as_it_was_typed(kernel: Kernel) -> None:
    ran = kernel.run("%claude say what??")
    assert ran.of("execute_input")[0]["code"] == "%claude say what??"
    assert ran.reply["content"]["payload"] == []


def test_silent_and_unstored_cells(kernel: Kernel) -> None:
    count = kernel.value("get_ipython().execution_count")
    ran = kernel.run("hushed = ask('say hush')", silent=True)
    assert ran.status == "ok", ran.error
    assert kernel.value("hushed.text") == "hush"
    ran = kernel.run("%claude say not stored", store_history=False)
    assert ran.status == "ok"
    assert answers(ran)[0]["data"]["text/plain"].startswith("not stored")
    assert kernel.value("get_ipython().execution_count") == count


def test_user_expressions_after_a_prompt(kernel: Kernel) -> None:
    ran = kernel.run("got = %claude say expressive", user_expressions={"x": "got.text", "y": "1/0"})
    told = ran.reply["content"]["user_expressions"]
    assert told["x"]["data"]["text/plain"] == "'expressive'"
    assert told["y"]["status"] == "error"


def test_a_prompt_that_fails_aborts_what_is_queued(kernel: Kernel) -> None:
    # ipykernel aborts what has arrived when the cell fails, so this one takes its time.
    failing = "import time; time.sleep(0.5)\n%claude --nonsense x"
    requests = [kernel.execute(code) for code in (failing, "%claude say queued", "1 + 1")]
    failed, *queued = [kernel.collect(r) for r in requests]
    assert failed.status == "error"
    assert [q.status for q in queued] == ["aborted"] * 2
    assert kernel.run("%claude say on we go").text().startswith("on we go")


def test_a_queue_of_prompts_is_answered_in_order(kernel: Kernel) -> None:
    requests = [kernel.execute(f"%claude say {n}") for n in range(5)]
    for n, request in enumerate(requests):
        assert kernel.collect(request).text().startswith(f"{n}\n")


# -- an environment that is not what it was ------------------------------------------------------


@pytest.fixture
def battered(kernel: Kernel) -> Callable[[str, str], None]:
    """Do something to the kernel, ask in all the ways, and put things right again."""

    def check(harm: str, repair: str) -> None:
        done = kernel.run(harm)
        assert done.status == "ok", done.error
        try:
            for code in ("%claude say fine", "%%claude\nsay fine", "x = ask('say fine')"):
                ran = kernel.run(code)
                assert ran.status == "ok", (code, ran.error)
                assert answers(ran)[0]["data"]["text/plain"].startswith("fine"), code
        finally:
            kernel.run(repair)

    return check


def test_without_autoawait(battered: Callable[[str, str], None]) -> None:
    battered("%autoawait off", "%autoawait asyncio")


def test_after_reset(battered: Callable[[str, str], None], kernel: Kernel) -> None:
    battered("%reset -f", "")
    assert kernel.value("len(CLAUDE_SESSION_ID)") == 36
    assert kernel.run("%who").stream().strip() in ("x", "x\t")


def test_in_a_directory_that_was_deleted(battered: Callable[[str, str], None]) -> None:
    battered(
        "import os, tempfile\nhome = os.getcwd()\ngone = tempfile.mkdtemp()\n"
        "os.chdir(gone)\nos.rmdir(gone)",
        "os.chdir(home)",
    )


def test_with_other_streams(battered: Callable[[str, str], None]) -> None:
    battered(
        "import sys, io\nstreams = sys.stdout, sys.stderr\n"
        "sys.stdout = io.StringIO(); sys.stdout.close()\n"
        "sys.stderr = io.StringIO(); sys.stderr.close()",
        "sys.stdout, sys.stderr = streams",
    )


def test_with_the_names_overwritten(kernel: Kernel) -> None:
    kernel.run("ask = CLAUDE_SESSION_ID = claude = None")
    ran = kernel.run("%claude say fine")
    assert ran.status == "ok", ran.error
    assert answers(ran)[0]["data"]["text/plain"].startswith("fine")
    kernel.run("%reset -f")
    assert kernel.run("ask('say there again').text").text().endswith("'there again'")


def test_with_a_signal_handler_of_the_users(battered: Callable[[str, str], None]) -> None:
    battered(
        "import signal\nbefore = signal.signal(signal.SIGINT, lambda *_: None)",
        "signal.signal(signal.SIGINT, before)",
    )


def test_with_nest_asyncio(fresh_kernel: Kernel) -> None:
    done = fresh_kernel.run("import nest_asyncio2\nnest_asyncio2.apply()")
    assert done.status == "ok", done.error
    for code in ("%claude say fine", "%%claude\nsay fine", "x = ask('say fine')"):
        ran = fresh_kernel.run(code)
        assert ran.status == "ok", (code, ran.error)
        assert answers(ran)[0]["data"]["text/plain"].startswith("fine")
    ran = fresh_kernel.run(
        "import asyncio\nasync def inner():\n    return ask('say nested').text\n"
        "asyncio.get_event_loop().run_until_complete(inner())"
    )
    assert ran.of("execute_result")[0]["data"]["text/plain"] == "'nested'"


def test_with_closed_descriptors(fresh_kernel: Kernel) -> None:
    fresh_kernel.run("import os\nos.close(0)")
    ran = fresh_kernel.run("%claude say fine")
    assert ran.status == "ok", ran.error
    assert answers(ran)[0]["data"]["text/plain"].startswith("fine")


def test_a_forked_child_is_told_that_it_cannot_ask(kernel: Kernel) -> None:
    ran = kernel.run(
        textwrap.dedent(
            """
            import os
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    told = ask("say no").text
                except BaseException as err:
                    told = f"{type(err).__name__}: {err}"
                os.write(writing, told.encode())
                os._exit(0)
            os.close(writing)
            told = b""
            while chunk := os.read(reading, 4096):
                told += chunk
            os.waitpid(child, 0)
            print(told.decode())
            """
        )
    )
    assert ran.status == "ok", ran.error
    assert "FamiliarError" in ran.stream()
    assert "forked" in ran.stream()
    assert kernel.run("%claude say the parent still asks").text().startswith("the parent")


def test_in_a_process_pool(fresh_kernel: Kernel) -> None:
    """A worker that was forked may not ask, and its end takes neither host nor CLI along."""
    host, cli = fresh_kernel.host().pid, None
    fresh_kernel.run("%claude say first")
    cli = fresh_kernel.cli().pid
    ran = fresh_kernel.run(
        "import multiprocessing\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    print(pool.map(abs, [-1, -2]))"
    )
    assert ran.stream() == "[1, 2]\n", ran.error
    assert fresh_kernel.run("%claude say second").text().startswith("second")
    assert (fresh_kernel.host().pid, fresh_kernel.cli().pid) == (host, cli)


# -- what stays in the notebook ------------------------------------------------------------------


def test_one_output_with_both_forms_and_one_key(kernel: Kernel) -> None:
    ran = kernel.run("%claude a thought and a text")
    (output,) = ran.outputs()
    assert set(output["data"]) == {"text/markdown", "text/plain"}
    assert set(output["metadata"]) == {"familiar"}
    markdown = output["data"]["text/markdown"]
    assert markdown.startswith("###### Rehearsal, not Claude")
    assert re.search(r"<details\b[^>]*>\s*<summary>.*Thought for", markdown)
    assert "First a thought." in markdown
    assert "Then a **text**." in markdown
    assert "<script" not in markdown
    assert output["metadata"]["familiar"]["outcome"] == "complete"
    assert output["data"]["text/plain"].splitlines()[2] == "Then a **text**."
    assert "rehearsal" in output["data"]["text/plain"]


def test_it_streams_with_open_thinking_that_folds(kernel: Kernel) -> None:
    request = kernel.execute("%claude tick abc")
    thinking = kernel.until(request, lambda m: bool(OPEN.search(_markdown(m))))
    assert "Rehearsal, not Claude" in _markdown(thinking)
    kernel.until(request, lambda m: "abc abc" in _markdown(m) and not OPEN.search(_markdown(m)))
    kernel.interrupt()
    ran = kernel.collect(request)
    assert len(ran.of("update_display_data")) >= 2
    (kept,) = ran.outputs()
    assert "about abc" in kept["data"]["text/markdown"]
    assert not OPEN.search(kept["data"]["text/markdown"])


def test_a_tool_shows_as_a_line(kernel: Kernel) -> None:
    ran = kernel.run("%claude shell echo $((6 * 7))")
    assert ran.status == "ok", ran.error
    assert "Bash" in ran.text("text/markdown")
    assert "It said:" in ran.text()


def _markdown(message: dict[str, Any]) -> str:
    return str(message["content"].get("data", {}).get("text/markdown", ""))
