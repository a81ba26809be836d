"""Errors are for people: one sentence, the next step, a failed cell, and a kernel that goes on."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernels import Kernel, Ran, running_kernel

StartKernel = Callable[..., Kernel]

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SCRIPT = Path(__file__).parents[1] / "scripts" / "errors.yaml"


@pytest.fixture(scope="module")
def erring(tmp_path_factory: pytest.TempPathFactory, own_home: Path) -> Iterator[Kernel]:
    """A kernel whose endpoint errs, and whose CLI tries again once only."""
    home = tmp_path_factory.mktemp("erring")
    with running_kernel(home, script=SCRIPT, env={"CLAUDE_CODE_MAX_RETRIES": "1"}) as kernel:
        yield kernel


def said(ran: Ran) -> str:
    assert ran.status == "ok", ran.error
    return ran.text().rsplit("\n\n[", 1)[0]


def failed(ran: Ran) -> str:
    """What the error of a cell that failed as it should says, in one line."""
    assert ran.status == "error"
    assert ran.reply["content"]["ename"] == "FamiliarError"
    assert "Traceback" not in ran.error
    assert "familiar_kernel" not in ran.error  # no path or module of ours
    assert max(map(len, ran.error.splitlines())) <= 200
    # Programs read the value only; it is the sentence and the advice, without the details.
    assert ran.told.startswith(ran.reply["content"]["evalue"])
    assert ran.reply["content"]["evalue"].endswith((".", ")"))
    (output,) = ran.outputs()
    assert output["metadata"]["familiar"]["outcome"] == "failed"
    return ran.told


# -- what the endpoint refuses -------------------------------------------------------------------

REFUSALS = {
    "e400": ("refused", "%claude_status"),
    "e401": ("not signed in", "%claude_auth"),
    "e402": ("credit", "%claude_auth"),
    "e403": ("may not use", "%claude_model"),
    "e404": ("may not use", "%claude_model"),
    "e413": ("no longer fits", "%claude_reset"),
    "e429": ("rate limit", "Wait"),
    "e500": ("error of its own", "Run the cell again"),
    "e529": ("overloaded", "Wait"),
    "credit": ("credit", "%claude_auth"),
    "long": ("no longer fits", "%claude_reset"),
}


@pytest.mark.parametrize("prompt", REFUSALS)
def test_a_refusal_says_what_is_wrong_and_what_to_do(erring: Kernel, prompt: str) -> None:
    message, advice = REFUSALS[prompt]
    began = time.monotonic()
    told = failed(erring.run(f"%claude {prompt}", timeout=60))
    assert time.monotonic() - began < 30
    assert message in told
    assert advice in told
    assert said(erring.run("%claude on we go")) == '"on we go"'


@pytest.mark.parametrize("prompt", ["e401", "e500"])
def test_ask_raises_it(erring: Kernel, prompt: str) -> None:
    ran = erring.run(
        f"try:\n    ask('{prompt}')\nexcept Exception as err:\n    kept = err\n"
        "type(kept).__name__, kept.trouble.kind, kept.answer.outcome, str(kept).endswith('.')"
    )
    kind = {"e401": "not_signed_in", "e500": "server_error"}[prompt]
    told = f"('FamiliarError', '{kind}', 'failed', True)"
    assert ran.of("execute_result")[0]["data"]["text/plain"] == told


def test_the_details_hold_what_the_endpoint_said(erring: Kernel) -> None:
    assert "something is not right" in failed(erring.run("%claude e400"))


def test_a_failed_turn_aborts_what_is_queued(erring: Kernel) -> None:
    requests = [erring.execute(c) for c in ("%claude e400", "%claude never", "leaked = 1")]
    first, *queued = [erring.collect(r) for r in requests]
    failed(first)
    assert [ran.status for ran in queued] == ["aborted", "aborted"]


def test_the_conversation_outlives_every_error(erring: Kernel) -> None:
    erring.run("%claude_reset")
    erring.run("%claude remember calm_water")
    for prompt in ("e400", "e500", "long", "cut always", "an event that is no JSON"):
        assert erring.run(f"%claude {prompt}").status == "error", prompt
    assert said(erring.run("%claude recall")) == "You told me what to remember."


def test_a_failure_and_its_way_out_show_in_the_status(erring: Kernel) -> None:
    assert erring.run("%claude e500").status == "error"
    status = erring.run("%claude_status")
    assert status.status == "ok"
    assert "Session" in status.text()


# -- what passes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["once 429", "once 529"])
def test_a_passing_refusal_is_tried_again(erring: Kernel, prompt: str) -> None:
    request = erring.execute(f"%claude {prompt}")
    ran = erring.collect(request)
    assert said(ran) == "it went through"
    shown = str([c["data"] for c in ran.of("display_data", "update_display_data")])
    assert re.search(r"answered (429|529); trying again in \d s \(attempt 1 of 1\)", shown), shown
    assert "trying again" not in ran.text("text/markdown")


def test_a_wait_for_a_retry_can_be_stopped(erring: Kernel) -> None:
    erring.run("%claude_reset")
    request = erring.execute("%claude once 429")
    erring.until(request, lambda m: "trying again" in str(m["content"].get("data", "")))
    before = time.monotonic()
    erring.interrupt()
    ran = erring.collect(request, timeout=20)
    assert time.monotonic() - before < 1.5
    assert ran.reply["content"]["ename"] == "TurnStopped"
    assert said(erring.run("%claude on we go")) == '"on we go"'


# -- streams that break --------------------------------------------------------------------------


def test_a_stream_cut_in_its_first_block_is_told_anew(erring: Kernel) -> None:
    ran = erring.run("%claude cut in the first block")
    assert said(ran) == "The whole of the second telling."
    assert "Half" not in ran.text("text/markdown")


def test_a_stream_cut_in_a_later_block_is_continued(erring: Kernel) -> None:
    ran = erring.run("%claude cut in a later block")
    assert said(ran).endswith("The beginning, and the end.")
    assert ran.text("text/markdown").count("A whole thought.") == 1


def test_a_stream_that_is_always_cut_fails(erring: Kernel) -> None:
    ran = erring.run("%claude cut always", timeout=60)
    told = failed(ran)
    assert "broke" in told
    assert "run the cell again" in told
    assert ran.text().count("This is cut") <= 1  # no telling twice


def test_an_error_in_the_stream(erring: Kernel) -> None:
    told = failed(erring.run("%claude error in the stream", timeout=60))
    assert "overloaded" in told


@pytest.mark.parametrize("prompt", ["an event that is no JSON", "a block that never began"])
def test_a_malformed_event_fails_the_turn(erring: Kernel, prompt: str) -> None:
    ran = erring.run(f"%claude {prompt}", timeout=60)
    told = failed(ran)
    assert "broke" in told or "failed" in told
    assert ran.text().count("So far") <= 1
    assert said(erring.run("%claude on we go")) == '"on we go"'


@pytest.mark.parametrize(
    "prompt", ["bytes that are no UTF-8", "an event of another time", "a page of a proxy"]
)
def test_noise_in_the_stream_is_passed_over(erring: Kernel, prompt: str) -> None:
    text = said(erring.run(f"%claude {prompt}", timeout=60))
    assert text.startswith("So far ")
    assert text.endswith("so good.")


# -- texts that strain ---------------------------------------------------------------------------


def test_half_characters_are_joined(erring: Kernel) -> None:
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
    text = f"na\u00efve \u65e5\u672c\u8a9e {family} \u2211\u222b \U0001f680 " * 20
    erring.run("kept = ask('half characters')")
    assert erring.value("kept.text") == text


def test_an_answer_of_a_megabyte(erring: Kernel) -> None:
    ran = erring.run("kept = ask('a megabyte')")
    assert ran.status == "ok", ran.error
    # Line ends around an answer are no part of its text.
    assert erring.value("kept.text + '\\n' == '0123456789abcde\\n' * 65536")
    (output,) = ran.outputs()
    assert output["data"]["text/markdown"].count("0123456789abcde") == 65536
    sent = sum(len(json.dumps(m["content"])) for _, m in ran.messages)
    # Its final form holds it twice, as Markdown and as plain text.
    assert sent < 6 * (1 << 20)


def test_an_answer_that_is_cut_off_is_continued(erring: Kernel) -> None:
    assert said(erring.run("%claude more tokens than there are")).endswith("and the second part.")


def test_an_empty_answer_ends(erring: Kernel) -> None:
    ran = erring.run("%claude nothing at all", timeout=60)
    assert ran.status == "ok", ran.error
    assert ran.outputs()[0]["metadata"]["familiar"]["outcome"] == "complete"
    assert said(erring.run("%claude on we go")) == '"on we go"'


def test_a_prompt_of_a_megabyte_is_refused_with_its_size(erring: Kernel) -> None:
    before = erring.value("get_ipython().familiar._familiar.number")
    for code in ("ask('x' * 1_048_576)", f"%%claude\n{'é' * 524_288}"):
        began = time.monotonic()
        ran = erring.run(code, timeout=30)
        assert time.monotonic() - began < 10
        assert ran.reply["content"]["ename"] == "FamiliarError"
        assert "1,048,576 bytes" in ran.told
        assert "600,000" in ran.told
        assert "max_prompt_bytes" in ran.told
        assert "Traceback" not in ran.error
    assert erring.value("get_ipython().familiar._familiar.number") == before
    assert said(erring.run("%claude on we go")) == '"on we go"'


def test_a_prompt_of_half_a_megabyte_arrives(erring: Kernel) -> None:
    ran = erring.run("kept = ask('0123456789' * 50_000)")
    assert ran.status == "ok", ran.error
    assert erring.value("kept.text == '\"' + '0123456789' * 50_000 + '\"'")
    erring.run("%claude_reset")


# -- nobody there --------------------------------------------------------------------------------


def test_nobody_is_signed_in(start_kernel: StartKernel) -> None:
    """And no rehearsal takes Claude's place by itself."""
    kernel = start_kernel(arguments=(), script=None)
    began = time.monotonic()
    ran = kernel.run("%claude hello", timeout=60)
    assert time.monotonic() - began < 30
    told = failed(ran)
    assert told.startswith("You are not signed in to Claude.")
    assert "%claude_auth" in told
    assert "--rehearsal" in told
    assert not ran.outputs()[0]["metadata"]["familiar"]["rehearsal"]
    assert kernel.run("1 + 1").text() == "2"
    failed(kernel.run("%claude hello again", timeout=60))


