"""Which volumes are nobody's: the rules that an administrator's command goes by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from familiar_hub import leftovers, spawning
from familiar_hub.leftovers import Leftover, left, note, theirs
from familiar_hub.settings import Settings

HUBS = Settings(image="familiar-lab:1")


def volume(name: str, person: str = "", account: str = "") -> dict[str, object]:
    labels = spawning.volume_labels(person, account) if account else None
    return {"Name": name, "Labels": labels}


def test_what_is_left(tmp_path: Path) -> None:
    hub = replace(HUBS, data=tmp_path)
    volumes = [
        volume("jupyterlab-ann_home", "ann", "B2"),
        volume("jupyterlab-ann_cache", "ann", "A1"),
        volume("jupyterlab-ann_workspace"),
        volume("jupyterlab-ben_home", "ben", "C3"),
        # None of a person's:
        volume("jupyterlab--shared"),
        volume("jupyterlab--shared_home2"),
        volume("jupyterlabs-ann_home"),
        volume("other"),
    ]
    assert left(hub, volumes, {"ann": "B2", "eve": "D4"}) == [
        Leftover("jupyterlab-ann_cache", "ann", "A1"),
        Leftover("jupyterlab-ann_workspace", "ann", ""),
        Leftover("jupyterlab-ben_home", "ben", "C3"),
    ]
    note(tmp_path, "jupyterlab-ann_cache", "B2")
    assert [one.name for one in left(hub, volumes, {"ann": "B2", "ben": "C3"})] == [
        "jupyterlab-ann_workspace"
    ]


def test_whose_a_volume_is(tmp_path: Path) -> None:
    home, labels = "jupyterlab-ann_home", spawning.volume_labels("ann", "A1")
    assert theirs(tmp_path, home, labels, "A1")
    assert not theirs(tmp_path, home, labels, "B2")
    assert not theirs(tmp_path, home, None, "A1")
    assert not theirs(tmp_path, home, None, "B2")
    # Brought back by a backup, without labels and with the hub's notes.
    note(tmp_path, home, "A1")
    assert theirs(tmp_path, home, None, "A1")
    assert not theirs(tmp_path, home, None, "B2")
    assert not theirs(tmp_path, "jupyterlab-ann_cache", None, "A1")
    # Handed over, to that account and to none that comes later.
    note(tmp_path, home, "B2")
    assert theirs(tmp_path, home, labels, "B2")
    assert not theirs(tmp_path, home, labels, "C3")
    assert [file.name for file in (tmp_path / leftovers.NOTES).iterdir()] == [home]


def test_without_the_hubs_database_nothing_is_taken_as_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not there; run this where the hub runs"):
        leftovers.accounts(replace(HUBS, data=tmp_path))
    assert list(tmp_path.iterdir()) == []
