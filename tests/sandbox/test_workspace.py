"""A sandbox that may write the workspace: what it must not reach, and that it reaches all of that
where the folder is simply mounted; and that all else works as in a folder.

Real containers, of root's podman and of an ordinary user's.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from kernels import Kernel, gone, words
from sandbox import sharing
from sandbox.podman import IMAGE, Podman

pytestmark = [pytest.mark.kernel]

BEFORE = "before"
PREPARE = """
import ctypes, json, mmap, os, subprocess, sys, time
os.chdir("/workspace")
told = {}
def attempt(name, do, *args):
    try:
        do(*args)
        told[name] = "done"
    except Exception as err:
        told[name] = type(err).__name__ + f" {getattr(err, 'errno', None)}"
def write(path):
    with open(path, "w") as file:
        file.write("evil")
"""
REPORT = "\nprint(json.dumps(told))\n"

WRITTEN = [
    ".git/config",
    ".git/hooks/pre-commit",
    "nested/.git/config",
    "nested/.git/hooks/post-checkout",
    "worktree/.git",
    ".mcp.json",
    ".claude/settings.json",
    "nested/.claude/settings.json",
    "CLAUDE.md",
    ".bashrc",
    ".profile",
    ".zshenv",
    ".envrc",
    ".vscode/tasks.json",
    "nb.ipynb",
    "nested/other.ipynb",
    ".ipynb_checkpoints/nb-checkpoint.ipynb",
    "jupyter_server_config.py",
    "ipykernel_launcher.py",
]
"""Files that are there, of the host."""
MADE = [
    "new/.git/hooks/pre-commit",
    "new/.mcp.json",
    "new/.claude/settings.json",
    "new/HEAD",
    "new/.GIT/config",
    "new/.bash_profile",
    ".mcp.json.tmp.4711",
    "new.ipynb",
    ".Mcp.json",
    "familiar_kernel/__main__.py",
]
"""Files that are not."""


@pytest.fixture(scope="module", params=["root", "rootless"])
def theirs(request: pytest.FixtureRequest, podman: Podman) -> Podman:
    """A podman, and whose it is."""
    wanted = podman if request.param == "root" else request.getfixturevalue("rootless")
    assert isinstance(wanted, Podman)
    return wanted


@pytest.fixture
def folder(theirs: Podman) -> Iterator[Path]:
    """A workspace with all that is protected, of that user."""
    place = Path(tempfile.mkdtemp(prefix="workspace-", dir="/tmp"))
    for name in WRITTEN:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(BEFORE)
    (place / "plain.txt").write_text(BEFORE)
    (place / "to").mkdir()
    os.link(place / ".git/config", place / "second-name")
    give(theirs, place)
    # Where root runs podman, the sandbox's user is nobody here: only so a plain mount shows
    # anything.
    for path in (place, *place.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    yield place
    shutil.rmtree(place)


def give(podman: Podman, place: Path) -> None:
    if podman.user:
        who = pwd.getpwnam(podman.user)
        for path in (place, *place.rglob("*")):
            os.chown(path, who.pw_uid, who.pw_gid, follow_symlinks=False)


def run(podman: Podman, folder: Path, code: str, *, shared: bool, **more: Any) -> dict[str, Any]:
    """Run code in a container that may write the folder, and return what it told."""
    job = {"folder": str(folder), "code": code, "image": IMAGE, "shared": shared, **more}
    program = Path(sharing.__file__).read_text()
    done = podman.outside(
        *podman.python(), "-c", program, json.dumps(job), check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def contents(folder: Path, names: Sequence[str]) -> dict[str, str | None]:
    return {n: (folder / n).read_text() if (folder / n).is_file() else None for n in names}


ATTACK_NAMES = PREPARE + f"""
os.mkdir("new")
for name in {WRITTEN!r}:
    attempt(name, write, name)