def test_nobody_listens_at_the_endpoint(start_kernel: StartKernel) -> None:
    with socket.socket() as taken:  # bound, but it does not listen
        taken.bind(("127.0.0.1", 0))
        env = {
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "ANTHROPIC_API_KEY": "for-a-test",
            "CLAUDE_CODE_MAX_RETRIES": "1",
        }
        kernel = start_kernel(arguments=(), script=None, env=env)
        told = failed(kernel.run("%claude hello", timeout=60))
        assert told.startswith("The endpoint could not be reached.")
        assert "ANTHROPIC_BASE_URL" in told
        assert "for-a-test" not in told
        assert kernel.run("1 + 1").text() == "2"


def test_the_endpoint_speaks_something_else(start_kernel: StartKernel) -> None:
    """A listener that closes every connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.1)
        env = {
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "ANTHROPIC_API_KEY": "for-a-test",
            "CLAUDE_CODE_MAX_RETRIES": "1",
        }
        kernel = start_kernel(arguments=(), script=None, env=env)
        request = kernel.execute("%claude hello")
        deadline = time.monotonic() + 60
        ended = False
        while not ended and time.monotonic() < deadline:
            try:
                connection, _ = listener.accept()
                connection.sendall(b"SSH-2.0-not_what_you_want\r\n")
                connection.close()
            except TimeoutError:
                ended = _has_reply(kernel, request)
        told = failed(kernel.collect(request, timeout=10))
        assert "reached" in told or "broke" in told, told


def _has_reply(kernel: Kernel, request: str) -> bool:
    from queue import Empty

    try:
        kernel.until(
            request,
            lambda m: m["msg_type"] == "status" and m["content"]["execution_state"] == "idle",
            0.2,
        )
    except Empty:
        return False
    return True


def test_a_key_that_is_refused(start_kernel: StartKernel) -> None:
    from endpoint import running_endpoint

    with running_endpoint(SCRIPT) as endpoint:
        kernel = start_kernel(arguments=(), script=None, env=endpoint.environment)
        began = time.monotonic()
        told = failed(kernel.run("%claude e401", timeout=60))
        assert time.monotonic() - began < 20  # the CLI alone would try for minutes
        assert told.startswith("You are not signed in to Claude.")
        assert said(kernel.run("%claude on we go")) == '"on we go"'


def test_a_budget_that_is_used_up(start_kernel: StartKernel) -> None:
    from endpoint import running_endpoint

    with running_endpoint(SCRIPT) as endpoint:
        kernel = start_kernel(
            arguments=("--Familiar.max_budget_usd=0.0001",),
            script=None,
            env=endpoint.environment,
        )
        outcomes = [kernel.run("%claude hello", timeout=60) for _ in range(2)]
        told = failed(outcomes[-1])
        assert "budget" in told
        assert "%claude_budget" in told
        assert kernel.run("1 + 1").text() == "2"
