"""The sandbox's image: built from the Containerfile or taken as it is, looked at, then named.

An image gets its name only after a container of it, without network, has said which Python and
which packages it has. What it said stays on the image as labels, so nobody has to ask again.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..resources import resource
from . import pip_settings
from .faults import IMAGE, Case, SandboxFault, why_it_cannot_start, why_the_build_failed
from .labels import LABEL
from .runtime import Runtime

IS_OURS = f"{LABEL}.sandbox"
PYTHON = "python3"
"""The interpreter's name in every image: on PATH, with ipykernel."""
USER = "1000:1000"
"""Whom a sandbox runs as."""
OLDEST_PYTHON = (3, 10)
OLDEST_IPYKERNEL = 7
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
START_TIMEOUT = 180.0
"""Seconds that a first start may take: rootless podman may have to copy or re-own the image."""


@dataclass(frozen=True)
class Contents:
    """What an image holds, as a container of it says.

    Attributes:
        python: the interpreter's version.
        packages: every package's name and version.
        asked_for: those that somebody asked pip for, rather than a package.
        trouble: why what a sandbox needs cannot be imported; empty where it can.
    """

    python: str
    packages: Mapping[str, str] = field(default_factory=dict)
    asked_for: Sequence[str] = ()
    trouble: str = ""

    def fault(self) -> str:
        """Return what the image lacks, in words that follow its name, or nothing."""
        if _numbers(self.python)[:2] < OLDEST_PYTHON:
            return f"has Python {self.python}, and the sandbox needs 3.10 or newer"
        for name in ("ipykernel", "pyzmq"):
            if name not in self.packages:
                return f"has no {name}"
        if _numbers(self.packages["ipykernel"])[0] < OLDEST_IPYKERNEL:
            found = self.packages["ipykernel"]
            return f"has ipykernel {found}, and the sandbox needs {OLDEST_IPYKERNEL} or newer"
        return f"cannot import what a kernel needs ({self.trouble})" if self.trouble else ""

    def labels(self) -> dict[str, str]:
        """Return the labels that tell this to others."""
        shown = self.asked_for or sorted(self.packages)
        return {
            IS_OURS: "1",
            f"{LABEL}.version": __version__,
            f"{LABEL}.python": self.python,
            f"{LABEL}.packages": " ".join(f"{n}=={self.packages[n]}" for n in shown),
        }

    def summary(self) -> str:
        """Return the versions that matter and what was asked for, in one line."""
        first = ("ipykernel", "pyzmq", "debugpy")
        names = [n for n in first if n in self.packages]
        names += [n for n in self.asked_for if n not in first]
        return ", ".join([f"Python {self.python}", *(f"{n} {self.packages[n]}" for n in names)])


def contents(told: str) -> Contents:
    """Return what an image holds, given what ``look.py`` printed in it.

    Raises:
        ValueError: it printed something else.
    """
    # Other lines may stand before it: an image may greet whoever starts it.
    line = next((text for text in reversed(told.splitlines()) if text.startswith('{"python"')), "")
    found: dict[str, Any] = json.loads(line)
    return Contents(found["python"], found["packages"], found["asked_for"], found["trouble"])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3]) or (0,)


def look_into(runtime: Runtime, image: str) -> Contents:
    """Start a container of an image, without network, and return what it says it holds.

    Raises:
        SandboxFault: it does not start, or has no Python.
    """
    done = runtime.ask(*looking(image), timeout=START_TIMEOUT)
    if done.returncode == 0:
        with contextlib.suppress(ValueError, KeyError):
            return contents(done.stdout)
    case = Case(runtime.executable, image, rootless=runtime.rootless)
    raise SandboxFault(why_it_cannot_start(done.stderr or done.stdout, case))


def looking(image: str) -> list[str]:
    """Return the arguments that start a container which says what its image holds."""
    code = (resource("containers/sandbox") / "look.py").read_text(encoding="utf-8")
    return [
        "run", "--rm", "--pull=never", "--network=none", "--cap-drop=all",
        "--security-opt=no-new-privileges", "--read-only", f"--user={USER}",
        f"--entrypoint={PYTHON}", image, "-c", code,
    ]  # fmt: skip


def build(
    runtime: Runtime,
    *,
    packages: Sequence[str] = (),
    requirements: Path | None = None,
    base: str = "",
    network: str = "",
    tag: str = IMAGE,
) -> Contents:
    """Build the image, showing the runtime's output as it comes.

    Args:
        runtime: what builds it.
        packages: what pip is to install besides a kernel.
        requirements: a file that says the same.
        base: the image to build upon; by default a public one with Python.
        network: what the build is connected to, for example ``host``; by default the runtime's
            choice.
        tag: the image's name.

    Returns:
        what it holds.

    Raises:
        SandboxFault: it was not built, or no kernel could run in it.
    """
    home = resource("containers/sandbox")
    case = Case(runtime.executable, tag, base or _default_base(home), runtime.rootless)
    # What nobody has looked at yet has a name that nobody uses.
    passing = f"{_without_tag(tag)}:unchecked-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="familiar-build-") as scratch:
        context, kept_out = Path(scratch, "context"), Path(scratch, "secrets")
        shutil.copytree(home, context)
        (context / "wanted.txt").write_text(_wanted(packages, requirements), encoding="utf-8")
        kept_out.mkdir(mode=0o700)
        pip = pip_settings.read()
        (kept_out / "pip.conf").write_text(pip.conf, encoding="utf-8")
        authorities = kept_out / "authorities.pem"
        authorities.write_bytes(Path(pip.authorities).read_bytes() if pip.authorities else b"")
        if pip.left_out:
            _say(f"Only this machine has them, so the build does not: {', '.join(pip.left_out)}")
        _say(f"Building {tag} from {case.base} ...")
        status, told = runtime.watch(*building(runtime, context, kept_out, passing, base, network))
        if status != 0:
            raise SandboxFault(why_the_build_failed(told, case))
        try:
            return _named(
                runtime, passing, tag, "The image that was built",
                "choose another base image with --base.",
            )  # fmt: skip
        finally:
            runtime.ask("rmi", passing)


