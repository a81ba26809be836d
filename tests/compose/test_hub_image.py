"""What the hub's image is built from, and how it starts: its lists, and its steps in order."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from sandbox.podman import ROOT

HUB = ROOT / "containers" / "hub"


def packages() -> ModuleType:
    """Return the build's script, which is no package, as a module."""
    spec = importlib.util.spec_from_file_location("hub_packages", HUB / "packages.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_what_is_installed(suite: str) -> None:
    text = (HUB / "apt.yaml").read_text()
    found = packages().packages(text, suite)
    assert [word.partition("=")[0] for word in found] == ["ca-certificates", "tini"]
    assert packages().main([str(HUB / "apt.yaml"), suite]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("packages: [", "the list of packages is no YAML"),
        ("- tini", "the list of packages begins with packages:"),
        (
            "packages: [{name: a}]",
            "package 1 of the list is called 'a', which is no package's name",
        ),
        ("packages: [{name: tini}]", "package 1 of the list, tini, does not say why it is there"),
        (
            "packages: [{name: ok, why: x}, {name: '--force', why: x}]",
            "package 2 of the list is called '--force'",
        ),
        ("packages: [{name: ok, why: x, when: now}]", "may have name, why and versions"),
        (
            "packages: [{name: tini, why: x, versions: {trixie: 1.*}}]",
            "tini has versions for trixie, and the base image is of the suite bookworm",
        ),
        ("packages: [{name: tini, why: x, versions: {bookworm: 'a b'}}]", "'a b', which is none"),
        ("packages: [{name: tini, why: x, versions: []}]", "no versions by suite"),
    ],
)
def test_a_list_that_is_none(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "apt.yaml"
    file.write_text(text)
    assert packages().main([str(file), "bookworm"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("familiar: ")
    assert said in error


def test_the_proxy_is_pinned_by_name_and_version() -> None:
    lock = json.loads((HUB / "npm" / "package-lock.json").read_text())
    wanted = json.loads((HUB / "npm" / "package.json").read_text())["dependencies"]
    assert lock["packages"][""]["dependencies"] == wanted
    for name, package in lock["packages"].items():
        if name:
            assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"]), name
            # Where packages are is for whoever builds to say.
            assert not {"resolved", "integrity"} & package.keys(), name
    version = lock["packages"]["node_modules/configurable-http-proxy"]["version"]
    assert version == wanted["configurable-http-proxy"]


def test_the_build_reads_what_its_ignore_file_lets_through() -> None:
    kept = (HUB / "Containerfile.dockerignore").read_text()
    for line in (HUB / "Containerfile").read_text().replace("\\\n", " ").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for word in line.split()[1:-1]:
                assert (ROOT / word).exists(), word
                first = word.split("/")
                assert f"!{first[0]}\n" in kept or f"!{'/'.join(first[:2])}\n" in kept, word


def start(steps: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(HUB / "start-hub"), *command],
        env={"PATH": os.environ["PATH"], "FAMILIAR_START_STEPS": str(steps), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def test_steps_run_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, code in (
        ("20-second.sh", "echo second; A=$A-2; export A"),
        ("10-first.sh", "echo first; A=1"),
        ("30-third.txt", "echo never"),
    ):
        (tmp_path / name).write_text(f"{code}\n")
    done = start(tmp_path, "sh", "-c", "echo $A; exit 7")
    assert (done.returncode, done.stdout.split()) == (7, ["first", "second", "1-2"])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("false", "familiar: The start ended in 10-one.sh; the line above says why.\n"),
        ("exit 3", "familiar: The start ended in 10-one.sh; the line above says why.\n"),
        ('fail "There is no moon."', "familiar: There is no moon. (said by 10-one.sh)\n"),
    ],
)
def test_a_step_that_fails_ends_the_start(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "10-one.sh").write_text(f"{code}\n")
    (tmp_path / "20-two.sh").write_text("echo never\n")
    done = start(tmp_path, "echo", "never")
    assert done.returncode != 0
    assert (done.stdout, done.stderr) == ("", said)


def test_a_start_of_nothing(tmp_path: Path) -> None:
    done = start(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("familiar: There is no command to start;")


@pytest.mark.parametrize(
    ("variables", "volume"),
    [
        ({}, "jupyterlab--shared"),
        ({"FAMILIAR_HUB_PREFIX": "lab", "FAMILIAR_HUB_SHARED": "cifs"}, "lab--shared-cifs"),
        ({"FAMILIAR_HUB_SHARED": "off"}, ""),
        ({"SOCKET_SHARED_VOLUME": "mine", "FAMILIAR_HUB_SHARED": "cifs"}, "mine"),
    ],
)
def test_the_filter_is_told_the_shared_volume(variables: dict[str, str], volume: str) -> None:
    # As the hub names it.
    done = start(HUB / "start.d", "sh", "-c", "echo $SOCKET_SHARED_VOLUME", **variables)
    assert (done.returncode, done.stdout.strip()) == (0, volume)


def test_a_hub_without_a_place_for_its_data(tmp_path: Path) -> None:
    done = start(HUB / "start.d", "jupyterhub", FAMILIAR_HUB_DATA=str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr == (
        f"familiar: There is no {tmp_path / 'none'}; mount a volume there. (said by 10-data.sh)\n"
    )


def test_steps_have_numbers_and_are_listed_in_no_other_place() -> None:
    names = [file.name for file in (HUB / "start.d").iterdir()]
    assert all(re.fullmatch(r"\d\d-[a-z]+\.sh", name) for name in names)


def test_the_list_says_why() -> None:
    for row in yaml.safe_load((HUB / "apt.yaml").read_text())["packages"]:
        assert len(row["why"]) > 20, row