for name in {MADE!r}:
    attempt("folder of " + name, lambda n: os.makedirs(os.path.dirname(n) or ".", exist_ok=True),
            name)
    attempt(name, write, name)
""" + REPORT  # fmt: skip


def test_what_is_protected_is_not_written(theirs: Podman, folder: Path) -> None:
    run(theirs, folder, ATTACK_NAMES, shared=True)
    assert contents(folder, WRITTEN) == dict.fromkeys(WRITTEN, BEFORE)
    assert contents(folder, MADE) == dict.fromkeys(MADE)


def test_and_is_written_where_the_folder_is_mounted(theirs: Podman, folder: Path) -> None:
    run(theirs, folder, ATTACK_NAMES, shared=False)
    assert contents(folder, WRITTEN + MADE) == dict.fromkeys(WRITTEN + MADE, "evil")


ATTACK_WAYS = PREPARE + """
libc = ctypes.CDLL(None, use_errno=True)
def exchange(a, b):
    if libc.renameat2(-100, a.encode(), -100, b.encode(), 2):
        raise OSError(ctypes.get_errno(), "exchange")
def link_and_write():
    os.link(".git/config", "mine")
    write("mine")
def rename_and_write():
    os.rename(".git", "git2")
    write("git2/config")
def put_in_place():
    os.mkdir("evil"); write("evil/config")
    os.rename("evil", "new-repository.tmp")
    os.rename("new-repository.tmp", "to/.git")
def parent():
    os.rename("nested", "nested2")
    write("nested2/.git/config")
def append():
    with open(".claude/settings.json", "a") as file: file.write("evil")
def by_fd():
    there = os.open(".git", os.O_RDONLY)
    os.close(os.open("config", os.O_WRONLY | os.O_TRUNC, dir_fd=there))
def by_proc():
    file = os.open(".mcp.json", os.O_RDONLY)
    write(f"/proc/self/fd/{file}")
def mapped():
    with open("nb.ipynb", "r+b") as file:
        mmap.mmap(file.fileno(), 0)[:4] = b"evil"
