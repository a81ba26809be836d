"""A real JupyterHub set up as in zero-to-jupyterhub: by the chart's ConfigMap, by our values'
``hub.extraConfig``, with the real KubeSpawner and a real proxy. Only the cluster is the tests' own.

zero-to-jupyterhub itself cannot be had in CI. What it writes before ``hub.extraConfig`` runs stands
below, as far as it matters; docs/hub-on-kubernetes.md says with which release that was compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from deploy.chart import Values
from deploy.hub_chart import written, z2jh
from deploy.hub_chart_cluster import NAMESPACE, Cluster, cluster
from hub.core_hub import PACKAGE, Browser, Hub
from hub.pages_hub import LAB, PATIENCE, START_TIMEOUT, free_port
from needs import need

_CONFIG = """
import json
import os
from pathlib import Path

c = get_config()
values = json.loads(Path({values!r}).read_text())


def get_config(key, default=None):
    found = values
    for level in key.split("."):
        if not isinstance(found, dict) or level not in found:
            return default
        found = found[level]
    return found


def get_name(name):
    return name


c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0}}
c.JupyterHub.template_paths = []
c.JupyterHub.services = []
c.JupyterHub.load_roles = []
c.JupyterHub.base_url = get_config("hub.baseUrl", "/")
c.JupyterHub.hub_bind_url = "http://:{hub_port}"
c.KubeSpawner.namespace = {namespace!r}
c.KubeSpawner.common_labels = {{"app.kubernetes.io/name": "jupyterhub"}}
c.KubeSpawner.image = "ghcr.io/example/familiar-lab:1"
c.KubeSpawner.uid = get_config("singleuser.uid")
c.KubeSpawner.fs_gid = get_config("singleuser.fsGid")
c.KubeSpawner.allow_privilege_escalation = False
c.KubeSpawner.mem_limit = get_config("singleuser.memory.limit")
c.KubeSpawner.mem_guarantee = get_config("singleuser.memory.guarantee")
c.KubeSpawner.cpu_limit = get_config("singleuser.cpu.limit")
c.KubeSpawner.cpu_guarantee = get_config("singleuser.cpu.guarantee")
c.KubeSpawner.extra_labels = {{"hub.jupyter.org/network-access-hub": "true"}}
c.KubeSpawner.environment = {{}}
c.KubeSpawner.volumes = {{}}
c.KubeSpawner.volume_mounts = {{}}
c.Spawner.cmd = get_config("singleuser.cmd")

c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_connect_url = "http://127.0.0.1:{hub_port}"
c.JupyterHub.db_url = "sqlite:///{folder}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie_secret"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]

from familiar_hub import zero_to_jupyterhub

zero_to_jupyterhub.FOLDER = Path({settings!r}).parent
for name, text in sorted(get_config("hub.extraConfig").items()):
    exec(text)
# The cluster of the tests is another one than zero-to-jupyterhub's, and quick.
c.KubeSpawner.events_enabled = False
"""


@dataclass
class HubInCluster(Hub):
    """A hub, and the cluster that its labs are in.

    Attributes:
        begin: starts its process.
    """

    cluster: Cluster
    begin: Callable[[], subprocess.Popen[bytes]]

    def serve(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_TIMEOUT
        while not _serves(self):
            assert self.process.poll() is None, self.log[-4000:]
            assert time.monotonic() < deadline, self.log[-4000:]
            time.sleep(0.1)

    def end(self) -> None:
        """End its process."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def restart(self) -> None:
        """End it and start it anew, as a new Pod of it would."""
        self.end()
        self.process = self.begin()
        self.serve()

    def as_person(self, browser: Browser, method: str, path: str, **more: Any) -> requests.Response:
        """Ask the hub's API as a page of it does."""
        return self._as_page(browser, method, f"api/{path}", **more)

    def choose(self, browser: Browser, name: str, profile: str) -> None:
        """Start somebody's lab by the page, and wait until it runs."""
        told = self._as_page(browser, "POST", f"spawn/{name}", data={"profile": profile})
        assert told.status_code == 302, told.text
        self.wait_for(lambda: self.state(browser, name) == "running")

    def _as_page(self, browser: Browser, method: str, path: str, **more: Any) -> requests.Response:
        browser.get("home")
        token = next(each.value for each in browser.session.cookies if each.name == "_xsrf")
        return browser.session.request(
            method,
            f"{self.url}{path}",
            headers={"X-XSRFToken": token or "", "Referer": f"{self.url}home"},
            allow_redirects=False,
            timeout=PATIENCE,
            **more,
        )

    def start(self, browser: Browser, name: str, options: Mapping[str, Any] | None = None) -> int:
        """Start somebody's lab by the API and wait. Returns the status of the request."""
        told = self.as_person(browser, "POST", f"users/{name}/server", json=dict(options or {}))
        if told.status_code in (201, 202):
            self.wait_for(lambda: self.state(browser, name) != "starting")
        return told.status_code

    def stop(self, browser: Browser, name: str) -> None:
        told = self.as_person(browser, "DELETE", f"users/{name}/server")
        assert told.status_code in (202, 204), told.text
        self.wait_for(lambda: self.state(browser, name) == "stopped")

    def state(self, browser: Browser, name: str) -> str:
        """Return whether a lab runs."""
        told = self.as_person(browser, "GET", f"users/{name}").json()
        server = told.get("servers", {}).get("") or {}
        if server.get("pending") or told.get("pending"):
            return "starting"
        return "running" if server.get("ready") else "stopped"


@contextlib.contextmanager
def hub_in_cluster(folder: Path, *values: Values, python: str = "") -> Iterator[HubInCluster]:
    """Run a hub with some values of our chart for the time of a ``with`` block."""
    port, hub_port, proxy_port = (free_port() for _ in range(3))
    ours: Values = {"publicUrl": f"http://127.0.0.1:{port}", "allowHttp": True}
    settings = written(folder, ours, *values)
    told = folder / "values.json"
    told.write_text(json.dumps(z2jh()))
    config = folder / "config.py"
    config.write_text(
        _CONFIG.format(
            values=str(told), namespace=NAMESPACE, port=port, hub_port=hub_port, folder=folder,
            proxy_port=proxy_port, proxy=need("configurable-http-proxy"), settings=str(settings),
        )
    )  # fmt: skip
    (folder / "labs").mkdir()
    with cluster(LAB, folder / "labs") as (it, kubeconfig), (folder / "hub.log").open("ab") as log:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}

        def begin() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [python or sys.executable, "-m", "jupyterhub", f"--config={config}"],
                cwd=folder,
                env={
                    **kept,
                    "PYTHONPATH": str(PACKAGE),
                    "KUBECONFIG": str(kubeconfig),
                    # As Kubernetes tells of Services.
                    "PROXY_PUBLIC_SERVICE_PORT": str(port),
                    # The trap that settings in a file avoid.
                    "FAMILIAR_HUB_PORT": "tcp://10.0.0.1:80",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        hub = HubInCluster(f"http://127.0.0.1:{port}/hub/", folder, begin(), it, begin)
        try:
            hub.serve()
            yield hub
        finally:
            hub.end()


def _serves(hub: Hub) -> bool:
    with contextlib.suppress(requests.RequestException):
        return hub.browser().get("health").status == 200
    return False
