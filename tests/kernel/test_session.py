"""The session: one mind for a kernel's life, whatever happens to the processes that hold it."""

from __future__ import annotations

import ast
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from endpoint import Endpoint, running_endpoint
from familiar_kernel import __version__
from kernels import Kernel, Ran, gone, kill, words

StartKernel = Callable[..., Kernel]

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SHIPS = "%claude Name three fictional spaceships and rank them."
HIGHEST = "%claude Which did you rank highest?"
SALESMAN = "%claude Describe it like a used car salesman."


def said(ran: Ran) -> str:
    """The answer's text of a cell that went well."""
    assert ran.status == "ok", ran.error
    return ran.text().rsplit("\n\n[", 1)[0]


def rows(ran: Ran) -> dict[str, str]:
    """The table that a command shows."""
    assert ran.status == "ok", ran.error
    lines = (line.split("  ", 1) for line in ran.text().splitlines())
    return {name.strip(): value.strip() for name, value in lines}


def wait_for_words(kernel: Kernel, request: str) -> None:
    """Wait until a cell's answer has begun to show."""
    kernel.until(request, lambda m: "word word" in str(m["content"].get("data", "")))


def put_an_end_to(process: psutil.Process) -> None:
    kill(process)
    assert not gone([process], within=2)


# -- memory --------------------------------------------------------------------------------------


def test_the_conversation_is_remembered_from_cell_to_cell(new_mind: Kernel) -> None:
    assert "Marmalade Paradox" in said(new_mind.run(SHIPS))
    assert "Marmalade Paradox" in said(new_mind.run(HIGHEST))
    assert "careful owner" in said(new_mind.run(SALESMAN))


def test_all_ways_to_talk_share_one_conversation(new_mind: Kernel) -> None:
    new_mind.run("%claude remember one")
    assert said(new_mind.run("%%claude\nrecall")) == "You said one."
    new_mind.run("ask('remember two')")
    assert said(new_mind.run("x = %claude recall")) == "You said two."
    assert said(new_mind.run("%claude which turn")) == "5"


def test_the_session_id(new_mind: Kernel) -> None:
    session_id = new_mind.value("CLAUDE_SESSION_ID")
    assert uuid.UUID(session_id).version == 4
    assert rows(new_mind.run("%claude_status"))["Session"] == session_id
    ran = new_mind.run("%claude hello")
    assert ran.outputs()[0]["metadata"]["familiar"]["session_id"] == session_id
    assert "CLAUDE_SESSION_ID" not in new_mind.run("%who").stream()


def test_reset_gives_a_fresh_mind_and_id(kernel: Kernel) -> None:
    before = kernel.value("CLAUDE_SESSION_ID")
    kernel.run("kept = 7")
    kernel.run("%claude remember nothing_much")
    ran = kernel.run("%claude_reset")
    after = kernel.value("CLAUDE_SESSION_ID")
    assert after != before
    assert after in ran.text()
    assert said(kernel.run("%claude recall")) == "You said nothing."
    assert "not been ranked" in (text := said(kernel.run(HIGHEST))) or "no ranking" in text
    assert kernel.value("kept") == 7
    assert kernel.run("%claude hello").outputs()[0]["metadata"]["familiar"]["number"] == 3


def test_reset_twice_and_at_once(kernel: Kernel) -> None:
    ran = kernel.run("for _ in range(3):\n    %claude_reset\n%claude recall")
    assert ran.status == "ok", ran.error
    assert "You said nothing." in ran.text()


def test_restart_gives_a_fresh_mind_and_id(fresh_kernel: Kernel) -> None:
    kernel = fresh_kernel
    before = kernel.value("CLAUDE_SESSION_ID")
    kernel.run("%claude remember what_was")
    family = kernel.family()
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    assert not gone(family, within=2)
    assert kernel.value("CLAUDE_SESSION_ID") != before
    assert said(kernel.run("%claude recall")) == "You said nothing."


# -- what dies and comes back --------------------------------------------------------------------


