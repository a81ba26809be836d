"""Images go to a registry that .env names, and come back from there: a real one, on loopback."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.stack import deployment_in, script_environment
from deploy.engines import Engine
from deploy.labs import free_port
from needs import need

pytest_plugins = ["deploy.lab_fixtures"]
# The Engine may be another test's for a while.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_CONFIG = """version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Where one is, as images' names begin. Docker speaks to loopback without TLS."""
    program, port = need("docker-registry"), free_port()
    config = tmp_path / "registry.yml"
    config.write_text(_CONFIG.format(folder=tmp_path / "kept", port=port))
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + 60
    try:
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
                break
            assert process.poll() is None, (tmp_path / "registry.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def image(engine: Engine, folder: Path, name: str) -> Iterator[str]:
    """Make an image that differs from all others, and return its ID."""
    content = folder / "content"
    content.write_text(name)
    archive = folder / "image.tar"
    with tarfile.open(archive, "w") as file:
        file.add(content, "content")
    try:
        yield engine.run("import", str(archive), name).stdout.strip()
    finally:
        engine.run("rmi", "--force", name, check=False)


def test_images_are_pushed_and_pulled(docker_engine: Engine, registry: str, tmp_path: Path) -> None:
    hub, lab = f"{registry}/group/familiar-hub:1", f"{registry}/group/familiar-lab:1"
    # Traefik's image is in no registry here; it is not what this is about.
    folder = tmp_path / "d"
    deployment_in(
        folder,
        HUB_IMAGE=hub,
        DOCKER_NOTEBOOK_IMAGE=lab,
        DOCKER_SOCKET_GID="0",
        FAMILIAR_HUB_PUBLIC_URL="https://localhost",
    )

    def make(word: str) -> None:
        done = subprocess.run(
            [need("make"), word],
            cwd=folder,
            env={**script_environment(docker_engine), "HOME": os.fspath(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    with (
        image(docker_engine, tmp_path, hub) as hub_id,
        image(docker_engine, tmp_path, lab) as lab_id,
    ):
        make("push")
        docker_engine.run("rmi", hub, lab)
        make("pull")
        for name, before in ((hub, hub_id), (lab, lab_id)):
            told = docker_engine.run("image", "inspect", "--format={{.Id}}", name).stdout
            assert told.strip() == before, "what came back is what went out"
