"""What the outer kernel sends into a sandbox: the texts of the modules that run there."""

from __future__ import annotations

from pathlib import Path

PACKAGE = __name__.partition(".")[0]
_FOLDER = Path(__file__).parents[1]
MODULES = (
    "__init__",
    "_version",
    "answer.__init__",
    "answer.record",
    "cell_kernel",
    "cells",
    "claude_magic",
    "exceptions",
    "familiar.__init__",
    "familiar.errors",
    "familiar.inbox",
    "inner.__init__",
    "inner.app",
    "inner.bridge",
    "inner.kernel",
    "inner.late",
    "inner.prompts",
    "inner.server",
    "inner.streams",
    "namespace.__init__",
    "namespace.errors",
    "namespace.execution",
    "namespace.local",
    "namespace.probe.__init__",
    "namespace.probe.changes",
    "namespace.probe.core",
    "namespace.probe.descriptions",
    "namespace.probe.errors",
    "namespace.probe.fitting",
    "namespace.probe.guard",
    "namespace.probe.pictures",
    "namespace.probe.values",
    "shell",
    "text",
    "waiting",
    "ways",
)
"""The modules, in our package."""


def boot_source() -> str:
    """Return the program that a sandbox begins with."""
    return _text("inner.boot")


def modules() -> dict[str, tuple[bool, str]]:
    """Return all modules by dotted name: whether it is a package, and its text."""
    found = {}
    for module in MODULES:
        name = f"{PACKAGE}.{module}".removesuffix(".__init__")
        found[name] = (module.endswith("__init__"), _text(module))
    return found


def _text(module: str) -> str:
    return Path(_FOLDER, f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
