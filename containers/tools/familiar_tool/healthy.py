"""Asks the door whether all is well: ``python -m familiar_tool.healthy``, the image's health check.

Standard library only, since it runs twice a minute.
"""

from __future__ import annotations

import sys
import urllib.request

_SECONDS = 8


def main() -> int:
    """Return 0 if the door answers and the tool behind it takes connections."""
    # No proxy is asked for what is in this container.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open("http://127.0.0.1:8888/healthz", timeout=_SECONDS):
            return 0
    except OSError as error:
        print(f"familiar: the tool does not answer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
