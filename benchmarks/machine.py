"""What must be known of a machine to read figures that were measured on it."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from familiar_kernel.familiar.cli_path import find_cli

_PACKAGES = (
    "familiar-kernel",
    "ipykernel",
    "ipython",
    "jupyter_client",
    "pyzmq",
    "tornado",
    "claude-agent-sdk",
)


def facts() -> dict[str, Any]:
    """Return cores, memory, system and versions; ``load`` holds the load ``before`` the run."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "versions": {
            platform.python_implementation(): platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
            "CLI": _cli_version(),
        },
        "load": {"before": load()},
    }


def load() -> float:
    """Return how many programs wanted to run, on average over the last minute."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def _cli_version() -> str:
    cli = find_cli()
    if cli is None:
        return "none"
    done = subprocess.run(
        [cli, "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split()[0]
