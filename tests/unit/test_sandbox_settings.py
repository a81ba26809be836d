"""What a sandbox is told to be, and what is said of its end; what a command in it may do."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from traitlets import TraitError
from traitlets.config import Config

from familiar_kernel.outer import early
from familiar_kernel.outer.asks import is_written
from familiar_kernel.outer.marks import Marks
from familiar_kernel.sandbox.configuration import Sandbox, mount_of, workspace_of
from familiar_kernel.sandbox.container import how_it_ended
from familiar_kernel.sandbox.spec import Mount, Spec

SPEC = Spec(image="i", name="n", sockets="/s", seccomp="/p", memory="2g")


# -- settings --------------------------------------------------------------------------------------


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "IMAGE": "localhost/mine",
        "MEMORY": "4g",
        "CPUS": "1.5",
        "PIDS": "99",
        "WORKSPACE_MODE": "none",
        "ENVIRONMENT": "TZ, LANG",
        "MOUNTS": "/data:/data",
        "WIDGETS": "1",
    }.items():
        monkeypatch.setenv(f"FAMILIAR_SANDBOX_{name}", value)
    settings = Sandbox()
    assert settings.faults == []
    assert (settings.image, settings.memory, settings.cpus) == ("localhost/mine", "4g", 1.5)
    assert (settings.pids, settings.workspace_mode) == (99, "none")
    assert settings.environment == ["TZ", "LANG"]
    assert settings.widgets
    assert not settings.trusted_outputs


def test_a_file_or_an_argument_goes_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAMILIAR_SANDBOX_MEMORY", "4g")
    assert Sandbox(config=Config({"Sandbox": {"memory": "8g"}})).memory == "8g"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEMORY", "much"),
        ("CPUS", "many"),
        ("CPUS", "0"),
        ("PIDS", "2"),
        ("WORKSPACE_MODE", "maybe"),
        ("ENVIRONMENT", "A=B"),
        ("MOUNTS", "/data"),
        ("TMP_SIZE", "-1m"),
    ],
)
def test_a_wrong_variable_costs_that_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"FAMILIAR_SANDBOX_{name}", value)
    settings = Sandbox()
    assert len(settings.faults) == 1
    assert f"FAMILIAR_SANDBOX_{name} is not used" in settings.faults[0]
    assert getattr(settings, name.lower()) == Sandbox.class_traits()[name.lower()].default()


def test_only_variables_that_are_there_are_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERE", "secret value")
    monkeypatch.delenv("NOT_THERE", raising=False)
    settings = Sandbox(environment=["THERE", "NOT_THERE"])
    spec = settings.spec("n", "/s", "/p", {}, "")
    assert spec.environment == ("THERE",)
    assert "secret value" not in repr(spec)


@pytest.mark.parametrize("text", ["", "/a", "a:b", ":/b", "/a:b", "/a:/b:/c", "/a,x:/b"])
def test_what_is_no_mount_is_refused(text: str) -> None:
    with pytest.raises(TraitError):
        mount_of(text)


def test_a_mount_is_read_only() -> None:
    assert mount_of("/data/set:/data") == Mount("/data/set", "/data", read_only=True)


# -- the workspace ---------------------------------------------------------------------------------


def test_the_workspace_is_the_notebooks_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    work = home / "work"
    work.mkdir(parents=True)
    assert workspace_of("", "ro", work, [home]) == (str(work), "")
    assert workspace_of(str(work), "rw", tmp_path, [home]) == (str(work), "")


@pytest.mark.parametrize("where", ["home", ".", "home/.claude/..", "link"])
def test_what_holds_the_home_is_no_workspace(tmp_path: Path, where: str) -> None:
    home = tmp_path / "home"
    (home / ".claude").mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    folder, why = workspace_of("", "ro", tmp_path / where, [home])
    assert folder == ""
    assert "move the notebook into a folder" in why


def test_credentials_elsewhere_are_kept_out_too(tmp_path: Path) -> None:
    home, shared = tmp_path / "home", tmp_path / "shared"
    for folder in (home, shared / "claude"):
        folder.mkdir(parents=True)
    assert workspace_of("", "ro", shared, [home, shared / "claude"])[0] == ""
    assert workspace_of("", "ro", shared / "claude", [home, shared / "claude"])[0] == ""


def test_no_workspace_is_told_why(tmp_path: Path) -> None:
    assert "none" in workspace_of("", "none", tmp_path, [])[1]
    assert "not there" in workspace_of(str(tmp_path / "no"), "ro", tmp_path, [])[1]
    colon = tmp_path / "a:b"
    colon.mkdir()
    assert "colon" in workspace_of(str(colon), "ro", tmp_path, [])[1]


# -- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"OOMKilled": True, "ExitCode": 137}, "more than its 2g of memory"),
        ({"ExitCode": 137}, "it was killed"),
        ({"ExitCode": 139}, "segmentation fault"),
        ({"ExitCode": 134}, "aborted"),
        ({"ExitCode": 3}, "status 3"),
        ({"Running": True}, "kernel has ended"),
        ({}, "status 0"),
    ],
)
def test_an_end_is_told_in_words(state: dict[str, object], told: str) -> None:
    assert told in how_it_ended(state, SPEC)


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "%claude_model opus",
        "  %claude_model   opus  ",
        "x = 1\n%claude_model opus\ny = 2",
        "for i in x:\n    %claude_model opus",
        "claude_model opus",
        "told = %claude_model opus",
    ],
)
def test_a_command_that_stands_in_the_cell_is_run(code: str) -> None:
    assert is_written(code, "claude_model", "opus")


@pytest.mark.parametrize(
    "code",
    [
        "",
        "get_ipython().run_line_magic('claude_model', 'opus')",
        "# %claude_model opus",
        "print('%claude_model opus')",
        "%claude_model opus --more",
        "%claude_models opus",
        "%claude_model",
        "%claude say %claude_model opus",
    ],
)
def test_a_command_that_code_gives_is_not(code: str) -> None:
    assert not is_written(code, "claude_model", "opus")


# -- marks -----------------------------------------------------------------------------------------


def test_what_depends_on_a_mark_waits_for_it() -> None:
    marks, done = Marks(), []
    marks.when(2, lambda: done.append(2))
    marks.when(1, lambda: done.append(1))
    assert done == []
    marks.reach(1)
    assert done == [1]
    marks.reach(5)
    assert done == [1, 2]
    marks.when(4, lambda: done.append(4))
    assert done == [1, 2, 4]


def test_a_lost_mark_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("familiar_kernel.outer.marks.WAIT", 0.05)
    marks, come = Marks(), threading.Event()
    began = time.monotonic()
    marks.when(1, come.set)
    assert come.wait(5)
    assert time.monotonic() - began >= 0.05
    marks.reach(1)  # too late, and does nothing


# -- the early start -------------------------------------------------------------------------------


def test_nothing_starts_early_where_a_file_speaks_of_sandboxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "profile_default"
    profile.mkdir()
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert not early._is_configured()
    (profile / "ipython_kernel_config.py").write_text("c.Sandbox.memory = '1g'\n")
    assert early._is_configured()
    early.start([])
    assert early.taken() is None


def test_nothing_starts_early_where_arguments_choose() -> None:
    early.start(["-f", "x", "--Sandbox.memory=1g"])
    assert early.taken() is None
