"""What the tests of kernels share beside the kernels: the endpoint that a module's script runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from endpoint import Endpoint, running_endpoint
from kernels import Kernel, running_kernel


@pytest.fixture(scope="module")
def endpoint(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    """An endpoint that plays the module's ``SCRIPT``, as its ``MODEL`` where it names one."""
    model = getattr(request.module, "MODEL", "")
    with running_endpoint(request.module.SCRIPT, model=model) as running:
        yield running


@pytest.fixture(scope="module", params=["host", "sandbox"])
def kernel_of_either_kind(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel that plays the module's ``SCRIPT``: one on the host, then one in a sandbox. What it
    does with Claude is the same."""
    start: Callable[..., AbstractContextManager[Kernel]]
    if request.param == "host":
        folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("host")
        request.getfixturevalue("own_home")
        with running_kernel(folder, script=request.module.SCRIPT) as kernel:
            yield kernel
        return
    start = request.getfixturevalue("start_sandboxed")
    with start(script=request.module.SCRIPT) as kernel:
        yield kernel


@pytest.fixture
def only_on_the_host(request: pytest.FixtureRequest) -> None:
    """For what a sandboxed kernel has not: tools outside the sandbox, a familiar in reach of
    code."""
    if request.node.callspec.params.get("kernel_of_either_kind") == "sandbox":
        pytest.skip("a sandboxed kernel has none of it")
