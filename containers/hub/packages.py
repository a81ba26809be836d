"""Runs in the build: says which of Debian's packages to install, of the list in apt.yaml."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+:~*-]*")


class ListError(ValueError):
    """The list is not one; a sentence that says where."""


def packages(text: str, suite: str) -> list[str]:
    """Return what apt-get is to install, such as ``tini=0.19.0-*``.

    Args:
        text: of the list.
        suite: the base image's, such as ``trixie``.

    Raises:
        ListError: something is wrong with the list, or it has nothing for this suite.
    """
    try:
        told = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ListError(f"the list of packages is no YAML: {error}") from error
    rows = told.get("packages") if isinstance(told, dict) else None
    if not isinstance(rows, list) or set(told) != {"packages"}:
        raise ListError("the list of packages begins with packages: and has nothing else")
    return [_package(number, row, suite) for number, row in enumerate(rows, 1)]


def _package(number: int, row: Any, suite: str) -> str:
    where = f"package {number} of the list"
    if not isinstance(row, dict) or not set(row) <= {"name", "why", "versions"}:
        raise ListError(f"{where} may have name, why and versions")
    name, why = (str(row.get(key) or "") for key in ("name", "why"))
    if not _NAME.fullmatch(name):
        raise ListError(f"{where} is called {name!r}, which is no package's name")
    if not why.strip():
        raise ListError(f"{where}, {name}, does not say why it is there")
    versions = row.get("versions")
    if versions is None:
        return name
    if not isinstance(versions, dict) or not versions:
        raise ListError(f"{where}, {name}, has versions that are no versions by suite")
    version = str(versions.get(suite, ""))
    if not version:
        known = ", ".join(map(str, versions))
        raise ListError(
            f"{name} has versions for {known}, and the base image is of the suite {suite};"
            " choose another BASE_IMAGE, or add one to containers/hub/apt.yaml"
        )
    if not _VERSION.fullmatch(version):
        raise ListError(f"{where}, {name}, has the version {version!r}, which is none")
    return f"{name}={version}"


def main(argv: list[str]) -> int:
    """Print the packages of a list (a path) for a suite, one on each line."""
    try:
        found = packages(Path(argv[0]).read_text(encoding="utf-8"), argv[1])
    except ListError as error:
        print(f"familiar: {error}.", file=sys.stderr)
        return 1
    print("\n".join(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
