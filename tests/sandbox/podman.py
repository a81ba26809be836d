"""The podman of the tests: with settings, images and a storage of its own, made by .ci/podman.

What a test starts with it can be found by nobody but the tests, and a test can find nothing else.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import familiar_kernel

ROOT = Path(__file__).parents[2]
BASE = "localhost/familiar-test-base:latest"
"""A minimal Debian with Python."""
IMAGE = "localhost/familiar-test:latest"
"""A sandbox's image upon it, with ipywidgets, matplotlib, numpy and pandas."""
USER = "familiar-test"
"""The ordinary user of the rootless tests, where the tests run as root."""


@dataclass(frozen=True)
class Podman:
    """A podman and whose it is.

    Attributes:
        executable: its name.
        variables: what must be in the environment of whatever runs it.
        user: the user that it runs for; empty for the one who runs the tests.
    """

    executable: str
    variables: dict[str, str]
    user: str = ""

    def command(self, *command: str) -> list[str]:
        """Return a command that runs another one as this podman's user, with its variables."""
        if not self.user:
            return ["env", *(f"{name}={value}" for name, value in self.variables.items()), *command]
        told = {
            "PATH": os.environ["PATH"],
            "HOME": pwd.getpwnam(self.user).pw_dir,
            "USER": self.user,
            **self.variables,
        }
        given = [f"{name}={value}" for name, value in told.items()]
        return ["runuser", "-u", self.user, "--", "env", "-i", "-C", "/", *given, *command]

    def run(
        self, *arguments: str, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run podman and return what it wrote."""
        return self.outside(self.executable, *arguments, check=check, timeout=timeout)

    def outside(
        self, *command: str, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run any command as this podman's user and return what it wrote."""
        done = subprocess.run(
            self.command(*command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def familiar(
        self, *arguments: str, timeout: float = 300, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `familiar sandbox` as this podman's user."""
        code = "import sys; from familiar_kernel.cli import main; sys.exit(main())"
        given = [f"{name}={value}" for name, value in variables.items()]
        python = self.python()
        return self.outside(
            "env", *given, *python, "-c", code, "sandbox", *arguments, check=False, timeout=timeout
        )

    def python(self) -> list[str]:
        """Return the command of a Python that this user can run and that has our package.

        The tests' own may lie in a home that nobody else may look into; then the machine's serves,
        with the tests' packages, if it is the same version.
        """
        if not self.user:
            return [sys.executable]
        ours = Path(familiar_kernel.__file__).parents[1]
        places = f"PYTHONPATH={ours}:{sysconfig.get_path('purelib')}"
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        look = f"import sys, familiar_kernel, zmq; sys.exit(sys.version[:4] != '{version}')"
        for python in (sys.executable, f"/usr/bin/python{version}"):
            command = ["env", places, python]
            if self.outside(*command, "-c", look, check=False).returncode == 0:
                return command
        why = f"{self.user} can run no Python {version} with the packages of the tests"
        if os.environ.get("FAMILIAR_TEST_REQUIRE") == "all":
            pytest.fail(f"{why}; install python{version} for all users")
        pytest.skip(why)

    def inspect(self, what: str, name: str) -> dict[str, Any]:
        """Return what podman knows of an image or a container."""
        found: list[dict[str, Any]] = json.loads(self.run(what, "inspect", name).stdout)
        return found[0]

    def exists(self, what: str, name: str) -> bool:
        """Return whether there is an image or a container of this name."""
        return self.run(what, "exists", name, check=False).returncode == 0


def ready() -> Podman:
    """Return the podman of the tests, for the user who runs them; without one, end the test.

    Raises:
        pytest.skip.Exception: there is none, and none can be.
        pytest.fail.Exception: it could not be set up, or ``FAMILIAR_TEST_REQUIRE`` is ``all``.
    """
    if sys.platform != "linux":
        pytest.skip("sandboxes are for Linux")
    done = subprocess.run(
        [ROOT / ".ci/podman", Path(sys.executable).with_name("familiar")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    place = done.stdout.strip()
    if done.returncode != 0:
        pytest.fail(f".ci/podman failed: {done.stderr[-4000:]}")
    if not place:
        if os.environ.get("FAMILIAR_TEST_REQUIRE") == "all":
            pytest.fail(f"{done.stderr.strip()}; FAMILIAR_TEST_REQUIRE=all wants every test to run")
        pytest.skip(done.stderr.strip())
    return Podman("podman", _variables(place))


def ready_rootless(ours: Podman) -> Podman:
    """Return a podman that runs for an ordinary user, given the one of whoever runs the tests."""
    if os.geteuid() != 0:
        return ours
    home = pwd.getpwnam(USER).pw_dir
    return Podman("podman", _variables(f"{home}/.cache/familiar-test"), USER)


def _variables(place: str) -> dict[str, str]:
    return {
        "CONTAINERS_CONF": f"{place}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{place}/storage.conf",
    }
