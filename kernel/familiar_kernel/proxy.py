"""Which proxy a kernel or a shell sends its traffic through, and what its environment says then.

The choice is kept in the environment that it changes: beside the variables that every program knows
one more is set, :data:`RECORD`, which holds what was chosen and what the others held before. So
whoever has that environment, a kernel as well as a shell or what either of them starts, can take
the choice back exactly; and the familiar's own processes are started as if it had never been made.

All is said of mappings and of text: nothing is read, set or connected to here. An address may hold
a password, so none of it is in a ``repr`` or in the message of an error but scheme, host and port.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
"""In both cases: curl reads HTTP_PROXY in lower case only, other programs in upper case only."""
PAST = ("NO_PROXY", "no_proxy")
"""What names the hosts that are reached past the proxy."""
RECORD = "FAMILIAR_PROXY"
LIST = "PROXY_URLS"
TOR = "FAMILIAR_TOR_PROXY"
TORS_OWN = "socks5h://127.0.0.1:9050"
SCHEMES = ("http", "https", "socks5", "socks5h")

# Names and single addresses, which every client knows. Ranges such as 10.0.0.0/8 are left out:
# urllib and httpx do not know them, and what is to be reached past the proxy must not hang on the
# client. Nor is an asterisk needed: all of them take what begins with a dot for an ending.
_THIS_MACHINE_AND_CLUSTER = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local")
_API_SERVER = "KUBERNETES_SERVICE_HOST"

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|[0-9A-Fa-f:.]+")
_SHAPE = f"socks5h://host:1080 ({', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}, and a port)"


class ProxyError(Exception):
    """A proxy that cannot be chosen; the message is one sentence, and holds nothing secret."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        url: its address, as clients are told it.
        name: ``mullvad`` or ``tor``.
        number: which of the list it is, from 1; 0 where there is no list.
        of: how many are in the list.
    """

    url: str = field(repr=False)
    name: str = ""
    number: int = 0
    of: int = 0

    @property
    def label(self) -> str:
        """What to call it, without its address."""
        return f"{self.name} {self.number} of {self.of}" if self.number else self.name


# -- which one -------------------------------------------------------------------------------------


def listed(environ: Mapping[str, str], number: int | None = None) -> Proxy:
    """Return a proxy from the list in the environment.

    Args:
        environ: the environment.
        number: which one, from 1; None: one at random.

    Raises:
        ProxyError: there is no list, not as many, or one that is no address.
    """
    urls = re.split(r"[,\s]+", environ.get(LIST, "").strip(" \t\r\n,"))
    if urls == [""]:
        raise ProxyError(
            f"{LIST} is not set; it lists the proxies, separated by commas or white space, in the "
            "environment in which JupyterLab or the shell starts"
        )
    for at, url in enumerate(urls, 1):
        if not is_address(url):
            raise ProxyError(f"address {at} in {LIST} is not written like {_SHAPE}")
    if number is None:
        # Not from the random module: whoever has seeded it wants their own numbers from it.
        number = secrets.randbelow(len(urls)) + 1
    if not 1 <= number <= len(urls):
        told = "one proxy" if len(urls) == 1 else f"{len(urls)} proxies"
        raise ProxyError(f"{LIST} lists {told}; there is no number {number}")
    return Proxy(urls[number - 1], "mullvad", number, len(urls))


def tor(environ: Mapping[str, str]) -> Proxy:
    """Return tor's proxy: the one that the environment names, or where tor listens by itself.
    Whether somebody does, :func:`familiar_kernel.proxy_exit.running_tor` says.

    Raises:
        ProxyError: what the environment names is no address.
    """
    url = environ.get(TOR) or TORS_OWN
    if not is_address(url):
        raise ProxyError(f"{TOR} is not written like {TORS_OWN}")
    return Proxy(url, "tor")


def number_of(word: str) -> int:
    """Return the number that somebody wrote.

    Raises:
        ProxyError: it is none.
    """
    if not re.fullmatch(r"[0-9]{1,9}", word):
        raise ProxyError(f"what follows mullvad is a number: which proxy of {LIST}, from 1")
    return int(word)


def is_address(url: str) -> bool:
    """Whether a text is the whole address of a proxy.

    It must name its port: clients do not agree on which one is meant where there is none. A path
    or query is refused since it is mostly the rest of a password with a slash or a ``?`` in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and not re.search(r"[\s\\]", url)
    whole = parts.path in ("", "/") and "?" not in url and "#" not in url
    host = bool(parts.hostname) and _HOST.fullmatch(str(parts.hostname)) is not None
    return plain and whole and host and parts.scheme in SCHEMES and bool(port)


