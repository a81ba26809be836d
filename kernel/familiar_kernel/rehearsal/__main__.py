"""``python -m familiar_kernel.rehearsal``: the same as ``familiar rehearse``."""

from __future__ import annotations

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
