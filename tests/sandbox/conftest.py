"""What the sandbox's tests share: a podman of their own, and the image that it has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kernels import Kernel
from sandbox import attacks
from sandbox import podman as setup
from sandbox.attacks import KEY, Shared
from sandbox.podman import Podman

USERS = ["rootful", "rootless"] if os.geteuid() == 0 else ["rootless"]


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


@pytest.fixture(scope="module", params=USERS)
def whose(request: pytest.FixtureRequest) -> Podman:
    """The podman of root, and that of an ordinary user."""
    found: Podman = request.getfixturevalue("podman" if request.param == "rootful" else "rootless")
    return found


@pytest.fixture(scope="module")
def place(whose: Podman) -> Iterator[Path]:
    with attacks.place_of(whose) as place:
        yield place


@pytest.fixture(scope="module")
def person(whose: Podman, place: Path) -> Callable[[], AbstractContextManager[Kernel]]:
    """Starts kernels of somebody who has secrets, and a notebook beside a file of theirs."""
    home = attacks.made(whose, place / "home")
    for secret in (home / ".ssh" / "id_ed25519", home / ".claude" / ".credentials.json"):
        attacks.made(whose, secret.parent)
        secret.write_text(KEY)
        attacks.own(whose, secret)
    work = attacks.made(whose, place / "work")
    (work / "data.csv").write_text("a,b\n1,2\n")
    (work / "data.csv").chmod(0o666)
    (work / "link").symlink_to(home / ".ssh" / "id_ed25519")
    env = {"ANTHROPIC_API_KEY": KEY, "A_SECRET": KEY}
    return lambda: attacks.sandboxed(whose, place, env=env)


@pytest.fixture(scope="module")
def _shared(person: Callable[[], AbstractContextManager[Kernel]]) -> Iterator[Shared]:
    shared = Shared(person)
    yield shared
    shared.close()


@pytest.fixture
def attacked(_shared: Shared) -> Kernel:
    """A kernel that the attacks share; one that an attack has broken is replaced."""
    return _shared.get()


@pytest.fixture
def alone(person: Callable[[], AbstractContextManager[Kernel]]) -> Iterator[Kernel]:
    """A kernel for one attack."""
    with person() as kernel:
        yield kernel


@pytest.fixture
def usable(attacked: Kernel) -> Iterator[Kernel]:
    """The same kernel, for an attack on its own strength: it serves afterwards as before."""
    attacked.run("kept = 'kept'")
    yield attacked
    assert attacked.value("kept") == "kept"