attempt("a second name", write, "second-name")
attempt("a second name of ours", link_and_write)
attempt("exchange", lambda: (write("mine2"), exchange("mine2", ".mcp.json")))
attempt("replace", lambda: (write("mine3"), os.replace("mine3", ".bashrc")))
attempt("remove", os.unlink, ".envrc")
attempt("truncate", os.truncate, ".profile", 0)
attempt("put in place", put_in_place)
attempt("parent", parent)
attempt("append", append)
attempt("by fd", by_fd)
attempt("by proc", by_proc)
attempt("mapped", mapped)
attempt("mode", os.chmod, ".zshenv", 0o755)
attempt("rename", rename_and_write)
""" + REPORT  # fmt: skip
HELD_BACK = {
    "a second name", "a second name of ours", "exchange", "replace", "remove", "truncate", "rename",
    "put in place", "parent", "append", "by fd", "by proc", "mapped", "mode",
}  # fmt: skip


def test_no_way_around_the_name_works(theirs: Podman, folder: Path) -> None:
    told = run(theirs, folder, ATTACK_WAYS, shared=True)
    assert {name for name, how in told.items() if how == "done"} == set()
    (folder / "nested2").rename(folder / "nested")  # a folder may be renamed with what is in it
    assert contents(folder, WRITTEN) == dict.fromkeys(WRITTEN, BEFORE)
    assert not (folder / "to/.git").exists()


def test_and_all_do_where_the_folder_is_mounted(theirs: Podman, folder: Path) -> None:
    told = run(theirs, folder, ATTACK_WAYS, shared=False)
    done = {name for name, how in told.items() if how == "done"}
    # Only an owner changes a mode, and makes a second name where fs.protected_hardlinks is set.
    assert done >= HELD_BACK - {"mode", "a second name of ours"}
    if theirs.user:
        assert "mode" in done


ATTACK_HOST = PREPARE + """
attempt("absolute", os.symlink, "/etc/passwd", "notes.txt")
attempt("upwards", os.symlink, "../../etc/passwd", "to/notes.txt")
attempt("to a protected file", os.symlink, ".git/config", "notes2.txt")
attempt("pipe", os.mkfifo, "data.csv")
attempt("device", os.mknod, "disk", 0o060666, os.makedev(8, 0))
import socket
attempt("socket", lambda: socket.socket(socket.AF_UNIX).bind("here.sock"))
attempt("within", os.symlink, "plain.txt", "to-plain")
write("program")
os.chmod("program", 0o6755)
told["program"] = oct(os.stat("program").st_mode)
os.mkdir("shared-folder"); os.chmod("shared-folder", 0o3777)
""" + REPORT  # fmt: skip


def test_nothing_is_left_that_traps_a_host_program(theirs: Podman, folder: Path) -> None:
    told = run(theirs, folder, ATTACK_HOST, shared=True)
    assert {name for name, how in told.items() if how == "done"} == {"within"}
    assert (folder / "program").stat().st_mode & 0o7777 == 0o755
    assert (folder / "shared-folder").stat().st_mode & 0o7777 == 0o777
    left = {p.name for p in folder.rglob("*") if not (p.is_file() or p.is_dir())}
    assert left == set()


def test_and_is_where_the_folder_is_mounted(theirs: Podman, folder: Path) -> None:
    told = run(theirs, folder, ATTACK_HOST, shared=False)
    done = {name for name, how in told.items() if how == "done"}
    assert done >= {"absolute", "upwards", "to a protected file", "pipe", "socket"}
    assert (folder / "program").stat().st_mode & 0o4000


RACE = PREPARE + """
import threading
write("begun")
names = ["nb.ipynb", ".nb.ipynb.tmp", ".~nb.ipynb", "nb.ipynb~", "nb.ipynb.4711"]
held, got = {}, 0
def opened(name):
    try:
        return os.open(name, os.O_RDWR)
    except OSError:
        return None
while not os.path.exists("end"):
    for name in names:
        # What is open stays open: it may have become the notebook by the next round.
        file = opened(name)
        if file is not None:
            held[file] = name
        for act in (lambda: os.truncate(name, 0), lambda: os.unlink(name),
                    lambda: os.replace("mine", name), lambda: os.rename(name, "taken")):
            try:
                if not os.path.exists("mine"): write("mine")
                act()
            except OSError:
                pass
    for file in list(held):
        try:
            got += os.pwrite(file, b"evil", 0)
        except OSError:
            pass
        if len(held) > 50:
            os.close(file); del held[file]
