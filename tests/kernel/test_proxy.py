"""%proxy, and the shell's proxy-* commands, with real proxies and real clients."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trustme

import proxies
from conftest import StartKernel
from endpoint import running_endpoint
from kernels import Kernel, Ran, gone, kill, running_kernel
from needs import need
from proxies import EXIT, NAME, PASSWORD, Proxy, Site

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(sys.platform != "linux", reason="the site is at 127.0.0.2"),
]

SCRIPTS = Path(__file__).parents[1] / "scripts"
FUNCTIONS = Path(__file__).parents[2] / "containers" / "lab" / "proxy.sh"
HTTP, SOCKS, SHUT, TLS = 1, 2, 3, 4
"""Their numbers in PROXY_URLS."""
CLIENTS = {
    "requests": "__import__('requests').get({url!r}, timeout=30).text",
    "httpx": "__import__('httpx').get({url!r}, timeout=30).text",
    "urllib": "__import__('urllib.request').request.urlopen({url!r}, timeout=30).read().decode()",
    "curl": "get_ipython().getoutput('curl --silent --show-error --max-time 30 ' + {url!r}).n",
    "git": "get_ipython().getoutput('git ls-remote ' + {repository!r}).n",
}
BEFORE = {"ALL_PROXY": "", "no_proxy": "127.0.0.5,firm.example"}
"""What was set before anybody chose a proxy."""
API_SERVER = "127.0.0.4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proxies")


@pytest.fixture(scope="module")
def http(folder: Path) -> Iterator[Proxy]:
    with proxies.http_proxy(folder) as running:
        yield running


@pytest.fixture(scope="module")
def socks(folder: Path) -> Iterator[Proxy]:
    with proxies.socks_proxy(folder) as running:
        yield running


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    with proxies.site(folder) as running:
        proxies.make_repository(running.folder / "repository.git")
        yield running


@pytest.fixture(scope="module")
def shut() -> str:
    """The address of a proxy that is not there."""
    return f"http://{NAME}:{PASSWORD}@127.0.0.1:{proxies.free_port()}"


@pytest.fixture(scope="module")
def environment(
    http: Proxy, socks: Proxy, shut: str, site: Site, folder: Path
) -> Iterator[dict[str, str]]:
    """The environment of somebody who has proxies; the last one itself speaks TLS."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.3").configure_cert(context)
    authority.cert_pem.write_to_path(str(site.authority), append=True)
    clean = {n: v for n, v in os.environ.items() if "proxy" not in n.lower()}
    with proxies.front(("127.0.0.1", http.port), "127.0.0.3", context) as port:
        over_tls = f"https://{NAME}:{PASSWORD}@127.0.0.3:{port}"
        yield {
            **clean,
            **BEFORE,
            **site.trusted,
            "PROXY_URLS": f"{http.url},{socks.url}\n{shut} {over_tls}",
            "FAMILIAR_PROXY_STATUS_URL": site.url("exit"),
            "KUBERNETES_SERVICE_HOST": API_SERVER,
        }


@pytest.fixture(scope="module")
def _shared(environment: dict[str, str], folder: Path, own_home: Path) -> Iterator[Kernel]:
    with running_kernel(folder / "kernel", env=environment) as running:
        yield running


@pytest.fixture
def kernel(_shared: Kernel) -> Iterator[Kernel]:
    """A kernel that the tests share; no test leaves it with a proxy."""
    yield _shared
    _shared.run("%proxy off")
    assert environ_of(_shared).items() >= BEFORE.items()


def environ_of(kernel: Kernel) -> dict[str, str]:
    found = kernel.value("dict(__import__('os').environ)")
    assert isinstance(found, dict)
    return found


def fetch(kernel: Kernel, client: str, site: Site, secure: bool) -> str:
    """Have a client in the kernel fetch something from the site, and return what it got."""
    urls = {"url": site.url("exit", secure), "repository": site.url("repository.git", secure)}
    return str(kernel.value(CLIENTS[client].format(**urls)))


def refusal(ran: Ran) -> str:
    """What a command says that was not done, as one line."""
    assert ran.status == "error"
    return " ".join(f"{ran.stream('stderr')} {ran.error}".split())


