"""``familiar doctor``: what the kernel needs, one thing at a time, each with what to do about it.

A check is a function without arguments that returns one or more :class:`.findings.Finding`. It
changes nothing, uses no account, shows no credentials (addresses lose what stands before their
``@`` and after their ``?``) and answers within seconds, also where there is no network.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from . import __version__, kernelspec
from .familiar.auth import sign_in_state
from .familiar.cli_path import VARIABLE as CLI_VARIABLE
from .familiar.cli_path import locate_cli
from .findings import Finding, report

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient

ENDPOINT = "https://api.anthropic.com"
CONNECT_TIMEOUT = 4.0
"""Seconds that a connection to the endpoint or a proxy may take."""
COMMAND_TIMEOUT = 20.0
"""Seconds that another program may take to say its version."""
DEEP_TIMEOUT = 120.0
"""Seconds that a kernel may take to start, and as many again to answer."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SEE_ABOVE = "see what is said above of the CLI and the packages"


def run(*, as_json: bool = False, deep: bool = False) -> int:
    """Make all checks, print their findings as they come, and return 1 if one is a problem, else 0.

    Args:
        as_json: print one JSON list at the end instead.
        deep: also start a kernel on the rehearsal and ask it something.
    """
    checks = (*CHECKS, *([check_answer] if deep else []))
    return report((finding for check in checks for finding in check()), as_json=as_json)


def check_python() -> Iterator[Finding]:
    """Which Python this is. Too old a one cannot get here: the package refuses to install on it."""
    yield Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def check_packages() -> Iterator[Finding]:
    """Whether the packages that this one depends on are installed and new enough."""
    from packaging.requirements import Requirement

    try:
        required = importlib.metadata.requires("familiar-kernel") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            "packages",
            "warning",
            f"familiar-kernel {__version__} runs from {Path(__file__).parent} but is not installed",
            "pip install familiar-kernel",
        )
        return
    found, wrong = [f"familiar-kernel {__version__}"], []
    for text in required:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        found.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, needed is {requirement.specifier}")
    if wrong:
        yield Finding(
            "packages",
            "problem",
            "; ".join(wrong),
            f"{sys.executable} -m pip install --upgrade familiar-kernel",
        )
    else:
        yield Finding("packages", "ok", ", ".join(found))


def check_kernels() -> Iterator[Finding]:
    """Which of our kernels Jupyter lists when it runs on this Python, and on which Python each
    runs."""
    from jupyter_client.kernelspec import KernelSpecManager

    listed = KernelSpecManager().get_all_specs()
    ours = {
        name: entry for name, entry in listed.items() if "familiar_kernel" in entry["spec"]["argv"]
    }
    if not ours:
        yield Finding("kernel", "problem", "Jupyter does not list it", "familiar install")
    for name, entry in sorted(ours.items()):
        yield _kernel_finding(name, entry)


def _kernel_finding(name: str, entry: dict[str, Any]) -> Finding:
    title = f'"{entry["spec"]["display_name"]}" ({name}) in {entry["resource_dir"]}'
    python = Path(entry["spec"]["argv"][0])
    fix = f"familiar install --name {name}"
    if not python.is_absolute():
        return Finding("kernel", "ok", f"{title} runs on the Python that Jupyter runs on")
    if python.parent.resolve() == Path(sys.executable).parent.resolve():
        return Finding("kernel", "ok", f"{title} runs on this Python")
    if not python.exists():
        return Finding("kernel", "problem", f"{title} wants {python}, which does not exist", fix)
    version = _told_by(
        str(python), "-c", "import familiar_kernel; print(familiar_kernel.__version__)"
    )
    if version is None:
        return Finding(
            "kernel", "problem", f"{title} wants {python}, which lacks familiar-kernel", fix
        )
    return Finding(
        "kernel",
        "warning",
        f"{title} runs on another Python, {python} (familiar-kernel {version})",
        fix,
    )


def check_cli() -> Iterator[Finding]:
    """Whether there is a Claude Code CLI, and whether one is signed in with it."""
    cli = locate_cli()
    if cli is None:
        yield Finding(
            "Claude CLI",
            "problem",
            "not found: claude-agent-sdk carries none here, and there is no `claude` on PATH",
            f"install Claude Code, or set {CLI_VARIABLE} to the path of its `claude`",
        )
        return
    version = _told_by(str(cli.path), "--version") if cli.runs else None
    if version is None:
        why = "does not say its version" if cli.runs else "is not a program that can be run"
        yield Finding(
            "Claude CLI",
            "problem",
            f"{cli.path} (from {cli.origin}) {why}",
            f"unset {CLI_VARIABLE}, or set it to the path of a `claude` that runs"
            if cli.origin == CLI_VARIABLE
            else f"{sys.executable} -m pip install --force-reinstall --no-deps claude-agent-sdk",
        )
        return
    yield Finding("Claude CLI", "ok", f"{version}, {cli.path} (from {cli.origin})")
    yield _sign_in_finding(str(cli.path))


def _sign_in_finding(cli: str) -> Finding:
    state = sign_in_state(cli)
    if state["signed_in"]:
        how = [state["method"], state.get("source") or "", state.get("provider") or ""]
        return Finding("sign-in", "ok", f"signed in: {', '.join(filter(None, how))}")
    if os.environ.get(kernelspec.REHEARSAL_VARIABLE):
        return Finding("sign-in", "ok", "not signed in; not needed, since the rehearsal is on")
    return Finding(
        "sign-in",
        "problem",
        state.get("error") or "not signed in",
        "familiar login, or set ANTHROPIC_API_KEY; to try without an account: familiar demo",
    )


