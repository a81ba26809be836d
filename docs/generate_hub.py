"""Writes ``docs/hub-reference.md`` from the hub's code: ``python docs/generate_hub.py``.

It stands beside ``generate.py`` because the hub is a package of its own. What the filter's
variables mean stands here; a name that is new or gone in the code stops the generation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from familiar_hub import broadcast, groups, handlers, profiles, socket_settings, spawning, volumes
from familiar_hub.variables import VARIABLES

PAGE = Path(__file__).with_name("hub-reference.md")

TEMPLATE = """\
# Reference of the hub

Made from the code by `python docs/generate_hub.py`. Do not edit it by hand: a test compares the
two. For tasks and how to do them, see [a lab for a group](hub.md).

## Variables of the hub

{hub}

## Variables of the filter

The filter before Docker's socket reads these, and of the hub's {shared}:
both must have the same values.

{filter}

## Groups that always exist

{groups}

## Kinds of labs

The file that `FAMILIAR_HUB_PROFILES_FILE` names is a YAML list. Each entry has a `name`, and may
have: {profiles}. What it leaves out is as in the hub's settings.

## Volumes

{volumes}

## Pages and API

All below `/hub`. JupyterHub's own are [in its documentation](https://jupyterhub.readthedocs.io/en/stable/reference/rest-api.html).

{paths}

A notice is `{{"message": ..., "kind": ..., "auto_close": ...}}`: one line of up to {longest}
characters, one of {kinds}, and seconds up to {longest_stay} or `null`.
A reset takes `{{"confirm": NAME}}`, the volume's name as `lab` tells it.
"""

FILTER = {
    "DOCKER_SOCKET": "the Engine's own socket (`/var/run/docker.sock`)",
    "SOCKET_FOLDER": "where the filtered sockets are made (`/run/familiar-hub`)",
    "SOCKET_HUB_GROUP": "the group that may use the hub's socket (a number); else the filter's",
    "SOCKET_KEPT_IMAGES": "images of the platform, which nobody's build or pull may replace",
    "SOCKET_LAB_MEMORY": "the most memory that a lab may have; 0 is any",
    "SOCKET_PERSON_CONTAINERS": "how many containers a member may have (10)",
    "SOCKET_PERSON_CONTEXT": "how large what a member builds from may be (256m)",
    "SOCKET_PERSON_CPUS": "the processors of a member's container (2)",
    "SOCKET_PERSON_MEMORY": "the memory of a member's container (2g)",
    "SOCKET_PERSON_NETWORKS": "how many networks a member may have (3)",
    "SOCKET_PERSON_PIDS": "the processes of a member's container (512)",
    "SOCKET_PERSON_VOLUMES": "how many volumes a member may have (20)",
    "SOCKET_PREFIX": "what names of labs and their volumes begin with (`jupyterlab-`)",
    "SOCKET_REGISTRIES": "registries beside Docker's own that members may pull from",
    "SOCKET_SHARED_VOLUME": "the volume that all labs share",
}
PATHS = {
    "/broadcast": ("the page for administrators", ""),
    "/api/broadcasts": ("GET: those of the past; POST: a notice to all labs", "`admin:servers`"),
    "/api/broadcasts/ID": ("GET: what became of one", "`admin:servers`"),
    "/api/users/NAME/lab": ("GET: the person's volumes and servers", "own or administrator"),
    "/api/users/NAME/volumes/KIND/reset": ("POST: make it new and empty", "own or administrator"),
    "/api/users/NAME/server/restart": ("POST: in place; GET: how far", "own or administrator"),
    "/api/users/NAME/servers/SERVER/restart": (
        "the same of one with a name",
        "own or administrator",
    ),
    "/familiar/static/...": ("scripts and styles of these pages", ""),
}
_WORDS = {
    "([0-9a-f]+)": ["ID"],
    "([^/]+)": ["NAME", "KIND"],
    "([^/]*)": ["SERVER"],
    "(.*)": ["..."],
}


def reference() -> str:
    """Return the page.

    Raises:
        ValueError: a name here and one in the code do not agree.
    """
    code = Path(socket_settings.__file__).read_text(encoding="utf-8")
    read = set(re.findall(r'"([A-Z]{5,}_[A-Z_]+)"', code))
    names = {variable.name for variable in VARIABLES}
    _same("the filter's variables", set(FILTER), read - names)
    _same("the hub's paths", set(PATHS), {_in_words(path) for path, *_ in handlers.HANDLERS})
    return TEMPLATE.format(
        hub=_table(
            "variable | without it | what it does",
            ((f"`{v.name}`", v.default and f"`{v.default}`", v.summary) for v in VARIABLES),
        ),
        shared=", ".join(f"`{name}`" for name in sorted(read & names)),
        filter=_table("variable | what it does", ((f"`{k}`", v) for k, v in FILTER.items())),
        groups=_table(
            "group | each of its members",
            ((f"`{group.name}`", group.summary) for group in groups.PROTECTED),
        ),
        profiles=", ".join(f"`{key}`" for key in profiles.KEYS if key != "name"),
        volumes=_table(
            "volume | in the lab | what is in it",
            (
                (f"`{kind}`", f"`{place}`", volumes.SUMMARIES[kind])
                for kind, place in spawning.VOLUMES.items()
            ),
        ),
        paths=_table(
            "path | what it is for | who may", ((f"`{path}`", *row) for path, row in PATHS.items())
        ),
        longest=broadcast.LONGEST,
        longest_stay=broadcast.LONGEST_STAY,
        kinds=", ".join(f"`{kind}`" for kind in broadcast.KINDS),
    )


def _in_words(path: str) -> str:
    for pattern, words in _WORDS.items():
        for word in words:
            path = path.replace(pattern, word, 1)
    return path


def _same(what: str, here: set[str], in_code: set[str]) -> None:
    if here != in_code:
        raise ValueError(
            f"docs/generate_hub.py and the code do not agree about {what}: only here"
            f" {sorted(here - in_code)}, only in the code {sorted(in_code - here)}"
        )


def _table(head: str, rows: Iterable[Iterable[str]]) -> str:
    def lines() -> Iterator[list[str]]:
        names = head.split(" | ")
        yield names
        yield [":---"] * len(names)
        for row in rows:
            yield [" ".join(value.split()).replace("|", "\\|") for value in row]

    return "\n".join(f"| {' | '.join(line)} |" for line in lines())


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
