"""A Jupyter kernel in which Claude lives beside your Python.

Importing this package costs next to nothing: the kernel, the host and the ``familiar`` command each
import what they need when they need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .exceptions import FamiliarError, TurnStopped

__all__ = ["FamiliarError", "TurnStopped", "__version__"]


def __getattr__(name: str) -> object:
    """Load what user code may catch when it is first asked for."""
    if name in ("FamiliarError", "TurnStopped"):
        from . import exceptions

        return getattr(exceptions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
