"""The whole platform, brought up by its own start.sh on the tests' Docker Engine.

A test has ``pytest_plugins = ["compose.stack_fixtures"]``, and runs a stack of its own::

    with running_stack(docker_engine, stack_images, folder, DOCKER_NOTEBOOK_IMAGE=lab) as stack:
        stack.url          # https://localhost:PORT/, which stack.authority vouches for
        stack.browser()    # one person's browser, for pages without JavaScript
        stack.run("hub", "id")

What runs is a copy of deploy/compose as it is. Traefik's image has no other content here than its
binary, which comes from PyPI, since the tests reach no registry of images.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.engines import Engine, locked
from deploy.labs import free_port, give_base, made_from
from hub.core_hub import Browser
from needs import need
from sandbox.podman import BASE, ROOT

DEPLOYMENT = ROOT / "deploy" / "compose"
ADMIN_PASSWORD = "the first password of the tests"
PASSWORD = "a long and rare password"
_HUB_CONTEXT = (
    "constraints.txt", "containers/hub", "containers/lab/needs.py",
    "containers/sandbox/environment.sh", "deploy/hub/familiar_hub",
    "deploy/hub/jupyterhub_config.py", "deploy/hub/pyproject.toml",
)  # fmt: skip
_TRAEFIK = """FROM scratch
COPY traefik /usr/local/bin/traefik
ENV PATH=/usr/local/bin
ENTRYPOINT ["traefik"]
"""


@dataclass
class Stack:
    """A deployment that is up.

    Attributes:
        engine: what runs it.
        folder: its copy of deploy/compose, with its .env.
        variables: what its .env says.
    """

    engine: Engine
    folder: Path
    variables: dict[str, str]

    @property
    def project(self) -> str:
        return self.variables["COMPOSE_PROJECT_NAME"]

    @property
    def url(self) -> str:
        """What people type, with a slash at the end."""
        return self.variables["FAMILIAR_HUB_PUBLIC_URL"] + "/"

    @property
    def authority(self) -> Path:
        """What a browser has to trust."""
        return self.folder / "certificates" / "ca.pem"

    def script(
        self,
        name: str,
        *arguments: str,
        check: bool = True,
        given: str | None = None,
        timeout: float = 240,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of the deployment, such as ``start.sh``."""
        return run_script(
            self.engine, self.folder, name, *arguments,
            check=check, given=given, timeout=timeout, **variables,
        )  # fmt: skip

    def compose(
        self, *arguments: str, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run ``docker compose`` on it, with what its .env names and without an override."""
        done = subprocess.run(
            [need("docker-compose"), *arguments],
            cwd=self.folder,
            env=script_environment(self.engine),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def container(self, service: str) -> str:
        return f"{self.project}-{service}-1"

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what the Engine tells of a container."""
        [found] = json.loads(self.engine.run("container", "inspect", name).stdout)
        return dict(found)

    def run(self, service: str, code: str, check: bool = True) -> str:
        """Run a line of sh in a service's container and return what that wrote."""
        done = self.engine.run("exec", self.container(service), "sh", "-c", code, check=check)
        return (done.stdout + ("" if check else done.stderr)).strip()

    def log(self, service: str) -> str:
        done = self.engine.run("logs", self.container(service), check=False)
        return done.stdout + done.stderr

    def browser(self) -> Browser:
        """Return one person's browser; it asks below ``hub/``."""
        browser = Browser(f"{self.url}hub/")
        browser.session.verify = str(self.authority)
        return browser

    def admin(self) -> Browser:
        """Return the administrator's browser, signed in."""
        browser = self.browser()
        assert browser.sign_in("admin", ADMIN_PASSWORD).status == 302
        return browser

    def person(self, name: str) -> Browser:
        """Return the browser of somebody who signed up, is approved and signed in."""
        browser = self.browser()
        assert browser.sign_up(name, PASSWORD).status == 200
        answer = self.admin().post(f"authorize/{name}", "authorize", approved="1")
        assert answer.status == 302, answer.text
        assert browser.sign_in(name, PASSWORD).status == 302
        return browser


@dataclass(frozen=True)
class Images:
    """The names of images that an Engine has for a stack."""

    hub: str
    traefik: str


def script_environment(engine: Engine, **variables: str) -> dict[str, str]:
    """Return the environment of a script that finds the tests' docker and docker-compose."""
    first = [Path(engine.program).parent, Path(need("docker-compose")).parent]
    path = os.pathsep.join([*map(str, first), os.environ.get("PATH", os.defpath)])
    return {**engine.environment, "PATH": path, **variables}


def run_script(
    engine: Engine,
    folder: Path,
    name: str,
    *arguments: str,
    check: bool = True,
    given: str | None = None,
    timeout: float = 240,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run a script of a copy of the deployment and return what it wrote."""
    done = subprocess.run(
        [str(folder / name), *arguments],
        cwd=folder,
        env=script_environment(engine, **variables),
        input=given or "",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def deployment_in(folder: Path, **variables: str) -> dict[str, str]:
    """Copy deploy/compose into a folder, with a .env and the administrator's password.

    Returns:
        what the .env says.
    """
    ignored = shutil.ignore_patterns(".env", "secrets", "certificates", "config", "backups")
    shutil.copytree(DEPLOYMENT, folder, dirs_exist_ok=True, ignore=ignored)
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
    password = folder / "secrets" / "admin_password"
    password.touch(0o600)
    password.write_text(ADMIN_PASSWORD + "\n")
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    (folder / ".env").write_text(text)
    return variables


def built_images(engine: Engine, podman: Engine, scratch: Path) -> Images:
    """Build what a stack needs and an Engine does not have."""
    traefik = named_in_compose("traefik")
    with locked("hub-image"):
        give_base(engine, podman)
        base = engine.run("image", "inspect", "--format={{.Id}}", BASE).stdout
        hub = f"localhost/familiar-test-hub:{made_from(base, _HUB_CONTEXT)}"
        if not engine.has_image(hub):
            before = engine.run("images", "--quiet", "localhost/familiar-test-hub").stdout.split()
            _build_hub(engine, hub, scratch)
            for image in before[1:]:
                engine.run("rmi", "--force", image, check=False)
        if not engine.has_image(traefik):
            context = scratch / "traefik"
            context.mkdir()
            shutil.copy(need("traefik"), context / "traefik")
            (context / "Containerfile").write_text(_TRAEFIK)
            file = f"--file={context / 'Containerfile'}"
            engine.run("build", "--quiet", file, f"--tag={traefik}", str(context))
    return Images(hub, traefik)


def named_in_compose(repository: str) -> str:
    """Return an image's name as compose.yml pins it."""
    text = (DEPLOYMENT / "compose.yml").read_text()
    found = re.search(rf"^ *image: ({repository}:\S+)$", text, re.MULTILINE)
    assert found, repository
    return found[1]


def _build_hub(engine: Engine, name: str, scratch: Path) -> None:
    command = [
        sys.executable, str(ROOT / "containers/build.py"), "hub", f"--runtime={engine.program}",
        f"--base={BASE}", "--network=host", f"--tag={name}", "--verbose",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env=engine.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (scratch / "build.log").write_text(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]


@contextlib.contextmanager
def running_stack(
    engine: Engine, images: Images, folder: Path, **variables: str
) -> Iterator[Stack]:
    """Bring a deployment up for the time of a ``with`` block, and leave nothing of it.

    Args:
        engine: the tests' Docker Engine.
        images: what it has; see ``stack_images``.
        folder: for its files; it must not be there, or be empty.
        variables: more of its .env.
    """
    project = f"familiar-test-{secrets.token_hex(3)}"
    port = free_port()
    told = {
        "COMPOSE_PROJECT_NAME": project,
        "FAMILIAR_HUB_PUBLIC_URL": f"https://localhost:{port}",
        "FAMILIAR_BIND": "127.0.0.1",
        "FAMILIAR_HTTP_PORT": str(free_port()),
        "FAMILIAR_HTTPS_PORT": str(port),
        "FAMILIAR_SOCKETS": str(folder / "sockets"),
        # Two stacks at once are not each other's.
        "FAMILIAR_HUB_PREFIX": project.replace("-", ""),
        "DOCKER_NETWORK_NAME": f"{project}-labs",
        "HUB_IMAGE": images.hub,
        "DOCKER_NOTEBOOK_IMAGE": images.hub,
        "ENABLE_GPU_SUPPORT": "0",
        **variables,
    }
    stack = Stack(engine, folder, deployment_in(folder, **told))
    try:
        stack.script("start.sh")
        yield stack
    except BaseException:
        log = folder.with_name(f"{folder.name}.log")
        services = ("prepare", "filter", "hub", "edge")
        log.write_text("\n".join(f"== {name}\n{stack.log(name)}" for name in services))
        raise
    finally:
        _removed(stack, images)


def _removed(stack: Stack, images: Images) -> None:
    prefix = stack.variables["FAMILIAR_HUB_PREFIX"]
    run = stack.engine.run
    labs = run("ps", "--all", "--quiet", f"--filter=name=^{prefix}-").stdout.split()
    if labs:
        run("rm", "--force", "--volumes", *labs, check=False)
    stack.compose("--profile=*", "down", "--volumes", "--timeout=5", check=False)
    volumes = run("volume", "ls", "--quiet", f"--filter=name={prefix}-").stdout.split()
    if volumes:
        run("volume", "rm", "--force", *volumes, check=False)
    # What belongs to root and to the filter there.
    run(
        "run", "--rm", "--network=none", "--user=0", "--entrypoint=sh",
        f"--volume={stack.folder}:/folder", images.hub,
        "-c", "rm -rf /folder/sockets /folder/certificates", check=False,
    )  # fmt: skip