def test_the_host_is_killed_between_turns(new_mind: Kernel) -> None:
    new_mind.run("%claude remember before_the_host")
    family = new_mind.family()[1:]
    kill(new_mind.host())
    assert not gone(family, within=2)  # the CLI does not outlive its host
    assert said(new_mind.run("%claude recall")) == "You said before_the_host."
    assert said(new_mind.run("%claude which turn")) == "3"


def test_the_cli_is_killed_between_turns(new_mind: Kernel) -> None:
    new_mind.run("%claude remember before_the_cli")
    host, cli = new_mind.host(), new_mind.cli()
    put_an_end_to(cli)
    assert said(new_mind.run("%claude recall")) == "You said before_the_cli."
    assert new_mind.host().pid == host.pid


@pytest.mark.parametrize("way", ["%claude slow x", "answer = ask('slow x')"])
def test_the_cli_is_killed_in_a_turn(new_mind: Kernel, way: str) -> None:
    new_mind.run("%claude remember before_the_turn")
    request = new_mind.execute(way)
    wait_for_words(new_mind, request)
    kill(new_mind.cli())
    ran = new_mind.collect(request, timeout=20)
    assert ran.reply["content"]["ename"] == "FamiliarError"
    assert ran.told.startswith("The Claude Code CLI ended in the middle of the turn.")
    assert "Run the cell again" in ran.told
    assert "Traceback" not in ran.error
    assert "word word" in ran.text()  # what had come is kept
    assert said(new_mind.run("%claude recall")) == "You said before_the_turn."


def test_the_host_is_killed_in_a_turn(new_mind: Kernel) -> None:
    new_mind.run("%claude remember before_the_turn")
    request = new_mind.execute("%claude slow x")
    wait_for_words(new_mind, request)
    cli = new_mind.cli()
    kill(new_mind.host())
    ran = new_mind.collect(request, timeout=20)
    assert ran.told.startswith("The familiar's host process ended in the middle of the turn.")
    assert "word word" in ran.text()
    assert not gone([cli], within=2)
    assert said(new_mind.run("%claude recall")) == "You said before_the_turn."


@pytest.mark.parametrize("victim", ["cli", "host"])
def test_the_first_turn_is_killed(fresh_kernel: Kernel, victim: str) -> None:
    """It leaves a session that exists, though no turn of it is complete."""
    request = fresh_kernel.execute("%claude slow first")
    wait_for_words(fresh_kernel, request)
    kill(fresh_kernel.cli() if victim == "cli" else fresh_kernel.host())
    assert fresh_kernel.collect(request, timeout=20).status == "error"
    assert said(fresh_kernel.run("%claude say here again")) == "here again"
    assert said(fresh_kernel.run("%claude recall the slow one")) == "You asked for first."


def test_the_host_is_killed_before_the_first_turn(fresh_kernel: Kernel) -> None:
    put_an_end_to(fresh_kernel.host())
    assert said(fresh_kernel.run("%claude say hello")) == "hello"


def test_the_host_is_killed_while_turns_wait(new_mind: Kernel) -> None:
    """The turn under way fails; those that nobody has heard yet go to the next host."""
    request = new_mind.execute(
        "import threading, time\nended = {}\n"
        "def work(prompt):\n"
        "    try: ended[prompt] = ask(prompt).text\n"
        "    except Exception as err: ended[prompt] = type(err).__name__\n"
        "prompts = 'slow x', 'say a', 'say b'\n"
        "threads = [threading.Thread(target=work, args=(p,)) for p in prompts]\n"
        "for t in threads: t.start(); time.sleep(0.3)\n"
        "[t.join() for t in threads]\nended"
    )
    wait_for_words(new_mind, request)
    time.sleep(1)
    kill(new_mind.host())
    ran = new_mind.collect(request, timeout=30)
    told = {"slow x": "FamiliarError", "say a": "a", "say b": "b"}
    assert ast.literal_eval(ran.of("execute_result")[0]["data"]["text/plain"]) == told
    assert said(new_mind.run("%claude say on")) == "on"


