"""The chart: what it gives to programs, run by them: JupyterLab and start-lab, IPython, Tor."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from deploy.chart import CHART, Values, lab, literals, nested, only, render, serving
from deploy.chart_values import PROXY
from needs import need

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "containers" / "lab"
HOME = "/home/jovyan"
TMP = "/tmp/run-jovyan"
LIBRARY = "/usr/local/lib/familiar"
SECRETS = "/run/secrets/familiar"
START = 60.0
"""Seconds in which a JupyterLab starts on a busy machine."""


# -- the lab ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(place: Path, values: Values, token: str) -> Iterator[str]:
    """Start JupyterLab as the Pod would, with the variables and arguments of the chart, and yield
    its address. Folders are below ``place``, and it listens on loopback only."""
    need("curl")
    container = lab(only(render(values), "Deployment"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home, secrets, library = place / "home", place / "secrets", place / "lib"
    for folder in (home / "work", secrets / "token", library / "start.d"):
        folder.mkdir(parents=True)
    (secrets / "token" / "token").write_text(token)
    for step in ("10-work.sh", "20-claude.sh"):
        shutil.copy(IMAGE / "start.d" / step, library / "start.d")
    shutil.copy(IMAGE / "claude-settings", library)
    start = place / "start-lab"
    text = (IMAGE / "start-lab").read_text("utf-8")
    assert LIBRARY in text
    start.write_text(text.replace(LIBRARY, str(library)), "utf-8")
    start.chmod(0o755)
    recipe = (IMAGE / "Containerfile").read_text("utf-8")
    variables = dict(re.findall(r"^(?:ENV| )\s+([A-Z_]+)=(/\S+)", recipe, re.MULTILINE))
    told = {
        name: value.replace(HOME, str(home)).replace(SECRETS, str(secrets)).replace(TMP, str(place))
        for name, value in {**variables, **literals(container)}.items()
    }
    told |= {
        "FAMILIAR_LAB_IP": "127.0.0.1",
        "FAMILIAR_LAB_PORT": str(port),
        "JUPYTER_CONFIG_PATH": str(IMAGE / "etc"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    # The tests may be run by root, and a Pod is not.
    arguments = ["--allow-root", *container["args"]]
    log = place / "log"
    with log.open("wb") as output:
        server = subprocess.Popen([str(start), *arguments], env=told, stdout=output, stderr=output)
    try:
        until = time.monotonic() + START
        healthy = [str(IMAGE / "lab-healthy")]
        while subprocess.run(healthy, env=told).returncode:
            said = log.read_text(errors="replace")
            assert server.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def checked(url: str, **told: str) -> tuple[int, str]:
    """Run what `helm test` runs, and return its status and what it said."""
    ran = subprocess.run(
        [sys.executable, str(CHART / "files" / "check.py")],
        env={"FAMILIAR_URL": url, "FAMILIAR_PATIENCE": "1", **told},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_the_lab_lets_the_token_in_and_nobody_else(tmp_path: Path) -> None:
    # A Secret's text may end with a line.
    values = nested("claude.bypassPermissions", True)
    with running(tmp_path, values, "very-secret\n") as url:
        status, told = checked(url, FAMILIAR_FRONT="token", FAMILIAR_TOKEN="very-secret\n")
        assert status == 0, told
        assert told.count("ok: ") == 6
        status, told = checked(url, FAMILIAR_FRONT="token", FAMILIAR_TOKEN="other")
        assert status == 1
        assert "FAILED: the token opens it (403)" in told
        status, told = checked(url, FAMILIAR_FRONT="proxy")
        assert "FAILED: the proxy answers" in told
        # The kubelet's probe asks this, without a token.
        with urllib.request.urlopen(f"{url}/api") as answer:
            assert answer.status == 200
        said = (tmp_path / "log").read_text(errors="replace")
        assert "very-secret" not in said
    settings = tmp_path / "home" / "work" / ".claude" / "settings.json"
    assert json.loads(settings.read_text())["permissions"]["defaultMode"] == "bypassPermissions"


def test_behind_the_proxy_the_lab_asks_nobody_and_the_check_would_notice(tmp_path: Path) -> None:
    with running(tmp_path, PROXY, "unused") as url:
        request = urllib.request.Request(f"{url}/api/status", headers={"Host": "lab.example.org"})
        with urllib.request.urlopen(request) as answer:
            assert "kernels" in json.load(answer)
        status, told = checked(url, FAMILIAR_FRONT="token", FAMILIAR_TOKEN="any")
        assert status == 1, "a lab that is open is not taken for a closed one"
        assert "FAILED: another token does not (200)" in told
    assert not (tmp_path / "home" / "work" / ".claude" / "settings.json").exists()


def test_an_empty_token_is_no_open_door(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="is empty; write a token into it"),
        running(tmp_path, {}, "\n"),
    ):
        pass


def test_the_check_says_that_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        status, told = checked(url, FAMILIAR_FRONT="token", FAMILIAR_TOKEN="any")
    assert status == 1
    assert "does not answer" in told


@pytest.mark.parametrize(("elsewhere", "passes"), [(302, True), (403, True), (200, False)])
def test_the_check_wants_a_proxy_that_is_closed(elsewhere: int, passes: bool) -> None:
    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ping" else elsewhere)
            self.send_header("Location", "/oauth2/start")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(Proxy) as url:
        status, told = checked(url, FAMILIAR_FRONT="proxy")
    assert (status == 0) is passes, told
    if not passes:
        assert "FAILED: /api/status is closed without signing in (200)" in told


# -- the kernel's settings -------------------------------------------------------------------------

LOAD = """
import json, sys
import IPython.core.application as application
application.SYSTEM_CONFIG_DIRS[:] = [sys.argv[1]]  # /etc/ipython, elsewhere
class App(application.BaseIPythonApplication):
    pass
