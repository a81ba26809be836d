"""GPUs as a hub finds them by itself and labs get them; without any, see test_engine_labs."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.engines import Engine
from hub.engine_gpu import with_gpus
from hub.engine_world import running_world

pytest_plugins = ["deploy.lab_fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ALL = [{"Count": -1, "Capabilities": [["gpu"]]}]


def test_an_engine_with_gpus(docker_engine: Engine, podman_engine: Engine, tmp_path: Path) -> None:
    with (
        with_gpus(docker_engine, tmp_path / "gpus.sock") as gpus,
        running_world(
            docker_engine,
            podman_engine,
            tmp_path,
            ENABLE_GPU_SUPPORT="2",
            DOCKER_SOCKET=str(gpus.socket),
        ) as world,
    ):
        world.up()
        world.add("ann")
        world.start("ann")
        assert world.visit("ann")["person"] == "ann"
        lab = world.container("ann")
        tried = [name for name in gpus.asked if name != lab]
        assert len(tried) == 1
        assert tried[0].startswith(f"{world.prefix}--gpu-")
        assert not world.there("container", tried[0])
        assert gpus.asked == {tried[0]: ALL, lab: ALL}
        assert "GPU: yes, nvidia-smi sees GPU 0: of the tests" in world.hub.log
