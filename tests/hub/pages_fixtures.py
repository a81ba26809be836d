"""Fixtures of the tests of the hub's pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.pages_hub import Hub, pythons, running_hub


def _name(python: str) -> str:
    return Path(python).parents[1].name


@pytest.fixture(scope="module", params=pythons(), ids=_name)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub whose labs are processes, once with each JupyterHub."""
    with running_hub(tmp_path_factory.mktemp("hub"), request.param) as running:
        yield running