def test_it_hibernates_and_wakes_with_its_memory(start_kernel: StartKernel) -> None:
    kernel = start_kernel("--Familiar.hibernate_after=2")
    kernel.run("%claude remember the_winter")
    directory = kernel.host().cwd()
    kernel.run("import os; os.chdir('/')")
    family = kernel.family()[1:]
    assert len(family) >= 2
    assert not gone(family, within=10)
    assert [p.pid for p in kernel.family() if alive(p)] == [kernel.pid]
    assert said(kernel.run("%claude recall")) == "You said the_winter."
    assert kernel.host().cwd() == directory


def test_it_does_not_hibernate_in_a_turn(start_kernel: StartKernel) -> None:
    kernel = start_kernel("--Familiar.hibernate_after=1")
    request = kernel.execute("%claude slow x")
    wait_for_words(kernel, request)
    host = kernel.host()
    time.sleep(2.5)
    assert host.is_running()
    kernel.interrupt()
    assert kernel.collect(request, timeout=20).status == "error"


def test_without_a_boot_the_first_prompt_starts_it(start_kernel: StartKernel) -> None:
    kernel = start_kernel("--Familiar.start_at_boot=False")
    assert kernel.run("1 + 1").status == "ok"
    assert [p.pid for p in kernel.family() if alive(p)] == [kernel.pid]
    assert said(kernel.run("%claude say good morning")) == "good morning"


def test_the_kernel_never_imports_the_sdk(kernel: Kernel) -> None:
    kernel.run("%claude hello")
    heavy = ["claude_agent_sdk", "mcp", "pydantic", "starlette", "uvicorn"]
    assert kernel.value(f"[n for n in {heavy} if n in __import__('sys').modules]") == []


# -- settings ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def endpoint(script: Path) -> Iterator[Endpoint]:
    with running_endpoint(script) as served:
        yield served


@pytest.fixture(scope="module")
def signed_in(
    endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory, own_home: Path
) -> Iterator[Kernel]:
    """A kernel without --rehearsal, signed in by a key at an endpoint that keeps its requests."""
    from kernels import running_kernel

    home = tmp_path_factory.mktemp("signed-in")
    with running_kernel(home, arguments=(), env=endpoint.environment) as kernel:
        yield kernel


def test_options_reach_the_request(signed_in: Kernel, endpoint: Endpoint) -> None:
    signed_in.run("%claude plain")
    plain = endpoint.last
    assert plain["thinking"] == {"type": "adaptive", "display": "summarized"}
    signed_in.run("%claude --model claude-test-model --effort low modelled")
    assert endpoint.last["model"] == "claude-test-model"
    assert endpoint.last["output_config"]["effort"] == "low"
    signed_in.run("%claude --no-thinking --model claude-test-model thoughtless")
    assert "thinking" not in endpoint.last
    # Models that always think are at least not asked to tell about it.
    signed_in.run("%claude --no-thinking thoughtless")
    assert endpoint.last.get("thinking", {}).get("display") != "summarized"
    signed_in.run("%claude plain again")
    assert endpoint.last["thinking"] == plain["thinking"]
    assert endpoint.last["model"] == plain["model"]
    assert endpoint.last.get("output_config") == plain.get("output_config")


def test_a_model_for_one_turn_is_for_one_turn(new_mind: Kernel) -> None:
    usual = said(new_mind.run("%claude which model"))
    one = new_mind.run("%claude --no-thinking --model claude-test-model which model")
    assert said(one) == "claude-test-model"
    assert said(new_mind.run("%claude which model")) == usual
    assert said(new_mind.run("%claude --model claude-test-model which model")) != usual
    put_an_end_to(new_mind.host())
    assert said(new_mind.run("%claude which model")) == usual


def test_claude_model(new_mind: Kernel) -> None:
    usual = said(new_mind.run("%claude which model"))
    assert "default" in new_mind.run("%claude_model").text()
    assert "claude-test-model" in new_mind.run("%claude_model claude-test-model").text()
    try:
        assert said(new_mind.run("%claude which model")) == "claude-test-model"
        assert rows(new_mind.run("%claude_status"))["Model"] == "claude-test-model"
        put_an_end_to(new_mind.host())
        assert said(new_mind.run("%claude which model")) == "claude-test-model"
    finally:
        new_mind.run("%claude_model default")
    assert said(new_mind.run("%claude which model")) == usual


