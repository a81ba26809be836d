"""What the lab's image is built from, and the command that builds it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from sandbox.podman import ROOT

LAB = ROOT / "containers" / "lab"


def loaded(name: str) -> ModuleType:
    """Return a script of ``containers``, which is no package, as a module."""
    file = ROOT / "containers" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"containers_{file.stem}", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def versions(*files: Path) -> dict[str, str]:
    lines = [line for file in files for line in file.read_text().splitlines() if "==" in line]
    pairs = [line.split("==") for line in lines]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


@pytest.mark.parametrize("runtime", ["podman", "/usr/bin/docker"])
def test_the_command_that_builds(runtime: str) -> None:
    given = {"BASE_IMAGE": "", "IMAGE_TAG": "one"}
    command = loaded("build").building(
        runtime, LAB / "Containerfile", Path("/kept"), ["a:one", "a:two"], given, "host"
    )
    assert command[:2] == [runtime, "build"]
    assert command[-1] == str(ROOT)
    # By name only: what pip is told may hold a password.
    assert "--secret=id=pip.conf,src=/kept/pip.conf" in command
    assert {"--tag=a:one", "--tag=a:two", "--network=host"} < set(command)
    assert "--build-arg=IMAGE_TAG=one" in command
    assert not [word for word in command if "BASE_IMAGE" in word]
    is_docker = runtime.endswith("docker")
    assert ("--build-arg=HTTPS_PROXY" in command) == is_docker
    assert ("--format=docker" in command) != is_docker


def test_a_runtime_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert loaded("build").main(["lab", "--runtime", "podman-of-nobody"]) == 1
    assert capsys.readouterr().err == (
        "containers/build.py: podman-of-nobody was not found; install podman or Docker.\n"
    )


def test_what_of_npms_settings_a_build_is_told() -> None:
    # Where packages are and as whom to ask; not what only this machine means, such as a file.
    told = (
        "registry=https://one.example/\n//one.example/:_authToken=t\n"
        "@ours:registry = https://two.example/\ncafile=/here/ca.pem\n# registry=no\nnodedir=/usr\n"
    )
    assert loaded("build").npm_settings(told).splitlines() == [
        "registry=https://one.example/",
        "//one.example/:_authToken=t",
        "@ours:registry = https://two.example/",
    ]


def test_an_image_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        loaded("build").main(["sandbox"])  # `familiar sandbox build` makes that one
    assert {"lab", "hub"} <= set(loaded("build").images())
    assert "'sandbox'" in capsys.readouterr().err


def test_without_git_there_is_no_commit(tmp_path: Path) -> None:
    assert loaded("build").commit(tmp_path) == ""


def test_what_the_familiar_needs_and_in_which_version() -> None:
    needs = loaded("lab/needs")
    project = (
        '[project]\ndependencies = ["a>=1"]\n[project.optional-dependencies]\nx = ["b"]\ny = ["c"]'
    )
    assert needs.needs(project, ["x"]) == ["a>=1", "b"]
    with pytest.raises(KeyError):
        needs.needs(project, ["z"])
    # Ours go before, however a name is written.
    assert needs.pins("# why\nA_b==2\n", "a.B==1\nc==3\n") == ["A_b==2", "c==3"]


def test_the_lab_has_the_versions_that_the_tests_have() -> None:
    tested = versions(ROOT / "constraints.txt")
    wanted = versions(LAB / "requirements.txt")
    assert wanted == {name: tested.get(name, version) for name, version in wanted.items()}
    # One that differs says why.
    ours = (LAB / "constraints.txt").read_text()
    for name, version in versions(LAB / "constraints.txt").items():
        if tested.get(name, version) != version:
            assert re.search(rf"^#.*\n(\S+\n)*{name}==", ours, re.M), name


def test_every_suite_has_the_same_tools() -> None:
    found = {}
    for file in (LAB / "apt").glob("*.txt"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        for line in lines:
            assert re.fullmatch(r"[a-z0-9.+-]+=[0-9][^ ]*\*", line), line
        found[file.stem] = {line.partition("=")[0] for line in lines}
    assert found["bookworm"] == found["trixie"] - {"docker-cli", "passt"}