def secrets_in(*texts: object) -> bool:
    return any(PASSWORD in str(text) or NAME in str(text) for text in texts)


# -- through a proxy, and back ---------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("number", [HTTP, SOCKS], ids=["http", "socks"])
def test_clients_go_through_the_proxy_and_then_no_longer(
    kernel: Kernel,
    site: Site,
    http: Proxy,
    socks: Proxy,
    number: int,
    client: str,
    secure: bool,
) -> None:
    need("curl")
    wanted = "refs/heads/main" if client == "git" else EXIT
    port = site.secure_port if secure else site.port
    used, other = (http, socks) if number == HTTP else (socks, http)
    before = used.went_through(port), other.went_through(port)
    assert kernel.run(f"%proxy mullvad {number}").status == "ok"
    if number == SOCKS and client == "urllib":
        # It knows no SOCKS. What must not be: that it goes past the proxy without a word.
        asked = len(site.asked)
        url = site.url("exit", secure)
        ran = kernel.run(f"import urllib.request; urllib.request.urlopen({url!r}, timeout=30)")
        assert ran.status == "error"
        assert len(site.asked) == asked
        return
    assert wanted in fetch(kernel, client, site, secure)
    through = used.went_through(port)
    assert through > before[0]
    assert kernel.run("%proxy off").status == "ok"
    asked = len(site.asked)
    assert wanted in fetch(kernel, client, site, secure)
    assert len(site.asked) > asked
    assert (used.went_through(port), other.went_through(port)) == (through, before[1])


def test_what_has_read_before_goes_through_the_proxy_too(
    kernel: Kernel, site: Site, http: Proxy
) -> None:
    """urllib keeps the proxies of when it was first used, in an opener; pandas reads through it."""
    assert EXIT in fetch(kernel, "urllib", site, secure=True)
    before = http.went_through(site.secure_port)
    kernel.run(f"%proxy mullvad {HTTP}")
    (site.folder / "table.csv").write_text("a\n41\n")
    url = site.url("table.csv", secure=True)
    assert kernel.value(f"int(__import__('pandas').read_csv({url!r}).a.sum())") == 41
    assert http.went_through(site.secure_port) > before
    # One that somebody has made is theirs.
    own = "urllib.request.build_opener(urllib.request.HTTPCookieProcessor())"
    kernel.run(f"import urllib.request; own = {own}; urllib.request.install_opener(own)")
    kernel.run("%proxy off")
    assert kernel.value("urllib.request._opener is own") is True
    kernel.run("urllib.request.install_opener(None)")


def test_all_is_restored_as_it_was(kernel: Kernel) -> None:
    before = environ_of(kernel)
    for choice in ("mullvad 1", "mullvad 2", "mullvad"):
        kernel.run(f"%proxy {choice}")
        assert environ_of(kernel)["https_proxy"] != before.get("https_proxy")
    told = kernel.run("%proxy off").text()
    assert told == "As it was before."
    assert environ_of(kernel) == before
    assert "nothing has changed" in kernel.run("%proxy off").text()
    assert environ_of(kernel) == before


def test_what_somebody_sets_meanwhile_stays(kernel: Kernel) -> None:
    kernel.run("%proxy mullvad 1")
    kernel.run("import os; os.environ['ALL_PROXY'] = 'http://mine:1'; del os.environ['NO_PROXY']")
    assert "ALL_PROXY, NO_PROXY" in kernel.run("%proxy").text()
    told = kernel.run("%proxy off").text()
    assert told.endswith("What was changed since stays: ALL_PROXY, NO_PROXY.")
    assert environ_of(kernel)["ALL_PROXY"] == "http://mine:1"
    assert "NO_PROXY" not in environ_of(kernel)
    kernel.run("os.environ['ALL_PROXY'] = ''")


