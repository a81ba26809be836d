"""Conversations that outlive a kernel: resumed, copied, summed up, written down; and what they
cost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from endpoint import Endpoint
from kernels import Kernel, running_kernel

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SCRIPT = Path(__file__).parents[1] / "scripts" / "sessions.yaml"


MODEL = "claude-sonnet-4-5"


def starts(folder: Path, endpoint: Endpoint, **options: object):  # type: ignore[no-untyped-def]
    return running_kernel(folder, arguments=(), env=endpoint.environment, **options)  # type: ignore[arg-type]


def session(kernel: Kernel) -> str:
    return str(kernel.value("CLAUDE_SESSION_ID"))


def told(endpoint: Endpoint) -> str:
    return str([r["messages"] for r in endpoint.requests[-1:]])


def test_a_session_is_resumed_after_a_restart(tmp_path: Path, endpoint: Endpoint) -> None:
    home = tmp_path / "home"
    env = {"JPY_SESSION_NAME": "work/first.ipynb"}
    with running_kernel(home, arguments=(), env=endpoint.environment | env) as kernel:
        kernel.run("treasure = 1")
        assert "remember" in kernel.run("%claude remember apples").text()
        before = session(kernel)
        none = kernel.run("%claude_resume")
        assert "no earlier session" in none.text()
    with starts(home, endpoint) as kernel:
        listed = kernel.run("%claude_resume").text()
        assert before[:8] in listed
        assert "remember apples" in listed
        assert "first.ipynb" in listed
        assert "notebook-context" not in listed
        resumed = kernel.run("%claude_resume last").text()
        assert before in resumed
        assert "1 turn" in resumed
        assert "remember apples" in resumed
        assert session(kernel) == before
        assert "You said apples." in kernel.run("%claude recall").text()
        assert "new kernel" in told(endpoint)
        # It has been told once.
        kernel.run("%claude recall")
        assert told(endpoint).count("has resumed this session") == 1
        assert kernel.value("get_ipython().kernel.familiar.number") == 3


def test_a_session_that_a_kernel_holds_is_not_taken_from_it(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    home = tmp_path / "home"
    with starts(home, endpoint) as first, starts(home, endpoint) as second:
        first.run("%claude remember pears")
        held = session(first)
        assert "in use now" in second.run("%claude_resume").text()
        refused = second.run(f"%claude_resume {held[:8]}")
        assert refused.status == "error"
        assert "%claude_fork" in refused.stream("stderr")
        assert "no earlier session" in second.run("%claude_resume last").stream("stderr")
        assert "A copy of" in second.run(f"%claude_fork {held[:8]}").text()
        assert session(second) not in (held, "")
        assert "You said pears." in second.run("%claude recall").text()
        assert second.run("%claude_resume nonsense").status == "error"


def test_a_fork_leaves_the_original_as_it_was(tmp_path: Path, endpoint: Endpoint) -> None:
    with starts(tmp_path / "home", endpoint) as kernel:
        assert kernel.run("%claude_fork").status == "error"
        kernel.run("%claude remember plums")
        original = session(kernel)
        kernel.run("%claude_fork")
        assert session(kernel) != original
        kernel.run("%claude remember figs")
        assert "You said figs" in kernel.run("%claude recall").text()
        kernel.run(f"%claude_resume {original}")
        assert "You said plums." in kernel.run("%claude recall").text()
        assert "new kernel" not in told(endpoint)


def test_a_conversation_is_summed_up(tmp_path: Path, endpoint: Endpoint) -> None:
    with starts(tmp_path / "home", endpoint) as kernel:
        assert kernel.run("%claude_compact").status == "error"
        kernel.run("%claude remember quinces")
        ran = kernel.run("%claude_compact the fruit")
        assert ran.status == "ok", ran.error
        assert "summed up" in ran.text().lower()
        assert any("the fruit" in str(r["messages"]) for r in endpoint.requests[-3:])
        assert kernel.run("%claude hello").text().startswith("Hello.")


def test_a_conversation_is_written_to_a_file(tmp_path: Path, endpoint: Endpoint) -> None:
    with starts(tmp_path / "home", endpoint) as kernel:
        assert kernel.run("%claude_export").status == "error"
        kernel.run("secret_variable = 1")
        kernel.run("%claude remember limes")
        kernel.run("%claude list")
        kernel.run("%claude html")
        assert "3 turns" in kernel.run("%claude_export kept.md").text()
        text = (tmp_path / "home" / "kept.md").read_text()
        assert "## You\n\nremember limes" in text
        assert "I shall **remember** limes." in text
        assert "A word to keep: limes." in text
        assert "- **list" in text
        assert "I look." in text
        assert "<script>" not in text
        assert "secret_variable" not in text
        again = kernel.run("%claude_export kept.md")
        assert again.status == "error"
        assert "exists already" in again.stream("stderr")
        assert kernel.run("%claude_export /nowhere/kept.md").status == "error"
        nobody = kernel.run("%claude_export ~nobody-here/kept.md")
        assert "no home" in nobody.stream("stderr")
        assert "3 turns" in kernel.run('%claude_export "with a space.md"').text()
        assert (tmp_path / "home" / "with a space.md").exists()
        own = kernel.run(f"%claude_resume {session(kernel)}")
        assert "own session" in own.stream("stderr")
        assert "US dollars" in kernel.run("%claude_budget 1e300").stream("stderr")


def test_what_the_cli_puts_in_is_no_part_of_the_conversation(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    with starts(tmp_path / "home", endpoint) as kernel:
        request = kernel.execute("%claude list", allow_stdin=True)
        time.sleep(0.05)
        kernel.interrupt()
        kernel.collect(request)
        kernel.run("%claude hello")
        kernel.run("%claude_export kept.md")
        text = (tmp_path / "home" / "kept.md").read_text()
        assert "Request interrupted" not in text
        assert "No response requested" not in text


def test_a_budget_refuses_the_turn_that_would_pass_it(tmp_path: Path, endpoint: Endpoint) -> None:
    with starts(tmp_path / "home", endpoint) as kernel:
        assert "No budget" in kernel.run("%claude_budget").text()
        kernel.run("%claude hello")
        spent = kernel.value("get_ipython().kernel.familiar.spent")
        assert spent > 0
        kernel.run(f"%claude_budget {spent * 1.5:.6f}")
        before = len(endpoint.requests)
        refused = kernel.run("%claude hello")
        assert "%claude_budget" in refused.told
        assert len(endpoint.requests) == before
        told = kernel.run("%claude_budget 5").text()
        assert "$5.00" in told
        assert kernel.run("%claude hello").status == "ok"
        kernel.run("%claude_budget none")
        for wrong in ("-1", "much", "0", "inf"):
            assert kernel.run(f"%claude_budget {wrong}").status == "error"


def test_the_budget_holds_while_a_turn_goes_on(tmp_path: Path, endpoint: Endpoint) -> None:
    with starts(tmp_path / "home", endpoint) as kernel:
        events = tmp_path / "events"
        kernel.run(
            "n = get_ipython().kernel.notifications; n.after = 0\n"
            f"n.command = ['sh', '-c', 'cat >> {events}']"
        )
        kernel.run("%claude_budget 0.0001")
        first = kernel.run("%claude list")  # its second request would be beyond the budget
        second = kernel.run("%claude hello")
        assert "budget" in (first.told + second.told)
        deadline = time.monotonic() + 20
        while not events.exists() or '"budget"' not in events.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert second.status == "error"
        assert kernel.run("%claude_budget none").status == "ok"
        assert kernel.run("%claude hello").text().startswith("Hello.")


def test_tab_knows_the_sessions(tmp_path: Path, endpoint: Endpoint) -> None:
    home = tmp_path / "home"
    with starts(home, endpoint) as kernel:
        kernel.run("%claude hello")
        before = session(kernel)
    with starts(home, endpoint) as kernel:
        # A host that is still starting is not waited for long; one presses Tab again.
        deadline = time.monotonic() + 60
        matches: list[str] = []
        while before not in matches and time.monotonic() < deadline:
            reply = kernel.client.complete("%claude_resume ", 15, reply=True, timeout=60)
            matches = reply["content"]["matches"]
            assert "last" in matches
        assert before in matches
