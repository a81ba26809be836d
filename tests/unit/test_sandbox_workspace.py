"""The share of a workspace, without a container: its rules, its numbers, the folder behind it."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

if not hasattr(os, "O_PATH"):
    pytest.skip("sandboxes are for Linux", allow_module_level=True)

from familiar_kernel.sandbox import fuse, share
from familiar_kernel.sandbox.folder import Folder
from familiar_kernel.sandbox.nodes import Nodes
from familiar_kernel.sandbox.protected import is_protected, leads_out
from familiar_kernel.sandbox.runtime import Runtime
from familiar_kernel.sandbox.workspace import Share, place_of, programs_in


@pytest.mark.parametrize(
    "path",
    [
        b".git",
        b".git/hooks/pre-commit",
        b"deep/er/.git/config",
        b"submodule/.git",
        b".GIT/config",
        ".g\u200cit/config".encode(),
        b".git./config",
        b".git /config",
        b"GIT~1/config",
        b"HEAD",
        b".mcp.json",
        b".mcp.json.tmp.4711",
        b".claude",
        b".claude/settings.local.json",
        b"CLAUDE.md",
        b"claude.md~",
        b".#CLAUDE.md",
        b".bashrc",
        b".bashrc.swp",
        b"..bashrc.swp",
        b".zshenv",
        b".profile",
        b".envrc",
        b".env.local",
        b"analysis.ipynb",
        b"Analysis.IPYNB",
        b".~analysis.ipynb",
        b"analysis.ipynb.tmp",
        b".analysis.ipynb.swp",
        b".ipynb_checkpoints/analysis-checkpoint.ipynb",
        b"jupyter_server_config.py",
        b"ipython_kernel_config.py",
        b"ipykernel_launcher.py",
        b"familiar_kernel/__main__.py",
        b"project.code-workspace",
        b"new\nline.ipynb",
        b".venv/bin/python",
        b".jupyter_ystore.db-wal",
    ],
)
def test_protected(path: bytes) -> None:
    assert is_protected(path)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"data.csv",
        b"git",
        b".github/workflows/ci.yml",
        b".gitignore",
        b".gitattributes",
        b"profile",
        b"cpu.profile",
        b"run.profile",
        b"claude.py",
        b"my-claude.md",
        b"README.md",
        b"header.txt",
        b"src/HEADER",
        b"environment.yml",
        b"env/bin/python",
        b"module/__init__.py",
        b"ipynb.txt",
        b"settings.json",
        b"\xff\xfe",
        "données/été.csv".encode(),
        b"a\nb",
    ],
)
def test_not_protected(path: bytes) -> None:
    assert not is_protected(path)


@pytest.mark.parametrize(
    ("target", "out"),
    [
        (b"data.csv", False),
        (b"below/data.csv", False),
        (b"..data", False),
        (b"./data", False),
        (b"/etc/passwd", True),
        (b"..", True),
        (b"../data", True),
        (b"below/../../data", True),
        (b".git/config", True),
        (b"nb.ipynb", True),
    ],
)
def test_links(target: bytes, out: bool) -> None:
    assert leads_out(target) is out


def test_a_node_is_found_again_and_forgotten() -> None:
    nodes = Nodes()
    folder = nodes.found(fuse.ROOT, b"folder", (1, 10))
    file = nodes.found(folder, b"file", (1, 11))
    assert nodes.found(folder, b"file", (1, 11)) == file
    assert nodes.path(file) == b"folder/file"
    nodes.renamed((fuse.ROOT, b"folder"), (fuse.ROOT, b"other"), exchanged=False)
    assert nodes.path(file) == b"other/file"
    nodes.forget(file, 1)
    assert nodes.path(file) == b"other/file"
    nodes.forget(file, 1)
    nodes.forget(folder, 1)
    assert len(nodes) == 1
    with pytest.raises(FileNotFoundError):
        nodes.path(file)


def test_another_file_under_the_same_name_is_another_node() -> None:
    nodes = Nodes()
    before = nodes.found(fuse.ROOT, b"file", (1, 10))
    after = nodes.found(fuse.ROOT, b"file", (1, 11))
    assert before != after
    assert nodes.is_gone(before)
    nodes.forget(before, 1)
    assert nodes.path(after) == b"file"


def test_names_change_places() -> None:
    nodes = Nodes()
    a = nodes.found(fuse.ROOT, b"a", (1, 10))
    b = nodes.found(fuse.ROOT, b"b", (1, 11))
    nodes.renamed((fuse.ROOT, b"a"), (fuse.ROOT, b"b"), exchanged=True)
    assert (nodes.path(a), nodes.path(b)) == (b"b", b"a")
    nodes.renamed((fuse.ROOT, b"b"), (fuse.ROOT, b"a"), exchanged=False)
    assert nodes.path(a) == b"a"
    assert nodes.is_gone(b)


def test_a_listing_is_cut_where_there_is_no_more_room() -> None:
    entries = [(b"x" * 20, 5, 0o100000)] * 10
    one = fuse.listing(entries[:1], 0, 1000)
    assert len(one) == 48
    assert struct.unpack_from("=QQII", one) == (5, 1, 20, 8)
    assert len(fuse.listing(entries, 0, 100)) == 96
    assert fuse.listing(entries, 0, 10) == b""


def test_an_old_kernel_is_refused() -> None:
    with pytest.raises(OSError, match="too old"):
        fuse.init(memoryview(struct.pack("=IIII", 7, 12, 0, 0)))


def test_nothing_outside_is_reached(tmp_path: Path) -> None:
    """Also not by a link that somebody puts in the place of a folder."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (inside / "link").symlink_to(outside)
    folder = Folder(str(inside))
    out = "Too many levels of symbolic links|Invalid cross-device link|Not a directory"
    for path in (b"link/secret", b"../out/secret", b"link/../link/secret"):
        with pytest.raises(OSError, match=out):
            folder.open(path, os.O_RDONLY)
        with pytest.raises(OSError, match=out):
            folder.create(path + b".new", os.O_WRONLY, 0o644)
        with pytest.raises(OSError, match=out):
            folder.unlink(path)
    with pytest.raises(OSError, match=out):
        folder.open(b"/etc/passwd", os.O_RDONLY)
    assert [p.name for p in outside.iterdir()] == ["secret"]