def test_what_is_this_machines_own_or_the_clusters_goes_past_the_proxy(
    kernel: Kernel, site: Site
) -> None:
    need("curl")
    kernel.run(f"%proxy mullvad {SHUT}")
    assert kernel.run(f"!curl --silent --max-time 30 {site.url('exit')}").stream() == ""
    for address in ("127.0.0.1", "127.0.0.5", API_SERVER):
        with proxies.front((proxies.HERE, site.port), address) as port:
            for client in ("requests", "httpx", "urllib", "curl"):
                url = f"http://{address}:{port}/exit"
                assert EXIT in str(kernel.value(CLIENTS[client].format(url=url))), client
    # A name of the cluster's, as its own name server would answer.
    name = f"db.team.svc:{site.port}"
    curl = f"curl --silent --max-time 30 --resolve {name}:{proxies.HERE} http://{name}/exit"
    assert EXIT in kernel.run(f"!{curl}").stream()
    assert EXIT not in kernel.run("!" + curl.replace(".svc", ".example")).stream()


# -- what is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["exit", "secure"])
@pytest.mark.parametrize(
    ("number", "label"), [(HTTP, "http://"), (SOCKS, "socks5h://"), (TLS, "https://")]
)
def test_the_status_has_the_exits_address(
    kernel: Kernel,
    site: Site,
    http: Proxy,
    socks: Proxy,
    number: int,
    label: str,
    path: str,
) -> None:
    ask_at(kernel, site.url("exit", path == "secure"))
    port = site.secure_port if path == "secure" else site.port
    used = socks if number == SOCKS else http
    before = used.went_through(port)
    kernel.run(f"%proxy mullvad {number}")
    ran = kernel.run("%proxy status")
    assert f"mullvad {number} of 4: {label}127.0.0." in ran.text()
    assert f"{EXIT}, says 127.0.0.2" in ran.text(), ran.text()
    assert used.went_through(port) == before + 1
    assert not secrets_in(ran.messages)
    kernel.run("%proxy off")
    assert EXIT in kernel.run("%proxy status").text()
    assert used.went_through(port) == before + 1


def ask_at(kernel: Kernel, url: str) -> None:
    kernel.run(f"import os; os.environ['FAMILIAR_PROXY_STATUS_URL'] = {url!r}")


@pytest.fixture
def usual_status(kernel: Kernel, site: Site) -> Iterator[None]:
    yield
    ask_at(kernel, site.url("exit"))


@pytest.mark.usefixtures("usual_status")
def test_a_status_without_an_exit_says_why(kernel: Kernel, site: Site, shut: str) -> None:
    kernel.run(f"%proxy mullvad {SHUT}")
    told = kernel.run("%proxy status").text()
    assert f"not known: nobody takes connections at {shut.rpartition('@')[2]}" in told
    for url, why in (
        (site.url("nothing"), "127.0.0.2, or the proxy, answered 404"),
        (site.url("nothing", secure=True), "127.0.0.2 answered 404"),
        (site.url("exit", secure=True).replace("127.0.0.2", "localhost"), "no secure connection"),
        (f"ftp://{NAME}:{PASSWORD}@127.0.0.1/", "FAMILIAR_PROXY_STATUS_URL is not written like"),
        (f"{NAME}{PASSWORD}", "FAMILIAR_PROXY_STATUS_URL is not written like"),
    ):
        ask_at(kernel, url)
        kernel.run("%proxy off" if "localhost" in url else f"%proxy mullvad {HTTP}")
        with proxies.front((proxies.HERE, site.secure_port), "127.0.0.1") as port:
            if "localhost" in url:  # its certificate is for another name
                ask_at(kernel, f"https://localhost:{port}/exit")
            ran = kernel.run("%proxy status")
        assert f"not known: {why}" in ran.text()
        assert not secrets_in(ran.messages)


@pytest.mark.parametrize("number", [HTTP, SOCKS])
def test_a_name_that_a_proxy_refuses_is_told_without_it(
    start_kernel: StartKernel, environment: dict[str, str], site: Site, number: int
) -> None:
    wrong = environment["PROXY_URLS"].replace(PASSWORD, "0ther-w0rd")
    secure = {"FAMILIAR_PROXY_STATUS_URL": site.url("exit", secure=True)}
    kernel = start_kernel(env=environment | {"PROXY_URLS": wrong} | secure)
    kernel.run(f"%proxy mullvad {number}")
    ran = kernel.run("%proxy status")
    assert "not known: the proxy refused the name and the password" in ran.text()
    assert "0ther-w0rd" not in str(ran.messages)


