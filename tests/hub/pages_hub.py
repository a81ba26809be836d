"""A real JupyterHub with our pages, its proxy, and labs that are processes or containers."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from familiar_hub.audit import people_file
from needs import need

ROOT = Path(__file__).parents[2]
LAB = Path(__file__).with_name("pages_lab.py")
START_TIMEOUT = 60.0
"""Seconds that a hub has until it serves."""
PATIENCE = 30.0
"""Seconds that anything else has to happen."""
PASSWORD = "the-password-of-the-tests"

_CONFIG = """
import os
import sys
from pathlib import Path

sys.path.insert(0, {package!r})
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.spawner import SimpleLocalProcessSpawner

from familiar_hub import audit, handlers

c = get_config()  # noqa: F821
folder = Path({folder!r})


class Authenticator(DummyAuthenticator):
    def get_handlers(self, app):
        return [*super().get_handlers(app), *handlers.HANDLERS]


class Spawner(SimpleLocalProcessSpawner):
    def get_env(self):
        name = self.user.name + (f"-{{self.name}}" if self.name else "")
        return super().get_env() | {{"LAB_FOLDER": str(folder / "labs"), "LAB_NAME": name}}


audit.configure(folder / "audit.log")
c.JupyterHub.authenticator_class = Authenticator
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {{"admin"}}
c.DummyAuthenticator.password = {password!r}
c.JupyterHub.spawner_class = Spawner
c.Spawner.cmd = [sys.executable, {lab!r}]
c.SimpleLocalProcessSpawner.home_dir_template = str(folder / "homes" / "{{username}}")
c.JupyterHub.allow_named_servers = True
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_ip = "127.0.0.1"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.JupyterHub.db_url = f"sqlite:///{{folder}}/hub.sqlite"
c.JupyterHub.cookie_secret_file = str(folder / "cookie_secret")
c.ConfigurableHTTPProxy.pid_file = str(folder / "proxy.pid")
c.JupyterHub.template_paths = [handlers.TEMPLATES]
c.JupyterHub.template_vars = handlers.template_vars()
c.JupyterHub.tornado_settings = handlers.tornado_settings(
    folder, broadcast_limit={limit}, restart_limit=30
)
c.JupyterHub.services = [
    {{"name": "tests", "api_token": {token!r}}},
    {{"name": "prometheus", "api_token": {metrics!r}}},
]
c.JupyterHub.load_roles = [
    {{
        "name": "tests",
        "services": ["tests"],
        "scopes": ["admin:users", "admin:servers", "tokens", "read:hub", "shares"],
    }},
    {{"name": "prometheus", "services": ["prometheus"], "scopes": ["read:metrics"]}},
    # The default, and sharing: what a person has, they may share.
    {{"name": "user", "scopes": ["self", "shares!user", "read:users:name"]}},
]
c.JupyterHub.cleanup_servers = True
{more}
"""


@dataclass
class Answer:
    """What the hub answered."""

    status: int
    text: str

    @property
    def data(self) -> Any:
        return json.loads(self.text)


@dataclass
class Hub:
    """A running JupyterHub.

    Attributes:
        url: where the hub's own pages are, with a slash at the end.
        folder: with its database and logs.
        token: a service's, which may do everything.
        metrics_token: one that may read the metrics.
        process: the hub.
    """

    url: str
    folder: Path
    token: str
    metrics_token: str
    process: subprocess.Popen[bytes]
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> str:
        return (self.folder / "hub.log").read_text(errors="replace")

    def audit(self) -> list[dict[str, Any]]:
        return acts(self.folder / "audit.log")

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask for a path below the hub's address, with the service's token by default."""
        told = dict(headers or {})
        if token != "":
            told["Authorization"] = f"token {token or self.token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            told.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, data, told, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as err:
            return Answer(err.code, err.read().decode())

    def person(self, name: str) -> str:
        """Make a person, and return a token with all that they may do."""
        if name not in self._tokens:
            made = self.ask("POST", f"api/users/{name}")
            assert made.status in (201, 409), made
            given = self.ask("POST", f"api/users/{name}/tokens", {"note": "tests"})
            assert given.status == 201, given
            self._tokens[name] = given.data["token"]
        return self._tokens[name]

    def start(self, name: str, server: str = "") -> None:
        """Start a person's server unless it runs, and wait until it is ready."""
        self.person(name)
        if self.server(name, server).get("ready"):
            return
        where = f"api/users/{name}/servers/{server}" if server else f"api/users/{name}/server"
        begun = self.ask("POST", where)
        assert begun.status in (201, 202), begun
        self.wait_for(lambda: self.server(name, server).get("ready"))

    def stop(self, name: str, server: str = "") -> None:
        where = f"api/users/{name}/servers/{server}" if server else f"api/users/{name}/server"
        assert self.ask("DELETE", where).status in (202, 204)
        self.wait_for(lambda: self.server(name, server).get("stopped", True))

    def server(self, name: str, server: str = "") -> dict[str, Any]:
        known = self.ask("GET", f"api/users/{name}?include_stopped_servers").data
        found: dict[str, Any] = known.get("servers", {}).get(server, {})
        return found

    def through_proxy(self, name: str, path: str) -> Answer:
        """Ask a person's server, as that person, through the proxy."""
        root = self.url.removesuffix("hub/")
        request = urllib.request.Request(f"{root}user/{name}/{path}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as err:
            return Answer(err.code, err.read().decode())

    def told(self, lab: str) -> list[dict[str, Any]]:
        """Return what a lab was told: by person's name, and server's behind a hyphen."""
        file = self.folder / "labs" / f"{lab}.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    def broadcast(self, notice: Mapping[str, Any], token: str | None = None) -> dict[str, Any]:
        """Send a broadcast, and return what became of it."""
        begun = self.ask("POST", "api/broadcasts", notice, token=token)
        assert begun.status == 202, begun
        path = f"api/broadcasts/{begun.data['id']}"
        self.wait_for(lambda: self.ask("GET", path).data["state"] == "done")
        done: dict[str, Any] = self.ask("GET", path).data
        return done

    def wait_for(self, true: Callable[[], Any], seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert self.process.poll() is None, self.log[-4000:]
            assert time.monotonic() < deadline, self.log[-4000:]
            time.sleep(0.05)


# jupyterhub's command, without a package that compiles a grammar for a second when it is imported
# and that nothing here needs.
_HUB = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyterhub.app import main; main()"


def pythons() -> list[str]:
    """Return the Pythons whose JupyterHub is tested: this one, and those that the environment
    names, with other versions."""
    others = os.environ.get("FAMILIAR_TEST_HUB_PYTHONS", "")
    return [sys.executable, *filter(None, others.split(os.pathsep))]


def acts(file: Path) -> list[dict[str, Any]]:
    """Return what an audit log holds, of administrators and of others, the oldest act first."""
    files = [one for one in (file, people_file(file)) if one.exists()]
    told = [json.loads(line) for one in files for line in one.read_text().splitlines()]
    return sorted(told, key=lambda act: str(act["at"]))


@contextlib.contextmanager
def hub_process(
    python: str, config: Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run JupyterHub's process for the time of a ``with`` block. Its log is beside its
    configuration."""
    # It looks for Alembic's command on the path, and finds it there only in an environment that
    # somebody has activated.
    path = os.pathsep.join((str(Path(python).parent), env.get("PATH", os.defpath)))
    with (config.parent / "hub.log").open("ab") as log:
        process = subprocess.Popen(
            [python, "-c", _HUB, f"--config={config}"],
            cwd=config.parent,
            env={**env, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_hub(
    process: subprocess.Popen[bytes], serves: Callable[[], bool], log: Callable[[], str]
) -> None:
    """Wait until a hub serves; fail with the end of its log if it does not."""
    deadline = time.monotonic() + START_TIMEOUT
    while not serves():
        assert process.poll() is None, log()[-4000:]
        assert time.monotonic() < deadline, log()[-4000:]
        time.sleep(0.1)


@contextlib.contextmanager
def running_hub(
    folder: Path, python: str = sys.executable, *, more: str = "", limit: float = 2.0
) -> Iterator[Hub]:
    """Run a JupyterHub for the time of a ``with`` block.

    Args:
        folder: for all that it writes; one that a hub had before goes on with what it left.
        python: whose JupyterHub it is.
        more: lines of configuration.
        limit: seconds that a lab has to take a broadcast.
    """
    for name in ("labs", "homes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    port, hub_port, proxy_port = (free_port() for _ in range(3))
    token, metrics = secrets.token_hex(16), secrets.token_hex(16)
    config = folder / "jupyterhub_config.py"
    config.write_text(
        _CONFIG.format(
            package=str(ROOT / "deploy" / "hub"), folder=str(folder), lab=str(LAB), token=token,
            metrics=metrics, port=port, hub_port=hub_port, proxy_port=proxy_port, limit=limit,
            proxy=need("configurable-http-proxy"), password=PASSWORD, more=more,
        )
    )  # fmt: skip
    config.chmod(0o600)
    env = {**os.environ, "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(16)}
    with hub_process(python, config, env) as process:
        hub = Hub(f"http://127.0.0.1:{port}/hub/", folder, token, metrics, process)
        wait_for_hub(process, lambda: _serves(hub), lambda: hub.log)
        yield hub


def _serves(hub: Hub) -> bool:
    with contextlib.suppress(OSError):
        return hub.ask("GET", "health", token="").status == 200
    return False


def free_port() -> int:
    """Return a port of loopback that nobody uses just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
