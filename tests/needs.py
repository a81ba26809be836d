"""What a test needs that is no Python package of ours: found, or the test is skipped.

In CI nothing may be skipped for want of a tool: with ``FAMILIAR_TEST_REQUIRE=all`` the test fails.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

_BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def need(what: str) -> str:
    """Return where a tool or a package is; without it, end the test that asks.

    Args:
        what: ``"chromium"``, a command's name, or a package's import name.

    Returns:
        the command's path, or the package's file.

    Raises:
        pytest.skip.Exception: it is not there.
        pytest.fail.Exception: it is not there, and ``FAMILIAR_TEST_REQUIRE`` is ``all``.
    """
    found = _browser() if what == "chromium" else _command(what) or _package(what)
    if found:
        return found
    reason = f"{what} was not found on this machine"
    if os.environ.get("FAMILIAR_TEST_REQUIRE") == "all":
        pytest.fail(f"{reason}, and FAMILIAR_TEST_REQUIRE=all wants every test to run")
    pytest.skip(reason)


def _browser() -> str:
    named = os.environ.get("FAMILIAR_TEST_BROWSER", "")
    return next(filter(None, map(shutil.which, (named, *_BROWSERS) if named else _BROWSERS)), "")


def _command(name: str) -> str:
    # Debian keeps daemons, tor for example, where an ordinary user's PATH does not lead.
    # And what pip has installed lies beside Python, which need not be on the PATH.
    beside = os.path.dirname(sys.executable)
    path = os.pathsep.join((beside, os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    return shutil.which(name, path=path) or ""


def _package(name: str) -> str:
    if not name.isidentifier():
        return ""
    spec = importlib.util.find_spec(name)
    return str(spec.origin or Path(*(spec.submodule_search_locations or ()))) if spec else ""