app = App(config_file_name="ipython_kernel_config.py")
app.initialize([])
from familiar_kernel.notifications import Notifications
print(json.dumps(Notifications(config=app.config).urls_file))
"""


def test_the_kernel_reads_where_the_notifiers_are_and_the_person_goes_before(
    tmp_path: Path,
) -> None:
    manifests = render(nested("notify.urlsSecretName", "notices"))
    (mount,) = (
        m
        for m in lab(only(manifests, "Deployment"))["volumeMounts"]
        if m.get("subPath") == "kernel.json"
    )
    assert mount["mountPath"].startswith("/etc/ipython/")
    system, own = tmp_path / "system", tmp_path / "ipython"
    system.mkdir()
    (system / Path(mount["mountPath"]).name).write_text(
        only(manifests, "ConfigMap")["data"]["kernel.json"]
    )

    def loaded() -> Any:
        ran = subprocess.run(
            [sys.executable, "-c", LOAD, str(system)],
            env={**os.environ, "IPYTHONDIR": str(own)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return json.loads(ran.stdout.splitlines()[-1])

    assert loaded() == f"{SECRETS}/notify/urls"
    profile = own / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text("c.Notifications.urls_file = '/my/own'\n")
    assert loaded() == "/my/own"


# -- Tor -------------------------------------------------------------------------------------------


def test_tor_takes_its_settings(tmp_path: Path) -> None:
    tor = shutil.which("tor", path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin") or need("tor")
    data = only(render(nested("tor.enabled", True)), "ConfigMap")["data"]
    assert data["torrc"].splitlines()[1] == "SocksPort 127.0.0.1:9050"
    settings = tmp_path / "torrc"
    settings.write_text(data["torrc"].replace("/var/lib/familiar-tor", str(tmp_path)))
    ran = subprocess.run(
        [tor, "--verify-config", "-f", str(settings)], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stdout
    assert "Configuration was valid" in ran.stdout
