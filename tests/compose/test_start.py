"""start.sh on machines that lack something: it names all of it at once, and starts nothing."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from compose.stack import DEPLOYMENT, deployment_in

pytestmark = pytest.mark.skipif(
    shutil.which("sort") is None, reason="the scripts are for bash and its usual tools"
)
_DOCKER = """#!/bin/sh
# A docker that answers as it is told, for machines that nobody has.
echo "$*" >>"$ASKED"
case "$1 $2" in
    "compose version") [ -z "$COMPOSE" ] && exit 1; echo "$COMPOSE" ;;
    "version --format") [ -z "$REFUSES" ] || { echo "$REFUSES" >&2; exit 1; }; echo "$ENGINE" ;;
    "info --format") echo "$MEMORY" ;;
    "image inspect") case " $IMAGES " in *" $3 "*) ;; *) exit 1 ;; esac ;;
    "ps --all") echo "$NEIGHBOUR" ;;
    "ps "*) echo "$UP" ;;
    *) echo "not expected: $*" >&2; exit 9 ;;
esac
"""
TOOLS = (
    "bash", "sh", "cat", "sed", "grep", "sort", "head", "tail", "tr", "find", "mkdir", "dirname",
    "hostname", "base64", "mktemp", "chmod", "mv", "env", "ls", "basename",
)  # fmt: skip

Start = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "d"
    deployment_in(
        folder,
        FAMILIAR_HUB_PUBLIC_URL="https://localhost",
        FAMILIAR_HTTP_PORT=str(_unused()),
        FAMILIAR_HTTPS_PORT=str(_unused()),
        DOCKER_SOCKET=str(tmp_path / "socket"),
    )
    return folder


def _unused() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def start(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Run start.sh with a docker that answers as it is told, or with none."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (path / name).symlink_to(found)
    monkeypatch.chdir(tmp_path)  # a socket's whole name may be too long
    with socket.socket(socket.AF_UNIX) as there:
        there.bind("socket")

    def run(
        *arguments: str, docker: bool = True, **answers: str
    ) -> subprocess.CompletedProcess[str]:
        program = path / "docker"
        program.unlink(missing_ok=True)
        if docker:
            program.write_text(_DOCKER)
            program.chmod(0o755)
        told = {
            "COMPOSE": "2.40.3",
            "ENGINE": "28.0.1",
            "REFUSES": "",
            "MEMORY": str(16 * 2**30),
            "IMAGES": "localhost/familiar-hub:latest localhost/familiar-lab:latest",
            "UP": "",
            "NEIGHBOUR": "",
            **answers,
        }
        return subprocess.run(
            [str(folder / "start.sh"), *arguments],
            env={
                "PATH": str(path),
                "HOME": str(tmp_path),
                "ASKED": str(tmp_path / "asked"),
                **told,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    return run


def _faults(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "start.sh: the platform cannot start:"
    assert all(line.startswith("  - ") for line in lines[1:])
    return [line.removeprefix("  - ") for line in lines[1:]]


def test_nothing_is_in_the_way(start: Start, tmp_path: Path) -> None:
    done = start("--check")
    assert (done.returncode, done.stderr) == (
        0,
        "Nothing is in the way. The hub's own settings are checked by ./start.sh, before it stops"
        " anything.\n",
    )
    # It asked, and changed nothing.
    asked = (tmp_path / "asked").read_text()
    assert " up" not in asked
    assert "run" not in asked


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            {"docker": False},
            "Docker is not installed; install Docker Engine 20.10 or later.",
        ),
        (
            {"COMPOSE": ""},
            "Docker Compose is not installed; install its plugin (docker-compose-plugin), 2.20 or"
            " later.",
        ),
        (
            {"COMPOSE": "v2.6.1"},
            "Docker Compose is 2.6.1; install 2.20 or later (docker-compose-plugin).",
        ),
        ({"ENGINE": "19.03.15"}, "Docker is 19.03.15; install 20.10 or later."),
        (
            {"REFUSES": "Cannot connect to the Docker daemon at unix:///x"},
            "Docker does not answer; start it (sudo systemctl start docker).",
        ),
        (
            {"REFUSES": "permission denied while trying to connect"},
            "You may not use Docker; become a member of group docker, or use sudo.",
        ),
        (
            {"MEMORY": str(2**30)},
            "Docker has 1024 MiB of memory; the platform and one lab need 2 GiB.",
        ),
        (
            {"IMAGES": "localhost/familiar-hub:latest"},
            "The image localhost/familiar-lab:latest is not there; type: make build",
        ),
        (
            {"DOCKER_NOTEBOOK_IMAGE": "registry.example/lab:1"},
            "The image registry.example/lab:1 is not there; type: make pull",
        ),
        (
            {"DOCKER_HOST": "tcp://10.0.0.1:2376"},
            "DOCKER_HOST is tcp://10.0.0.1:2376; run this on the machine that Docker runs on.",
        ),
        (
            {"FAMILIAR_HUB_PUBLIC_URL": ""},
            "FAMILIAR_HUB_PUBLIC_URL in .env is empty; write the address that people type, such as"
            " https://lab.example.org.",
        ),
        (
            {"FAMILIAR_TLS_CERTIFICATE": "mine.pem"},
            "There is no certificates/mine.pem, which .env names; put your certificate and its key"
            " there, or name none.",
        ),
        (
            {"COMPOSE_PROFILES": "watchtower, mlflow"},
            "COMPOSE_PROFILES names mlflow, and ENABLE_SERVICE_MLFLOW is not 1: set both, or"
            " neither.",
        ),
        (
            {"NEIGHBOUR": "familiar\nother"},
            "The network familiar-labs is the platform other's; end that one, or set"
            " DOCKER_NETWORK_NAME, FAMILIAR_HUB_PREFIX and FAMILIAR_SOCKETS in .env to others.",
        ),
        (
            {"FAMILIAR_HTTPS_PORT": "99999"},
            "FAMILIAR_HTTPS_PORT is 99999; write a port from 1 to 65535.",
        ),
        ({"FAMILIAR_HTTP_PORT": "08"}, "FAMILIAR_HTTP_PORT is 08; write a port from 1 to 65535."),
        (
            {"FAMILIAR_HTTP_PORT": "8443", "FAMILIAR_HTTPS_PORT": "8443"},
            "FAMILIAR_HTTP_PORT and FAMILIAR_HTTPS_PORT are the same; write two ports.",
        ),
        ({"HUB_MEMORY": "1x"}, "HUB_MEMORY is 1x; write a size such as 512m or 2g."),
        ({"EDGE_MEMORY": "256"}, "EDGE_MEMORY is 256; write a size such as 512m or 2g."),
        (
            {"GLANCES_CPUS": "0"},
            "GLANCES_CPUS is 0; write a number of processors such as 2 or 0.5.",
        ),
        (
            {"FAMILIAR_BIND": "localhost"},
            "FAMILIAR_BIND is localhost; write an address of this machine such as 127.0.0.1 or"
            " [::1], or nothing for all of them.",
        ),
        (
            {"ENABLE_SERVICE_GLANCES": "1"},
            "ENABLE_SERVICE_GLANCES is 1, and COMPOSE_PROFILES does not name glances: set both, or"
            " neither.",
        ),
    ],
)
def test_what_is_missing(start: Start, answers: dict[str, str | bool], said: str) -> None:
    assert said in _faults(start("--check", **answers))  # type: ignore[arg-type]


def test_values_that_will_do(start: Start) -> None:
    done = start(
        "--check", HUB_MEMORY="1.5g", FILTER_MEMORY="256mb", EDGE_MEMORY="268435456",
        MLFLOW_MEMORY="2GiB", MLFLOW_CPUS="1.5", GLANCES_CPUS=".25",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_port_that_is_taken_on_an_address_of_version_6(start: Start) -> None:
    with socket.socket(socket.AF_INET6) as taken:
        try:
            taken.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        taken.listen()
        port = str(taken.getsockname()[1])
        faults = _faults(start("--check", FAMILIAR_BIND="[::1]", FAMILIAR_HTTPS_PORT=port))
    assert f"Port {port} is taken by another program" in faults[0]


def test_all_of_it_at_once(start: Start, folder: Path) -> None:
    (folder / "secrets" / "admin_password").chmod(0o644)
    with (folder / ".env").open("a") as file:
        file.write("FAMILIAR_HUB_MEMROY=1G\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        faults = _faults(
            start(
                COMPOSE="2.6.0", ENGINE="19.3.1", MEMORY="1000", IMAGES="",
                FAMILIAR_HTTPS_PORT=str(port),
            )
        )  # fmt: skip
    assert faults == [
        ".env sets FAMILIAR_HUB_MEMROY, which nothing reads; .env.example has all names.",
        "secrets/admin_password can be read by others; type: chmod 600 secrets/admin_password",
        "Docker Compose is 2.6.0; install 2.20 or later (docker-compose-plugin).",
        "Docker is 19.3.1; install 20.10 or later.",
        f"Port {port} is taken by another program; end that one, or set FAMILIAR_HTTPS_PORT in"
        " .env.",
        "Docker has 0 MiB of memory; the platform and one lab need 2 GiB.",
        "The image localhost/familiar-hub:latest is not there; type: make build",
        "The image localhost/familiar-lab:latest is not there; type: make build",
    ]


def test_lines_that_compose_and_the_scripts_would_read_differently(
    start: Start, folder: Path
) -> None:
    lines = (folder / ".env").read_text().splitlines()
    odd = ["export FAMILIAR_HUB_CPUS=3", "COMPOSE_PROJECT_NAME = other", "ENABLE_GPU_SUPPORT: 0"]
    (folder / ".env").write_text("\n".join([*lines, "", "  # note", *odd]))
    assert _faults(start("--check")) == [
        f"Line {len(lines) + number} of .env is no NAME=VALUE; write it so, without export and"
        " without spaces around =."
        for number in (3, 4, 5)
    ]


def test_two_at_once_wait_for_each_other(folder: Path) -> None:
    first = _holding(folder, "first")
    assert first.stdout
    assert first.stdout.readline() == "held\n"
    second = _holding(folder, "second")
    assert second.stderr
    assert second.stderr.readline() == "Another script is at work here; waiting for its end.\n"
    assert not (folder / "order").exists()
    first.communicate("\n", timeout=20)
    second.communicate("\n", timeout=20)
    assert (folder / "order").read_text() == "first\nsecond\n"


def _holding(folder: Path, name: str) -> subprocess.Popen[str]:
    """Run a script that has the folder for itself until it is told to end."""
    code = '. ./common.sh; alone; echo held; read -r _; echo "$1" >>order'
    return subprocess.Popen(
        ["bash", "-c", code, "x", name], cwd=folder, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_ports_that_are_its_own(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert start("--check", FAMILIAR_HTTPS_PORT=port).returncode == 1
        assert start("--check", FAMILIAR_HTTPS_PORT=port, UP="0123456789ab").returncode == 0


def test_little_memory_is_a_note(start: Start) -> None:
    done = start("--check", MEMORY=str(4 * 2**30))
    assert done.returncode == 0
    assert "Note: one lab may take 4096 MiB, and Docker has 4096 MiB in all" in done.stderr
    assert "Note" not in start("--check", MEMORY=str(4 * 2**30), FAMILIAR_HUB_MEMORY="2g").stderr


def test_a_first_start_makes_settings_and_secrets(start: Start, folder: Path) -> None:
    (folder / ".env").unlink()
    shutil.rmtree(folder / "secrets")
    done = start(COMPOSE="")  # it does not come further than that
    assert done.returncode == 1
    assert "Made .env; people reach the hub at https://" in done.stderr
    assert "Made secrets/admin_password" in done.stderr
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
    file = folder / "secrets" / "admin_password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_text()
    assert len(password) == 32
    assert password not in done.stdout + done.stderr
    # A second one keeps them.
    start(COMPOSE="")
    assert file.read_text() == password


def test_a_check_makes_nothing(start: Start, folder: Path) -> None:
    (folder / ".env").unlink()
    shutil.rmtree(folder / "secrets")
    before = sorted(folder.rglob("*"))
    done = start("--check", FAMILIAR_HUB_PUBLIC_URL="https://localhost")
    assert "There is no .env yet; ./start.sh makes it." in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_how_values_are_read(folder: Path) -> None:
    (folder / ".env").write_text("A=one # why\nB='two # three'\nC=\"four\"\nD=five\nD=six\nE=\n")
    code = '. ./common.sh; for n in A B C D E F; do echo "$n=$(setting $n none)"; done'
    said = subprocess.run(
        ["bash", "-c", code], cwd=folder, env={"PATH": os.environ["PATH"], "F": ""},
        capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    assert said[:6] == ["A=one", "B=two # three", "C=four", "D=six", "E=none", "F=none"]


@pytest.mark.parametrize("script", ["start.sh", "data.sh"])
def test_help_teaches(script: str) -> None:
    done = subprocess.run(
        [str(DEPLOYMENT / script), "--help"], capture_output=True, text=True, check=True
    )
    assert f"Usage: ./{script}" in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith(("#", "cd "))]


def test_an_option_that_is_not_there(start: Start) -> None:
    done = start("--fast")
    assert (done.returncode, done.stderr) == (
        1, "start.sh: There is no option --fast; ./start.sh --help says which there are.\n",
    )  # fmt: skip
