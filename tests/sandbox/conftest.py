"""What the sandbox's tests share: a podman of their own, and the image that it has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kernels import Kernel
from sandbox import podman as setup
from sandbox.podman import Podman


@pytest.fixture(scope="session")
def rootless(podman: Podman) -> Podman:
    """A podman of an ordinary user, with the same images."""
    return setup.ready_rootless(podman)


@pytest.fixture(scope="session")
def base_image(podman: Podman) -> str:
    """The name of an image with Python and no kernel."""
    return setup.BASE


@pytest.fixture
def own_storage(podman: Podman, tmp_path: Path) -> Iterator[Podman]:
    """A podman with a storage of one test, for those that remove things or fill disks. It sees the
    images of the others, but cannot change them."""
    shared = podman.run("info", "--format", "{{.Store.GraphRoot}}").stdout.strip()
    conf = tmp_path / "storage.conf"
    conf.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{tmp_path}/graph"\n'
        f'rootless_storage_path = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
        f'[storage.options]\nadditionalimagestores = ["{shared}"]\n'
    )
    own = Podman("podman", {**podman.variables, "CONTAINERS_STORAGE_CONF": str(conf)})
    yield own
    own.run("rm", "--all", "--force", "--time=0", check=False)
    # podman mounts its folder upon itself, and below it are files of other user ids.
    clean = f"umount {tmp_path}/graph/overlay; rm -rf {tmp_path}/graph {tmp_path}/run"
    own.outside(*(() if os.geteuid() == 0 else ("podman", "unshare")), "sh", "-c", clean)


@pytest.fixture(scope="module")
def boxed(start_sandboxed: Callable[..., AbstractContextManager[Kernel]]) -> Iterator[Kernel]:
    """A sandboxed kernel that a module's tests share."""
    with start_sandboxed() as kernel:
        yield kernel