def test_claude_effort_and_thinking(signed_in: Kernel, endpoint: Endpoint) -> None:
    assert "low" in signed_in.run("%claude_effort low").text()
    assert "off" in signed_in.run("%claude_thinking off").text()
    try:
        assert "off" in signed_in.run("%claude_thinking").text()
        assert rows(signed_in.run("%claude_status"))["Thinking"] == "off"
        assert rows(signed_in.run("%claude_status"))["Effort"] == "low"
        signed_in.run("%claude with settings")
        assert endpoint.last["output_config"]["effort"] == "low"
        assert endpoint.last.get("thinking", {}).get("display") != "summarized"
    finally:
        signed_in.run("%claude_effort default")
        signed_in.run("%claude_thinking on")
    signed_in.run("%claude without")
    assert endpoint.last["thinking"]["display"] == "summarized"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("%claude_thinking maybe", "on or off"),
        ("%claude_effort enormous", "xhigh"),
        ("%claude_reset now", "no arguments"),
        ("%claude_status verbose", "no arguments"),
        ("%claude_auth everywhere", "--console"),
    ],
)
def test_a_wrong_argument_says_what_is_right(kernel: Kernel, code: str, told: str) -> None:
    before = kernel.value("CLAUDE_SESSION_ID")
    ran = kernel.run(code)
    assert ran.reply["content"]["ename"] == "UsageError"
    assert told in ran.stream("stderr")
    assert kernel.value("CLAUDE_SESSION_ID") == before


def test_options_from_the_command_line(start_kernel: StartKernel) -> None:
    kernel = start_kernel("--Familiar.model=claude-test-model", "--Familiar.thinking=False")
    assert said(kernel.run("%claude which model")) == "claude-test-model"
    assert rows(kernel.run("%claude_status"))["Thinking"] == "off"


# -- what the commands tell ----------------------------------------------------------------------


def test_status_of_a_rehearsal(new_mind: Kernel) -> None:
    new_mind.run("%claude hello")
    told = rows(new_mind.run("%claude_status"))
    assert told["Turns"] == "1"
    assert told["State"] == "ready"
    assert told["Signed in"] == "not needed for a rehearsal"
    assert told["Endpoint"].startswith("http://127.0.0.1:")
    assert told["Rehearsal"] == "a script answers, not Claude"
    assert told["claude-agent-sdk"][0].isdigit()
    assert told["Path of the CLI"].endswith("claude")
    assert "tokens" in told["Context used"]
    assert " in, " in told["Tokens so far"]
    assert not told["Tokens so far"].startswith("0 in")
    assert told["Cost so far"] == "$0.0000"
    assert told["Host's memory"].endswith(" MB")
    assert int(told["Host's memory"].split()[0]) > 50
    assert "Trouble" not in told


def test_status_shows_the_clis_version(kernel: Kernel) -> None:
    words = rows(kernel.run("%claude_status"))["Claude Code CLI"].split()
    assert any(w.count(".") == 2 and w.replace(".", "").isdigit() for w in words), words


def test_status_of_one_who_is_signed_in(signed_in: Kernel, endpoint: Endpoint) -> None:
    told = rows(signed_in.run("%claude_status"))
    assert told["Signed in"].startswith("yes")
    assert told["Endpoint"] == endpoint.url
    assert "Rehearsal" not in told
    assert "for-a-test" not in str(told)  # the key is nobody's business


def test_status_does_not_speak_to_claude(signed_in: Kernel, endpoint: Endpoint) -> None:
    signed_in.run("%claude_status")
    before = len(endpoint.requests)
    signed_in.run("%claude_status")
    assert len(endpoint.requests) == before