def check_endpoint() -> Iterator[Finding]:
    """Where prompts go, through which proxy, and whether a connection comes about. Nothing is
    sent."""
    for variable, provider in (
        ("CLAUDE_CODE_USE_BEDROCK", "Amazon Bedrock"),
        ("CLAUDE_CODE_USE_VERTEX", "Google Vertex AI"),
        ("CLAUDE_CODE_USE_FOUNDRY", "Microsoft Foundry"),
    ):
        if os.environ.get(variable) not in (None, "", "0", "false"):
            yield Finding("endpoint", "ok", f"{provider} ({variable} is set)")
            return
    wanted = os.environ.get("ANTHROPIC_BASE_URL") or ENDPOINT
    url = urlsplit(wanted)
    if url.scheme not in ("http", "https") or not url.hostname:
        yield Finding(
            "endpoint",
            "problem",
            f"ANTHROPIC_BASE_URL is no address: {public_address(wanted)}",
            "write it like https://host or http://host:port, or unset it",
        )
        return
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(url.hostname):
        target, what = _split_proxy(proxy), "the proxy"
        yield Finding("proxy", "ok", f"{public_address(proxy)} for {url.hostname}")
    else:
        target, what = url, "it"
    failure = _connection_failure(target)
    if failure:
        yield Finding(
            "endpoint",
            "warning",
            f"{public_address(wanted)}; {what} cannot be reached from here: {failure}",
            "check the network and the variables ANTHROPIC_BASE_URL, HTTPS_PROXY and NO_PROXY",
        )
    else:
        yield Finding("endpoint", "ok", f"{public_address(wanted)}; {what} takes connections")


def check_jupyterlab() -> Iterator[Finding]:
    """Whether there is a JupyterLab to open notebooks in."""
    try:
        version = importlib.metadata.version("jupyterlab")
    except importlib.metadata.PackageNotFoundError:
        if elsewhere := shutil.which("jupyter-lab"):
            yield Finding(
                "JupyterLab",
                "warning",
                f"not in this environment, but there is {elsewhere}",
                "familiar install, so that it lists the kernel",
            )
        else:
            yield Finding(
                "JupyterLab",
                "warning",
                "not in this environment, and not on PATH",
                f"{sys.executable} -m pip install jupyterlab, or open notebooks in VS Code",
            )
    else:
        yield Finding("JupyterLab", "ok", version)


def check_answer() -> Iterator[Finding]:
    """Whether a kernel starts and answers a prompt; Claude is played by the rehearsal."""
    from jupyter_client.manager import KernelManager

    began = time.monotonic()
    with kernelspec.temporary(kernelspec.specification(rehearsal=True)) as kernels:
        manager = KernelManager(kernel_name=kernelspec.NAME, kernel_spec_manager=kernels)
        manager.transport_encryption = kernelspec.ENCRYPTION
        manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            ready, content, answer = _ask(manager.client())
        except (RuntimeError, TimeoutError) as err:
            why = f"the kernel did not answer: {err}"
            yield Finding(
                "answer", "problem", why, f"{sys.executable} -m familiar_kernel shows why"
            )
            return
        finally:
            manager.shutdown_kernel()
    took = f"kernel {ready - began:.1f} s, answer {time.monotonic() - ready:.1f} s"
    if content["status"] != "ok":
        why = _COLOUR.sub("", f"{content.get('ename')}: {content.get('evalue')}")
        yield Finding("answer", "problem", f"the prompt failed ({took}): {why}", _SEE_ABOVE)
    elif not answer.strip():
        yield Finding("answer", "problem", f"the answer was empty ({took})", _SEE_ABOVE)
    else:
        yield Finding("answer", "ok", f"the kernel answers, on the rehearsal ({took})")


def _ask(client: BlockingKernelClient) -> tuple[float, dict[str, Any], str]:
    """Ask a kernel's familiar one thing.

    Returns:
        when the kernel was ready, the content of the cell's reply, and the answer.

    Raises:
        RuntimeError: the kernel died, or was not ready in time.
        TimeoutError: the cell did not end in time.
    """
    told: list[str] = []

    def listen(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            told.append(message["content"]["text"])

    client.start_channels()
    try:
        client.wait_for_ready(timeout=DEEP_TIMEOUT)
        ready = time.monotonic()
        reply = client.execute_interactive(
            "print(ask('Are you there?').text)",
            timeout=DEEP_TIMEOUT,
            allow_stdin=False,
            output_hook=listen,
        )
    finally:
        client.stop_channels()
    return ready, reply["content"], "".join(told)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_python,
    check_packages,
    check_kernels,
    check_cli,
    check_endpoint,
    check_jupyterlab,
)


def public_address(address: str) -> str:
    """Return an address without what may be secret in it: user, password, query and fragment."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "", address
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def _split_proxy(proxy: str) -> SplitResult:
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _connection_failure(url: SplitResult) -> str:
    """Return why no connection to this address comes about, or nothing if one does."""
    usual = {"https": 443, "http": 80}.get(url.scheme, 1080)
    try:
        with socket.create_connection(
            (url.hostname or "", url.port or usual), timeout=CONNECT_TIMEOUT
        ):
            return ""
    except (OSError, ValueError) as err:
        return getattr(err, "strerror", None) or str(err) or type(err).__name__


def _told_by(*command: str) -> str | None:
    """Return the first line that a command prints, or None if it fails, prints nothing or takes too
    long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split("\n")
    return lines[0].strip() or None if done.returncode == 0 else None
