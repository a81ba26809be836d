"""``%sandbox_status`` and ``%sandbox_restart``: the container in which the code runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .showing import no_arguments, show, table, usage_error

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel
    from familiar_kernel.outer.kernel import SandboxedKernel

NO_SANDBOX = (
    "this kernel's code runs on the host itself; choose the kernel "
    '"Python + Claude (sandboxed)" for a sandbox'
)


def _sandboxed(kernel: FamiliarKernel) -> SandboxedKernel:
    from familiar_kernel.outer.kernel import SandboxedKernel

    if not isinstance(kernel, SandboxedKernel):
        raise usage_error(NO_SANDBOX)
    return kernel


def status(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%sandbox_status``."""
    no_arguments("sandbox_status", rest)
    outer = _sandboxed(kernel)
    settings, box = outer.sandbox, outer.box
    if box is None:
        raise usage_error("there is no sandbox just now; %sandbox_restart starts one")
    spec = box.spec
    workspace = outer.workspace_fault and f"none: {outer.workspace_fault}"
    if not workspace:
        told = {"ro": "read-only", "rw": "writable, but for protected files"}
        folder = getattr(box, "folder", spec.workspace)  # not where it is served from
        workspace = f"{folder}, {told[spec.workspace_mode]}, as /workspace"
    rows = [
        ("Container", box.name),
        ("Image", spec.image),
        ("Runtime", settings.runtime),
        ("Running for", _duration(time.monotonic() - box.since)),
        ("Network", "none"),
        ("Workspace", workspace),
        ("Memory", _memory(box.memory(), spec.memory)),
        ("Processors", f"{spec.cpus:g}"),
        ("Processes", f"at most {spec.pids}"),
        ("/tmp", f"at most {spec.tmp_size}, in memory"),
        ("Outputs", _outputs(outer)),
    ]
    rows += [("Also there", f"{mount.source} as {mount.target}") for mount in spec.mounts]
    rows += [("Device", device) for device in spec.devices]
    if spec.environment:
        rows.append(("Variables", ", ".join(spec.environment)))
    rows += [("Configuration", fault) for fault in settings.faults]
    show(kernel, *table(rows, ("Sandbox", "")))


def _outputs(outer: SandboxedKernel) -> str:
    settings = outer.sandbox
    if settings.trusted_outputs:
        return "not made safe: its code can act in your browser with your rights"
    told = "made safe"
    if settings.widgets:
        told += ", but widgets pass: they can act in your browser with your rights"
    if settings.mime_types:
        told += f"; also {', '.join(settings.mime_types)}"
    return told


def restart(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%sandbox_restart``."""
    no_arguments("sandbox_restart", rest)
    outer = _sandboxed(kernel)
    text = "A fresh sandbox starts; variables and files in /tmp are gone."
    show(kernel, text, text)
    outer.restart_sandbox()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _memory(told: tuple[int, bool] | None, limit: str) -> str:
    if told is None:
        return f"at most {limit}"
    used, limited = told
    if limited:
        return f"{used / 1e6:,.0f} MB of {limit}"
    return (
        f"{used / 1e6:,.0f} MB; {limit} is not enforced on this machine, nor are processors and "
        "processes: familiar sandbox doctor says why"
    )
