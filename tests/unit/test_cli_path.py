"""Which Claude Code CLI is found, and that nothing is passed over in silence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from familiar_kernel.familiar.cli_path import VARIABLE, bundled_cli, find_cli, locate_cli


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the programs `claude` and `other-claude`."""
    for name in ("claude", "other-claude"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return tmp_path


def test_the_bundled_cli_is_the_sdks_and_runs() -> None:
    path = bundled_cli()
    assert path is not None
    assert path.parent.parent.name == "claude_agent_sdk"
    told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60)
    assert "Claude Code" in told.stdout


def test_the_bundled_cli_comes_before_path(programs: Path) -> None:
    cli = locate_cli(environ={"PATH": str(programs), "HOME": str(programs)})
    assert cli is not None
    assert (cli.path, cli.origin) == (bundled_cli(), "claude-agent-sdk")


def test_the_variable_comes_before_the_bundled_cli(programs: Path) -> None:
    cli = locate_cli(environ={VARIABLE: str(programs / "other-claude"), "PATH": ""})
    assert cli is not None
    assert (cli.path, cli.origin) == (programs / "other-claude", VARIABLE)


def test_the_setting_comes_first(programs: Path) -> None:
    cli = locate_cli(str(programs / "claude"), {VARIABLE: str(programs / "other-claude")})
    assert cli is not None
    assert (cli.path, cli.origin, cli.runs) == (programs / "claude", "the setting cli_path", True)


def test_a_name_is_looked_for_on_path(programs: Path) -> None:
    assert find_cli("other-claude", {"PATH": str(programs)}) == programs / "other-claude"


def test_one_that_is_named_but_missing_is_not_replaced(programs: Path) -> None:
    missing = programs / "missing"
    cli = locate_cli(environ={VARIABLE: str(missing), "PATH": str(programs)})
    assert cli is not None
    assert cli.path == missing
    assert not cli.runs


def test_one_that_is_no_program_does_not_run(programs: Path) -> None:
    text = programs / "text"
    text.write_text("not a program")
    cli = locate_cli(str(text), {})
    assert cli is not None
    assert not cli.runs


def test_without_a_bundled_cli(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a platform whose claude-agent-sdk carries none: here, as if it were not installed.
    monkeypatch.setattr("sys.path", [])
    monkeypatch.delitem(__import__("sys").modules, "claude_agent_sdk", raising=False)
    home = programs / "home"
    assert find_cli(environ={"PATH": str(programs), "HOME": str(home)}) == programs / "claude"

    usual = home / ".local" / "bin" / "claude"
    usual.parent.mkdir(parents=True)
    (programs / "claude").rename(usual)
    cli = locate_cli(environ={"PATH": str(programs), "HOME": str(home)})
    assert cli is not None
    assert (cli.path, cli.origin) == (usual, "a usual place")

    usual.unlink()
    found = locate_cli(environ={"PATH": str(programs), "HOME": str(home)})
    # Only what installers have put on this machine itself can be left.
    assert found is None or found.path.is_relative_to("/usr") or found.path.is_relative_to("/opt")