def shown(url: str) -> str:
    """Return what may be shown of an address: scheme, host and port, and that there is more."""
    if not is_address(url):
        return "an address that cannot be read"
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    more = ", with a name and a password" if "@" in parts.netloc else ""
    return f"{parts.scheme}://{host}:{parts.port}{more}"


# -- the environment -------------------------------------------------------------------------------

Changes = dict[str, str | None]
"""Variables, and what each is to hold; None: it is to be unset."""


def choosing(proxy: Proxy, environ: Mapping[str, str]) -> Changes:
    """Return what an environment must change so that its traffic goes through a proxy.

    An earlier choice is taken back in it, so that what is restored one day is what a person set.
    The record comes first: were somebody interrupted among the changes, it would know the rest.
    """
    before = without(environ)
    past = ",".join(_past(before))
    values = {**dict.fromkeys(VARIABLES, proxy.url), **dict.fromkeys(PAST, past)}
    record = {
        "name": proxy.name,
        "number": proxy.number,
        "of": proxy.of,
        "url": proxy.url,
        "past": past,
        "before": {name: before.get(name) for name in values},
    }
    return {RECORD: json.dumps(record), **values}


def _past(environ: Mapping[str, str]) -> Sequence[str]:
    """Return which hosts are to be reached past the proxy: those of before, and ours.

    Both spellings are read and written, since no client reads both. A bare asterisk means that no
    proxy is to be used, which is no longer so.
    """
    given = [entry for name in reversed(PAST) for entry in environ.get(name, "").split(",")]
    ours = (*_THIS_MACHINE_AND_CLUSTER, environ.get(_API_SERVER, ""))
    entries = (entry.strip() for entry in (*given, *ours))
    return list(dict.fromkeys(entry for entry in entries if entry not in ("", "*")))


def chosen(environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that an environment's traffic goes through by choice; None: there is
    none."""
    record = _record(environ)
    if record is None:
        return None
    return Proxy(record["url"], record["name"], record["number"], record["of"])


def leaving(environ: Mapping[str, str]) -> Changes:
    """Return what an environment must change so that all is as it was before the choice.

    What a person has changed since is theirs, and stays.
    """
    record = _record(environ)
    if record is None:
        return {}
    others = set(changed(environ))
    return {
        **{name: value for name, value in record["before"].items() if name not in others},
        RECORD: None,
    }


def changed(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that no longer hold what the choice set."""
    record = _record(environ)
    if record is None:
        return []
    values = {**dict.fromkeys(VARIABLES, record["url"]), **dict.fromkeys(PAST, record["past"])}
    return [name for name in record["before"] if environ.get(name) != values[name]]


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment as it would be had no proxy been chosen: the familiar's own."""
    result = dict(environ)
    for name, value in leaving(environ).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def _record(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what the environment's record says, or None where it has none that is ours."""
    try:
        record = json.loads(environ.get(RECORD, ""))
    except ValueError:
        return None
    types = {"name": str, "number": int, "of": int, "url": str, "past": str, "before": dict}
    if not isinstance(record, dict) or record.keys() != types.keys():
        return None
    well = all(isinstance(record[name], kind) for name, kind in types.items())
    if not well or not is_address(record["url"]) or set(record["before"]) != {*VARIABLES, *PAST}:
        return None
    if not all(value is None or isinstance(value, str) for value in record["before"].values()):
        return None
    return record


# -- what is told ----------------------------------------------------------------------------------


def rows(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return how an environment stands, as names and values, without anything secret."""
    proxy = chosen(environ)
    if proxy is None:
        own = next((name for name in reversed(VARIABLES) if environ.get(name)), "")
        return [("Proxy", f"none chosen; {own} is {shown(environ[own])}" if own else "none")]
    told = [("Proxy", f"{proxy.label}: {shown(proxy.url)}")]
    if proxy.url.startswith("socks5:"):
        told.append(("Names", "looked up on this machine; with socks5h:// the proxy does it"))
    told.append(("Past it", ", ".join(_past(environ))))
    if others := changed(environ):
        told.append(("Changed since", ", ".join(others)))
    return told


def parting(environ: Mapping[str, str]) -> str:
    """Return what to say of :func:`leaving` an environment's choice."""
    if chosen(environ) is None:
        return "No proxy was chosen; nothing has changed."
    others = ", ".join(changed(environ))
    return "As it was before." + (f" What was changed since stays: {others}." if others else "")


def as_shell(changes: Changes) -> str:
    """Return changes as lines of a POSIX shell. They may hold a password: for ``eval`` only."""
    return "".join(
        f"unset {name}\n" if value is None else f"export {name}={shlex.quote(value)}\n"
        for name, value in changes.items()
    )
