"""Backup, restore and clean on a platform that runs: all is back, and nothing is lost unasked."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import tarfile
from pathlib import Path

import pytest

from compose.stack import Images, Stack, deployment_in, run_script, running_stack
from deploy.engines import Engine

pytest_plugins = ["compose.stack_fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _write(stack: Stack, volume: str, code: str) -> None:
    stack.engine.run(
        "run", "--rm", "--network=none", "--user=1000", "--entrypoint=sh", f"--volume={volume}:/v",
        stack.variables["HUB_IMAGE"], "-c", f"cd /v && {code}",
    )  # fmt: skip


def _read(stack: Stack, volume: str, code: str) -> str:
    done = stack.engine.run(
        "run", "--rm", "--network=none", "--user=0", "--entrypoint=sh", f"--volume={volume}:/v:ro",
        stack.variables["HUB_IMAGE"], "-c", f"cd /v && {code}",
    )  # fmt: skip
    return done.stdout.strip()


def test_a_platform_comes_back_from_its_backup(
    docker_engine: Engine, stack_images: Images, tmp_path: Path
) -> None:
    with running_stack(docker_engine, stack_images, tmp_path / "d") as stack:
        prefix, run = stack.variables["FAMILIAR_HUB_PREFIX"], docker_engine.run
        stack.person("ada")
        home, work = f"{prefix}-ada_home", f"{prefix}-ada_workspace"
        cache, shared = f"{prefix}-ada_cache", f"{prefix}--shared"
        for volume in (home, work, cache, shared):
            run("volume", "create", volume)
            run(
                "run", "--rm", "--network=none", "--user=0", "--entrypoint=sh",
                f"--volume={volume}:/v", stack.variables["HUB_IMAGE"], "-c", "chown 1000:1000 /v",
            )  # fmt: skip
        _write(stack, home, "echo secret >key && chmod 600 key && ln -s key link && mkdir 'a b'")
        _write(stack, work, "truncate -s 100M hole && echo ü >'ü?.txt' && chmod 755 'ü?.txt'")
        _write(stack, cache, "echo again >made")
        stranger = f"{prefix}x-ada_home"
        run("volume", "create", stranger)
        authority = stack.authority.read_bytes()
        cookies = stack.run("hub", "cat /srv/jupyterhub/cookie_secret")

        file = tmp_path / "backup.tar"
        said = stack.script("data.sh", "backup", str(file)).stdout
        assert "3 volumes of people" in said
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.stat().st_size < 20_000_000  # holes stay holes
        with tarfile.open(file) as archive:
            names = archive.getnames()
            told = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest"))
            database = archive.extractfile("hub/jupyterhub.sqlite")
            assert database
            (tmp_path / "copy.sqlite").write_bytes(database.read())
        assert names[0] == "manifest.json"
        assert told["volumes"] == sorted([home, work, shared])
        assert not [name for name in names if "proxy.pid" in name or stranger in name]
        copy = sqlite3.connect(tmp_path / "copy.sqlite")
        assert ("ada",) in copy.execute("SELECT name FROM users").fetchall()
        copy.close()
        # A second one does not take its place.
        again = stack.script("data.sh", "backup", str(file), check=False)
        assert (again.returncode, again.stderr) == (
            1, f"data.sh: {file} is there already; name another file.\n",
        )  # fmt: skip

        # Nothing is written over while it runs, or while there is something.
        up = stack.script("data.sh", "restore", str(file), check=False)
        assert up.stderr == "data.sh: The platform is up; type: make down\n"
        with (stack.folder / ".env").open("a") as settings:
            settings.write("# changed since the backup\n")
        changed = (stack.folder / ".env").read_text()
        up = stack.script("data.sh", "restore", str(file), check=False, OVERWRITE="1")
        assert up.stderr == "data.sh: The platform is up; type: make down\n"
        assert (stack.folder / ".env").read_text() == changed
        stack.compose("down", "--timeout=5")
        full = stack.script("data.sh", "restore", str(file), check=False)
        assert full.returncode == 1
        assert f"{stack.project}_hub-data" in full.stderr
        assert "set OVERWRITE=1" in full.stderr
        assert _read(stack, home, "cat key") == "secret"

        # Clean wants to be told so.
        for word in ("", "yes"):
            variables = {"CONFIRM": word} if word else {}
            kept = stack.script("data.sh", "clean", check=False, **variables)
            assert kept.returncode == 1
        assert "set CONFIRM=" in stack.script("data.sh", "clean", check=False).stderr
        assert _read(stack, home, "cat key") == "secret"
        stack.script("data.sh", "clean", CONFIRM=stack.project)
        left = run("volume", "ls", "--quiet").stdout.split()
        assert not [name for name in left if name.startswith((f"{prefix}-", stack.project))]
        assert stranger in left
        run("volume", "rm", stranger)
        assert not (stack.folder / "secrets").exists()

        # As on a new machine: no settings, no secrets, nothing.
        (stack.folder / ".env").unlink()
        stack.script("data.sh", "restore", str(file))
        assert (stack.folder / "secrets" / "admin_password").stat().st_mode & 0o077 == 0
        assert _read(stack, home, "cat link; stat -c %u:%a key; ls -d 'a b'") == (
            "secret\n1000:600\na b"
        )
        assert _read(stack, work, "cat 'ü?.txt'; stat -c %s hole; du -k hole | cut -f1") == (
            "ü\n104857600\n0"
        )
        stack.script("start.sh")
        assert stack.run("hub", "cat /srv/jupyterhub/cookie_secret") == cookies
        # Whoever trusted the authority trusts it still.
        assert stack.authority.read_bytes() == authority
        browser = stack.browser()
        assert browser.sign_in("ada", "a long and rare password").status == 302


def test_what_is_no_backup(docker_engine: Engine, stack_images: Images, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    deployment_in(folder, HUB_IMAGE=stack_images.hub, COMPOSE_PROJECT_NAME="familiar-test-none")
    (tmp_path / "x.tar").write_bytes(os.urandom(2000))
    (tmp_path / "manifest.json").write_text('{"format": 1,\n"volumes": []}\n')
    with tarfile.open(tmp_path / "cut.tar", "w") as archive:
        archive.add(tmp_path / "manifest.json", "manifest.json")
    for words, said in (
        (["restore"], "data.sh: Name the file: ./data.sh restore FILE\n"),
        (["restore", "/nowhere"], "data.sh: There is no /nowhere that can be read.\n"),
        (
            ["restore", str(tmp_path / "x.tar")],
            f"data.sh: {tmp_path / 'x.tar'} is no backup of this platform.\n",
        ),
        (
            ["backup"],
            "data.sh: There is no volume familiar-test-none_hub-data; nothing was started here"
            " yet.\n",
        ),
        (["reset"], "data.sh: There is no reset; ./data.sh --help says what there is.\n"),
    ):
        done = run_script(docker_engine, folder, "data.sh", *words, check=False)
        assert (done.returncode, done.stderr) == (1, said)
    before, cut = (folder / ".env").read_text(), str(tmp_path / "cut.tar")
    done = run_script(docker_engine, folder, "data.sh", "restore", cut, check=False, OVERWRITE="1")
    assert (done.returncode, done.stderr) == (
        1, f"data.sh: {cut} is damaged: its settings cannot be read. Nothing was changed.\n",
    )  # fmt: skip
    assert (folder / ".env").read_text() == before