def take(runtime: Runtime, image: str, *, tag: str = IMAGE) -> Contents:
    """Make an image that exists the sandbox's.

    Returns:
        what it holds.

    Raises:
        SandboxFault: it does not exist, does not start, or no kernel could run in it.
    """
    if runtime.ask("image", "inspect", image).returncode != 0:
        raise SandboxFault(
            f"There is no image {image} here; fetch it: {runtime.executable} pull {image}"
        )
    otherwise = f"choose another, or build upon it: familiar sandbox build --base {image}"
    return _named(runtime, image, tag, f"The image {image}", otherwise)


def building(
    runtime: Runtime,
    context: Path,
    kept_out: Path,
    name: str,
    base: str,
    network: str,
) -> list[str]:
    """Return the arguments that build an image from a folder.

    Args:
        runtime: what builds it.
        context: the folder, with the Containerfile.
        kept_out: the folder with what the build sees and the image does not keep.
        name: what the image is called.
        base: the image to build upon, or nothing for the Containerfile's own.
        network: what it is connected to, or nothing for the runtime's choice.
    """
    arguments = ["build", f"--file={context / 'Containerfile'}", f"--tag={name}", "--no-cache"]
    for secret in ("pip.conf", "authorities.pem"):
        arguments.append(f"--secret=id={secret},src={kept_out / secret}")
    if base:
        arguments.append(f"--build-arg=BASE_IMAGE={base}")
    if network:
        arguments.append(f"--network={network}")
    if runtime.kind == "docker":
        # podman hands these on by itself.
        arguments += [f"--build-arg={n}" for n in _PROXIES]
    else:
        arguments.append("--layers=false")  # nothing is left of a build but the image
    return [*arguments, str(context)]


def _wanted(packages: Sequence[str], requirements: Path | None) -> str:
    """Return the text of the requirements file for the build.

    Raises:
        SandboxFault: the file cannot be read.
    """
    text = ""
    if requirements is not None:
        try:
            text = requirements.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            why = getattr(err, "strerror", None) or "it is no text"
            raise SandboxFault(
                f"{requirements} cannot be read ({why}); name a file like pip's requirements.txt."
            ) from err
    return "".join(f"{line}\n" for line in (*packages, text))


def _default_base(home: Path) -> str:
    text = (home / "Containerfile").read_text(encoding="utf-8")
    found = re.search(r"^ARG BASE_IMAGE=(\S+)$", text, re.MULTILINE)
    return found[1] if found else ""


def _without_tag(name: str) -> str:
    """Return an image's name without its tag. A colon before a slash belongs to a port."""
    return re.sub(r":[^:/]*$", "", name)


def _named(runtime: Runtime, image: str, tag: str, called: str, otherwise: str) -> Contents:
    """Look into an image, and give it the name and its labels if a kernel can run in it.

    Args:
        runtime: what is asked.
        image: the image.
        tag: the name that it is to have.
        called: what it is called where it is of no use.
        otherwise: what to do then.

    Raises:
        SandboxFault: none can, or the runtime does not do it.
    """
    _say("Looking into the image ...")
    found = look_into(runtime, image)
    if fault := found.fault():
        raise SandboxFault(f"{called} {fault}; {otherwise}")
    if fault := _volumes(runtime, image):
        raise SandboxFault(f"{called} {fault}; choose another, or use podman.")
    with tempfile.TemporaryDirectory(prefix="familiar-build-") as context:
        # Whatever the image runs by itself, a sandbox does not.
        lines = (f"FROM {image}", "ENTRYPOINT []", f'CMD ["{PYTHON}"]', f"USER {USER}")
        Path(context, "Containerfile").write_text("\n".join(lines) + "\n", encoding="utf-8")
        labels = [f"--label={name}={value}" for name, value in found.labels().items()]
        layers = () if runtime.kind == "docker" else ("--layers=false",)
        done = runtime.ask(
            "build", f"--file={context}/Containerfile", f"--tag={tag}", *layers, *labels, context,
            timeout=START_TIMEOUT,
        )  # fmt: skip
    if done.returncode != 0:
        case = Case(runtime.executable, tag, image, runtime.rootless)
        raise SandboxFault(why_the_build_failed(done.stderr or done.stdout, case))
    return found


def _volumes(runtime: Runtime, image: str) -> str:
    """Return what is wrong with the folders that an image wants kept on the disk, or nothing.

    Nothing bounds what is written there. podman can leave them out when it starts a sandbox.
    """
    if runtime.kind != "docker":
        return ""
    told = runtime.ask("image", "inspect", "--format={{json .Config.Volumes}}", image).stdout
    found = json.loads(told.strip() or "null") or {}
    return f"keeps {', '.join(found)} on the disk (VOLUME), without a bound" if found else ""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
