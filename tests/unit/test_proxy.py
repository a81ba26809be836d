"""Which proxy is chosen, what an environment says then, and that nothing secret is told."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from urllib.request import proxy_bypass

import pytest
import requests.utils
from hypothesis import given
from hypothesis import strategies as st

from familiar_kernel import proxy, proxy_cli
from familiar_kernel.familiar.auth import child_environment
from familiar_kernel.proxy import PAST, RECORD, VARIABLES, ProxyError
from familiar_kernel.proxy_exit import ExitError, plain

SECRET = "s3cret"
ONE = f"http://me:{SECRET}@one.example:3128"
TWO = "socks5h://two.example:1080"
THREE = "https://[2001:db8::3]:8443/"
URLS = f"{ONE}, {TWO}\n{THREE},"


def applied(changes: proxy.Changes, environ: dict[str, str]) -> dict[str, str]:
    left = {name: value for name, value in environ.items() if name not in changes}
    return left | {name: value for name, value in changes.items() if value is not None}


def through(url: str, environ: dict[str, str]) -> dict[str, str]:
    return applied(proxy.choosing(proxy.Proxy(url, "mullvad", 1, 1), environ), environ)


def off(environ: dict[str, str]) -> dict[str, str]:
    return applied(proxy.leaving(environ), environ)


# -- which one -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "url"), [(1, ONE), (2, TWO), (3, THREE)])
def test_one_of_the_list_by_its_number(number: int, url: str) -> None:
    found = proxy.listed({"PROXY_URLS": URLS}, number)
    assert found.url == url
    assert found.label == f"mullvad {number} of 3"


def test_without_a_number_each_of_the_list_comes_up() -> None:
    found = {proxy.listed({"PROXY_URLS": URLS}).url for _ in range(200)}
    assert found == {ONE, TWO, THREE}


@pytest.mark.parametrize(
    ("urls", "number", "told"),
    [
        (None, None, "PROXY_URLS is not set"),
        (" ,\n", None, "PROXY_URLS is not set"),
        (URLS, 4, "lists 3 proxies; there is no number 4"),
        (URLS, 0, "there is no number 0"),
        (ONE, 2, "lists one proxy; there is no number 2"),
    ],
)
def test_what_is_not_in_the_list(urls: str | None, number: int | None, told: str) -> None:
    with pytest.raises(ProxyError, match=told):
        proxy.listed({} if urls is None else {"PROXY_URLS": urls}, number)


@pytest.mark.parametrize(
    "wrong",
    [
        f"me:{SECRET}@host:1080",
        f"ftp://me:{SECRET}@host:21",
        f"socks4://me:{SECRET}@host:1080",
        f"http://me:{SECRET}@host",
        f"http://me:{SECRET}@:3128",
        f"http://me:{SECRET}@host:0",
        f"http://me:{SECRET}@host:99999",
        f"http://me:{SECRET}@host:port",
        f"http://me:{SECRET}/x@host:3128",
        f"http://me:1/{SECRET}@host:3128",
        f"http://me:1?{SECRET}@host:3128",
        f"http://me:1#{SECRET}@host:3128",
        f"http://me:{SECRET}@host:3128?",
        f"http://me:{SECRET}@ho\\st:3128",
        f"http://me:{SECRET}@[host:3128",
        f"http://me:{SECRET}@ho\x1b[31mst:3128",
        f"http://me:{SECRET}@höst:3128",
        f"http://me:{SECRET}@<b>:3128",
        SECRET,
    ],
)
@pytest.mark.parametrize("number", [None, 1, 2])
def test_what_is_no_address_is_named_by_its_number_alone(wrong: str, number: int | None) -> None:
    with pytest.raises(ProxyError) as caught:
        proxy.listed({"PROXY_URLS": f"{TWO}\n{wrong}"}, number)
    told = str(caught.value)
    assert "address 2 in PROXY_URLS" in told
    assert SECRET not in told
    assert "me" not in told.replace("number", "").replace("named", "").split()
    with pytest.raises(ProxyError, match="FAMILIAR_TOR_PROXY is not written like") as of_tor:
        proxy.tor({"FAMILIAR_TOR_PROXY": wrong})
    assert SECRET not in str(of_tor.value)
    assert proxy.shown(wrong) == "an address that cannot be read"


@pytest.mark.parametrize("word", ["two", "-1", "1.0", "", "٢", "1" * 10, ONE])
def test_a_number_is_a_number(word: str) -> None:
    with pytest.raises(ProxyError) as caught:
        proxy.number_of(word)
    assert SECRET not in str(caught.value)


def test_tor_is_where_it_listens_by_itself_or_where_it_is_said_to_be() -> None:
    assert proxy.tor({}).url == "socks5h://127.0.0.1:9050"
    assert proxy.tor({"FAMILIAR_TOR_PROXY": ""}).url == "socks5h://127.0.0.1:9050"
    assert proxy.tor({"FAMILIAR_TOR_PROXY": TWO}).url == TWO


# -- the environment -------------------------------------------------------------------------------


def test_a_choice_sets_what_any_client_reads() -> None:
    environ = through(TWO, {"PATH": "/bin"})
    assert {environ[name] for name in VARIABLES} == {TWO}
    assert environ["NO_PROXY"] == environ["no_proxy"]
    assert environ["PATH"] == "/bin"
    assert proxy.chosen(environ) == proxy.Proxy(TWO, "mullvad", 1, 1)


@pytest.mark.parametrize(
    "before",
    [
        {},
        {"HTTP_PROXY": "http://firm.example:3128", "no_proxy": "firm.example"},
        {name: f"http://{name.replace('_', '-')}.example:1" for name in VARIABLES},
        {"NO_PROXY": "", "ALL_PROXY": ""},
        {"NO_PROXY": "*"},
        {"http_proxy": "it's $HOME `x` \" \n of somebody's"},
    ],
)
def test_leaving_restores_exactly_what_was_there(before: dict[str, str]) -> None:
    before |= {"PATH": "/bin"}
    once = through(ONE, before)
    twice = through(TWO, once)  # another one, without leaving the first
    assert twice != once
    for environ in (once, twice):
        assert off(environ) == before
        assert proxy.without(environ) == before
    assert off(before) == before


@given(
    before=st.dictionaries(st.sampled_from([*VARIABLES, *PAST]), st.text()),
    since=st.dictionaries(st.sampled_from([*VARIABLES, *PAST]), st.none() | st.text()),
)
def test_what_was_changed_since_stays(before: dict[str, str], since: dict[str, str | None]) -> None:
    environ = applied(since, through(TWO, before))
    set_by_us = through(TWO, before)
    theirs = {name for name, value in since.items() if value != set_by_us[name]}
    expected = applied({n: v for n, v in since.items() if n in theirs}, before)
    assert off(environ) == expected
    assert set(proxy.changed(environ)) == theirs


def test_what_was_changed_since_is_named() -> None:
    environ = through(ONE, {}) | {"HTTPS_PROXY": TWO}
    assert ("Changed since", "HTTPS_PROXY") in proxy.rows(environ)
    assert "What was changed since stays: HTTPS_PROXY." in proxy.parting(environ)
    assert "since" not in proxy.parting(through(ONE, {}))
    assert "No proxy was chosen" in proxy.parting({})


@pytest.mark.parametrize(
    "record",
    [
        "",
        "1",
        "{",
        "[]",
        '{"url": "x"}',
        json.dumps(json.loads(through(TWO, {})[RECORD]) | {"before": {"PATH": "/evil"}}),
        json.dumps(json.loads(through(TWO, {})[RECORD]) | {"before": dict.fromkeys(VARIABLES, 1)}),
        json.dumps(json.loads(through(TWO, {})[RECORD]) | {"url": "x", "name": "y"}),
    ],
)
def test_a_record_that_is_not_ours_is_none(record: str) -> None:
    environ = {RECORD: record, "HTTP_PROXY": TWO}
    assert proxy.chosen(environ) is None
    assert proxy.leaving(environ) == {}
    assert proxy.without(environ) == environ


def test_what_is_past_the_proxy_is_read_in_both_spellings_and_written_in_both() -> None:
    given_ = {"NO_PROXY": "upper.example, both.example", "no_proxy": "lower.example,both.example"}
    environ = through(TWO, given_ | {"KUBERNETES_SERVICE_HOST": "10.96.0.1"})
    assert environ["no_proxy"].split(",") == [
        "lower.example", "both.example", "upper.example",
        "localhost", "127.0.0.1", "::1", ".svc", ".cluster.local", "10.96.0.1",
    ]  # fmt: skip


def test_an_asterisk_of_before_does_not_undo_the_choice() -> None:
    assert "*" not in through(TWO, {"NO_PROXY": "*", "no_proxy": "a.example,*"})["NO_PROXY"]


@pytest.mark.parametrize(
    ("host", "past"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("db.team.svc", True),
        ("db.team.svc.cluster.local", True),
        ("10.96.0.1", True),
        ("10.96.0.2", False),
        ("example.org", False),
        ("notsvc", False),
        ("svc.example.org", False),
    ],
)
def test_clients_understand_what_is_past_the_proxy(
    host: str, past: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in through(TWO, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}).items():
        monkeypatch.setenv(name, value)
    assert bool(proxy_bypass(host)) is past
    assert requests.utils.should_bypass_proxies(f"http://{host}/", no_proxy=None) is past


def test_the_familiars_processes_have_the_environment_of_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*VARIABLES, *PAST):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://firm.example:3128")
    before = child_environment()
    for name, value in through(ONE, before).items():
        monkeypatch.setenv(name, value)
    assert child_environment() == before
    assert child_environment({"HTTPS_PROXY": TWO}) == before | {"HTTPS_PROXY": TWO}


# -- what is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (ONE, "http://one.example:3128, with a name and a password"),
        (TWO, "socks5h://two.example:1080"),
        (THREE, "https://[2001:db8::3]:8443"),
    ],
)
def test_of_an_address_only_scheme_host_and_port_are_told(url: str, told: str) -> None:
    assert proxy.shown(url) == told
    environ = through(url, {"HTTP_PROXY": ONE})
    assert proxy.rows(environ)[0] == ("Proxy", f"mullvad 1 of 1: {told}")
    assert SECRET not in str(proxy.rows(environ))
    assert SECRET not in repr(proxy.chosen(environ))
    assert proxy.rows({"HTTP_PROXY": ONE})[0][1].startswith("none chosen; HTTP_PROXY is http://one")
    assert SECRET not in str(proxy.rows({"HTTP_PROXY": ONE}))


def test_where_names_are_looked_up_is_told_only_where_it_is_here() -> None:
    assert "Names" in dict(proxy.rows(through(TWO.replace("5h", "5"), {})))
    assert "Names" not in dict(proxy.rows(through(TWO, {})))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"203.0.113.7\n", "203.0.113.7"),
        (b"\x1b[31mred\x00 \r\n\xff", "[31mred \ufffd"),
        ("a\u202eb".encode(), "a b"),
        (b"x" * 5000, "x" * 99 + "…"),
    ],
)
def test_an_answer_is_one_short_line(body: bytes, told: str) -> None:
    assert plain(body) == told


def test_an_answer_without_anything_is_none() -> None:
    with pytest.raises(ExitError):
        plain(b" \n\x00")


# -- for a shell -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_that_evaluates_the_lines_has_the_environment(shell: str) -> None:
    before = {"PATH": "/usr/bin:/bin", "NO_PROXY": "it's `x` $HOME \"\n two"}
    expected = through(ONE, before)
    lines = proxy.as_shell(proxy.choosing(proxy.Proxy(ONE, "mullvad", 1, 1), before))
    assert environment_after(shell, lines, before) == expected
    lines = proxy.as_shell(proxy.leaving(expected))
    assert environment_after(shell, lines, expected) == before


def environment_after(shell: str, lines: str, environ: dict[str, str]) -> dict[str, str]:
    done = subprocess.run(
        [shell, "-c", f"eval {shlex.quote(lines)}\nexec env -0"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    return {n: v for n, v in found.items() if n not in ("PWD", "OLDPWD", "SHLVL", "_")}


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, tuple[str, str]]:
    try:
        status = proxy_cli.main(arguments)
    except SystemExit as err:
        status = int(err.code or 0)
    captured = capsys.readouterr()
    return status, (captured.out, captured.err)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("mullvad", "9", "--shell"), "there is no number 9"),
        (("mullvad", SECRET, "--shell"), "is a number"),
        (("tor", "1", "--shell"), "it is mullvad, mullvad N, tor, off or status"),
        ((ONE, "--shell"), "it is mullvad, mullvad N, tor, off or status"),
        (("status", SECRET), "it is mullvad, mullvad N, tor, off or status"),
        (("mullvad",), "proxy-mullvad"),
        (("off",), "proxy-off"),
        (("off", "--nothing", "--shell"), "unrecognized arguments: --nothing"),
        (("--help", "--shell"), "proxy-status"),
    ],
)
def test_what_goes_wrong_prints_nothing_to_evaluate(
    arguments: tuple[str, ...],
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROXY_URLS", URLS)
    _, (printed, said) = run_cli(capsys, *arguments)
    assert printed == ""
    assert told in " ".join(said.split())
    assert SECRET not in said


def test_the_lines_are_printed_and_the_person_is_told_aside(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY_URLS", URLS)
    status, (printed, said) = run_cli(capsys, "mullvad", "1", "--shell")
    assert status == 0
    assert f"export HTTPS_PROXY={ONE}" in printed
    assert said == "mullvad 1 of 3: http://one.example:3128, with a name and a password\n"


def test_the_lines_are_not_printed_onto_a_terminal() -> None:
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0) as terminal, open(theirs, "wb", buffering=0) as tty:
        done = subprocess.run(
            [sys.executable, "-m", "familiar_kernel.proxy_cli", "mullvad", "--shell"],
            env={**child_environment(), "PROXY_URLS": ONE},
            stdout=tty,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
        tty.write(b"!")
        assert terminal.read(100) == b"!"
    assert done.returncode == 1
    assert "eval" in done.stderr
    assert SECRET not in done.stderr
