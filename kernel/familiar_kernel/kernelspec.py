"""The entry in Jupyter's list of kernels, for environments that ``pip install`` alone does not
reach.

The wheel puts the kernelspec beside itself, which is enough where JupyterLab runs in the same
environment. For every other case ``familiar install`` writes one that names this interpreter by its
absolute path. Both start from the same ``kernelspecs/python-claude/kernel.json``.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .resources import resource

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpecManager

NAME = "python-claude"
SANDBOXED_NAME = "python-claude-sandboxed"
REHEARSAL_VARIABLE = "FAMILIAR_REHEARSAL"
"""Set to 1 in a kernel's environment, it makes the kernel use the rehearsal instead of Claude."""

ENCRYPTION = "auto"
"""The transport encryption of the kernels that we start: whenever the kernelspec declares it."""

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_LOGIN_IN_URL = re.compile(r"://[^/@\s]+@")


def specification(
    *,
    display_name: str = "",
    env: Mapping[str, str] | None = None,
    rehearsal: bool = False,
    sandboxed: bool = False,
) -> dict[str, Any]:
    """Return what ``kernel.json`` holds for a kernel that runs on this interpreter, by its absolute
    path.

    Args:
        display_name: what the launcher shows; by default "Python + Claude", or "Python + Claude
            (rehearsal)".
        env: variables for the kernel's environment.
        rehearsal: whether the kernel talks to the rehearsal and not to Claude.
        sandboxed: whether its code runs in a container.
    """
    kind = SANDBOXED_NAME if sandboxed else NAME
    spec: dict[str, Any] = json.loads(
        (resource(f"kernelspecs/{kind}") / "kernel.json").read_text(encoding="utf-8")
    )
    spec["argv"][0] = sys.executable
    if rehearsal:
        spec["display_name"] += " (rehearsal)"
        env = {**(env or {}), REHEARSAL_VARIABLE: "1"}
    if display_name:
        spec["display_name"] = display_name
    if env:
        spec["env"] = dict(env)
    return spec


def write(directory: Path, spec: Mapping[str, Any]) -> None:
    """Write a kernelspec, logos included, into a directory that does not exist yet."""
    kind = SANDBOXED_NAME if "--sandboxed" in spec["argv"] else NAME
    shutil.copytree(resource(f"kernelspecs/{kind}"), directory)
    (directory / "kernel.json").write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")


def install(name: str, spec: Mapping[str, Any], *, user: bool = False, prefix: str = "") -> Path:
    """Make the kernel selectable, in place of one of the same name, and return the folder that was
    written.

    Args:
        name: the kernel's name: ASCII letters, digits, ``-``, ``.`` and ``_``.
        spec: what :func:`specification` returned.
        user: for this user in all environments.
        prefix: for the environment under this folder. With neither, for all users of the machine.

    Raises:
        ValueError: Jupyter does not take the name, or both places are named.
        OSError: the folder cannot be written.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, NAME)
        write(source, spec)
        written: str = KernelSpecManager().install_kernel_spec(
            str(source), kernel_name=name, user=user, prefix=prefix or None
        )
    return Path(written)


@contextmanager
def temporary(spec: Mapping[str, Any]) -> Iterator[KernelSpecManager]:
    """Provide a list of kernels that holds only this one, as :data:`NAME`, and is in no menu.

    The demo and the doctor run their kernels from it, so that they run on this interpreter whatever
    is installed.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    with tempfile.TemporaryDirectory(prefix="familiar-kernels-") as directory:
        write(Path(directory, NAME), spec)
        yield KernelSpecManager(kernel_dirs=[directory], ensure_native_kernel=False)


def looks_secret(name: str, value: str) -> bool:
    """Return whether a variable seems to hold a secret, by its name or by a login inside a URL."""
    return bool(_SECRET.search(name) or _LOGIN_IN_URL.search(value))