@pytest.mark.usefixtures("usual_status")
def test_an_answer_cannot_hold_up_flood_or_disguise_anything(kernel: Kernel, site: Site) -> None:
    for number in (HTTP, SOCKS):
        kernel.run(f"%proxy mullvad {number}")
        ask_at(kernel, site.url("slow"))
        since = time.monotonic()
        assert "not known: no answer within 5 s" in kernel.run("%proxy status").text()
        assert time.monotonic() - since < 30
    ask_at(kernel, site.url("huge"))
    ran = kernel.run("%proxy status")
    assert "9" * 50 in ran.text()
    assert len(ran.text()) < 1000
    ask_at(kernel, site.url("marked"))
    ran = kernel.run("%proxy status")
    assert "\x1b" not in ran.text()
    assert "\\<img src=x\\> \\| \\`x\\` \\$y\\$" in ran.text("text/markdown")


@pytest.mark.usefixtures("usual_status")
def test_stop_ends_the_status_at_once(kernel: Kernel, site: Site) -> None:
    kernel.run(f"%xmode Verbose\n%proxy mullvad {SOCKS}")
    ask_at(kernel, site.url("slow"))
    asked = len(site.asked)
    request = kernel.execute("%proxy status")
    until = time.monotonic() + 30
    while len(site.asked) == asked and time.monotonic() < until:
        time.sleep(0.05)
    kernel.interrupt()
    ran = kernel.collect(request)
    assert ran.reply["content"]["ename"] == "KeyboardInterrupt"
    assert not secrets_in(ran.messages)
    assert not gone([p for p in kernel.family() if "proxy_exit" in str(p.cmdline())], within=5)
    kernel.run("%xmode Context")


def test_usage_and_how_it_stands(kernel: Kernel) -> None:
    told = kernel.run("%proxy").text()
    assert "%proxy mullvad 2" in told
    assert "Proxy  none" in told
    kernel.run(f"%proxy mullvad {SOCKS}")
    ran = kernel.run("%proxy")
    assert "mullvad 2 of 4: socks5h://127.0.0.1:" in ran.text()
    assert "with a name and a password" in ran.text()
    assert ".cluster.local" in ran.text()
    assert not secrets_in(ran.messages)


def test_help_and_completion(kernel: Kernel) -> None:
    assert "%proxy [mullvad [N]|tor|off|status]" in str(kernel.run("%proxy?").reply)
    content = kernel.request("complete_request", code="%proxy m", cursor_pos=8)
    assert content["matches"] == ["mullvad"]
    content = kernel.request("complete_request", code="%pro", cursor_pos=4)
    assert "%proxy" in content["matches"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("mullvad 5", "PROXY_URLS lists 4 proxies; there is no number 5"),
        ("mullvad two", "what follows mullvad is a number"),
        ("tor 1", "%proxy takes mullvad, mullvad N, tor, off or status"),
        ("http://127.0.0.1:1", "%proxy takes mullvad, mullvad N, tor, off or status"),
        ("mullvad 1 2", "%proxy takes mullvad, mullvad N, tor, off or status"),
    ],
)
def test_what_is_written_wrongly_changes_nothing(kernel: Kernel, written: str, told: str) -> None:
    kernel.run(f"%xmode Verbose\n%proxy mullvad {HTTP}")
    before = environ_of(kernel)
    ran = kernel.run(f"%proxy {written}")
    assert told in refusal(ran)
    assert not secrets_in(ran.messages)
    assert environ_of(kernel) == before
    # Nor does what Claude can look into lead to an address.
    seen = kernel.value(
        "[str(frame.f_locals) for error in (__import__('sys').last_value,"
        " __import__('sys').last_value.__context__) if error is not None"
        " for frame, _ in __import__('traceback').walk_tb(error.__traceback__)"
        " if 'familiar_kernel' in frame.f_code.co_filename]"
    )
    assert seen
    assert not secrets_in(seen)
    kernel.run("%xmode Context")


