"""The program that runs containers, podman for most: found, asked, and watched while it works."""

from __future__ import annotations

import codecs
import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .faults import SandboxFault

Kind = Literal["podman", "podman-hpc", "docker"]
DEFAULT = "podman"
ASK_TIMEOUT = 60.0
"""Seconds that a question to the runtime may take; the first one after a boot takes some."""
_KEPT = 64 * 1024
"""Characters of a command's output that are kept to explain its failure."""


@dataclass(frozen=True)
class Runtime:
    """A container runtime by its name or path."""

    executable: str = DEFAULT

    @property
    def kind(self) -> Kind:
        """How it wants to be talked to, told from its name."""
        name = Path(self.executable).name
        if name.startswith("docker"):
            return "docker"
        return "podman-hpc" if name.startswith("podman-hpc") else "podman"

    @property
    def rootless(self) -> bool:
        """Whether containers belong to an ordinary user. Docker's do not."""
        return self.kind != "docker" and os.geteuid() != 0

    def located(self) -> Runtime:
        """Return this runtime if it is there.

        Raises:
            SandboxFault: it is not.
        """
        if shutil.which(self.executable):
            return self
        raise SandboxFault(f"{self.executable} was not found; {how_to_install(self.kind)}")

    def ask(
        self, *arguments: str, timeout: float = ASK_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run one command and return what it wrote.

        Raises:
            SandboxFault: it cannot be run, or does not end in time.
        """
        try:
            return subprocess.run(
                [self.executable, *arguments],
                env=environment(self.kind, os.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise SandboxFault(
                f"{self.executable} {arguments[0]} did not end within {timeout:.0f} s; end what"
                " hangs, or restart the machine's containers, and try again."
            ) from err
        except OSError as err:
            raise SandboxFault(
                f"{self.executable} cannot be run ({err.strerror}); {how_to_install(self.kind)}"
            ) from err

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one command, for :meth:`ended` to wait for.

        Raises:
            SandboxFault: it cannot be run.
        """
        try:
            return subprocess.Popen(
                [self.executable, *arguments],
                env=environment(self.kind, os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as err:
            raise SandboxFault(
                f"{self.executable} cannot be run ({err.strerror}); {how_to_install(self.kind)}"
            ) from err

    def ended(
        self, process: subprocess.Popen[str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Wait for a command and return what it wrote.

        Raises:
            SandboxFault: it did not end in time.
        """
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise SandboxFault(
                f"{self.executable} did not end within {timeout:.0f} s; end what hangs, or restart"
                " the machine's containers, and try again."
            ) from None
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def watch(self, *arguments: str) -> tuple[int, str]:
        """Run one command with its output shown on stderr as it comes.

        Returns:
            its exit status, and the end of its output.

        Raises:
            SandboxFault: it cannot be run.
        """
        try:
            process = subprocess.Popen(
                [self.executable, *arguments],
                env=environment(self.kind, os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as err:
            raise SandboxFault(
                f"{self.executable} cannot be run ({err.strerror}); {how_to_install(self.kind)}"
            ) from err
        kept = ""
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        with process:
            assert process.stdout is not None
            while chunk := os.read(process.stdout.fileno(), 8192):
                text = decode(chunk)
                sys.stderr.write(text)
                sys.stderr.flush()
                kept = (kept + text)[-_KEPT:]
        return process.returncode, kept


def environment(kind: Kind, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a runtime runs in, given this process's own."""
    env = dict(given)
    if kind == "docker":
        # The older builder, where it is still the default, knows no secrets and no mounts.
        env["DOCKER_BUILDKIT"] = "1"
    if kind == "podman-hpc":
        # On a shared file system its layers cannot be unpacked; and it stops where USER is unset.
        env["TMPDIR"] = "/tmp"
        env.setdefault("USER", getpass.getuser())
    return env


def how_to_install(kind: Kind) -> str:
    """Return what to type where a runtime is missing."""
    return {
        "podman": "install it: sudo apt install podman uidmap slirp4netns (Fedora: sudo dnf"
        " install podman), or choose another (--runtime, Sandbox.runtime).",
        "podman-hpc": "load it (module load podman-hpc), or choose another (--runtime,"
        " Sandbox.runtime).",
        "docker": "install it: sudo apt install docker.io docker-buildx, or choose another"
        " (--runtime, Sandbox.runtime).",
    }[kind]
