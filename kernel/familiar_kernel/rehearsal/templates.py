"""The few variables that a scripted text may use, put in without giving a script any power over
Python.

``{prompt}``, ``{turn}``, ``{model}``, ``{tool_result}`` and the groups of the rule's own patterns,
``{match[1]}``, ``{earlier[name]}``, ``{result[1]}``. Every other brace stays as it is, so LaTeX and
JSON can be written plainly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

NAMES = {
    "prompt": "the text of the prompt",
    "turn": "the number of the turn, from 1",
    "model": "the model that was asked for",
    "tool_result": "the text of the tool result that came back",
    "match": "groups of the pattern in prompt",
    "earlier": "groups of the pattern in earlier",
    "result": "groups of the pattern in tool_result",
}
"""What each variable holds."""

_REFERENCE = re.compile(
    r"\{(?:(?P<plain>prompt|turn|model|tool_result)|(?P<groups>match|earlier|result)\[(?P<group>\w+)\])\}"
)


def references(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield the variables that a text uses: name and group, where the group may be None."""
    for found in _REFERENCE.finditer(text):
        yield found["plain"] or found["groups"], found["group"]


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with its variables put in; one that has no value here becomes empty.

    Args:
        text: a scripted text.
        variables: values by name; groups under ``match[1]`` and so on.
    """
    return _REFERENCE.sub(lambda found: variables.get(found[0][1:-1], ""), text)


def fill_all(value: Any, variables: Mapping[str, str]) -> Any:
    """Return a JSON value with the variables put into every text in it."""
    if isinstance(value, str):
        return fill(value, variables)
    if isinstance(value, dict):
        return {key: fill_all(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_all(item, variables) for item in value]
    return value


def groups(name: str, match: re.Match[str] | None) -> dict[str, str]:
    """Return the variables that a match gives: ``name[0]`` is all of it, then come its groups."""
    if match is None:
        return {}
    values = {f"{name}[{number}]": match[number] or "" for number in range(match.re.groups + 1)}
    values.update({f"{name}[{key}]": text or "" for key, text in match.groupdict().items()})
    return values
