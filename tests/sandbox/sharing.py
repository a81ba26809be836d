"""Runs some code in a container that may write a folder: shared as the product does it, or mounted
as it is, to show what the code could do then.

A program, so that it can be run as another user. Its argument is a JSON object: see :func:`main`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from familiar_kernel.sandbox import seccomp
from familiar_kernel.sandbox.runtime import Runtime
from familiar_kernel.sandbox.spec import Mount, Spec, run_arguments
from familiar_kernel.sandbox.workspace import Share, place_of

HOW_LONG = 120


def main(told: str) -> None:
    """Print what the code printed.

    Args:
        told: ``folder``, ``code``, ``image``, ``shared`` (else mounted as it is), ``covered``
            (paths in the folder upon which a read-only mount lies then), ``saves``: how often to
            save ``nb.ipynb`` meanwhile as editors do, by renaming.
    """
    job: dict[str, Any] = json.loads(told)
    own = Path(tempfile.mkdtemp(prefix=f"familiar-test-{os.getpid()}-", dir="/tmp"))
    sockets = own / "s"
    sockets.mkdir(mode=0o755)
    profile = own / "seccomp.json"
    profile.write_text(json.dumps(seccomp.profile()))
    runtime = Runtime("podman")
    folder = str(Path(job["folder"]).resolve())
    place = place_of(folder, str(sockets))
    share = Share(runtime, folder, place)
    spec = Spec(
        image=job["image"],
        name=own.name,
        sockets=str(sockets),
        seccomp=str(profile),
        workspace=folder,
        workspace_mode="rw",
        mounts=[Mount(f"{folder}/{name}", f"/workspace/{name}") for name in job.get("covered", ())],
    )
    if job["shared"]:
        share.open()
        spec = replace(spec, workspace=place)
    told_all = run_arguments(spec, ["python3", "-c", job["code"]], "podman", runtime.rootless)
    left_out = ("--detach", "--log-driver=none")
    arguments = [one for one in told_all if one not in left_out]
    try:
        process = subprocess.Popen(
            ["podman", arguments[0], "--rm", *arguments[1:]], stdin=subprocess.DEVNULL
        )
        save(Path(folder), process, job.get("saves", 0))
        sys.exit(process.wait(HOW_LONG))
    finally:
        # What ends before its time leaves nothing behind, either.
        subprocess.run(
            ["podman", "rm", "--force", "--ignore", "--time=0", spec.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        share.close()
        gone = time.monotonic() + 30
        while os.path.exists(os.path.dirname(place)) and time.monotonic() < gone:
            time.sleep(0.05)
        shutil.rmtree(own)
        assert not os.path.exists(os.path.dirname(place)), "the share was left behind"


def save(folder: Path, process: subprocess.Popen[bytes], times: int) -> None:
    """Save the notebook again and again, once the code has said that it has begun, in all ways that
    editors have; then tell it by a file that it may end."""
    if not times:
        return
    while not (folder / "begun").exists() and process.poll() is None:
        time.sleep(0.01)
    target = folder / "nb.ipynb"
    for number in range(times):
        beside = folder / (".nb.ipynb.tmp", ".~nb.ipynb", "nb.ipynb~", "nb.ipynb.4711")[number % 4]
        beside.write_text("saved")
        os.replace(beside, target)
        assert target.read_text() == "saved", f"written into: {target.read_text()!r}"
        time.sleep(0.005)
        assert target.read_text() == "saved", f"written into: {target.read_text()!r}"
    (folder / "end").touch()


if __name__ == "__main__":
    main(sys.argv[1])
