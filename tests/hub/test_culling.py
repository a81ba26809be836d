"""Labs that nobody uses are stopped, and those in which something works are not."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from familiar_hub import culling
from hub.core_hub import Browser, Hub, running_hub
from hub.pages_hub import pythons

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def kernel(state: str, minutes: float) -> dict[str, str]:
    moment = NOW - timedelta(minutes=minutes)
    return {"execution_state": state, "last_activity": moment.isoformat().replace("+00:00", "Z")}


@pytest.mark.parametrize(
    ("kernels", "terminals", "works"),
    [
        ([], [], False),
        ([kernel("idle", 61)], [], False),
        ([kernel("idle", 59)], [], True),
        ([kernel("busy", 6000)], [], True),
        ([kernel("idle", 600), kernel("busy", 600)], [], True),
        ([kernel("dead", 600)], [], False),
        ([], [{"name": "1", "last_activity": "2030-01-01T11:30:00Z"}], True),
        ([], [{"name": "1", "last_activity": "2030-01-01T11:30:00"}], True),
        ([], [{"name": "1"}], False),
    ],
)
def test_what_counts_as_work(
    kernels: list[dict[str, str]], terminals: list[dict[str, str]], works: bool
) -> None:
    assert culling.still_works(kernels, terminals, NOW, HOUR) is works


def decide(seconds: float | None, url: str = "/user/ada/") -> bool:
    # Nobody listens on that port.
    arbiter = culling.Arbiter("http://127.0.0.1:1", "token", 1000, logging.getLogger("test"))
    inactive = None if seconds is None else timedelta(seconds=seconds)
    return asyncio.run(arbiter(inactive=inactive, inactive_limit=100, server={"url": url}))


def test_a_lab_that_does_not_answer_is_stopped_in_the_end() -> None:
    assert decide(99) is False
    assert decide(None) is False
    assert decide(500) is False
    assert decide(1000) is True


class _ByHost(BaseHTTPRequestHandler):
    """Answers as JupyterHub's proxy does where each lab has a host: any other host is the hub's."""

    def do_GET(self) -> None:
        listed = [{"execution_state": "busy"}] if self.path.endswith("/kernels") else []
        self.send_response(200 if self.headers["Host"] == "ada.lab.example.org" else 302)
        self.end_headers()
        self.wfile.write(json.dumps(listed).encode())

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def test_a_lab_with_a_host_of_its_own_is_asked_by_it(caplog: pytest.LogCaptureFixture) -> None:
    with HTTPServer(("127.0.0.1", 0), _ByHost) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        log = logging.getLogger("test")
        arbiter = culling.Arbiter(f"http://127.0.0.1:{proxy.server_port}", "token", 1000, log)
        with caplog.at_level(logging.INFO):
            stop = asyncio.run(
                arbiter(
                    inactive=timedelta(seconds=500),
                    inactive_limit=100,
                    server={"url": "https://ada.lab.example.org/user/ada/"},
                )
            )
        proxy.shutdown()
    assert not stop
    assert "something works there" in caplog.text


@pytest.fixture(scope="module", params=pythons(), ids=lambda python: Path(python).parents[1].name)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub whose own culler looks often, and takes a lab for idle after few seconds."""
    with running_hub(
        tmp_path_factory.mktemp("culling"),
        request.param,
        more=(
            "culling = c.JupyterHub.services[0]['environment']\n"
            "culling |= {'FAMILIAR_HUB_CULLING_IDLE': '4',"
            " 'FAMILIAR_HUB_CULLING_PROXY': 'http://127.0.0.1:PORT'}\n"
            # What only asking a lab may find out.
            "c.JupyterHub.activity_resolution = 1\n"
        ),
    ) as running:
        yield running


def started(hub: Hub, name: str, kernels: list[dict[str, str]]) -> Browser:
    """Start somebody's lab, whose kernels are these."""
    home = hub.folder / "homes" / name
    home.mkdir()
    (home / "kernels.json").write_text(json.dumps(kernels))
    person = hub.person(name)
    person.get("spawn")
    hub.wait_for(lambda: f"User {name} took" in hub.log)
    return person


def test_an_idle_lab_is_stopped_and_a_working_one_is_not(hub: Hub) -> None:
    long_ago = "2020-01-01T00:00:00Z"
    started(hub, "busy", [{"execution_state": "busy", "last_activity": long_ago}])
    started(hub, "idle", [{"execution_state": "idle", "last_activity": long_ago}])
    hub.wait_for(lambda: "User idle server took" in hub.log)
    # It was asked about too, perhaps in the next round.
    hub.wait_for(lambda: "Not stopping /user/busy/: something works there." in hub.log)
    assert "User busy server took" not in hub.log
    # And is stopped when its work is done.
    (hub.folder / "homes" / "busy" / "kernels.json").write_text("[]")
    began = time.monotonic()
    hub.wait_for(lambda: "User busy server took" in hub.log)
    assert time.monotonic() - began < 60
