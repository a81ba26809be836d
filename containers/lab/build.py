"""Builds the lab's image from this checkout, with podman or Docker: `make image`.

How pip is set up for the person reaches the build as secrets, as in `familiar sandbox build`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from familiar_kernel import __version__
from familiar_kernel.sandbox import pip_settings

ROOT = Path(__file__).parents[2]
TAG = "localhost/familiar-lab"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def building(
    runtime: str,
    root: Path,
    secrets: Path,
    tags: Sequence[str],
    arguments: Mapping[str, str],
    network: str = "",
) -> list[str]:
    """Return the command that builds the image.

    Args:
        runtime: ``podman`` or ``docker``, or a path to one of them.
        root: the checkout.
        secrets: the folder with what the build sees and the image does not keep.
        tags: the image's names.
        arguments: the build's arguments by name. An empty one leaves the Containerfile's default.
        network: what the build is connected to, or nothing for the runtime's choice.
    """
    recipe = root / "containers" / "lab" / "Containerfile"
    command = [runtime, "build", f"--file={recipe}", *(f"--tag={tag}" for tag in tags)]
    for secret in ("pip.conf", "authorities.pem"):
        command.append(f"--secret=id={secret},src={secrets / secret}")
    command += [f"--build-arg={name}={value}" for name, value in arguments.items() if value]
    if network:
        command.append(f"--network={network}")
    if Path(runtime).name == "docker":
        # podman hands these on by itself, and finds no ignore file of this name by itself.
        command += [f"--build-arg={name}" for name in PROXIES]
    else:
        # OCI's own format has no health checks.
        command += ["--format=docker", "--layers", f"--ignorefile={recipe}.dockerignore"]
    return [*command, str(root)]


def secrets_in(folder: Path) -> None:
    """Write what the build sees and the image does not keep."""
    pip = pip_settings.read()
    (folder / "pip.conf").write_text(pip.conf, encoding="utf-8")
    authorities = Path(pip.authorities).read_bytes() if pip.authorities else b""
    (folder / "authorities.pem").write_bytes(authorities)
    if pip.left_out:
        _say(f"only this machine has them, so the build does not: {', '.join(pip.left_out)}")


def commit(root: Path) -> str:
    """Return the checkout's commit, with a mark where files differ from it; empty without git."""
    try:
        head, changed = (
            subprocess.run(
                ["git", "-C", str(root), *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}-changed" if changed else head


def main(argv: Sequence[str] | None = None) -> int:
    """Build the image and return the exit status."""
    parser = argparse.ArgumentParser(prog="make image", description=__doc__)
    parser.add_argument("--runtime", default="", help="podman or docker; by default what is there")
    parser.add_argument("--tag", action="append", help=f"the image's name; by default {TAG}")
    parser.add_argument("--base", default="", help="a Debian with Python 3.11 or later")
    parser.add_argument("--network", default="", help="what the build is connected to: host")
    wanted = parser.parse_args(argv)
    runtime = wanted.runtime or next(filter(shutil.which, ("podman", "docker")), "")
    if not runtime or not shutil.which(runtime):
        _say(f"{runtime or 'neither podman nor docker'} was not found; install podman or Docker")
        return 1
    tags = wanted.tag or [f"{TAG}:{__version__}", f"{TAG}:latest"]
    arguments = {
        "BASE_IMAGE": wanted.base,
        "IMAGE_VERSION": __version__,
        "IMAGE_TAG": tags[0].rpartition(":")[2] if ":" in tags[0].rpartition("/")[2] else "latest",
        "IMAGE_SHA": commit(ROOT),
    }
    with tempfile.TemporaryDirectory(prefix="familiar-build-") as folder:
        secrets_in(Path(folder))
        command = building(runtime, ROOT, Path(folder), tags, arguments, wanted.network)
        # Docker's older builder knows no secrets.
        return subprocess.run(
            command, env={**os.environ, "DOCKER_BUILDKIT": "1"}, check=False
        ).returncode


def _say(text: str) -> None:
    print(f"make image: {text}.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