told["written"] = got
""" + REPORT  # fmt: skip


@pytest.mark.slow
def test_a_notebook_that_is_saved_all_the_time_is_never_written(
    theirs: Podman, folder: Path
) -> None:
    told = run(theirs, folder, RACE, shared=True, saves=1000)
    assert told["written"] == 0


ONCE = PREPARE + """
attempt("covered", write, "nb.ipynb")
write("begun")
while not os.path.exists("end"): time.sleep(0.01)
attempt("saved once", write, "nb.ipynb")
""" + REPORT  # fmt: skip


def test_and_a_mount_upon_it_would_be_gone_after_one_save(theirs: Podman, folder: Path) -> None:
    """Why the workspace is not simply mounted with what is protected covered."""
    if theirs.user:
        (folder / "nb.ipynb").chmod(0o666)
    told = run(theirs, folder, ONCE, shared=False, covered=["nb.ipynb"], saves=1)
    assert told["covered"] == "OSError 30"
    assert told["saved once"] in ("done", "PermissionError 13")  # as root another user's file
    told = run(theirs, folder, ONCE, shared=True, saves=1)
    assert set(told.values()) == {"OSError 30"}


HELD = PREPARE + """
write("draft")
by_write = os.open("draft", os.O_RDWR)
by_map = mmap.mmap(by_write, 4)
write("begun")
while not os.path.exists("end"): time.sleep(0.01)
by_map[:] = b"EVIL"
attempt("mapped", by_map.flush)
attempt("written", os.pwrite, by_write, b"EVIL", 0)
attempt("truncated", os.ftruncate, by_write, 0)
""" + REPORT  # fmt: skip


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "mounted"])
def test_an_open_file_that_the_host_makes_a_protected_one(
    theirs: Podman, folder: Path, shared: bool
) -> None:
    job = {"folder": str(folder), "code": HELD, "image": IMAGE, "shared": shared}
    program = Path(sharing.__file__).read_text()
    with subprocess.Popen(
        theirs.command(*theirs.python(), "-c", program, json.dumps(job)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: (folder / "begun").exists())
        os.replace(folder / "draft", folder / ".mcp.json")
        (folder / "end").touch()
        out, _ = process.communicate(timeout=60)
    told = json.loads(out.strip().splitlines()[-1])
    if shared:
        assert told["written"] == told["truncated"] == "OSError 30"
        assert told["mapped"] != "done"
        assert (folder / ".mcp.json").read_text() == "evil"  # as it was when the host took it
    else:
        assert told["written"] == "done"
        assert (folder / ".mcp.json").read_text() != "evil"


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


WORK = PREPARE + r"""
import shutil, sqlite3, tempfile
import numpy
told["seen"] = open("plain.txt").read(), open(".git/config").read(), open("nb.ipynb").read()
write("new.txt")
with open("new.txt", "a") as file: file.write("+more")
os.makedirs("a/b/c"); write("a/b/c/d"); os.rename("a/b", "a/e")
told["tree"] = sorted(str(p) for p, _, _ in os.walk("a"))
shutil.copytree("a", "copy"); shutil.rmtree("a")
base = sqlite3.connect("data.db")
base.execute("pragma journal_mode=wal"); base.execute("create table t (a)")
base.executemany("insert into t values (?)", ((i,) for i in range(1000))); base.commit()
told["sqlite"] = base.execute("select sum(a) from t").fetchone()[0]; base.close()
memory = numpy.memmap("memory.bin", dtype="u2", mode="w+", shape=(100_000,))
memory[:] = numpy.arange(100_000); memory.flush(); del memory
told["memmap"] = int(numpy.memmap("memory.bin", dtype="u2", mode="r")[65535])
with tempfile.TemporaryFile(dir=".") as file:
    file.write(b"x" * 10); file.flush()
    told["unnamed"] = os.fstat(file.fileno()).st_size
open(b"odd\n\xff name", "w").close()
told["odd"] = b"odd\n\xff name" in os.listdir(b".")
os.mkdir("many")
for i in range(3000): open(f"many/{i}", "w").close()
told["many"] = len(set(os.listdir("many")))
shutil.rmtree("many")
libc = ctypes.CDLL(None, use_errno=True)
write("one"); told["not over"] = libc.renameat2(-100, b"one", -100, b"plain.txt", 1)
open("two", "w").write("two"); libc.renameat2(-100, b"one", -100, b"two", 2)
told["exchanged"] = open("one").read()
data = os.urandom(20_000_000); open("big", "wb").write(data)
told["big"] = open("big", "rb").read() == data
with open("big", "r+b") as file:
    file.truncate(5); file.seek(10); file.write(b"end")
