"""``familiar sandbox``: the image that sandboxes run, those that run, and what hinders them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..subcommands import subcommand
from .faults import IMAGE, Case, SandboxFault
from .labels import PREFIX
from .runtime import DEFAULT, Runtime

if TYPE_CHECKING:
    from . import owners

_OVERVIEW = """\
The sandbox is a container without network in which the code of a notebook
runs, yours and Claude's. This builds its image and looks after its containers.
"""

_BUILD = f"""\
Build the image that sandboxes run: Python, a kernel, and the packages you name.
Or take an image that you have, if it holds Python 3.10 or newer, ipykernel 7 or
newer and pyzmq. Do this once, and again when you want other
packages or newer ones.

How pip is set up for you (pip.conf, PIP_INDEX_URL, PIP_CERT and the like) holds
in the build as well, and does not stay in the image.

The image is called {IMAGE}.
"""

_BUILD_EXAMPLES = """\
examples:
  familiar sandbox build --packages numpy,pandas,matplotlib
  familiar sandbox build --requirements requirements.txt
  familiar sandbox build --base python:3.11-slim
  familiar sandbox build --image quay.io/jupyter/scipy-notebook:latest
"""

_LIST = "List the images that were built or taken, and the sandboxes that run."

_PRUNE = """\
Remove what nobody needs: containers whose kernel is gone, and images that a
newer one replaced. A sandbox whose kernel lives is never touched.
"""

_DOCTOR = """\
Look at everything that a sandbox needs, start its image once, and say what to
type about what is missing. Changes nothing. Ends with status 1 if no sandbox
can start.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="familiar sandbox",
        description=_OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, summary: str, description: str, epilog: str = ""
    ) -> argparse.ArgumentParser:
        added = subcommand(commands, name, summary, description, epilog)
        added.add_argument(
            "--runtime",
            default=DEFAULT,
            metavar="NAME",
            help="podman (default), podman-hpc, docker, or the path of one",
        )
        return added

    build = command("build", "build or take the image that sandboxes run", _BUILD, _BUILD_EXAMPLES)
    what = build.add_mutually_exclusive_group()
    what.add_argument(
        "--packages",
        type=_names,
        default=(),
        metavar="A,B",
        help="packages to install, as pip names them",
    )
    what.add_argument(
        "--requirements", type=Path, metavar="FILE", help="packages to install, in pip's format"
    )
    what.add_argument("--image", default="", metavar="NAME", help="take this image as it is")
    build.add_argument(
        "--base", default="", metavar="IMAGE", help="build upon this image, which has Python"
    )
    build.add_argument(
        "--network",
        default="",
        metavar="NET",
        help="what the build is connected to; host shares this machine's network",
    )
    build.add_argument("--tag", default=IMAGE, metavar="NAME", help="call the image something else")
    build.set_defaults(run=_build)

    listing = command("list", "list images and sandboxes", _LIST)
    listing.add_argument("--json", action="store_true", help="print one JSON object")
    listing.set_defaults(run=_list)

    prune = command("prune", "remove what nobody needs", _PRUNE)
    prune.add_argument(
        "--all", action="store_true", help="also all images of ours that no sandbox uses"
    )
    prune.add_argument("--yes", action="store_true", help="do not ask first")
    prune.set_defaults(run=_prune)

    doctor = command("doctor", "check this machine, and say what to do", _DOCTOR)
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    doctor.add_argument(
        "--image",
        default=os.environ.get(f"{PREFIX}IMAGE") or IMAGE,
        metavar="NAME",
        help=f"the image to start (default: {PREFIX}IMAGE, or {IMAGE})",
    )
    doctor.set_defaults(run=_doctor)
    return made


