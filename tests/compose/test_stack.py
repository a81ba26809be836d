"""The whole platform as start.sh brings it up: who has which rights, and a lab reached over TLS."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from compose.stack import Images, Stack, running_stack
from deploy.engines import Engine
from sandbox.podman import BASE

pytest_plugins = ["compose.stack_fixtures"]
# The first test waits for the build.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LAB = "localhost/familiar-test-small-lab:latest"
_CONTAINERFILE = f"""FROM {BASE}
COPY core_lab.py /usr/local/lib/core_lab.py
COPY --chmod=755 jupyterhub-singleuser /usr/local/bin/
RUN mkdir -p /home/jovyan/work && chown -R 1000:1000 /home/jovyan
USER 1000:1000
WORKDIR /home/jovyan
"""
_ASK = """
import socket
for place in {places}:
    try:
        socket.create_connection(place, 3).close()
        print("open")
    except OSError:
        print("shut")
"""


@pytest.fixture(scope="module")
def small_lab(
    docker_engine: Engine, stack_images: Images, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A lab that is a small server, in place of JupyterLab."""
    context = tmp_path_factory.mktemp("lab")
    code = Path(__file__).parents[1] / "hub" / "core_lab.py"
    (context / "core_lab.py").write_text(code.read_text())
    program = "#!/bin/sh\nexec python3 /usr/local/lib/core_lab.py\n"
    (context / "jupyterhub-singleuser").write_text(program)
    (context / "Containerfile").write_text(_CONTAINERFILE)
    file = f"--file={context / 'Containerfile'}"
    # The tests' Engine has no other network for a build.
    docker_engine.run("build", "--quiet", "--network=host", file, f"--tag={LAB}", str(context))
    return LAB


