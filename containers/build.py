"""Builds an image from this checkout, with podman or Docker: `python containers/build.py lab`.

Each folder here with a Containerfile is an image, or one for each tool. How pip and npm are set up
for the person reaches the build as secrets, as in `familiar sandbox build`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
if not __package__:
    # So that a machine that only runs the platform can build it, without an environment.
    sys.path.append(str(ROOT / "kernel"))

from familiar_kernel import __version__  # noqa: E402
from familiar_kernel.sandbox import pip_settings  # noqa: E402

TOOLS = ("glances", "mlflow", "tensorboard")
SECRETS = ("pip.conf", "npmrc", "authorities.pem")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_NPM = re.compile(r"\s*(registry|proxy|https-proxy|noproxy|strict-ssl|//[^=]*|@[^=]*:registry)\s*=")


def images() -> dict[str, tuple[Path, dict[str, str]]]:
    """Return what can be built here: each image's Containerfile, and its arguments of its own.

    An image's folder says what its build may read. That of tools has one image for each tool.
    """
    found: dict[str, tuple[Path, dict[str, str]]] = {}
    for ignored in sorted(HERE.glob("*/Containerfile.dockerignore")):
        recipe = ignored.with_suffix("")
        if recipe.parent.name == "tools":
            found |= {f"tool-{tool}": (recipe, {"TOOL": tool}) for tool in TOOLS}
        else:
            found[recipe.parent.name] = (recipe, {})
    return found


def building(
    runtime: str,
    recipe: Path,
    secrets: Path,
    tags: Sequence[str],
    arguments: Mapping[str, str],
    network: str = "",
    more: Sequence[str] = (),
) -> list[str]:
    """Return the command that builds an image.

    Args:
        runtime: ``podman`` or ``docker``, or a path to one of them.
        recipe: the Containerfile, in ``containers/NAME`` of a checkout.
        secrets: the folder with what the build sees and the image does not keep.
        tags: the image's names.
        arguments: the build's arguments by name. An empty one leaves the Containerfile's default.
        network: what the build is connected to, or nothing for the runtime's choice.
        more: options of the runtime's.
    """
    command = [runtime, "build", f"--file={recipe}", *(f"--tag={tag}" for tag in tags)]
    for secret in SECRETS:
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
    return [*command, *more, str(recipe.parents[2])]


def secrets_in(folder: Path) -> None:
    """Write what the build sees and the image does not keep."""
    pip = pip_settings.read()
    (folder / "pip.conf").write_text(pip.conf, encoding="utf-8")
    authorities = Path(pip.authorities).read_bytes() if pip.authorities else b""
    (folder / "authorities.pem").write_bytes(authorities)
    person = Path(os.environ.get("NPM_CONFIG_USERCONFIG") or Path.home() / ".npmrc")
    told = person.read_text(encoding="utf-8") if person.is_file() else ""
    (folder / "npmrc").write_text(npm_settings(told), encoding="utf-8")
    if pip.left_out:
        _say(f"only this machine has them, so the build does not: {', '.join(pip.left_out)}")


def npm_settings(told: str) -> str:
    """Return the lines of a person's .npmrc that say where packages are, and as whom to ask."""
    return "".join(f"{line}\n" for line in told.splitlines() if _NPM.match(line))


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
    parser = argparse.ArgumentParser(prog="containers/build.py", description=__doc__)
    parser.add_argument("image", choices=images(), help="which")
    parser.add_argument("--runtime", default="", help="podman or docker; by default what is there")
    parser.add_argument(
        "--tag", action="append", help="the image's name; by default localhost/familiar-IMAGE"
    )
    parser.add_argument("--base", default="", help="a Debian with Python 3.11 or later")
    parser.add_argument("--network", default="", help="what the build is connected to: host")
    parser.add_argument("--verbose", action="store_true", help="show every line of the build")
    wanted = parser.parse_args(argv)
    runtime = wanted.runtime or next(filter(shutil.which, ("podman", "docker")), "")
    if not runtime or not shutil.which(runtime):
        _say(f"{runtime or 'neither podman nor docker'} was not found; install podman or Docker")
        return 1
    recipe, own = images()[wanted.image]
    name = f"localhost/familiar-{wanted.image}"
    tags = wanted.tag or [f"{name}:{__version__}", f"{name}:latest"]
    arguments = {
        **own,
        "BASE_IMAGE": wanted.base,
        "IMAGE_VERSION": __version__,
        "IMAGE_TAG": tags[0].rpartition(":")[2] if ":" in tags[0].rpartition("/")[2] else "latest",
        "IMAGE_SHA": commit(ROOT),
    }
    is_docker = Path(runtime).name == "docker"
    more = ["--progress=plain"] if wanted.verbose and is_docker else []
    with tempfile.TemporaryDirectory(prefix="familiar-build-") as folder:
        secrets_in(Path(folder))
        command = building(runtime, recipe, Path(folder), tags, arguments, wanted.network, more)
        # Docker's older builder knows no secrets.
        return subprocess.run(
            command, env={**os.environ, "DOCKER_BUILDKIT": "1"}, check=False
        ).returncode


def _say(text: str) -> None:
    print(f"containers/build.py: {text}.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
