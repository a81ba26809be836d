"""`familiar doctor`: every check, found well and found ill, with real programs and sockets."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from familiar_kernel import doctor, kernelspec
from familiar_kernel.familiar import cli_path
from familiar_kernel.findings import Finding

SIGN_IN = (
    "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY",
    "FAMILIAR_REHEARSAL", cli_path.VARIABLE,
)  # fmt: skip
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home, a sign-in and a list of kernels of the test's own."""
    for name in (*SIGN_IN, *PROXIES, *(name.upper() for name in PROXIES)):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")


@pytest.fixture
def listener() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def only(check: Callable[[], Iterator[Finding]], name: str = "") -> Finding:
    """Return the one finding of a check, or of those the one of this name."""
    (finding,) = [finding for finding in check() if not name or finding.name == name]
    return finding


# -- packages and kernels --------------------------------------------------------------------------


def test_packages_are_named_with_their_versions() -> None:
    finding = only(doctor.check_packages)
    assert finding.state == "ok"
    assert "claude-agent-sdk 0." in finding.summary
    assert "ipykernel 7." in finding.summary


def test_packages_that_are_missing_or_old(monkeypatch: pytest.MonkeyPatch) -> None:
    required = ["no-such-package>=1", "ipykernel>=999", "traitlets", 'jupyterlab; extra == "demo"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: required)
    finding = only(doctor.check_packages)
    assert finding.state == "problem"
    assert "no-such-package is missing; ipykernel is 7" in finding.summary
    assert "traitlets" not in finding.summary
    assert "pip install" in finding.fix


def kernel(name: str) -> Finding:
    (found,) = [f for f in doctor.check_kernels() if f"({name})" in f.summary]
    return found


def install(name: str, python: str) -> None:
    spec = kernelspec.specification(display_name=name)
    spec["argv"][0] = python
    kernelspec.install(name, spec, user=True)


def test_a_kernel_on_this_python() -> None:
    install("here", sys.executable)
    assert kernel("here").state == "ok"


def test_a_kernel_on_jupyters_python() -> None:
    install("wherever", "python")
    assert kernel("wherever").state == "ok"


def test_a_kernel_on_a_python_that_is_gone(tmp_path: Path) -> None:
    install("gone", str(tmp_path / "bin" / "python"))
    finding = kernel("gone")
    assert finding.state == "problem"
    assert "does not exist" in finding.summary
    assert finding.fix == "familiar install --name gone"


def test_kernels_on_other_pythons(tmp_path: Path) -> None:
    for name, body in (("with", "echo 9.9"), ("without", "exit 1")):
        python = tmp_path / name / "python"
        python.parent.mkdir()
        python.write_text(f"#!/bin/sh\n{body}\n")
        python.chmod(0o755)
        install(name, str(python))
    assert kernel("with").state == "warning"
    assert "familiar-kernel 9.9" in kernel("with").summary
    assert kernel("without").state == "problem"
    assert "lacks familiar-kernel" in kernel("without").summary


def test_no_kernel_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_core.paths.ENV_JUPYTER_PATH", [str(tmp_path / "none")])
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_JUPYTER_PATH", [])
    finding = only(doctor.check_kernels)
    assert (finding.state, finding.fix) == ("problem", "familiar install")


# -- the CLI and the sign-in -----------------------------------------------------------------------


@pytest.mark.cli
def test_the_real_cli_signed_out() -> None:
    assert "Claude Code" in only(doctor.check_cli, "Claude CLI").summary
    finding = only(doctor.check_cli, "sign-in")
    assert finding.state == "problem"
    assert "familiar login" in finding.fix


@pytest.mark.cli
def test_the_real_cli_signed_in_by_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-hidden")
    finding = only(doctor.check_cli, "sign-in")
    assert finding.state == "ok"
    assert "ANTHROPIC_API_KEY" in finding.summary
    assert "sk-hidden" not in finding.summary


@pytest.mark.cli
def test_the_rehearsal_needs_no_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAMILIAR_REHEARSAL", "1")
    assert only(doctor.check_cli, "sign-in").state == "ok"


@pytest.mark.parametrize(
    ("body", "told"),
    [("#!/bin/sh\nexit 3\n", "does not say its version"), (None, "is not a program")],
)
def test_a_cli_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str | None, told: str
) -> None:
    program = tmp_path / "claude"
    if body:
        program.write_text(body)
        program.chmod(0o755)
    monkeypatch.setenv(cli_path.VARIABLE, str(program))
    finding = only(doctor.check_cli)
    assert finding.state == "problem"
    assert told in finding.summary
    assert "FAMILIAR_CLAUDE_CLI" in finding.fix


