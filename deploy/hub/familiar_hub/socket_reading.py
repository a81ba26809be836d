"""What a client of the socket sent, read so strictly that it can mean one thing only.

The Engine is lenient: its JSON takes ``privileged`` for ``Privileged`` and the last of two equal
keys, its paths are decoded before they are looked up, a form in the body overrules the query. A
filter that reads otherwise than the Engine can be talked past. So nothing that a client wrote is
passed on: it is read here, what has two readings is refused, and the proxy writes a request of its
own from what was read. Pure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import parse_qsl

OLDEST_API = (1, 41)
"""With older versions the Engine shares IPC and cgroup namespaces unasked, and a start takes
settings. 1.41 is that of Engine 20.10."""

_TARGET = re.compile(r"(/[A-Za-z0-9_.:@/-]+)(?:\?([\x21-\x7e]*))?")
_ESCAPED = {"%3A": ":", "%3a": ":", "%40": "@"}
_VERSION = re.compile(r"/v(\d{1,2})\.(\d{1,3})(/.*)")

_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<host>localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9.-]+(?=:\d))(?P<port>:\d{{1,5}})?/)?"
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_DEFAULT_HOSTS = ("docker.io", "index.docker.io")
"""What the Engine takes for its own choice; docker writes it out."""
IMAGE_ID = re.compile(r"(?:sha256:[0-9a-f]{64}|[0-9a-f]{12,64})")

Check = Callable[[str, Any], Any]
"""Takes where a value stands and the value, returns what is to be sent, or raises Refused."""


class Refused(Exception):
    """The client may not do that; its text is one sentence for whoever asked."""

    status = 403


class Missing(Refused):
    """There is nothing of that name for this client, whether or not others have it."""

    status = 404


# -- the first line --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What a request is for.

    Attributes:
        version: ``/v1.41``, or nothing where the client named none.
        path: what follows it; without escapes, empty segments and dots.
        query: its arguments, each once.
    """

    version: str
    path: str
    query: Mapping[str, str]


def target(text: str) -> Target:
    """Read the target of a request.

    Raises:
        Refused: it is no plain path, or has two readings.
    """
    path, question, query = text.partition("?")
    for escaped, plain in _ESCAPED.items():
        path = path.replace(escaped, plain)
    found = _TARGET.fullmatch(path + question + query)
    if not found:
        raise Refused("The path is not one of the Engine's: write it plainly, without escapes.")
    path = found[1]
    if any(part in ("", ".", "..") for part in path[1:].split("/")):
        raise Refused("The path has empty segments or dots: write it plainly.")
    version = ""
    if versioned := _VERSION.fullmatch(path):
        major, minor, path = int(versioned[1]), int(versioned[2]), versioned[3]
        if (major, minor) < OLDEST_API:
            oldest = ".".join(map(str, OLDEST_API))
            raise Refused(f"API {major}.{minor} is too old here: use {oldest} or later.")
        version = f"/v{major}.{minor}"
    return Target(version, path, _query(found[2] or ""))


def _query(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict",
            max_num_fields=50,
        )  # fmt: skip
    except ValueError:
        raise Refused("The query cannot be read: write key=value pairs joined by &.") from None
    if ";" in text:
        raise Refused("The query has a semicolon: join its pairs by & only.")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("The query names an argument twice: give each once.")
    return found


# -- JSON ------------------------------------------------------------------------------------------


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(f"The body names {twice[:60]!r} twice: give it once.")
    return found


def _no_number(text: str) -> NoReturn:
    raise Refused(f"The body holds {text}, which is no number of JSON.")


def mapping(body: bytes | str) -> dict[str, Any]:
    """Read a JSON object in which no key occurs twice.

    Raises:
        Refused: it is something else.
    """
    if not body:
        return {}
    try:
        text = body if isinstance(body, str) else body.decode()
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refused("The body is not JSON in UTF-8.") from None
    if not isinstance(found, dict):
        raise Refused("The body is not a JSON object.")
    return found


def unset(value: Any) -> bool:
    """Say whether a value is what the Engine takes for a field that is not there."""
    return value is None or (isinstance(value, (bool, int, float, str, list, dict)) and not value)


