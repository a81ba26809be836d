"""What an answer means, what a record keeps, and what a request shows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from familiar_kernel.permissions import (
    Decision,
    PermissionFault,
    Permissions,
    Request,
    decision_of,
    fault_of_mode,
    without_secrets,
)


@given(st.text())
def test_only_a_plain_yes_allows(answer: str) -> None:
    plain = answer.strip().lower() in ("y", "yes", "a", "always")
    assert decision_of(answer).allowed is plain


def test_what_answers_mean() -> None:
    assert decision_of(" Y ") == Decision(True, "once")
    assert decision_of("always") == Decision(True, "always")
    assert decision_of("") == decision_of("no") == Decision(False, "no")
    assert decision_of(" yes, but later ") == Decision(False, "no", "yes, but later")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("curl -H 'Authorization: Bearer abc.def'", "abc.def"),
        ("export OPENAI_API_KEY=sk-abcdefgh12345", "abcdefgh"),
        ('{"password": "tiger"}', "tiger"),
        ("git clone https://me:tiger@example.org/x", "tiger"),
        ("x = 'ghp_0123456789abcdef'", "0123456789"),
        ("mysql --password tiger db", "tiger"),
        ("AKIAABCDEFGHIJKLMNOP", "ABCDEFGHIJKLMNOP"),
    ],
)
def test_a_record_has_no_secrets(text: str, kept: str) -> None:
    assert kept not in without_secrets(text)
    assert "***" in without_secrets(text)


def test_a_record_keeps_what_is_no_secret() -> None:
    for text in ("ls -l", "the token count", "df.head()", "curl https://example.org/a?b=c"):
        assert without_secrets(text) == text


def test_the_audit_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    permissions = Permissions(audit_log=str(tmp_path / "new" / "audit.jsonl"))
    for allowed in (True, False):
        permissions.record("session", "Bash", "ls\n" * 500, Decision(allowed, "once", "because"))
    path = Path(permissions.audit_log)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["allowed"] for line in lines] == [True, False]
    assert lines[0]["why"] == "because"
    assert len(lines[0]["what"]) == 400
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_is_said_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    permissions = Permissions(audit_log=str(tmp_path / "file" / "audit.jsonl"))
    permissions.record("session", "Bash", "ls", Decision(True, "once"))
    assert "could not be written" in caplog.text


def test_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "accept-edits" in fault_of_mode("yolo")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("IS_SANDBOX", raising=False)
    with pytest.raises(PermissionFault, match="IS_SANDBOX=1"):
        Permissions().choose("bypass")
    assert Permissions(mode="bypass").mode == "ask"
    monkeypatch.setenv("IS_SANDBOX", "1")
    assert Permissions(mode="bypass").is_free("Bash")


def test_a_request_shows_exactly_what_would_be_done() -> None:
    code = "print(1)\n```\n<img src=x>\n````"
    shown = Request("mcp__notebook__run_python", {"code": code}).bundle()["text/markdown"]
    assert f"`````python\n{code}\n`````" in shown
    assert (
        "```bash\nrm -r x\n```" in Request("Bash", {"command": "rm -r x"}).bundle()["text/markdown"]
    )
    edit = {"file_path": "a.py", "old_string": "x = 1", "new_string": "x = 2"}
    assert "-x = 1\n+x = 2" in Request("Edit", edit).plain()
    assert "+new" in Request("Write", {"file_path": "a.py", "content": "new"}).plain()
    assert '"url"' in Request("WebFetch", {"url": "https://example.org"}).plain()


@given(st.text(), st.text())
def test_a_request_ends_where_it_ends(tool: str, code: str) -> None:
    """Nothing in a tool's input can end its fence, or hide in it."""
    shown = Request(tool, {"code": code}).bundle()["text/markdown"]
    head, _, rest = shown.partition("\n\n")
    assert "\n" not in head
    fence = rest.partition("python\n")[0]
    assert rest.endswith(f"\n{fence}")
    assert fence not in rest[len(fence) : -len(fence)]
    assert "\u202e" not in shown


def test_nothing_of_a_request_is_hidden() -> None:
    shown = Request("Bash", {"command": "echo hi \x1b]; rm -rf ~ #\x07\u200b", "x": "run"}).plain()
    assert "rm -rf ~" in shown
    assert "\u27e6U+200B\u27e7" in shown
    assert '"x": "run"' in shown
    assert "thesis.tex" in Request("Write", {"file_path": "thesis.tex", "content": ""}).plain()
    ends = {"file_path": "a.py", "old_string": "x\n", "new_string": "x", "replace_all": True}
    shown = Request("Edit", ends).plain()
    assert "a.py" in shown
    assert "replace_all" in shown
    assert "mcp__evil__run_python" in Request("mcp__evil__run_python", {}).plain()
    assert "prod" in Request("mcp__db__query", {"code": "select 1", "database": "prod"}).plain()