# -- the endpoint ----------------------------------------------------------------------------------


def test_an_endpoint_that_takes_connections(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://{listener}/v")
    finding = only(doctor.check_endpoint)
    assert (finding.state, finding.summary) == ("ok", f"http://{listener}/v; it takes connections")


def test_an_endpoint_where_nobody_is(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://{nobody}")
    finding = only(doctor.check_endpoint)
    assert finding.state == "warning"
    assert "refused" in finding.summary


@pytest.mark.parametrize("address", ["api.example.com", "ftp://x", "https://", "http://u:pw@"])
def test_an_endpoint_that_is_no_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", address)
    finding = only(doctor.check_endpoint)
    assert finding.state == "problem"
    assert "pw" not in finding.summary


def test_the_way_through_a_proxy(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:hidden@{listener}")
    proxy, endpoint = doctor.check_endpoint()
    assert proxy.summary == f"http://{listener} for api.anthropic.com"
    assert endpoint.summary == "https://api.anthropic.com; the proxy takes connections"


def test_a_proxy_that_is_gone(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", nobody)
    _, endpoint = doctor.check_endpoint()
    assert endpoint.state == "warning"
    assert "the proxy cannot be reached" in endpoint.summary


def test_past_a_proxy(listener: str, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{nobody}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://{listener}")
    assert only(doctor.check_endpoint).state == "ok"


def test_another_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_CODE_USE_BEDROCK", "1")
    assert "Amazon Bedrock" in only(doctor.check_endpoint).summary


@given(
    secret=st.text(st.characters(exclude_characters="/?#", exclude_categories=["Cs"]), min_size=1),
    scheme=st.sampled_from(["https://", "socks5h://", ""]),
)
def test_no_address_shows_what_is_secret_in_it(secret: str, scheme: str) -> None:
    shown = doctor.public_address(f"{scheme}user:{secret}@host:1/path?key={secret}#{secret}")
    assert shown == f"{scheme}host:1/path"


# -- the whole -------------------------------------------------------------------------------------


def findings_in(text: str) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(text)}


@pytest.mark.cli
def test_signed_out_ends_with_status_1(
    nobody: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://{nobody}")
    assert doctor.run() == 1
    lines = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.split()[1] == "sign-in")
    assert lines[place].startswith("problem")
    assert lines[place + 1].strip().startswith("-> familiar login")


@pytest.mark.cli
def test_all_well_ends_with_status_0(
    listener: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("here", sys.executable)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://{listener}")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-hidden")
    status = doctor.run(as_json=True)
    told = capsys.readouterr().out
    assert "sk-hidden" not in told
    found = findings_in(told)
    assert {"Python", "packages", "kernel", "Claude CLI", "sign-in", "endpoint"} <= set(found)
    assert [f for f in found.values() if f["state"] == "problem"] == []
    assert status == 0


@pytest.mark.cli
@pytest.mark.kernel
def test_a_kernel_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = only(doctor.check_answer)
    assert finding.state == "ok", finding.summary
    assert "on the rehearsal" in finding.summary


@pytest.mark.cli
@pytest.mark.kernel
def test_a_kernel_that_cannot_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli_path.VARIABLE, str(tmp_path / "none"))
    finding = only(doctor.check_answer)
    assert finding.state == "problem"
    assert "the prompt failed" in finding.summary
