"""The `familiar` command as people call it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import familiar_kernel

Familiar = Callable[..., "subprocess.CompletedProcess[str]"]
COMMANDS = ["demo", "login", "logout", "doctor", "install", "rehearse", "sandbox"]
COMMANDS += ["proxy", "git-hooks"]


@pytest.fixture
def familiar(tmp_path: Path) -> Familiar:
    """Runs `familiar` with a home of its own: ``familiar(*arguments, **variables)``."""
    package_parent = str(Path(familiar_kernel.__file__).parents[1])
    base = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "CLAUDE_CONFIG_DIR": str(tmp_path / "claude"),
        "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),
        "PYTHONPATH": package_parent,
        "COLUMNS": "80",
    }
    (tmp_path / "home").mkdir()

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from familiar_kernel.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            env={**base, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def written(where: Path) -> dict[str, object]:
    spec: dict[str, object] = json.loads((where / "kernel.json").read_text())
    return spec


# -- help ------------------------------------------------------------------------------------------


def test_help_names_every_command(familiar: Familiar) -> None:
    told = familiar("--help")
    assert told.returncode == 0
    listed = [line.split()[0] for line in told.stdout.split("commands:")[1].splitlines()[2:]]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal(familiar: Familiar, command: str) -> None:
    told = familiar(*filter(None, [command, "--help"]))
    assert told.returncode == 0, told.stderr
    wide = [line for line in told.stdout.splitlines() if len(line) > 80]
    assert [line for line in wide if sys.executable not in line] == []


def test_version(familiar: Familiar) -> None:
    assert familiar("--version").stdout == f"familiar-kernel {familiar_kernel.__version__}\n"


def test_no_command_is_an_error_with_usage(familiar: Familiar) -> None:
    told = familiar()
    assert told.returncode == 2
    assert told.stderr.startswith("usage: familiar")


# -- install ---------------------------------------------------------------------------------------


def test_install_is_for_the_user(familiar: Familiar, tmp_path: Path) -> None:
    told = familiar("install")
    assert told.returncode == 0, told.stderr
    where = tmp_path / "jupyter" / "kernels" / "python-claude"
    assert f'Installed the kernel "Python + Claude" in {where}\n' in told.stdout
    assert written(where)["argv"][0] == sys.executable  # type: ignore[index]
    assert told.stderr == ""


def test_install_with_settings(familiar: Familiar, tmp_path: Path) -> None:
    arguments = ("--prefix", str(tmp_path), "--name", "mine", "--display-name", "My own")
    told = familiar("install", *arguments, "--env", "A=1", "--env", "B=x=y")
    assert told.returncode == 0, told.stderr
    spec = written(tmp_path / "share/jupyter/kernels/mine")
    assert (spec["display_name"], spec["env"]) == ("My own", {"A": "1", "B": "x=y"})
    assert "A, B" in told.stdout


def test_install_of_the_rehearsal_is_a_second_kernel(familiar: Familiar, tmp_path: Path) -> None:
    assert familiar("install", "--rehearsal").returncode == 0
    spec = written(tmp_path / "jupyter" / "kernels" / "python-claude-rehearsal")
    assert spec["display_name"] == "Python + Claude (rehearsal)"
    assert spec["env"] == {"FAMILIAR_REHEARSAL": "1"}


def test_a_secret_is_warned_of_and_not_shown(familiar: Familiar) -> None:
    told = familiar("install", "--env", "ANTHROPIC_API_KEY=sk-hidden", "--env", "PLAIN=1")
    assert told.returncode == 0
    assert "ANTHROPIC_API_KEY may be a secret" in told.stderr
    assert "PLAIN" not in told.stderr
    assert "sk-hidden" not in told.stdout + told.stderr


@pytest.mark.parametrize("text", ["sk-hidden", "=sk-hidden"])
def test_a_wrong_assignment_is_refused_and_not_shown(familiar: Familiar, text: str) -> None:
    told = familiar("install", "--env", text)
    assert told.returncode == 2
    assert "expected KEY=VALUE" in told.stderr
    assert "sk-hidden" not in told.stdout + told.stderr


def test_two_places_at_once_are_refused(familiar: Familiar) -> None:
    assert familiar("install", "--user", "--sys-prefix").returncode == 2


@pytest.mark.parametrize("arguments", [("--name", "two words"), ("--prefix", "file")])
def test_what_cannot_be_installed_is_said_in_a_line(
    familiar: Familiar, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    told = familiar("install", *arguments)
    assert told.returncode == 1
    assert told.stderr.startswith("familiar: ")
    assert "Traceback" not in told.stderr


# -- login and logout ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "handed_on"),
    [
        (["login"], "auth login"),
        (["login", "--console"], "auth login --console"),
        (["logout"], "auth logout"),
    ],
)
def test_signing_in_and_out_is_the_clis_own(
    familiar: Familiar, tmp_path: Path, arguments: list[str], handed_on: str
) -> None:
    program = tmp_path / "claude"
    program.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    program.chmod(0o755)
    told = familiar(*arguments, FAMILIAR_CLAUDE_CLI=str(program))
    assert (told.stdout.strip(), told.returncode) == (handed_on, 7)


@pytest.mark.cli
def test_logout_with_the_real_cli(familiar: Familiar) -> None:
    told = familiar("logout")
    assert told.returncode == 0, told.stderr
    assert "logged out" in told.stdout.lower()


def test_login_without_a_cli(familiar: Familiar, tmp_path: Path) -> None:
    told = familiar("login", FAMILIAR_CLAUDE_CLI=str(tmp_path / "none"))
    assert told.returncode == 1
    assert "named by FAMILIAR_CLAUDE_CLI, is not a program" in told.stderr