def test_a_list_that_is_missing_or_wrong_is_told_in_one_sentence(kernel: Kernel) -> None:
    before = environ_of(kernel)
    wrong = f"{before['PROXY_URLS']},http://{NAME}:{PASSWORD}@nowhere"
    kernel.run(f"os.environ['PROXY_URLS'] = {wrong!r}", silent=True)
    ran = kernel.run("%proxy mullvad")
    assert refusal(ran).startswith(
        "UsageError: address 5 in PROXY_URLS is not written like socks5h"
    )
    assert not secrets_in(ran.messages)
    kernel.run("urls = os.environ.pop('PROXY_URLS')")
    assert "PROXY_URLS is not set" in refusal(kernel.run("%proxy mullvad"))
    kernel.run(f"os.environ['PROXY_URLS'] = {before['PROXY_URLS']!r}", silent=True)
    assert environ_of(kernel) == before


# -- tor -------------------------------------------------------------------------------------------


def test_tor_where_there_is_none(kernel: Kernel) -> None:
    before = environ_of(kernel)
    kernel.run(f"os.environ['FAMILIAR_TOR_PROXY'] = 'socks5h://127.0.0.1:{proxies.free_port()}'")
    ran = kernel.run("%proxy tor")
    assert "nobody takes connections at socks5h://127.0.0.1:" in refusal(ran)
    assert "start tor there, or name another place in FAMILIAR_TOR_PROXY" in refusal(ran)
    kernel.run("del os.environ['FAMILIAR_TOR_PROXY']")
    assert environ_of(kernel) == before


def test_debians_tor_as_far_as_it_starts(kernel: Kernel, site: Site, tmp_path: Path) -> None:
    """It listens and speaks SOCKS. That it leads anywhere needs its network, which is not here."""
    with proxies.tor(tmp_path) as tor:
        with socket.create_connection(("127.0.0.1", tor.port), 10) as connection:
            connection.sendall(b"\x05\x01\x00")
            assert connection.recv(2) == b"\x05\x00"
        kernel.run(f"os.environ['FAMILIAR_TOR_PROXY'] = {tor.url!r}")
        assert f"tor: {tor.url}" in kernel.run("%proxy tor").text()
        assert environ_of(kernel)["https_proxy"] == tor.url
        asked = len(site.asked)
        assert "not known: " in kernel.run("%proxy status").text()
        assert len(site.asked) == asked, "it went past tor"
    kernel.run("%proxy off\ndel os.environ['FAMILIAR_TOR_PROXY']")


# -- the familiar's own connection -----------------------------------------------------------------

OWN = {"CLAUDE_CODE_MAX_RETRIES": "0"}


@pytest.mark.cli
def test_the_familiar_keeps_its_own_connection(
    start_kernel: StartKernel, environment: dict[str, str]
) -> None:
    """Its endpoint is at an address that no list excepts, so a dead proxy would cut it off."""
    with (
        running_endpoint(SCRIPTS / "tools.yaml", model="claude-opus-4-5") as endpoint,
        proxies.front(("127.0.0.1", int(endpoint.url.rpartition(":")[2])), proxies.HERE) as port,
    ):
        own = {**environment, **endpoint.environment, **OWN}
        own["ANTHROPIC_BASE_URL"] = f"http://{proxies.HERE}:{port}"
        kernel = start_kernel(arguments=(), env=own)
        first = kernel.host()
        before = first.environ()
        assert kernel.run(f"%proxy mullvad {SHUT}").status == "ok"
        assert kernel.run("%claude hello").status == "ok"
        # Another host, which starts when the proxy is chosen.
        for process in (first, *first.children(recursive=True)):
            kill(process)
        assert not gone([first], within=5)
        assert kernel.run("%claude hello").status == "ok"
        second = kernel.host()
        assert second.pid != first.pid
        for process in (second, kernel.cli()):
            assert proxy_variables(process) == proxy_variables(first, before) == BEFORE
        assert kernel.run("%proxy off").status == "ok"

        # That a proxy does cut it off is shown by a kernel that begins with one.
        chosen = dict.fromkeys(("HTTP_PROXY", "http_proxy"), environment["PROXY_URLS"].split()[1])
        cut_off = start_kernel(arguments=(), env=own | chosen)
        assert cut_off.run("%claude hello").status == "error"


