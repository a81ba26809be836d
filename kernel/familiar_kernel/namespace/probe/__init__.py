"""What can be seen of a namespace: looks at variables, runs next to none of their code, copies
nothing large.

Everything here answers with text that is bounded in size and time. What belongs to the standard
library, numpy, pandas, polars or torch is read directly, and of large data a sample. All other
objects are asked for their ``repr`` or an attribute under a guard: in a thread that is left to
itself when it takes too long.

Standard library only: the modules are sent into a sandbox as they are, and run there.
"""

from __future__ import annotations

from ..errors import ProbeError
from .changes import fingerprint
from .core import Probe
from .guard import MAX_TEXT

__all__ = ["MAX_TEXT", "Probe", "ProbeError", "fingerprint"]
