"""The deployment's Makefile: every word it lists is there, and does what the scripts do."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from compose.stack import deployment_in
from needs import need

WORDS = {
    "build", "build_verbose", "pull", "push", "up", "down", "clean", "backup", "restore", "check",
    "logs", "status",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    deployment_in(tmp_path / "d")
    return tmp_path / "d"


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [need("make"), *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_lists_every_word(folder: Path) -> None:
    listed = set(re.findall(r"^  make (\w+)", make(folder).stdout, re.MULTILINE))
    assert listed == WORDS | {"help"}


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["build", "IMAGES=hub"], r"build\.py \"\$image\" --runtime docker"),
        (["up"], r"\./start\.sh"),
        (["backup"], r"\./data\.sh backup\s*$"),
        (["backup", "FILE=x.tar"], r"\./data\.sh backup \"x\.tar\""),
        (
            ["restore", "FILE=x.tar", "OVERWRITE=1"],
            r"OVERWRITE=\"1\" \./data\.sh restore \"x\.tar\"",
        ),
        (["clean"], r"\./data\.sh clean"),
    ],
)
def test_what_a_word_does(folder: Path, words: list[str], command: str) -> None:
    done = make(folder, "--dry-run", *words)
    assert done.returncode == 0, done.stderr
    assert re.search(command, done.stdout), done.stdout


def test_images_of_this_machine_are_not_pushed(folder: Path) -> None:
    done = make(folder, "push")
    assert done.returncode != 0
    assert "localhost/familiar-hub:latest is of this machine only" in done.stderr
