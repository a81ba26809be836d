"""Notifiers: a person who is elsewhere is told, once, without secrets, and nothing else suffers."""

from __future__ import annotations

import http.server
import json
import logging
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from traitlets.config import Config

from familiar_kernel import notebook_place
from familiar_kernel.notifications import Event, Notifications
from needs import need

SECRET = "a-very-secret-token"


class Receiver:
    """A local HTTP server that keeps what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.status = 200
        self.leads_to = ""
        self.hangs = threading.Event()
        self.hangs.set()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                receiver.bodies.append(json.loads(self.rfile.read(length) or b"{}"))
                receiver.headers.append(dict(self.headers))
                receiver.paths.append(self.path)
                receiver.hangs.wait(30)
                self.send_response(receiver.status)
                if receiver.leads_to:
                    self.send_header("Location", receiver.leads_to)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def wait(self, number: int = 1) -> None:
        deadline = time.monotonic() + 20
        while len(self.bodies) < number:
            assert time.monotonic() < deadline, "nothing came"
            time.sleep(0.02)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.hangs.set()
    receiver.server.shutdown()
    receiver.server.server_close()


def configured(**settings: Any) -> Notifications:
    return Notifications(config=Config({"Notifications": settings}))


def event(**changes: Any) -> Event:
    return Event("finished", 3, "session", "Claude has answered", "Turn 3: hello", 60.0)._replace(
        **changes
    )


def by_apprise(receiver: Receiver, **settings: Any) -> Notifications:
    return configured(urls=[f"json://me:{SECRET}@{receiver.address}/"], **settings)


def test_apprise_delivers_and_nobody_waits_for_it(receiver: Receiver) -> None:
    need("apprise")
    notifications = by_apprise(receiver)
    began = time.monotonic()
    notifications.notify(event(text="All <b>done</b> *now*"))
    assert time.monotonic() - began < 0.1
    receiver.wait()
    (body,) = receiver.bodies
    assert body["title"] == "Claude has answered"
    assert "All <b>done</b> *now*" in body["message"]


def test_a_command_gets_the_event(tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = (
        "import os, sys\n"
        "open(sys.argv[1], 'w').write(os.environ['FAMILIAR_EVENT'] + sys.stdin.read())"
    )
    (outcome,) = configured(command=[sys.executable, "-c", code, str(told)]).test()
    assert (outcome.name, outcome.ok) == ("Command", True)
    kind, _, rest = told.read_text().partition("{")
    assert kind == "finished"
    assert json.loads("{" + rest)["title"] == "Claude says hello"


def test_only_who_is_not_looking_is_told_and_only_once(receiver: Receiver) -> None:
    need("apprise")
    notifications = by_apprise(receiver, events=["finished", "failed"])
    notifications.notify(event(seconds=3.0))
    notifications.notify(event(kind="budget"))
    notifications.notify(event())
    notifications.notify(event())
    notifications.notify(event(kind="failed", title="A turn failed"))
    receiver.wait(2)
    time.sleep(1.5)
    assert sorted(body["title"] for body in receiver.bodies) == [
        "A turn failed",
        "Claude has answered",
    ]


def test_a_question_is_told_only_when_it_waits(receiver: Receiver) -> None:
    need("apprise")
    notifications = by_apprise(receiver, after=0.3)
    answered = notifications.pending(event(kind="permission", key="1", title="first"))
    answered()
    notifications.pending(event(kind="permission", key="2", title="second"))
    receiver.wait()
    time.sleep(0.5)
    assert [body["title"] for body in receiver.bodies] == ["second"]
    notifications.pending(event(kind="question", key="3", title="third"))
    notifications.close()
    time.sleep(1)
    assert len(receiver.bodies) == 1


def test_without_notifiers_nothing_is_started() -> None:
    notifications = configured(jupyterlab=False)
    threads = threading.active_count()
    notifications.pending(event())
    notifications.notify(event())
    assert threading.active_count() == threads
    assert notifications.test() == []


def test_failures_are_one_sentence_each_and_hold_no_secret(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    need("apprise")
    receiver.status = 500
    notifications = configured(
        urls=[f"json://me:{SECRET}@{receiver.address}/", f"nonsense://{SECRET}"],
        command=[str(tmp_path / "not-there")],
    )
    outcomes = {o.name: o for o in notifications.test()}
    assert not any(o.ok for o in outcomes.values())
    assert "was not taken" in outcomes["Apprise 1 (json)"].error
    assert "does not understand" in outcomes["Apprise 2 (nonsense)"].error
    assert "could not be started" in outcomes["Command"].error
    assert SECRET not in str(outcomes)
    with caplog.at_level(logging.DEBUG):
        notifications._send_and_log(event(), threading.Event())
    assert "could not tell" in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in str(notifications.describe())


def test_a_notifier_that_hangs_is_left_behind(receiver: Receiver, tmp_path: Path) -> None:
    receiver.hangs.clear()
    notifications = configured(
        urls=[f"json://{receiver.address}/"],
        command=[sys.executable, "-c", "import time; time.sleep(60)"],
        timeout=1.5,
    )
    began = time.monotonic()
    outcomes = notifications.test()
    assert time.monotonic() - began < 10
    assert {o.error for o in outcomes} <= {
        "no answer within 2 s",
        "Apprise is missing: pip install 'familiar-kernel[notify]'",
    }
    left = [p for p in psutil.process_iter() if "time.sleep(60)" in " ".join(_words(p))]
    assert left == []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_the_last_notice_outlives_its_kernel(receiver: Receiver) -> None:
    need("apprise")
    code = (
        "from traitlets.config import Config\n"
        "from familiar_kernel.notifications import Event, Notifications\n"
        f"urls = ['json://{receiver.address}/', 'json://{receiver.address}/second']\n"
        "notifications = Notifications(config=Config({'Notifications': {'urls': urls}}))\n"
        "notifications.notify(Event('finished', 1, 's', 'the last words', '', 60.0))\n"
        "notifications.close()\n"
        "import os; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    receiver.wait(2)
    assert {body["title"] for body in receiver.bodies} == {"the last words"}


def test_secrets_stand_in_no_argument_list_or_environment(receiver: Receiver) -> None:
    need("apprise")
    receiver.hangs.clear()
    by_apprise(receiver).notify(event())
    receiver.wait()
    children = psutil.Process().children(recursive=True)
    assert any("familiar_kernel.familiar.notify" in " ".join(_words(p)) for p in children)
    for process in children:
        assert SECRET not in " ".join(_words(process))
        assert SECRET not in str(process.environ())


def test_what_is_no_url_may_be_a_secret(tmp_path: Path) -> None:
    need("apprise")
    path = tmp_path / "urls"
    path.write_text(f"{SECRET}\n//me:{SECRET}@host/\n")
    path.chmod(0o600)
    notifications = configured(urls_file=str(path), jupyterlab=False)
    outcomes = notifications.test()
    assert [o.ok for o in outcomes] == [False, False]
    assert dict(notifications.describe())["Apprise"] == "no URL, no URL"
    misplaced = configured(urls_file=f"slack://{SECRET}", jupyterlab=False)
    outcomes += misplaced.test()
    assert "write it into a file" in outcomes[-1].error
    assert SECRET not in str(outcomes)
    assert SECRET not in str(misplaced.describe())


def test_a_file_that_others_can_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "urls"
    path.write_text("json://localhost/\n")
    path.chmod(0o644)
    notifications = configured(urls_file=str(path), jupyterlab=False)
    assert "chmod 600" in dict(notifications.describe())["Apprise"]
    path.chmod(0o600)
    assert dict(notifications.describe())["Apprise"] == "json"


def test_a_library_that_prints_disturbs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apprise.py").write_text(
        "class NotifyFormat: TEXT = 'text'\n"
        "class Apprise:\n"
        "    def add(self, url): return True\n"
        "    def notify(self, **what): print('printed'); return True\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert [o.ok for o in configured(urls=["json://x/"], jupyterlab=False).test()] == [True]


def test_a_notice_is_plain_and_short(receiver: Receiver) -> None:
    need("apprise")
    notifications = by_apprise(receiver)
    strange = "one\ntwo\r\x1b[31m\u202ered" + "x" * 9000
    notifications.notify(event(title=strange, text=strange))
    receiver.wait()
    (body,) = receiver.bodies
    assert body["title"].startswith("one two")
    assert body["message"].startswith("one\ntwo")
    assert not any(mark in str(body) for mark in ("\\r", "\\x1b", "\\u202e"))
    assert len(body["title"]) <= 120
    assert len(body["message"]) <= 2000


def test_urls_come_from_a_file(receiver: Receiver, tmp_path: Path) -> None:
    need("apprise")
    path = tmp_path / "urls"
    path.write_text(f"# mine\n\njson://{receiver.address}/\n")
    path.chmod(stat.S_IRUSR)
    assert [o.ok for o in configured(urls_file=str(path)).test()] == [True]
    path.chmod(0o644)
    assert "chmod 600" in dict(configured(urls_file=str(path)).describe())["Apprise"]
    missing = configured(urls_file=str(tmp_path / "none"))
    (outcome,) = missing.test()
    assert "cannot be read" in outcome.error
    assert "cannot be read" in dict(missing.describe())["Apprise"]


def test_without_apprise_it_says_what_to_install(tmp_path: Path) -> None:
    order = {
        "event": event()._asdict() | {"link": ""},
        "notebook": "",
        "urls": [("json", "json://localhost/")],
        "command": [],
        "server": None,
        "timeout": 5,
    }
    (tmp_path / "apprise.py").write_text("raise ImportError('not here')")
    done = subprocess.run(
        [sys.executable, "-m", "familiar_kernel.familiar.notify"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert "familiar-kernel[notify]" in json.loads(done.stdout)["error"]


# -- JupyterLab's centre, and where the notebook is ------------------------------------------------


@pytest.fixture
def served(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """This process as if a Jupyter server, the receiver, had started it."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("JPY_PARENT_PID", "4711")
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "work" / "a b.ipynb"))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a b.ipynb").write_text("{}")
    facts = {
        "url": f"http://{receiver.address}/base/",
        "token": SECRET,
        "root_dir": str(tmp_path),
    }
    (tmp_path / "jpserver-4711.json").write_text(json.dumps(facts))
    return receiver


