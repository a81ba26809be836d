"""Fixtures of the tests of the platform with people: one stack, and two who have come in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from browser.lab import chromium
from compose.platform_browser import steady
from compose.platform_world import SCREENSHOTS, Person, Platform, running_platform
from compose.stack import Images
from deploy.labs import Image
from needs import need

pytest_plugins = ["compose.stack_fixtures"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = steady(need("chromium"), tmp_path_factory.mktemp("browser"))
    with chromium(executable) as running:
        yield running


@pytest.fixture(scope="module")
def platform(
    docker_lab: Image,
    stack_images: Images,
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("p") / "d"
    with running_platform(docker_lab, stack_images, folder, browser) as running:
        yield running


@pytest.fixture
def ada(platform: Platform) -> Person:
    """A member of docker-privileged."""
    return platform.person("ada", "docker-privileged")


@pytest.fixture
def grace(platform: Platform) -> Person:
    return platform.person("grace")
