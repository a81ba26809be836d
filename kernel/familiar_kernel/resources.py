"""The files beside the code: kernelspecs with their logos, and the example notebooks.

They have one home, the repository's own ``kernelspecs/`` and ``examples/``. A wheel carries a copy
inside the package (``shared/``); an editable install has none and reads the repository.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_HOMES = (_PACKAGE / "shared", _PACKAGE.parents[1])


def resource(relative: str) -> Path:
    """Return the path of a file or folder, such as ``kernelspecs/python-claude``.

    Raises:
        FileNotFoundError: this installation lacks it.
    """
    for home in _HOMES:
        path = home / relative
        if path.exists():
            return path
    raise FileNotFoundError(
        f"This installation of familiar-kernel lacks {relative}; install it anew: "
        "pip install --force-reinstall --no-deps familiar-kernel"
    )