def test_the_notification_centre(served: Receiver) -> None:
    notifications = configured()
    assert [o.ok for o in notifications.test()] == [True]
    assert served.paths == ["/base/jupyterlab-notifications-extension/ingest"]
    assert served.headers[0]["Authorization"] == f"token {SECRET}"
    notifications._send(event(kind="permission", text="x" * 500), threading.Event())
    body = served.bodies[-1]
    assert body["immediate"] is True
    assert body["autoClose"] is False
    assert body["actions"] == []
    assert "a b.ipynb" in body["message"]
    assert len(body["message"]) <= 140


def test_a_server_without_the_extension_is_asked_once(
    served: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    served.status = 404
    notifications = configured()
    assert "jupyterlab_notifications_extension" in notifications.test()[0].error
    assert not notifications.wanted
    notifications._send_and_log(event(), threading.Event())
    assert len(served.bodies) == 1
    assert "could not tell" not in caplog.text


def change_server(folder: Path, **facts: Any) -> None:
    path = folder / "jpserver-4711.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_the_link_holds_no_token(
    served: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = f"http://{served.address}/base/lab/tree/work/a%20b.ipynb"
    assert notebook_place.link() == link
    monkeypatch.setenv("JPY_SESSION_NAME", "work/a b.ipynb")
    assert notebook_place.link() == link
    assert notebook_place.notebook() == str(tmp_path / "work" / "a b.ipynb")
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "work" / "renamed.ipynb"))
    assert notebook_place.link() == ""
    monkeypatch.setenv("JPY_SESSION_NAME", __file__)
    assert notebook_place.link() == ""


