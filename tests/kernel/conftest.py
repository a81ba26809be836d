"""What the tests of kernels share beside the kernels: the endpoint that a module's script runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from endpoint import Endpoint, running_endpoint


@pytest.fixture(scope="module")
def endpoint(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    """An endpoint that plays the module's ``SCRIPT``, as its ``MODEL`` where it names one."""
    model = getattr(request.module, "MODEL", "")
    with running_endpoint(request.module.SCRIPT, model=model) as running:
        yield running
