"""Fixtures of the tests of the lab's image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.engines import Engine, of_podman, running_docker
from deploy.labs import Image, built
from sandbox.podman import Podman


@pytest.fixture(scope="session")
def podman_engine(podman: Podman) -> Engine:
    return of_podman(podman)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers have."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def docker_engine(shared_folder: Path) -> Iterator[Engine]:
    with running_docker(shared_folder / "docker") as engine:
        yield engine


@pytest.fixture(scope="session")
def podman_lab(
    podman_engine: Engine, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Image:
    """The image that podman has built."""
    scratch = tmp_path_factory.mktemp("build")
    return built(podman_engine, podman_engine, scratch, shared_folder)


@pytest.fixture(scope="session")
def docker_lab(
    docker_engine: Engine,
    podman_engine: Engine,
    shared_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Image:
    """The image that Docker Engine has built."""
    scratch = tmp_path_factory.mktemp("build")
    return built(docker_engine, podman_engine, scratch, shared_folder)


@pytest.fixture(params=["podman", "docker"])
def lab_image(request: pytest.FixtureRequest) -> Image:
    """Both, one after the other."""
    found: Image = request.getfixturevalue(f"{request.param}_lab")
    return found


@pytest.fixture
def volume(lab_image: Image) -> Iterator[str]:
    """A volume that ends with the test."""
    name = f"familiar-test-{uuid4().hex[:8]}"
    lab_image.engine.run("volume", "create", name)
    yield name
    lab_image.engine.run("volume", "rm", "--force", name)