def fields(
    where: str, value: Any, known: Mapping[str, Check], even_empty: Iterable[str] = ()
) -> dict[str, Any]:
    """Return an object with what was set in it and passed its check.

    Keys are compared as they are written: the Engine would also take another case, and refusing
    that is what keeps it from being a second name.

    Args:
        where: the object's own place, for what is told: ``HostConfig.``, with the dot.
        value: the object.
        known: all keys that it may have, and their checks.
        even_empty: the keys for which an empty value is something else than none.

    Raises:
        Refused: a key is not known, or a check has refused its value.
    """
    if not isinstance(value, dict):
        raise Refused(f"{where.rstrip('.') or 'The body'} has to be an object.")
    found = {}
    for key, held in value.items():
        check = known.get(key)
        if check is None:
            raise Refused(f"{where}{key[:60]} is not among what may be set here: leave it out.")
        if held is None or (unset(held) and key not in even_empty):
            continue
        found[key] = check(where + key, held)
    return found


# -- checks ----------------------------------------------------------------------------------------


def never(where: str, value: Any) -> NoReturn:
    """Refuse every value."""
    raise Refused(f"{where} may not be set here: leave it out.")


def refusing(names: str) -> dict[str, Check]:
    """Return a table of fields that clients send empty, and that may not be set."""
    return dict.fromkeys(names.split(), never)


def anything_matching(pattern: str, said: str) -> Check:
    """Return a check for text of a form.

    Args:
        pattern: all of the text has to match it.
        said: what it has to be, in words.
    """
    form = re.compile(pattern, re.ASCII)

    def check(where: str, value: Any) -> str:
        if not isinstance(value, str) or not form.fullmatch(value):
            raise Refused(f"{where} has to be {said}.")
        return value

    return check


def text(where: str, value: Any) -> str:
    """Check for any text without a NUL."""
    if not isinstance(value, str) or "\0" in value:
        raise Refused(f"{where} has to be text.")
    return value


def flag(where: str, value: Any) -> bool:
    """Check for true (false is not set, see ``unset``)."""
    if value is not True:
        raise Refused(f"{where} has to be true or false.")
    return True


def whole(least: int, most: float = math.inf) -> Check:
    """Return a check for a whole number within bounds."""

    def check(where: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            upper = "" if most == math.inf else f" to {most:,.0f}"
            raise Refused(f"{where} has to be a whole number from {least:,}{upper}.")
        return value

    return check


def one_of(*choices: str) -> Check:
    """Return a check for one of some words."""

    def check(where: str, value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            shown = ", ".join(choices) or "left out"
            raise Refused(f"{where} is {str(value)[:80]!r}; here it can be: {shown}.")
        return value

    return check


def each(inner: Check) -> Check:
    """Return a check for a list."""

    def check(where: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Refused(f"{where} has to be a list.")
        return [inner(where, one) for one in value]

    return check


def named(keys: Check, values: Check) -> Check:
    """Return a check for an object whose keys are not known beforehand."""

    def check(where: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Refused(f"{where} has to be an object.")
        return {keys(where, key): values(where, held) for key, held in value.items()}

    return check


def words(where: str, value: Any) -> list[str] | str:
    """Check for a command: text, or a list of it."""
    checked: list[str] | str = (
        text(where, value) if isinstance(value, str) else each(text)(where, value)
    )
    return checked


def within(known: Mapping[str, Check]) -> Check:
    """Return a check for an object whose keys are known."""
    return lambda where, value: fields(f"{where}.", value, known)


# -- images ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """An image's name, with what the Engine would add to it.

    Attributes:
        host: the registry's; empty for the Engine's own choice.
        path: without the ``library/`` that the Engine's own choice puts before plain names.
        tag: ``latest`` where there is neither tag nor digest.
        digest: of its content, or nothing.
    """

    host: str
    path: str
    tag: str
    digest: str

    def __str__(self) -> str:
        tag = self.tag and f":{self.tag}"
        return f"{self.host and self.host + '/'}{self.path}{tag}{self.digest and '@' + self.digest}"

    @property
    def repository(self) -> str:
        """The name without tag and digest."""
        return f"{self.host and self.host + '/'}{self.path}"


def reference(name: str) -> Reference:
    """Read an image's name.

    Raises:
        Refused: it is no name: it may be an ID, or have two readings.
    """
    found = _REFERENCE.fullmatch(name)
    if not found or len(name) > 500 or re.fullmatch(r"[0-9a-f]{64}", name):
        raise Refused(f"{name[:80]!r} is no image's name: write it as name:tag.")
    path, host = found["path"], (found["host"] or "") + (found["port"] or "")
    if host in _DEFAULT_HOSTS:
        host = ""
    if not host and path.startswith("library/") and path.count("/") == 1:
        path = path.removeprefix("library/")
    digest = found["digest"] or ""
    tag = found["tag"] or ("" if digest else "latest")
    return Reference(host, path, tag, digest)