def test_status_as_markdown_is_a_table(kernel: Kernel) -> None:
    (output,) = kernel.run("%claude_status").outputs()
    lines = output["data"]["text/markdown"].splitlines()
    assert all(line.startswith("|") and line.endswith("|") for line in lines)
    assert set(output["data"]) == {"text/plain", "text/markdown"}


def test_version(start_kernel: StartKernel) -> None:
    image = {"IMAGE_VERSION": "1.2.3", "IMAGE_TAG": "stable", "IMAGE_SHA": "abcdef0"}
    kernel = start_kernel("--Familiar.start_at_boot=False", env=image)
    told = rows(kernel.run("%claude_version"))
    assert told["familiar-kernel"] == __version__
    assert {"1.2.3", "stable", "abcdef0"} <= set(told.values())
    banner = kernel_info(kernel)["banner"]
    for fact in ("1.2.3", "stable", "abcdef0"):
        assert fact in banner


def test_version_outside_an_image(kernel: Kernel) -> None:
    told = rows(kernel.run("%claude_version"))
    assert told["familiar-kernel"] == __version__
    assert not {"Image", "Tag", "Commit"} & set(told)


def test_help(kernel: Kernel) -> None:
    told = kernel.run("%claude_help").text()
    for name in ("status", "reset", "auth", "model", "effort", "thinking", "version", "help"):
        assert f"%claude_{name}" in told
    assert "ask(" in told
    assert "%%claude" in told


def kernel_info(kernel: Kernel) -> dict[str, Any]:
    request = kernel.client.kernel_info()
    while True:
        reply = kernel.client.get_shell_msg(timeout=30)
        if reply["parent_header"].get("msg_id") == request:
            content: dict[str, Any] = reply["content"]
            return content


def test_the_banner(kernel: Kernel) -> None:
    info = kernel_info(kernel)
    assert kernel.value("CLAUDE_SESSION_ID") in info["banner"]
    assert __version__ in info["banner"]
    assert "IPython" in info["banner"]
    for way in ("%claude text", "%%claude", "ask(", "%claude_help", "rehearsal"):
        assert way in info["banner"]
    assert info["implementation"] == "ipython"
    assert info["language_info"]["name"] == "python"
    assert info["language_info"]["mimetype"] == "text/x-python"


def test_the_banner_can_be_quiet(start_kernel: StartKernel) -> None:
    quiet = start_kernel("--FamiliarKernel.quiet_banner=True", "--Familiar.start_at_boot=False")
    plain = start_kernel("--Familiar.start_at_boot=False")
    short, long = kernel_info(quiet)["banner"], kernel_info(plain)["banner"]
    assert "familiar" not in short
    assert "Claude" not in short
    # IPython's part has a tip that changes; ours is a few lines at most.
    assert len(long.split("familiar-kernel", 1)[1].strip().splitlines()) <= 4
    assert "Python 3" in short


# -- signing in ----------------------------------------------------------------------------------


def test_auth_in_a_rehearsal(kernel: Kernel) -> None:
    assert "needs no sign-in" in kernel.run("%claude_auth").text()


def test_auth_of_one_who_is_signed_in(signed_in: Kernel) -> None:
    told = signed_in.run("%claude_auth").text()
    assert told.startswith("Signed in")
    assert "for-a-test" not in told


@pytest.fixture(scope="module")
def signed_out(tmp_path_factory: pytest.TempPathFactory, own_home: Path) -> Iterator[Kernel]:
    from kernels import running_kernel

    with running_kernel(tmp_path_factory.mktemp("signed-out"), arguments=()) as kernel:
        yield kernel


def test_auth_without_stdin_names_the_terminal(signed_out: Kernel) -> None:
    ran = signed_out.run("%claude_auth", allow_stdin=False)
    assert ran.reply["content"]["ename"] == "UsageError"
    assert "familiar login" in ran.stream("stderr")
    assert "terminal" in ran.stream("stderr")
    assert not [p for p in signed_out.family() if "login" in words(p)]


