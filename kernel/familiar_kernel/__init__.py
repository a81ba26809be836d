"""A Jupyter kernel in which Claude lives beside your Python.

Importing this package costs next to nothing: the kernel, the host and the ``familiar`` command each
import what they need when they need it.
"""

from __future__ import annotations

from ._version import __version__

__all__ = ["__version__"]