@pytest.fixture(scope="module")
def stack(
    docker_engine: Engine,
    stack_images: Images,
    small_lab: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("c") / "d"
    with running_stack(
        docker_engine, stack_images, folder, DOCKER_NOTEBOOK_IMAGE=small_lab
    ) as stack:
        yield stack


def test_the_hub_answers_over_tls(stack: Stack) -> None:
    health = requests.get(f"{stack.url}hub/health", verify=str(stack.authority), timeout=20)
    assert health.status_code == 200
    # Nobody vouches for it who does not know the authority.
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{stack.url}hub/health", timeout=20)


def test_the_hub_has_next_to_no_rights(stack: Stack) -> None:
    told = stack.inspect(stack.container("hub"))
    assert told["HostConfig"]["ReadonlyRootfs"] is True
    assert told["HostConfig"]["CapDrop"] == ["ALL"]
    assert not told["HostConfig"]["CapAdd"]
    assert not told["HostConfig"]["Privileged"]
    assert told["HostConfig"]["Memory"] == 2**30
    assert told["HostConfig"]["PidsLimit"] == 512
    raw = stack.engine.variables["DOCKER_HOST"].removeprefix("unix://")
    assert not [mount for mount in told["Mounts"] if mount["Source"] == raw]
    # What the kernel says, not what was asked for.
    assert stack.run("hub", "id -u; id -g; id -G").split() == ["1000", "1000", "1000"]
    status = stack.run("hub", "cat /proc/1/status")
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    for place in ("/etc/x", "/opt/hub/x", "/run/familiar-hub/hub/x", "/run/familiar-secrets/x"):
        assert stack.run("hub", f"touch {place} 2>/dev/null || echo refused") == "refused"


def test_the_hub_reaches_docker_only_through_the_filter(stack: Stack) -> None:
    ask = (
        "import docker; c = docker.from_env().api;"
        "print(c.ping());"
        "c.create_container('{image}', host_config=c.create_host_config({more}), name='{name}')"
    )
    name, image = f"{stack.variables['FAMILIAR_HUB_PREFIX']}-x", LAB
    for more in ("privileged=True", "binds=['/:/host']", "pid_mode='host'"):
        code = ask.format(image=image, more=more, name=name)
        said = stack.run("hub", f'python -c "{code}"', check=False)
        assert said.startswith("True\n"), said
        assert "403 Client Error" in said, said


def test_the_filter_has_no_network(stack: Stack) -> None:
    told = stack.inspect(stack.container("filter"))
    assert list(told["NetworkSettings"]["Networks"]) == ["none"]
    assert stack.run("filter", "ls /sys/class/net").split() == ["lo"]
    assert stack.run("filter", "id -u") == "64101"
    assert "CapBnd:\t0000000000000000" in stack.run("filter", "cat /proc/1/status")
    assert told["HostConfig"]["ReadonlyRootfs"] is True


def test_the_edge_has_no_rights_and_no_key_but_its_own(stack: Stack) -> None:
    told = stack.inspect(stack.container("edge"))
    assert told["Config"]["User"] == "65532:65532"
    assert told["HostConfig"]["ReadonlyRootfs"] is True
    assert told["HostConfig"]["CapDrop"] == ["ALL"]
    mounted = {mount.get("Name", "") for mount in told["Mounts"]}
    assert f"{stack.project}_edge" in mounted
    assert f"{stack.project}_authority" not in mounted
    # Only the preparation, which has ended, ever had the authority's key.
    for service in ("hub", "filter"):
        there = {m.get("Name") for m in stack.inspect(stack.container(service))["Mounts"]}
        assert f"{stack.project}_authority" not in there
    assert stack.inspect(stack.container("prepare"))["State"]["Running"] is False


def test_secrets_are_the_hubs_alone(stack: Stack) -> None:
    assert stack.run("hub", "stat -c %U:%a /run/familiar-secrets/admin_password") == "hub:400"
    told = json.dumps(stack.inspect(stack.container("hub"))["Config"])
    assert "the first password" not in told
    for service in ("prepare", "hub", "filter", "edge"):
        assert "the first password" not in stack.log(service)


def test_every_service_is_bounded_and_comes_back(stack: Stack) -> None:
    for service in ("hub", "filter", "edge"):
        host = stack.inspect(stack.container(service))["HostConfig"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert "no-new-privileges:true" in host["SecurityOpt"]


def test_only_the_edge_has_ports(stack: Stack) -> None:
    for service in ("hub", "filter"):
        assert not stack.inspect(stack.container(service))["HostConfig"]["PortBindings"]
    bound = stack.inspect(stack.container("edge"))["HostConfig"]["PortBindings"]
    assert {row["HostIp"] for rows in bound.values() for row in rows} == {"127.0.0.1"}


def test_a_lab_starts_and_outlives_the_hub(stack: Stack) -> None:
    admin = stack.admin()
    assert admin.post("spawn", "authorize").status == 302
    lab = f"{stack.variables['FAMILIAR_HUB_PREFIX']}-admin"
    status = f"{stack.url}user/admin/api/status"

    def answers() -> bool:
        return admin.session.get(status, allow_redirects=False, timeout=20).status_code == 200

    _wait_for(answers, stack)
    told = stack.inspect(lab)
    assert list(told["NetworkSettings"]["Networks"]) == [stack.variables["DOCKER_NETWORK_NAME"]]
    begun = told["State"]["StartedAt"]
    stack.compose("restart", "hub")
    _wait_for(answers, stack)
    assert stack.inspect(lab)["State"]["StartedAt"] == begun
    # The lab reaches the hub's API, and neither the edge nor what the hub's proxy is told by.
    code = _ASK.format(places=[("hub", 8081), ("hub", 8001), ("edge", 8443)])
    said = stack.engine.run("exec", lab, "python3", "-c", code).stdout
    assert said.split() == ["open", "shut", "shut"]


def test_a_second_start_changes_nothing(stack: Stack) -> None:
    before = {name: stack.inspect(stack.container(name))["Id"] for name in ("hub", "edge")}
    authority = stack.authority.read_bytes()
    said = stack.script("start.sh").stdout
    assert f"The hub is at {stack.url}" in said
    assert {n: stack.inspect(stack.container(n))["Id"] for n in before} == before
    assert stack.authority.read_bytes() == authority


def test_settings_that_will_not_do_stop_nothing(stack: Stack) -> None:
    settings = stack.folder / ".env"
    good = settings.read_text()
    before = {name: stack.inspect(stack.container(name))["Id"] for name in ("hub", "filter")}
    settings.write_text(f"{good}FAMILIAR_HUB_MEMORY=much\n")
    done = stack.script("start.sh", check=False)
    settings.write_text(good)
    assert done.returncode == 1
    assert "FAMILIAR_HUB_MEMORY is 'much'; it may be a size" in done.stderr
    assert done.stderr.endswith("Mend what is named above and start again.\n")
    for name, identity in before.items():
        told = stack.inspect(stack.container(name))
        assert (told["Id"], told["State"]["Running"]) == (identity, True)


def _wait_for(true: Callable[[], bool], stack: Stack) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, stack.log("hub")[-4000:]
        time.sleep(0.3)
