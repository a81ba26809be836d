"""``%proxy``: what the person's code reaches the network through.

It changes this process's environment, and with it that of everything the kernel starts for the
person; :mod:`familiar_kernel.proxy` says how. The familiar's host is started without it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from familiar_kernel import proxy as proxies

from .showing import cell, show, table, usage_error

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel

NO_NETWORK = (
    "this kernel's code runs in a sandbox, which has no network, so there is nothing to send "
    "through a proxy"
)
USAGE = (
    ("%proxy mullvad", f"one of the proxies in {proxies.LIST}, at random"),
    ("%proxy mullvad 2", "the second of them"),
    ("%proxy tor", "the tor that runs beside the kernel"),
    ("%proxy off", "as it was before"),
    ("%proxy status", "which one is chosen, and the address that the world sees"),
)


def proxy(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%proxy [mullvad [N]|tor|off|status]``."""
    if kernel.familiar.sandboxed:
        raise usage_error(NO_NETWORK)
    try:
        plain, markdown = _told(rest.split())
    except proxies.ProxyError as err:
        fault = str(err)
    else:
        show(kernel, plain, markdown)
        return
    # Not in the handler: the error of the cell must not lead to frames whose variables hold
    # addresses, since a traceback can show them, and Claude may read it.
    raise usage_error(fault)


def _told(words: list[str]) -> tuple[str, str]:
    """Do what is asked for and return what to say of it.

    Raises:
        ProxyError: it cannot be done.
    """
    match words:
        case []:
            parts = table(USAGE, ("You write", "What your code goes through")), _rows()
            plain, markdown = ("\n\n".join(both) for both in zip(*parts, strict=True))
            return plain, markdown
        case ["mullvad"]:
            _change(proxies.choosing(proxies.listed(os.environ), os.environ))
        case ["mullvad", word]:
            found = proxies.listed(os.environ, proxies.number_of(word))
            _change(proxies.choosing(found, os.environ))
        case ["tor"]:
            from familiar_kernel.proxy_exit import running_tor

            _change(proxies.choosing(running_tor(os.environ), os.environ))
        case ["off"]:
            told = proxies.parting(os.environ)
            _change(proxies.leaving(os.environ))
            return told, cell(told)
        case ["status"]:
            return _rows(_exit())
        case _:
            # What was written is not repeated: it may be an address with a password.
            raise proxies.ProxyError("%proxy takes mullvad, mullvad N, tor, off or status")
    return _rows()


def _rows(*more: tuple[str, str]) -> tuple[str, str]:
    return table([*proxies.rows(os.environ), *more], ("Traffic", ""))


def _change(changes: proxies.Changes) -> None:
    _forget_opener()
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _forget_opener() -> None:
    """Have ``urllib.request.urlopen``, and what reads through it (pandas), look at the environment
    again.

    It keeps the proxies of when it was first used; so what has been read before would go on past
    the proxy without a word. An opener with handlers of a person's own is theirs, and stays.
    """
    request: Any = sys.modules.get("urllib.request")
    opener = getattr(request, "_opener", None)
    if opener is None:
        return
    usual = {type(handler) for handler in request.build_opener().handlers} | {request.ProxyHandler}
    if {type(handler) for handler in opener.handlers} <= usual:
        request.install_opener(None)


def _exit() -> tuple[str, str]:
    from familiar_kernel.proxy_exit import ask

    address, told = ask()
    return "Exit", f"{address}, says {told}" if address else f"not known: {told}"
