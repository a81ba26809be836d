"""What the sandbox's tests share: a podman of their own, and the image that it has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kernels import Kernel, running_kernel
from sandbox import podman as setup
from sandbox.podman import Podman


@pytest.fixture(scope="session")
def podman() -> Podman:
    """The podman of whoever runs the tests. .ci/podman, which makes its images once for all
    workers, locks."""
    return setup.ready()


@pytest.fixture(scope="session")
def rootless(podman: Podman) -> Podman:
    """A podman of an ordinary user, with the same images."""
    return setup.ready_rootless(podman)


@pytest.fixture(scope="session")
def sandbox_image(podman: Podman) -> str:
    """The name of a sandbox's image with ipywidgets, matplotlib, numpy and pandas."""
    return setup.IMAGE


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


@pytest.fixture(scope="session")
def start_sandboxed(
    tmp_path_factory: pytest.TempPathFactory, podman: Podman, sandbox_image: str, own_home: Path
) -> Callable[..., AbstractContextManager[Kernel]]:
    """Starts a sandboxed kernel, in a folder of its own that any user may read.

    Keyword arguments are settings of the sandbox, and ``env``, ``arguments`` and ``script`` as
    ``running_kernel`` takes them, and ``traits`` for its manager.
    """

    def start(
        env: dict[str, str] | None = None,
        arguments: tuple[str, ...] = ("--rehearsal",),
        script: Path | None = None,
        traits: dict[str, object] | None = None,
        **settings: object,
    ) -> AbstractContextManager[Kernel]:
        place = tmp_path_factory.mktemp("sandboxed")
        folder = place / "work"
        folder.mkdir()
        folder.chmod(0o755)
        chosen = {"image": sandbox_image, **settings}
        told = {f"FAMILIAR_SANDBOX_{name.upper()}": str(value) for name, value in chosen.items()}
        return running_kernel(
            place / "home",
            folder=folder,
            script=script,
            arguments=(*arguments, "--sandboxed"),
            env={**podman.variables, **told, **(env or {})},
            **(traits or {}),
        )

    return start


@pytest.fixture(scope="module")
def boxed(start_sandboxed: Callable[..., AbstractContextManager[Kernel]]) -> Iterator[Kernel]:
    """A sandboxed kernel that a module's tests share."""
    with start_sandboxed() as kernel:
        yield kernel
