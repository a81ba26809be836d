"""Fixtures of the tests that run the whole platform."""

from __future__ import annotations

import pytest

from compose.stack import Images, built_images
from deploy.engines import Engine
from needs import need

pytest_plugins = ["deploy.lab_fixtures"]


@pytest.fixture(scope="session")
def stack_images(
    docker_engine: Engine, podman_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Images:
    """The images of a stack, on the tests' Docker Engine; the labs' image is not among them."""
    need("traefik")
    return built_images(docker_engine, podman_engine, tmp_path_factory.mktemp("stack"))