def _names(text: str) -> tuple[str, ...]:
    """Return the packages in a list of them."""
    # A comma may belong to one package: in its brackets, or before its second bound.
    parts = re.split(r",(?![^\[]*\])(?!\s*[<>=!~])", text)
    names = [part.strip() for part in parts if part.strip()]
    if wrong := next((name for name in names if name.startswith("-")), ""):
        raise argparse.ArgumentTypeError(f"{wrong!r} is no package; pip's options go into a file")
    return tuple(names)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments after ``familiar sandbox``; those of the process if None.

    Returns:
        the exit status: 0, or 1 where something is in the way.
    """
    options = parser().parse_args(argv)
    try:
        status: int = options.run(options)
    except SandboxFault as fault:
        print(f"familiar: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("familiar: stopped", file=sys.stderr)
        return 130
    return status


def _build(options: argparse.Namespace) -> int:
    from .image import build, take

    runtime = Runtime(options.runtime).located()
    if options.image:
        if options.base:
            raise SandboxFault("An image that is taken as it is has no base; leave out --base.")
        found = take(runtime, options.image, tag=options.tag)
    else:
        found = build(
            runtime,
            packages=options.packages,
            requirements=options.requirements,
            base=options.base,
            network=options.network,
            tag=options.tag,
        )
    print(f"{options.tag} is ready: {found.summary()}")
    if runtime.kind == "podman-hpc":
        print(f"For the compute nodes, type: {runtime.executable} migrate {options.tag}")
    return 0


def _list(options: argparse.Namespace) -> int:
    from . import owners

    runtime = Runtime(options.runtime).located()
    pictures, boxes = owners.images(runtime), owners.containers(runtime)
    if options.json:
        told = {
            "images": [dataclasses.asdict(picture) for picture in pictures],
            "sandboxes": [dataclasses.asdict(box) for box in boxes],
        }
        print(json.dumps(told, indent=2))
        return 0
    if not pictures:
        print(f"There is no image yet; type: {Case(runtime.executable).build}")
    for picture in pictures:
        print(_of_image(picture))
    for box in boxes:
        print(_of_container(box))
    if pictures and not boxes:
        print("No sandbox runs.")
    return 0


def _prune(options: argparse.Namespace) -> int:
    from . import owners

    runtime = Runtime(options.runtime).located()
    boxes, pictures = owners.leftovers(
        owners.containers(runtime), owners.images(runtime), everything=options.all
    )
    if not boxes and not pictures:
        print("Nothing is left over.")
        return 0
    for text in (*map(_of_container, boxes), *map(_of_image, pictures)):
        print(text)
    if not options.yes and not _agreed():
        print("Nothing was removed.")
        return 1
    faults = [
        *(owners.remove_container(runtime, box) for box in boxes),
        *(owners.remove_image(runtime, picture) for picture in pictures),
    ]
    wrong = [fault for fault in faults if fault]
    for fault in wrong:
        print(f"familiar: not removed: {fault}", file=sys.stderr)
    print(f"Removed {len(faults) - len(wrong)} of {len(faults)}.")
    return 1 if wrong else 0


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise SandboxFault("Nobody can be asked here; to remove these, add --yes.")
    return input("Remove these? [y/N] ").strip().lower() in ("y", "yes")


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import run

    return run(Runtime(options.runtime), image=options.image, as_json=options.json)


def _of_image(picture: owners.Image) -> str:
    names = ", ".join(picture.names) or "(replaced by a newer one)"
    first = f"image    {picture.id[:12]}  {names}  {picture.size / 1e6:,.0f} MB"
    made = f"familiar-kernel {picture.version}, {picture.created[:10]}"
    return "\n".join(
        (
            first,
            f"         {made}",
            f"         Python {picture.python}: {' '.join(picture.packages)}",
        )
    )


def _of_container(box: owners.Container) -> str:
    if box.owner is None or box.lives:
        whose = f"of kernel process {box.owner}"
    else:
        whose = f"left over: its kernel, process {box.owner}, is gone"
    return f"sandbox  {box.id[:12]}  {box.state} since {box.created[:19]}, {whose}"
