"""The probe as one text, to be run in a process that has none of our packages.

The modules are joined in the order in which they import each other; what they import from each
other is then there already.
"""

from __future__ import annotations

import re
from importlib import resources

MODULES = ("guard", "values", "descriptions", "changes", "errors", "fitting", "pictures", "core")
_OWN = re.compile(r"^from \.(?:\w+) import (?:\([^)]*\)|[^\n]*)\n", re.MULTILINE)
_FUTURE = "from __future__ import annotations\n"


def source() -> str:
    """Return Python that defines ``Probe``, ``ProbeError`` and all that they need, and imports the
    standard library only."""
    folder = resources.files(__package__)
    parts = [_FUTURE]
    for name in MODULES:
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        parts.append(_OWN.sub("", text.replace(_FUTURE, "")))
    return "\n\n".join(parts)
