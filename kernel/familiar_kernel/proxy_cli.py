"""``familiar proxy``: the choice of ``%proxy``, for a shell.

A program cannot change the environment of the shell that starts it. So it prints the lines that do,
and the shell's functions ``proxy-mullvad``, ``proxy-tor`` and ``proxy-off`` evaluate them
(containers/lab/proxy.sh). The lines hold passwords: they are printed into a pipe only, and what is
said to the person goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from . import proxy

_DESCRIPTION = """\
Show which proxy this shell's traffic goes through, or print what changes it.

  familiar proxy                                how it stands
  familiar proxy status                         and what address the world sees
  eval "$(familiar proxy mullvad --shell)"      one of PROXY_URLS, at random
  eval "$(familiar proxy mullvad 2 --shell)"    the second of them
  eval "$(familiar proxy tor --shell)"          the tor that runs here
  eval "$(familiar proxy off --shell)"          as it was before

In the lab's shells, proxy-mullvad [N], proxy-tor, proxy-off and proxy-status
do this. In a notebook it is %proxy.
"""


def main(argv: Sequence[str]) -> int:
    """Run ``familiar proxy`` and return its exit status.

    Args:
        argv: the arguments after ``proxy``.
    """
    parser = argparse.ArgumentParser(
        prog="familiar proxy",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="mullvad [N] | tor | off | status")
    parser.add_argument("--shell", action="store_true", help="print lines for a shell's eval")
    # What is printed into an eval must be lines for it, and no help.
    to_eval = "--shell" in argv
    with contextlib.redirect_stdout(sys.stderr) if to_eval else contextlib.nullcontext():
        words = parser.parse_args(argv).words
    try:
        if words in ([], ["status"]):
            return _tell(with_exit=bool(words))
        changes, told = _done(words)
        if not to_eval or sys.stdout.isatty():
            command = " ".join(words)
            raise proxy.ProxyError(
                f"a program cannot change the shell that starts it; type proxy-{command}, or: "
                f'eval "$(familiar proxy {command} --shell)"'
            )
    except proxy.ProxyError as err:
        print(f"familiar proxy: {err}", file=sys.stderr)
        return 1
    print(proxy.as_shell(changes), end="")
    print(told, file=sys.stderr)
    return 0


def _done(words: Sequence[str]) -> tuple[proxy.Changes, str]:
    """Return what must be changed, and what to say of it.

    Raises:
        ProxyError: it cannot be done.
    """
    match words:
        case ["mullvad"]:
            found = proxy.listed(os.environ)
        case ["mullvad", word]:
            found = proxy.listed(os.environ, proxy.number_of(word))
        case ["tor"]:
            from .proxy_exit import running_tor

            found = running_tor(os.environ)
        case ["off"]:
            return proxy.leaving(os.environ), proxy.parting(os.environ)
        case _:
            # What was written is not repeated: it may be an address with a password.
            raise proxy.ProxyError("it is mullvad, mullvad N, tor, off or status")
    told = f"{found.label}: {proxy.shown(found.url)}"
    return proxy.choosing(found, os.environ), told


def _tell(*, with_exit: bool) -> int:
    rows = proxy.rows(os.environ)
    status = 0
    if with_exit:
        from .proxy_exit import ask

        exit_address, told = ask()
        said = f"{exit_address}, says {told}" if exit_address else f"not known: {told}"
        rows.append(("Exit", said))
        status = 0 if exit_address else 1
    for name, value in rows:
        print(f"{name:<13} {value}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
