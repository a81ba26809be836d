"""Runs in an image: prints one line of JSON about the Python and the packages in it.

It says so also where the Python is too old for a kernel, so it asks nothing of it.
"""

import json
import platform

found = {"python": platform.python_version(), "packages": {}, "asked_for": [], "trouble": ""}
try:
    from importlib import metadata

    for package in metadata.distributions():
        name = (package.metadata["Name"] or "").lower().replace("_", "-")
        if name and name not in found["packages"]:  # the first one found is the one imported
            found["packages"][name] = package.version
            asked_for = package.read_text("REQUESTED") is not None
            if asked_for and name not in ("pip", "setuptools", "wheel"):
                found["asked_for"].append(name)
    found["asked_for"].sort()
    import ipykernel  # noqa: F401
    import zmq  # noqa: F401
except Exception as err:
    found["trouble"] = "%s: %s" % (type(err).__name__, err)  # noqa: UP031
print(json.dumps(found))