def test_a_server_that_listens_everywhere(served: Receiver, tmp_path: Path) -> None:
    port = served.server.server_port
    change_server(tmp_path, hostname="0.0.0.0", url=f"http://machine.example:{port}/base/")
    assert [o.ok for o in configured().test()] == [True]
    link = f"http://machine.example:{port}/base/lab/tree/work/a%20b.ipynb"
    assert notebook_place.link() == link
    change_server(tmp_path, hostname="::", url=f"http://[::]:{port}/base/")
    found = notebook_place.server()
    assert found is not None
    assert found.url == f"http://[::1]:{port}/base/"
    assert notebook_place.link() == ""


def test_a_hubs_server(served: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_server(tmp_path, token="")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of-the-hub")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/base/")
    monkeypatch.setenv("JUPYTERHUB_PUBLIC_URL", "")
    found = notebook_place.server()
    assert found is not None
    assert found.token == "of-the-hub"
    assert notebook_place.link() == "", "a container's own address leads nobody there"
    monkeypatch.setenv("JUPYTERHUB_PUBLIC_URL", "https://hub.example/user/me/")
    assert notebook_place.link() == "https://hub.example/user/me/lab/tree/work/a%20b.ipynb"


def test_a_server_of_ones_own_in_a_hub_is_not_the_hubs(
    served: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_server(tmp_path, token="")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of-the-hub")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
    monkeypatch.setenv("JUPYTERHUB_PUBLIC_URL", "https://hub.example/user/me/")
    found = notebook_place.server()
    assert found is not None
    assert found.token == ""
    assert notebook_place.link().startswith(f"http://{served.address}/base/")


def test_the_token_goes_nowhere_else(served: Receiver) -> None:
    elsewhere = Receiver()
    served.status, served.leads_to = 302, f"http://{elsewhere.address}/"
    (outcome,) = configured().test()
    elsewhere.server.shutdown()
    elsewhere.server.server_close()
    assert "answered 302" in outcome.error
    assert elsewhere.paths == []


@pytest.mark.parametrize("parent", ["", "1", "no-number"])
def test_a_kernel_of_no_server(
    parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("JPY_PARENT_PID", parent)
    assert notebook_place.server() is None
    assert notebook_place.link() == ""
    (tmp_path / "jpserver-1.json").write_text("[]")
    assert notebook_place.server() is None