def test_a_pipe_of_the_host_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PermissionError):
        Folder(str(tmp_path)).open(b"pipe", os.O_RDONLY)


def test_an_open_file_that_becomes_protected_is_written_no_more(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    file = folder.create(b"draft", os.O_RDWR, 0o644)
    folder.check(file)
    (tmp_path / "draft").rename(tmp_path / "nb.ipynb")
    with pytest.raises(OSError, match="Read-only"):
        folder.check(file)
    (tmp_path / "nb.ipynb").rename(tmp_path.parent / "elsewhere")
    with pytest.raises(OSError, match="Read-only"):
        folder.check(file)
    (tmp_path.parent / "elsewhere").unlink()
    folder.check(file)  # nobody's any more
    os.close(file.fd)


def test_the_kernels_own_python_is_not_written_nor_moved(tmp_path: Path) -> None:
    python = tmp_path / "tools" / "python"
    (python / "lib").mkdir(parents=True)
    (tmp_path / "link").symlink_to(python)
    also = programs_in(str(tmp_path), [str(python), str(tmp_path / "link" / "lib"), "/usr", ""])
    assert also == ["tools/python", "tools/python/lib"]
    assert programs_in(str(python), [str(python), str(tmp_path)]) == []
    folder = Folder(str(tmp_path), [os.fsencode(path) for path in also])
    for change in (
        lambda: folder.create(b"tools/python/evil.py", os.O_WRONLY, 0o644),
        lambda: folder.rename(b"tools/python", b"away", 0),
        lambda: folder.rename(b"tools", b"away", 0),
    ):
        with pytest.raises(OSError, match="Read-only"):
            change()
    folder.mkdir(b"tools/mine", 0o755)
    folder.rename(b"tools/mine", b"away", 0)


def test_other_shares_are_not_seen(tmp_path: Path) -> None:
    """Two workspaces that hold each other's mounts would wait for each other for ever."""
    (tmp_path / "familiar-workspace-1-2-x-y").mkdir()
    folder = Folder(str(tmp_path))
    assert [name for name, _, _ in folder.entries(b"")] == [b".", b".."]
    with pytest.raises(FileNotFoundError):
        folder.stat(b"familiar-workspace-1-2-x-y")
    with pytest.raises(PermissionError):
        folder.mkdir(b"familiar-workspace-mine", 0o755)


def test_where_a_share_lies() -> None:
    place = place_of("/home/me/work", "/run/user/7/familiar-12-34-ab_c/s")
    assert place.startswith("/run/user/7/familiar-workspace-12-34-ab_c-")
    assert place != place_of("/home/me/other", "/run/user/7/familiar-12-34-ab_c/s")
    assert share._LEFT.fullmatch(Path(place).parent.name)


@pytest.mark.parametrize(
    ("code", "path", "told"),
    [
        (errno.ENOENT, "/dev/fuse", "modprobe fuse"),
        (errno.EACCES, "/dev/fuse", "chmod a+rw /dev/fuse"),
        (errno.ENOSYS, None, "5.6 or newer"),
        (errno.EPERM, "/tmp/x", "does not let you mount"),
        (errno.ENOSPC, "/tmp/x", "/tmp/x: No space left"),
    ],
)
def test_why_there_is_no_share(code: int, path: str | None, told: str) -> None:
    sentence = share.why_not(OSError(code, os.strerror(code), path))
    assert told in sentence
    assert "workspace_mode ro" in sentence


def test_docker_is_refused() -> None:
    from familiar_kernel.sandbox.faults import SandboxFault

    with pytest.raises(SandboxFault, match="choose workspace_mode ro"):
        Share(Runtime("docker"), "/work", "/tmp/place/w").open()


def test_a_podman_that_is_not_there_is_told(tmp_path: Path) -> None:
    from familiar_kernel.sandbox.faults import SandboxFault

    if os.geteuid() == 0:
        missing = Share(Runtime("podman"), str(tmp_path / "none"), str(tmp_path / "p" / "w"))
        with pytest.raises(SandboxFault, match="No such file"):
            missing.open()
    else:
        with pytest.raises(SandboxFault, match="cannot be run"):
            Share(Runtime("no-such-podman"), str(tmp_path), str(tmp_path / "p" / "w")).open()
