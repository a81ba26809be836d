"""Loads later what ipykernel loads at its start and a first cell does not need.

A sandbox starts with each kernel and its start is waited for. A third of it was loading debugpy,
which is of use once somebody debugs, and the clients and managers of jupyter_client, which are of
none here. Both are put off; who asks for them gets them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import types
from typing import Any

_OF_CLIENT = {"write_connection_file": "connect", "find_connection_file": "connect"}
"""What ipykernel imports from the package itself, and the module that has it."""


def put_off() -> None:
    """Put it off. To be called before ipykernel is imported; where a package is not what it is
    expected to be, it is loaded as usual."""
    _put_off_client()
    if importlib.util.find_spec("debugpy") is not None:
        module: Any = types.ModuleType("ipykernel.debugger")
        module._is_debugpy_available = True
        module.Debugger = LateDebugger
        sys.modules["ipykernel.debugger"] = module


def _put_off_client() -> None:
    """Let the modules of jupyter_client be imported without all that the package imports."""
    spec = importlib.util.find_spec("jupyter_client")
    if spec is None or spec.loader is None or "jupyter_client" in sys.modules:
        return
    package: Any = importlib.util.module_from_spec(spec)
    loader = spec.loader
    loaded = False

    def missing(name: str) -> Any:
        nonlocal loaded
        if name in _OF_CLIENT:
            return getattr(importlib.import_module(f"jupyter_client.{_OF_CLIENT[name]}"), name)
        if loaded or name.startswith("__"):
            raise AttributeError(f"module 'jupyter_client' has no attribute {name!r}")
        loaded = True
        loader.exec_module(package)
        return getattr(package, name)

    package.__getattr__ = missing
    sys.modules["jupyter_client"] = package


class LateDebugger:
    """ipykernel's debugger, made when somebody debugs; it takes the same arguments."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._arguments, self._more = arguments, more
        self._made: Any = None
        self._is_made = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._debugger(), name)

    def _debugger(self) -> Any:
        if self._made is None:
            late = sys.modules.pop("ipykernel.debugger", None)
            try:
                real = importlib.import_module("ipykernel.debugger")
            except BaseException:
                if late is not None:
                    sys.modules["ipykernel.debugger"] = late
                raise
            self._made = real.Debugger(*self._arguments, **self._more)
            self._is_made.set()
        return self._made

    async def process_request(self, message: dict[str, Any]) -> Any:
        """Serve a request of a front end's debugger."""
        return await self._debugger().process_request(message)

    async def handle_stopped_event(self) -> None:
        """Wait for the code to stop somewhere; until somebody debugs, it does not."""
        await self._is_made.wait()
        await self._made.handle_stopped_event()
