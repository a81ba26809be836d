"""What a person or an admin may choose about a sandbox.

In ``ipython_kernel_config.py`` as ``c.Sandbox.memory = "4g"``, on a kernelspec's command line as
``--Sandbox.memory=4g``, or in its environment as ``FAMILIAR_SANDBOX_MEMORY=4g``; in lists, items
are separated by commas there.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from traitlets import Bool, Enum, Float, Integer, List, TraitError, Unicode, validate
from traitlets.config import Configurable

from .faults import IMAGE
from .labels import PREFIX
from .spec import Mount, Spec, WorkspaceMode

_SIZE = re.compile(r"\d+[bkmg]?", re.IGNORECASE)
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Sandbox(Configurable):
    """The traits of a sandbox."""

    image = Unicode(IMAGE, help="The image, as `familiar sandbox build` makes it.").tag(config=True)
    name = Unicode("familiar", help="What the container's name begins with.").tag(config=True)
    runtime = Unicode(
        "podman", help="What runs containers: podman, podman-hpc or docker, by name or path."
    ).tag(config=True)
    workspace = Unicode(
        "", help="The folder that the sandbox sees as /workspace; empty: the notebook's own."
    ).tag(config=True)
    workspace_mode = Enum(
        ("ro", "rw", "none"),
        "ro",
        help="Whether the sandbox may read that folder (ro), also write there (rw), or not see it."
        " rw lets its code change and delete your files there, but for .git, .claude, .mcp.json,"
        " CLAUDE.md, shell start-up files, Python environments and notebooks.",
    ).tag(config=True)
    memory = Unicode("2g", help="Memory that a sandbox may use, /tmp included, without swap.").tag(
        config=True
    )
    cpus = Float(2.0, min=0.01, help="Processors that a sandbox may use, in parts of one.").tag(
        config=True
    )
    pids = Integer(512, min=16, help="Processes and threads that a sandbox may have.").tag(
        config=True
    )
    tmp_size = Unicode("512m", help="How much /tmp holds; it is memory.").tag(config=True)
    devices = List(
        Unicode(),
        help="Devices by their CDI names, such as nvidia.com/gpu=all. A GPU's driver is reached"
        " from inside, with all its faults.",
    ).tag(config=True)
    mounts = List(
        Unicode(),
        help="Further folders and files to read, as SOURCE:TARGET. What is in them is seen by the"
        " sandbox's code, and by Claude where that code shows it.",
    ).tag(config=True)
    environment = List(
        Unicode(),
        help="Names of environment variables that are let through. Their values are seen by the"
        " sandbox's code: no secrets.",
    ).tag(config=True)
    trusted_outputs = Bool(
        False,
        help="Let outputs through as they are: JavaScript, widgets, any HTML. Code in the sandbox"
        " can then act in your browser with your rights: open a terminal on the Jupyter server, run"
        " what it likes there. The sandbox holds nothing back any more.",
    ).tag(config=True)
    widgets = Bool(
        False,
        help="Let ipywidgets through. A widget's HTML is not made safe: it can run script in your"
        " browser with your rights on the Jupyter server, as trusted_outputs can.",
    ).tag(config=True)
    mime_types = List(
        Unicode(),
        help="Further types of output that are let through as they are, such as"
        " application/vnd.plotly.v1+json. What shows them in your browser must be safe with data"
        " from anybody.",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.faults: list[str] = []
        """Which variables of the environment were wrong, a sentence each."""
        configured = self._trait_values.keys() & self.trait_names(config=True)
        for name, value in from_environment(os.environ, self).items():
            if name in configured and self._load_was_explicit(name):
                continue  # a file or an argument has chosen it
            try:
                setattr(self, name, value)
            except (TraitError, ValueError) as err:
                self.faults.append(f"{PREFIX}{name.upper()} is not used: {err}")

    def _load_was_explicit(self, name: str) -> bool:
        return any(name in self.config.get(section, {}) for section in self.section_names())

    @validate("memory", "tmp_size")
    def _is_size(self, proposal: Any) -> str:
        value = str(proposal["value"]).strip()
        if not _SIZE.fullmatch(value):
            raise TraitError(f"{value!r} is no size; write it as 512m or 4g")
        return value

    @validate("name")
    def _is_name(self, proposal: Any) -> str:
        value: str = proposal["value"]
        if not _CONTAINER.fullmatch(value):
            raise TraitError(f"{value!r} is no container's name; write letters, digits and -")
        return value

    @validate("environment")
    def _are_names(self, proposal: Any) -> list[str]:
        names: list[str] = proposal["value"]
        for name in names:
            if not _NAME.fullmatch(name):
                raise TraitError(f"{name!r} is no name of a variable")
        return names

    @validate("mounts")
    def _are_mounts(self, proposal: Any) -> list[str]:
        mounts: list[str] = proposal["value"]
        for mount in mounts:
            mount_of(mount)
        return mounts

    def spec(
        self,
        unique: str,
        sockets: str,
        seccomp: str,
        labels: Mapping[str, str],
        workspace: str,
        more: tuple[Mount, ...] = (),
    ) -> Spec:
        """Return the sandbox that was chosen.

        Args:
            unique: how the container's name ends.
            sockets: the folder of its sockets.
            seccomp: the file of its profile of system calls.
            labels: whose it is.
            workspace: the folder that it sees, or empty.
            more: mounts beside those that were chosen.
        """
        mode = cast("WorkspaceMode", self.workspace_mode)
        return Spec(
            image=self.image,
            name=f"{self.name}-{unique}",
            sockets=sockets,
            seccomp=seccomp,
            labels=labels,
            workspace=workspace,
            workspace_mode=mode,
            mounts=(*more, *map(mount_of, self.mounts)),
            memory=self.memory,
            cpus=self.cpus,
            pids=self.pids,
            tmp_size=self.tmp_size,
            devices=tuple(self.devices),
            environment=tuple(name for name in self.environment if name in os.environ),
            open_files=_at_most(4096, resource.RLIMIT_NOFILE),
            processes=_at_most(4096, resource.RLIMIT_NPROC),
        )


def _at_most(wanted: int, limit: int) -> int:
    """Return a limit that this process may hand on."""
    hard = resource.getrlimit(limit)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def mount_of(text: str) -> Mount:
    """Return the mount that ``SOURCE:TARGET`` stands for.

    Raises:
        TraitError: it is none.
    """
    source, colon, target = text.rpartition(":")
    if not colon or not source or not target.startswith("/") or ":" in source or "," in text:
        raise TraitError(f"{text!r} is no mount; write it as /data/set:/data")
    return Mount(os.path.abspath(os.path.expanduser(source)), target)


def from_environment(environ: Mapping[str, str], settings: Configurable) -> dict[str, Any]:
    """Return the settings that the environment holds, by the trait's name. Pure."""
    found: dict[str, Any] = {}
    for name, trait in settings.traits(config=True).items():
        text = environ.get(f"{PREFIX}{name.upper()}")
        if text is None:
            continue
        if isinstance(trait, List):
            found[name] = [part.strip() for part in text.split(",") if part.strip()]
        elif isinstance(trait, Bool):
            found[name] = text.strip().lower() in ("1", "true", "yes", "on")
        elif isinstance(trait, Float | Integer):
            try:
                found[name] = (float if isinstance(trait, Float) else int)(text)
            except ValueError:
                found[name] = text  # the trait says what is wrong
        else:
            found[name] = text
    return found


def workspace_of(wanted: str, mode: str, here: Path, private: list[Path]) -> tuple[str, str]:
    """Return the folder that a sandbox sees, and, where it sees none, why. Pure but for links.

    Args:
        wanted: the folder that was chosen, or empty.
        mode: "ro", "rw" or "none".
        here: the notebook's folder.
        private: folders that no sandbox may see: the person's home, what holds their credentials.
    """
    if mode == "none":
        return "", "workspace_mode is none"
    try:
        folder = Path(wanted).expanduser().resolve() if wanted else here.resolve()
    except (OSError, RuntimeError):
        return "", f"the folder {wanted or here} cannot be found"
    if not folder.is_dir():
        return "", f"the folder {folder} is not there"
    for secret in private:
        # A folder that holds one of them would show it; one inside the home is the usual place.
        if secret == folder or folder in secret.parents:
            return "", f"{folder} holds your home or credentials; move the notebook into a folder"
    if ":" in str(folder):
        return "", f"the path {folder} has a colon in it, which the runtime does not take"
    return str(folder), ""