def test_auth_shows_the_link_and_asks_for_the_code(signed_out: Kernel) -> None:
    request = signed_out.execute("%claude_auth", allow_stdin=True)
    asked = signed_out.client.get_stdin_msg(timeout=60)
    assert asked["msg_type"] == "input_request"
    assert asked["content"]["password"]  # until it is used, the code is as good as a password
    assert "Code" in asked["content"]["prompt"]
    signed_out.client.input("this is no code")
    ran = signed_out.collect(request, timeout=90)
    assert "https://" in ran.text()
    assert "](https://" in ran.text("text/markdown")
    assert ran.reply["content"]["ename"] == "UsageError"
    assert "code was not taken" in ran.stream("stderr")
    assert "this is no code" not in str([m for _, m in ran.messages])
    assert not [p for p in signed_out.family() if "login" in words(p)]
    assert signed_out.run("1 + 1").status == "ok"


def test_auth_can_be_interrupted(signed_out: Kernel) -> None:
    request = signed_out.execute("%claude_auth", allow_stdin=True)
    signed_out.client.get_stdin_msg(timeout=60)
    signed_out.interrupt()
    assert signed_out.collect(request, timeout=20).status == "error"
    assert not [p for p in signed_out.family() if "login" in words(p)]


def test_a_sign_in_does_not_outlive_its_kernel(start_kernel: StartKernel) -> None:
    kernel = start_kernel(arguments=(), script=None)
    kernel.execute("%claude_auth", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=60)
    family = kernel.family()
    assert [p for p in family if words(p)[1:3] == ["auth", "login"]]
    put_an_end_to(family[0])
    assert not gone(family, within=2)


def test_status_of_one_who_is_not_signed_in(signed_out: Kernel) -> None:
    told = rows(signed_out.run("%claude_status"))
    assert told["Signed in"] == "no: run %claude_auth"
    assert told["Endpoint"] == "https://api.anthropic.com"


# -- configuration files -------------------------------------------------------------------------


def test_a_configuration_file_with_faults(start_kernel: StartKernel, tmp_path: Path) -> None:
    """The kernel starts, uses what is right, and says what is wrong."""
    home = tmp_path / "configured"
    profile = home / ".ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text(
        "c.Familiar.start_timeout = 'soon'\n"
        "c.Familiar.effort = 'enormous'\n"
        "c.Familiar.modle = 'x'\n"
        "c.Familiar.model = 'claude-test-model'\n"
        "c.FamiliarKernel.quiet_banner = 'perhaps'\n"
        "c.InteractiveShell.colors = 7\n"
    )
    kernel = start_kernel(home=home)
    banner = kernel_info(kernel)["banner"]
    status = kernel.run("%claude_status").text()
    for wrong in (
        "Familiar.start_timeout",
        "Familiar.effort",
        "Familiar.modle",
        "FamiliarKernel.quiet_banner",
        "InteractiveShell.colors",
    ):
        assert wrong in banner, banner
        assert wrong in status, status
    assert said(kernel.run("%claude which model")) == "claude-test-model"


def test_a_configuration_file_that_is_no_python(start_kernel: StartKernel, tmp_path: Path) -> None:
    home = tmp_path / "broken"
    profile = home / ".ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text("c.Familiar.model = (\n")
    kernel = start_kernel(home=home)
    assert kernel.run("1 + 1").status == "ok"
    assert said(kernel.run("%claude say hello")) == "hello"


def test_a_wrong_value_on_the_command_line(start_kernel: StartKernel) -> None:
    kernel = start_kernel("--Familiar.start_timeout=soon", "--Familiar.start_at_boot=False")
    assert "Familiar.start_timeout" in kernel_info(kernel)["banner"]
    assert kernel.run("1 + 1").status == "ok"


def test_the_host_uses_no_more_memory_than_it_says(kernel: Kernel) -> None:
    kernel.run("%claude hello")
    told = int(rows(kernel.run("%claude_status"))["Host's memory"].split()[0])
    measured = sum(p.memory_info().rss for p in kernel.family()[1:] if alive(p)) / 1e6
    assert told == pytest.approx(measured, rel=0.5)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
