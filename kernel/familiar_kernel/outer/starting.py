"""A container as the settings say, for the notebook in the current folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from familiar_kernel.inner import sources
from familiar_kernel.sandbox.configuration import workspace_of
from familiar_kernel.sandbox.container import Sandbox
from familiar_kernel.sandbox.labels import labels_of
from familiar_kernel.sandbox.runtime import Runtime
from familiar_kernel.sandbox.spec import Spec

if TYPE_CHECKING:
    from familiar_kernel.sandbox.configuration import Sandbox as Settings


def new_box(settings: Settings) -> tuple[Sandbox, str]:
    """Return a container that is not started yet, and why it sees no workspace, or nothing."""
    folder, fault = _workspace(settings)
    spec = _spec(settings, folder)
    runtime, first = Runtime(settings.runtime), {"modules": sources.modules()}
    if folder and settings.workspace_mode == "rw":
        from familiar_kernel.sandbox.workspace import WritingSandbox

        return WritingSandbox(runtime, spec, program, first, folder), fault
    return Sandbox(runtime, spec, program, first), fault


def program(bridge: str) -> tuple[str, ...]:
    """Return what runs in a container, given the path of the bridge's socket there."""
    return ("python3", "-c", sources.boot_source(), bridge)


def spec_of(settings: Settings) -> tuple[Callable[[str, str, str], Spec], str]:
    """Return what makes a container's specification, and why it has no workspace, or nothing."""
    workspace, fault = _workspace(settings)
    return _spec(settings, workspace), fault


def _spec(settings: Settings, workspace: str) -> Callable[[str, str, str], Spec]:
    labels = labels_of(os.getpid())

    def spec(unique: str, sockets: str, seccomp: str) -> Spec:
        seen = workspace
        if workspace and settings.workspace_mode == "rw":
            from familiar_kernel.sandbox.workspace import place_of

            seen = place_of(workspace, sockets)
        return settings.spec(unique, sockets, seccomp, labels, seen)

    return spec


def _workspace(settings: Settings) -> tuple[str, str]:
    """Return the folder that a container may see, or why it sees none."""
    private = [Path.home()]
    if claude := os.environ.get("CLAUDE_CONFIG_DIR"):
        private.append(Path(claude))
    private = [folder.resolve() for folder in private]
    return workspace_of(settings.workspace, settings.workspace_mode, Path.cwd(), private)
