"""The state of widgets, kept in a notebook's metadata, so that a front end can draw them without a
kernel. Pure functions on the format of https://ipywidgets.readthedocs.io ("Model state").

What this run has made is nbclient's; what earlier runs have made stays as long as a cell shows it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
_REFERENCE = re.compile(r"IPY_MODEL_([^\"'\s]+)")

Models = dict[str, Any]


def models_of(metadata: Any) -> Models:
    """Return the models that a notebook's ``widgets`` metadata holds, by their ids."""
    bundle = metadata.get(STATE) if isinstance(metadata, dict) else None
    state = bundle.get("state") if isinstance(bundle, dict) else None
    return state if isinstance(state, dict) else {}


def metadata_of(models: Models) -> dict[str, Any]:
    """Return the ``widgets`` metadata that holds some models."""
    return {STATE: {"state": models, "version_major": 2, "version_minor": 0}}


def shown(outputs: Iterable[dict[str, Any]]) -> set[str]:
    """Return the ids of the models that outputs show."""
    found = set()
    for output in outputs:
        data = output.get("data")
        view = data.get(VIEW) if isinstance(data, dict) else None
        if isinstance(view, dict) and isinstance(view.get("model_id"), str):
            found.add(view["model_id"])
    return found


def merged(old: Models, made: Models, changed: Models, roots: set[str]) -> Models:
    """Return the models that a notebook is to hold.

    Args:
        old: those that it holds.
        made: those that were made now.
        changed: parts of the states of others, which were changed now.
        roots: the ids of those that its cells show.
    """
    models: Models = {**old, **made}
    for id, state in changed.items():
        if id in old and id not in made and isinstance(old[id].get("state"), dict):
            models[id] = copy.deepcopy(old[id])
            models[id]["state"].update(state)
    keep = _connected(models, roots | made.keys())
    return {id: model for id, model in models.items() if id in keep}


def _connected(models: Models, roots: set[str]) -> set[str]:
    """Return what belongs to some models: a slider's style, and also the link between two sliders,
    to which neither of them refers."""
    beside: dict[str, set[str]] = {id: set() for id in models}
    for id, model in models.items():
        for other in _references(model):
            if other in beside:
                beside[id].add(other)
                beside[other].add(id)
    found: set[str] = set()
    left = [id for id in roots if id in beside]
    while left:
        id = left.pop()
        if id not in found:
            found.add(id)
            left += beside[id] - found
    return found


def _references(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield from _REFERENCE.findall(value)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
