"""The first thing that runs in a sandbox: takes our modules from the bridge, and starts the kernel.

``python -c`` gets this text; it is small, and nothing in it is secret.
"""

import importlib.abc
import importlib.util
import json
import socket
import sys
import sysconfig


class Sent(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports modules from the texts that were sent."""

    def __init__(self, modules):  # type: ignore[no-untyped-def]
        self.modules = modules
        # Files that are not there: their texts are had from here, for tracebacks and `??`. They
        # seem to lie among the installed packages, which debuggers leave out.
        self.folder = sysconfig.get_path("purelib")

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name not in self.modules:
            return None
        spec = importlib.util.spec_from_loader(name, self, origin=self.path(name))
        if spec is not None:
            spec.has_location = True
        return spec

    def path(self, name):  # type: ignore[no-untyped-def]
        return f"{self.folder}/{name.replace('.', '/')}.py"

    def get_code(self, name):  # type: ignore[no-untyped-def]
        return compile(self.modules[name][1], self.path(name), "exec", dont_inherit=True)

    def is_package(self, name):  # type: ignore[no-untyped-def]
        return self.modules[name][0]

    def get_source(self, name):  # type: ignore[no-untyped-def]
        return self.modules[name][1]


def boot(where):  # type: ignore[no-untyped-def]
    """Start the inner kernel; ``where`` is the path of the bridge's socket."""
    if sys.path[:1] == [""]:
        del sys.path[0]
    bridge = socket.socket(socket.AF_UNIX)
    bridge.connect(where)
    lines = bridge.makefile("rb")
    # What is ours, and with it ipykernel, is loaded while the outer kernel is still loading its
    # own; only then it says what this one is to be.
    sys.meta_path.insert(0, Sent(json.loads(lines.readline())["modules"]))
    from familiar_kernel.inner.late import put_off

    put_off()
    from familiar_kernel.inner.app import run

    run(bridge, lines, json.loads(lines.readline()))


if __name__ == "__main__":
    boot(sys.argv[1])
