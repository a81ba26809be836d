"""The kinds of labs that a hub offers, and which groups may have which.

Read from a YAML file, checked whole, and chosen from by name: what a person sends when a lab starts
is one name, and everything else about the lab is the administrator's.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from .variables import parse_size

OPTION = "profile"
"""The name under which a choice is sent."""


class ProfileError(ValueError):
    """Profiles that cannot be read, or one that a person may not have. One sentence."""


@dataclass(frozen=True)
class Profile:
    """One kind of lab. What is None or empty is as in the hub's settings.

    Attributes:
        name: what the choice is known by.
        summary: one line for the person who chooses.
        groups: whose members may have it; empty is everybody.
        gpu: a lab of it gets the GPUs, if there are any.
    """

    name: str
    summary: str = ""
    groups: frozenset[str] = frozenset()
    image: str = ""
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    gpu: bool = True
    podman: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


KEYS: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "summary": (str,),
    "groups": (list,),
    "image": (str,),
    "memory": (str, int),
    "cpus": (int, float),
    "pids": (int,),
    "gpu": (bool,),
    "podman": (bool,),
    "environment": (dict,),
}
"""What an entry may have, and as what."""


def read_profiles(text: str) -> tuple[Profile, ...]:
    """Return the profiles that a YAML text lists, in its order.

    Raises:
        ProfileError: it is not such a list; the sentence says where.
    """
    try:
        listed = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProfileError(f"it is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(listed, list) or not listed:
        raise ProfileError("it may hold a list of profiles, each with a name")
    profiles = tuple(_profile(number, entry) for number, entry in enumerate(listed, 1))
    names = [profile.name for profile in profiles]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ProfileError(f"the name {twice[0]!r} is there twice")
    if all(profile.groups for profile in profiles):
        raise ProfileError("every profile has groups; one without is needed, for everybody else")
    return profiles


def _profile(number: int, entry: object) -> Profile:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ProfileError(f"profile {number} needs a name")
    what = f"profile {entry['name']!r}"
    if not re.fullmatch(r"[A-Za-z0-9][\w .-]{0,63}", entry["name"]):
        raise ProfileError(f"{what} may be named with letters, digits, spaces and . - _ only")
    for key, value in entry.items():
        kinds = KEYS.get(key)
        if kinds is None:
            raise ProfileError(f"{what} has {key!r}; it may have {', '.join(KEYS)}")
        # For Python, true and false are numbers too.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ProfileError(f"{what} has a {key} that is no {_word(kinds)}")
    groups = entry.get("groups", [])
    environment = entry.get("environment", {})
    if not all(isinstance(group, str) and group for group in groups):
        raise ProfileError(f"{what} has groups that are no names")
    if not all(isinstance(part, str) for pair in environment.items() for part in pair):
        raise ProfileError(f"{what} has an environment that is not text; put quotes around it")
    memory = parse_size(str(entry["memory"])) if "memory" in entry else None
    if "memory" in entry and (memory is None or memory < 256 * 2**20):
        raise ProfileError(f"{what} has a memory that is no size such as 8G, of at least 256M")
    for key, least in (("cpus", 0.1), ("pids", 64)):
        if key in entry and entry[key] < least:
            raise ProfileError(f"{what} has {key} below {least:g}")
    rest = {
        key: entry[key]
        for key in ("name", "summary", "image", "cpus", "pids", "gpu", "podman")
        if key in entry
    }
    return Profile(groups=frozenset(groups), memory=memory, environment=environment, **rest)


def _word(kinds: tuple[type, ...]) -> str:
    words = {str: "text", list: "list", dict: "mapping", bool: "true or false"}
    return words.get(kinds[0], "number")


def allowed(profiles: Sequence[Profile], groups: Iterable[str]) -> tuple[Profile, ...]:
    """Return the profiles that a member of these groups may have."""
    groups = frozenset(groups)
    return tuple(each for each in profiles if not each.groups or each.groups & groups)


def chosen(
    profiles: Sequence[Profile], groups: Iterable[str], options: Mapping[str, Any]
) -> Profile | None:
    """Return the profile that somebody wants, or the first one that they may have.

    Args:
        options: what was sent when the lab was started.

    Returns:
        The profile; None where the hub has none.

    Raises:
        ProfileError: there is no such profile for them.
    """
    possible = allowed(profiles, groups)
    wanted = options.get(OPTION)
    if wanted is None:
        return possible[0] if possible else None
    for profile in possible:
        if profile.name == wanted:
            return profile
    # The same whether it does not exist or is somebody else's: what others have is not told.
    names = ", ".join(profile.name for profile in possible) or "none"
    raise ProfileError(f"There is no such kind of lab for you; you may choose: {names}.")


def form(profiles: Sequence[Profile]) -> str:
    """Return the HTML with which a person chooses; empty where there is nothing to choose."""
    if len(profiles) < 2:
        return ""
    options = "".join(
        f'<option value="{html.escape(each.name)}">{html.escape(each.name)}'
        f"{html.escape(f': {each.summary}' if each.summary else '')}</option>"
        for each in profiles
    )
    return (
        f'<label for="{OPTION}">Kind of lab</label>'
        f'<select class="form-control" id="{OPTION}" name="{OPTION}" autofocus>{options}</select>'
    )


def from_form(data: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the options that a sent form means."""
    return {OPTION: data[OPTION][0]} if data.get(OPTION) else {}