told["hole"] = open("big", "rb").read()[5:] == bytes(5) + b"end"
os.utime("big", ns=(10**18, 10**18 + 7)); told["time"] = os.stat("big").st_mtime_ns
os.chmod("new.txt", 0o750); told["mode"] = oct(os.stat("new.txt").st_mode)
told["mine"] = os.stat("new.txt").st_uid == os.getuid() == os.stat("plain.txt").st_uid
told["access"] = [os.access(p, os.W_OK) for p in ("plain.txt", ".git/config", ".")]
told["free"] = shutil.disk_usage(".").free > 0
told["run"] = subprocess.run([sys.executable, "-c", "open('child', 'w').write('1')"]).returncode
told["cwd"] = os.getcwd()
""" + REPORT  # fmt: skip


def test_all_else_works_as_in_a_folder(theirs: Podman, folder: Path) -> None:
    told = run(theirs, folder, WORK, shared=True)
    assert told == {
        "seen": [BEFORE] * 3,
        "tree": ["a", "a/e", "a/e/c"],
        "sqlite": 499500,
        "memmap": 65535,
        "unnamed": 10,
        "odd": True,
        "many": 3000,
        "not over": -1,
        "exchanged": "two",
        "big": True,
        "hole": True,
        "time": 10**18 + 7,
        "mode": "0o100750",
        "mine": True,
        "access": [True, False, True],
        "free": True,
        "run": 0,
        "cwd": "/workspace",
    }
    assert (folder / "new.txt").read_text() == "evil+more"
    assert (folder / "copy/e/c/d").read_text() == "evil"
    owner = folder.stat().st_uid
    assert {p.lstat().st_uid for p in folder.rglob("*")} == {owner}


def test_the_hosts_changes_are_seen(theirs: Podman, folder: Path) -> None:
    code = PREPARE + """
told["before"] = open("plain.txt").read()
write("begun")
while not os.path.exists("end"): time.sleep(0.01)
time.sleep(0.2)
told["after"] = open("nb.ipynb").read()
""" + REPORT  # fmt: skip
    told = run(theirs, folder, code, shared=True, saves=1)
    assert told == {"before": BEFORE, "after": "saved"}


def test_what_is_somebody_elses_stays_theirs(rootless: Podman, tmp_path: Path) -> None:
    """The person's own rights are all that there is."""
    if os.geteuid() != 0:
        pytest.skip("only root makes files of somebody else")
    place = Path(tempfile.mkdtemp(prefix="workspace-", dir="/tmp"))
    try:
        give(rootless, place)
        (place / "secret").write_text("secret")
        (place / "secret").chmod(0o600)
        (place / "theirs").write_text("theirs")
        code = (
            PREPARE + 'attempt("r", lambda: open("secret").read())\nattempt("w", write, "theirs")'
        )
        told = run(rootless, place, code + REPORT, shared=True)
        assert told == {"r": "PermissionError 13", "w": "PermissionError 13"}
    finally:
        shutil.rmtree(place)


def test_root_serves_with_the_rights_of_whose_folder_it_is(
    podman: Podman, rootless: Podman
) -> None:
    if os.geteuid() != 0:
        pytest.skip("this is about root")
    place = Path(tempfile.mkdtemp(prefix="workspace-", dir="/tmp"))
    try:
        give(rootless, place)
        (place / "roots").write_text("roots")
        code = PREPARE + 'attempt("own", write, "own")\nattempt("roots", write, "roots")' + REPORT
        told = run(podman, place, code, shared=True)
        assert told == {"own": "done", "roots": "PermissionError 13"}
        assert (place / "own").stat().st_uid == pwd.getpwnam(rootless.user).pw_uid
    finally:
        shutil.rmtree(place)


