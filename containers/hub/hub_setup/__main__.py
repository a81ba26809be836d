"""``python -m hub_setup``."""

import sys

from .preparation import main

if __name__ == "__main__":
    sys.exit(main())
