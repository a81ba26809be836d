"""The pre-push hook on a push of ten thousand commits, beside `git log -p` and other scanners.

A hook that reads every commit cannot be faster than git itself shows them, so `git log -p` is what
it is measured with. The others are measured where they are installed: git-secrets, which looks for
its few patterns with `git log -G`, and detect-secrets, which knows no commits and gets the files of
the last one.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .bench import ROOT, Bench
from .report import Row, Target
from .stats import Sample

NAME = "git-hooks"
HOOK = Path(ROOT, "deploy", "git-hooks", "pre-push")
FILES = 400
LINES = 60
"""Of a file when it is made; each commit changes some in up to three files."""
SECONDS = 5.0
"""What is promised for ten thousand commits."""
TIMEOUT = 900.0


def measure(bench: Bench) -> Iterator[Row]:
    """Measure all of it."""
    commits = bench.effort.of(full=10_000, quick=10_000, smoke=300)
    rounds = bench.effort.of(full=10, quick=3, smoke=1)
    home = bench.environment("git-hooks")
    bench.say(f"making {commits:,} commits")
    repository = _Repository(bench.folder / "pushed", home, commits)

    bench.say(f"the hook and git log -p, {rounds} times each")
    what = f"pre-push, {commits:,} commits"
    hook, log = _in_turn(rounds, repository.hook, repository.log)
    target = Target(SECONDS, absolute=True) if commits == 10_000 else None
    yield Row(NAME, what, "s", Sample("hook", hook), Sample("git log -p", log), target)

    few = bench.effort.of(full=5, quick=1, smoke=1)
    others = (
        (
            "git secrets --scan-history",
            repository.scan_history,
            "git-secrets has three patterns, for AWS.",
        ),
        (
            "detect-secrets scan",
            repository.scan_files,
            f"detect-secrets looks at the {FILES} files of the last commit only.",
        ),
    )
    for name, scan, note in others:
        if scan:
            bench.say(f"{name}, {few} times")
            hook, other = _in_turn(few, repository.hook, scan)
            yield Row(
                NAME, what, "s", Sample("hook", hook), Sample(name, other), speedup=True, note=note
            )


def _in_turn(
    rounds: int, *contenders: Callable[[], float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return how long each of two took in each round; one before warms what there is to warm."""
    took = [[run() for run in contenders] for _ in range(rounds + 1)][1:]
    first, second = (tuple(values) for values in zip(*took, strict=True))
    return first, second


class _Repository:
    """A repository whose commits no remote has, and what looks through it."""

    def __init__(self, folder: Path, home: dict[str, str], commits: int) -> None:
        self._folder, self._env = folder, {**home, "GIT_CONFIG_NOSYSTEM": "1"}
        folder.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")
        self._git("fast-import", "--quiet", given=b"".join(_history(commits)))
        self._git("reset", "--quiet", "--hard", "main")
        tip = self._git("rev-parse", "main").decode().strip()
        self._pushed = f"refs/heads/main {tip} refs/heads/main {'0' * 40}\n".encode()
        # A run that looked at nothing would be fast as well.
        told = self._run(sys.executable, str(HOOK), "--scan", "main", ends_with=1).decode()
        if not told.startswith("git-hooks: 1 finding in 1 commit"):
            raise RuntimeError(f"the hook did not find the one secret of this history: {told}")
        (folder / ".git-hooks-allow").write_text("rule:github-token\n")

    def hook(self) -> float:
        """Return how many seconds the hook takes to let the push pass."""
        began = time.perf_counter()
        self._run(sys.executable, str(HOOK), "origin", "nowhere", given=self._pushed)
        return time.perf_counter() - began

    def log(self) -> float:
        """Return how many seconds git takes to write what the hook must read."""
        began = time.perf_counter()
        self._git("log", "--patch", "--unified=0", "--root", "--format=%H%n%B", "main")
        return time.perf_counter() - began

    @property
    def scan_files(self) -> Callable[[], float] | None:
        program = _installed("detect-secrets")
        return (lambda: self._timed(program, "scan", "--all-files", ".")) if program else None

    @property
    def scan_history(self) -> Callable[[], float] | None:
        program = _installed("git-secrets")
        if program is None:
            return None
        self._run(program, "--register-aws", ends_with=None)  # again: fails, and is registered
        return lambda: self._timed(program, "--scan-history")

    def _timed(self, *words: str) -> float:
        began = time.perf_counter()
        self._run(*words)
        return time.perf_counter() - began

    def _git(self, *words: str, given: bytes = b"") -> bytes:
        return self._run("git", *words, given=given)

    def _run(self, *words: str, given: bytes = b"", ends_with: int | None = 0) -> bytes:
        done = subprocess.run(
            words, cwd=self._folder, env=self._env, input=given, capture_output=True,
            timeout=TIMEOUT, check=False,
        )  # fmt: skip
        if ends_with is not None and done.returncode != ends_with:
            raise RuntimeError(f"{words[0]} ended with {done.returncode}: {done.stderr[-500:]!r}")
        return done.stdout


def _installed(program: str) -> str | None:
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return shutil.which(program, path=beside)


def _history(commits: int) -> Iterator[bytes]:
    """Yield what fast-import makes a history of: real lines of code, changed here and there."""
    draw = random.Random(20240229)
    source = Path(os.__file__).parent
    real = [
        line
        for name in ("argparse", "subprocess", "typing", "inspect", "tarfile", "turtle", "datetime")
        for line in (source / f"{name}.py").read_bytes().splitlines()
    ]
    files: dict[str, list[bytes]] = {}
    for number in range(1, commits + 1):
        message = f"Change {number}\n\nWhat it is about, in a line or two.\n".encode()
        yield b"commit refs/heads/main\nmark :%d\n" % number
        yield b"committer Ada <ada@example.com> %d +0000\n" % (1_700_000_000 + number)
        yield b"data %d\n%b" % (len(message), message)
        changed = draw.sample(range(FILES), k=draw.randint(1, 3))
        for which in changed:
            name = f"part{which % 20}/file{which // 20}.py"
            lines = files.setdefault(name, draw.choices(real, k=LINES))
            at = draw.randrange(len(lines))
            lines[at : at + draw.randint(0, 8)] = draw.choices(real, k=draw.randint(1, 8))
            if number == commits // 2 and which == changed[0]:
                lines[0] = b"# " + b"gh" + b"p_" + b"aB3dE5" * 6
            content = b"\n".join(lines) + b"\n"
            yield f"M 644 inline {name}\n".encode() + b"data %d\n%b\n" % (len(content), content)