def test_a_full_disk_is_an_error_that_the_code_sees(podman: Podman, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        code = PREPARE + """
def fill():
    with open("much", "wb") as file: file.write(bytes(5_000_000))
attempt("full", fill)
""" + REPORT  # fmt: skip
        assert run(podman, small, code, shared=True) == {"full": "OSError 28"}
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_link_to_the_workspace_and_a_link_of_the_persons(
    theirs: Podman, folder: Path, tmp_path: Path
) -> None:
    """The workspace may be reached by a link. One in it that leads out leads nowhere inside."""
    os.symlink("/etc/hostname", folder / "out")
    os.symlink("plain.txt", folder / "within")
    link = folder.with_name(folder.name + "-link")
    link.symlink_to(folder)
    try:
        code = PREPARE + """
attempt("within", write, "within")
told["out"] = os.readlink("out")
told["sandbox"] = not os.path.exists("/workspace/etc/passwd")
""" + REPORT  # fmt: skip
        told = run(theirs, link, code, shared=True)
        assert told == {"within": "done", "out": "/etc/hostname", "sandbox": True}
        assert (folder / "plain.txt").read_text() == "evil"
    finally:
        link.unlink()


def test_what_killed_shares_have_left_is_taken_away(theirs: Podman, folder: Path) -> None:
    """Both of its processes are killed while it is mounted; the next share removes it."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = Path(tempfile.gettempdir(), f"familiar-workspace-{dead.pid}-1-x-y")
    job = {
        "folder": str(folder), "also": [], "place": f"{left}/w", "user": 0, "as_owner": False,
    }  # fmt: skip
    code = f"from familiar_kernel.sandbox import share; share.main({json.dumps(job)!r})"
    python = [*(["podman", "unshare"] if theirs.user else []), *theirs.python(), "-c", code]
    with subprocess.Popen(theirs.command(*python), stdin=subprocess.PIPE) as process:
        assert process.wait(30) == 0
        for share in shares():
            if str(left) in " ".join(words(share)):
                share.kill()
    assert left.exists()
    run(theirs, folder, PREPARE + REPORT, shared=True)
    assert not left.exists()
    assert (folder / "plain.txt").read_text() == BEFORE


# -- in a kernel --

Start = Callable[..., AbstractContextManager[Kernel]]


def shares() -> list[psutil.Process]:
    """The processes that serve workspaces of kernels."""
    return [p for p in psutil.process_iter() if any("share.main" in word for word in words(p))]


def left(pid: int) -> list[str]:
    """What is mounted, or lies about, of a kernel's shares."""
    mounts = Path("/proc/mounts").read_text().split()
    found = [path for path in mounts if f"familiar-workspace-{pid}-" in path]
    return found + [str(p) for p in Path("/tmp").glob(f"familiar-workspace-{pid}-*")]


@pytest.mark.parametrize("killed", [False, True], ids=["shut down", "killed"])
def test_a_kernel_whose_cells_write(start_sandboxed: Start, killed: bool) -> None:
    before = {p.pid for p in shares()}
    with start_sandboxed(workspace_mode="rw") as kernel:
        written = kernel.run("open('/workspace/result.txt', 'w').write('kept')")
        assert written.status == "ok", written.error
        assert "Read-only" in kernel.run("open('/workspace/a.ipynb', 'w')").error
        restarted = kernel.run("%sandbox_restart")
        assert restarted.status == "ok", restarted.error
        assert "'kept'" in kernel.run("open('/workspace/result.txt').read()").text()
        ours = [p for p in shares() if p.pid not in before]
        assert ours
        pid = kernel.pid
        if killed:
            psutil.Process(pid).kill()
    assert not gone(ours, within=25)
    assert left(pid) == []


def test_a_share_that_is_killed_is_an_error_that_the_person_sees(start_sandboxed: Start) -> None:
    before = {p.pid for p in shares()}
    with start_sandboxed(workspace_mode="rw") as kernel:
        assert kernel.run("open('/workspace/one', 'w').close()").status == "ok"
        serving = [p for p in shares() if p.pid not in before and not p.children()]
        assert len(serving) == 1
        serving[0].kill()
        assert gone(serving, within=5) == []
        failed = kernel.run("open('/workspace/two', 'w').close()")
        assert failed.status == "error"
        # IPython, which stands in that folder, cannot format the traceback, and prints a plain one.
        shown = failed.error + failed.stream("stdout") + failed.stream("stderr")
        assert "not connected" in shown
        assert kernel.run("%sandbox_restart").status == "ok"
        assert kernel.run("open('/workspace/two', 'w').close()").status == "ok"
        pid = kernel.pid
    until(lambda: left(pid) == [], 25)