def proxy_variables(
    process: psutil.Process, environ: dict[str, str] | None = None
) -> dict[str, str]:
    found = process.environ() if environ is None else environ
    names = ("_PROXY", "_proxy")
    return {n: v for n, v in found.items() if n.endswith(names)}


# -- in a shell ------------------------------------------------------------------------------------


def in_bash(environ: dict[str, str], *lines: str) -> subprocess.CompletedProcess[str]:
    """Type lines into an interactive bash that has read the functions."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--rcfile", str(FUNCTIONS), "-i"],
        input="\n".join((*lines, "exit 0", "")),
        env=environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        start_new_session=True,
    )


def test_a_shell_goes_through_the_proxy_and_then_no_longer(
    environment: dict[str, str], site: Site, http: Proxy, socks: Proxy
) -> None:
    need("curl")
    curl = f"curl --silent --max-time 30 {site.url('exit')}"
    before = http.went_through(site.port), socks.went_through(site.port)
    done = in_bash(
        environment,
        "unset HISTFILE; before=$(env | sort)",
        *("set -x", "proxy-mullvad 1", "set +x", curl, "proxy-status"),
        *("proxy-mullvad 2", f"bash --norc -c '{curl}'", "proxy-off", curl),
        '[ "$before" = "$(env | sort)" ] && echo "as before"',
    )
    assert done.stdout.count(EXIT) == 4
    assert f"Exit          {EXIT}, says 127.0.0.2" in done.stdout
    assert done.stdout.endswith("as before\n")
    assert "mullvad 1 of 4: http://127.0.0.1:" in done.stderr
    assert "As it was before." in done.stderr
    assert not secrets_in(done.stdout, done.stderr)
    assert http.went_through(site.port) == before[0] + 2
    assert socks.went_through(site.port) == before[1] + 1


def test_a_shell_says_what_is_wrong_and_stays_as_it_is(environment: dict[str, str]) -> None:
    nobody = f"socks5h://127.0.0.1:{proxies.free_port()}"
    done = in_bash(
        environment | {"FAMILIAR_TOR_PROXY": nobody},
        "set -u; before=$(env | sort)",
        "proxy-mullvad 9; echo $?; proxy-tor; echo $?; proxy-off; echo $?",
        "proxy-mullvad --help; echo $?; proxy-tor now; echo $?",
        "PROXY_URLS=s0me''thing proxy-mullvad; echo $?",
        '[ "$before" = "$(env | sort)" ] && echo "as before"',
    )
    assert done.stdout.split("\n") == ["1", "1", "0", "0", "1", "1", "as before", ""]
    for told in (
        "PROXY_URLS lists 4 proxies; there is no number 9",
        f"nobody takes connections at {nobody}",
        "No proxy was chosen",
        "usage: familiar proxy",
        "address 1 in PROXY_URLS is not written like",
    ):
        assert told in done.stderr
    assert not secrets_in(done.stderr)
    assert "s0mething" not in done.stderr


def test_a_kernel_that_such_a_shell_starts_can_leave_its_choice(
    start_kernel: StartKernel, environment: dict[str, str]
) -> None:
    chosen = in_bash(environment, f"proxy-mullvad {SHUT}", "env -0").stdout
    inherited = dict(line.split("=", 1) for line in chosen.split("\0") if "=" in line)
    kernel = start_kernel(env={n: inherited[n] for n in inherited if "PROXY" in n.upper()})
    assert f"mullvad {SHUT} of 4" in kernel.run("%proxy").text()
    assert proxy_variables(kernel.host()).items() >= BEFORE.items()
    assert not secrets_in(proxy_variables(kernel.host()))
    kernel.run("%proxy off")
    after = {n: v for n, v in environ_of(kernel).items() if n.endswith(("_PROXY", "_proxy"))}
    assert after == BEFORE


@pytest.mark.parametrize("shell", [("sh",), ("dash",), ("bash", "--posix")])
def test_another_shell_passes_over_the_functions(shell: tuple[str, ...]) -> None:
    need(shell[0])
    done = subprocess.run(
        [*shell, "-c", f'. "{FUNCTIONS}" && echo goes on'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("goes on\n", "")
