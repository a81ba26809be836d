"""`familiar sandbox`: images that podman really builds, faults that really happen, what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest

from familiar_kernel.sandbox import labels as owned
from familiar_kernel.sandbox import owners
from familiar_kernel.sandbox.faults import Case, why_it_cannot_start
from familiar_kernel.sandbox.image import Contents, look_into
from familiar_kernel.sandbox.runtime import Runtime
from sandbox.podman import IMAGE, ROOT, Podman

LABEL = "org.familiar-kernel"


@pytest.fixture
def tag(podman: Podman) -> Iterator[str]:
    """A name for an image that one test makes."""
    name = f"localhost/familiar-test-{uuid4().hex[:8]}:latest"
    yield name
    podman.run("rmi", "--force", name, check=False)


def labels(podman: Podman, image: str) -> dict[str, str]:
    found: dict[str, str] = podman.inspect("image", image)["Config"]["Labels"]
    return found


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("familiar: "), done.stderr
    return line.removeprefix("familiar: ")


def inside(podman: Podman, image: str, code: str) -> str:
    """Return what a shell command prints in an image, without network."""
    return podman.run(
        "run", "--rm", "--pull=never", "--network=none", image, "sh", "-c", code
    ).stdout.strip()


# -- building --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_image_with_a_package(podman: Podman, base_image: str, tag: str) -> None:
    done = podman.familiar("build", "--base", base_image, "--tag", tag, "--packages", "isodate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tag} is ready: Python 3.11")
    assert "isodate" in done.stdout
    assert "STEP " in done.stderr  # podman's own progress

    pinned = (ROOT / "containers/sandbox/requirements.txt").read_text().split("\n")
    wanted = {line for line in pinned if "==" in line}
    told = set(labels(podman, tag)[f"{LABEL}.packages"].split())
    assert wanted < told
    assert {name.split("==")[0] for name in told - wanted} == {"isodate"}
    assert labels(podman, tag)[f"{LABEL}.sandbox"] == "1"

    assert inside(podman, tag, "id -u; id -g; id -un").split() == ["1000", "1000", "sandbox"]
    assert inside(podman, tag, "python3 -c 'import ipykernel, zmq, debugpy, isodate'") == ""
    # Nothing of the build stays: no cache, no settings of pip's, no certificates, no context.
    assert inside(podman, tag, "ls -A /run/secrets") == ""
    assert inside(podman, tag, "ls -d /context 2>&1 || true").endswith("No such file or directory")
    done = podman.run("run", "--rm", "--network=none", "--user=0", tag, "ls", "-A", "/root/.cache",
                      check=False)  # fmt: skip
    assert done.stdout == ""
    # And no image besides it that has no name.
    assert podman.run("images", "-q", "--filter=dangling=true").stdout == ""


@pytest.mark.slow
def test_an_image_from_requirements_is_rootless_too(rootless: Podman, base_image: str) -> None:
    tag = f"localhost/familiar-test-{uuid4().hex[:8]}:latest"
    file = rootless.outside("mktemp").stdout.strip()
    try:
        rootless.outside("sh", "-c", f"printf '# what is needed\nisodate>=0.7  # dates\n' >{file}")
        done = rootless.familiar(
            "build", "--base", base_image, "--tag", tag, "--requirements", file
        )
        assert done.returncode == 0, done.stderr
        assert "isodate 0.7" in done.stdout
    finally:
        rootless.outside("rm", file)
        rootless.run("rmi", "--force", tag, check=False)


@pytest.mark.slow
def test_the_persons_index_is_used_and_its_password_stays_out(
    podman: Podman, base_image: str, tag: str
) -> None:
    """An index that wants a password is asked with it, and the image holds neither."""
    asked: list[tuple[str, str]] = []

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization", "")))
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://me:hidden-word@127.0.0.1:{server.server_port}/simple"
        done = podman.familiar(
            "build", "--base", base_image, "--tag", tag, "--network", "host",
            "--packages", "isodate", PIP_EXTRA_INDEX_URL=address,
        )  # fmt: skip
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert ("/simple/isodate/", "Basic bWU6aGlkZGVuLXdvcmQ=") in asked
    assert "hidden-word" not in done.stdout + done.stderr
    assert "hidden-word" not in json.dumps(podman.inspect("image", tag))
    assert "hidden-word" not in podman.run("history", "--no-trunc", tag).stdout
    found = inside(
        podman, tag, "grep -rl hidden-word /etc /opt /run /root /tmp 2>/dev/null || true"
    )
    assert found == ""


@pytest.mark.slow
def test_what_was_built_before_is_a_base_too(podman: Podman, sandbox_image: str, tag: str) -> None:
    done = podman.familiar("build", "--base", sandbox_image, "--tag", tag, "--packages", "isodate")
    assert done.returncode == 0, done.stderr
    assert inside(podman, tag, "python3 -c 'import numpy, isodate; print(1)'") == "1"


# -- taking ----------------------------------------------------------------------------------------


def test_an_image_is_taken_as_it_is(podman: Podman, sandbox_image: str, tag: str) -> None:
    done = podman.familiar("build", "--image", sandbox_image, "--tag", tag)
    assert done.returncode == 0, done.stderr
    assert "numpy" in done.stdout
    assert podman.inspect("image", tag)["Config"]["User"] == "1000:1000"
    assert labels(podman, tag)[f"{LABEL}.sandbox"] == "1"


def test_an_image_without_a_kernel_is_not_taken(podman: Podman, base_image: str, tag: str) -> None:
    done = podman.familiar("build", "--image", base_image, "--tag", tag)
    assert last_line(done) == (
        f"The image {base_image} has no ipykernel; choose another, or build upon it:"
        f" familiar sandbox build --base {base_image}"
    )
    assert not podman.exists("image", tag)


def test_an_image_that_is_not_there_is_not_taken(podman: Podman, tag: str) -> None:
    done = podman.familiar("build", "--image", "localhost/nowhere", "--tag", tag)
    assert last_line(done) == (
        "There is no image localhost/nowhere here; fetch it: podman pull localhost/nowhere"
    )


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (Contents("3.9.2", {"ipykernel": "7.1", "pyzmq": "27"}), "has Python 3.9.2, and"),
        (Contents("3.10.0", {"ipykernel": "6.29.5", "pyzmq": "27"}), "has ipykernel 6.29.5, and"),
        (Contents("3.12.0", {"ipykernel": "7.1"}), "has no pyzmq"),
        (Contents("3.12.0", {"ipykernel": "7.1", "pyzmq": "27"}, (), "ImportError: x"), "x)"),
        (Contents("3.12.0", {"ipykernel": "7.1", "pyzmq": "27"}), ""),
    ],
)
def test_what_an_image_lacks(found: Contents, fault: str) -> None:
    assert fault in found.fault()
    assert bool(fault) == bool(found.fault())


# -- faults that happen ----------------------------------------------------------------------------


def build_fault(podman: Podman, tag: str, *arguments: str, **variables: str) -> str:
    done = podman.familiar("build", "--tag", tag, *arguments, **variables)
    assert not podman.exists("image", tag)
    return last_line(done)


def test_no_such_base(podman: Podman, tag: str) -> None:
    assert "There is no base image localhost/nowhere here" in build_fault(
        podman, tag, "--base", "localhost/nowhere"
    )


def test_a_base_whose_registry_is_not_reached(podman: Podman, tag: str) -> None:
    # Nothing listens on the port 9 of this machine.
    told = build_fault(podman, tag, "--base", "127.0.0.1:9/nowhere:latest")
    assert told.startswith("The base image 127.0.0.1:9/nowhere:latest cannot be fetched")


def test_no_such_package(podman: Podman, base_image: str, tag: str) -> None:
    told = build_fault(podman, tag, "--base", base_image, "--packages", "isodate==999")
    assert told.startswith("pip finds no isodate==999 for the Python of this image; check")


def test_packages_that_exclude_each_other(podman: Podman, base_image: str, tag: str) -> None:
    told = build_fault(podman, tag, "--base", base_image, "--packages", "ipykernel==7.0.0")
    assert told.startswith("The packages asked for exclude each other, or what the sandbox needs")


def test_no_network_in_the_build(podman: Podman, base_image: str, tag: str) -> None:
    told = build_fault(podman, tag, "--base", base_image, "--network", "none", PIP_RETRIES="0")
    assert told.startswith("pip in the build reaches no package index")
    assert "--network host" in told


def test_requirements_that_name_other_files(
    podman: Podman, base_image: str, tag: str, tmp_path: Path
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("-r other.txt\n")
    told = build_fault(podman, tag, "--base", base_image, "--requirements", str(file))
    assert told.startswith("The requirements name a file of this machine")
    told = build_fault(podman, tag, "--requirements", str(tmp_path / "none.txt"))
    assert told.endswith("name a file like pip's requirements.txt.")


def test_a_full_disk(own_storage: Podman, base_image: str, tag: str, tmp_path: Path) -> None:
    graph = tmp_path / "graph"
    graph.mkdir()
    # An ordinary user mounts in podman's own namespace.
    within = () if os.geteuid() == 0 else ("podman", "unshare")
    own_storage.outside(*within, "mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(graph))
    try:
        told = build_fault(own_storage, tag, "--base", base_image)
    finally:
        own_storage.outside(*within, "umount", "-l", str(graph))
    assert told.startswith("The disk that holds the images is full")


@pytest.mark.parametrize("command", ["build", "list", "prune"])
def test_no_runtime(podman: Podman, command: str) -> None:
    told = last_line(podman.familiar(command, "--runtime", "podman-of-nobody"))
    assert told.startswith("podman-of-nobody was not found; install it: sudo apt install podman")


def start_fault(podman: Podman, *arguments: str, image: str = IMAGE) -> str:
    done = podman.run("run", "--rm", *arguments, image, "true", check=False)
    assert done.returncode != 0
    return why_it_cannot_start(done.stderr, Case(image=image, rootless=False))


def test_why_a_sandbox_cannot_start(podman: Podman, sandbox_image: str, tmp_path: Path) -> None:
    assert start_fault(podman, "--pull=never", image="localhost/nowhere") == (
        "There is no image localhost/nowhere here;"
        " type: familiar sandbox build --tag localhost/nowhere"
    )
    assert "does not know the option --frobnicate" in start_fault(podman, "--frobnicate")
    gone = tmp_path / "gone"
    assert f"is to see {gone}, which" in start_fault(podman, f"--volume={gone}:/workspace:ro")
    assert "nvidia-ctk" in start_fault(podman, "--device=nvidia.com/gpu=all")
    if os.geteuid() == 0:  # an ordinary user's limits are ignored on cgroups v1
        assert "too small to start in" in start_fault(podman, "--memory=1m")
    conf = tmp_path / "containers.conf"
    conf.write_text('[engine]\nruntime = "crun-of-nobody"\n')
    other = Podman("podman", {**podman.variables, "CONTAINERS_CONF": str(conf)})
    assert "needs the program crun-of-nobody, which is not here; install it" in start_fault(other)
    assert why_it_cannot_start("Error: the moon is full").startswith(
        "podman could not start the sandbox: the moon is full; look further with: familiar"
    )


# -- listing and pruning ---------------------------------------------------------------------------


def start(podman: Podman, image: str, owner: dict[str, str]) -> str:
    given = [f"--label={name}={value}" for name, value in owner.items()]
    return podman.run(
        "run", "--detach", "--network=none", "--init", *given, image, "sleep", "600"
    ).stdout.strip()


def test_only_what_nobody_owns_is_removed(own_storage: Podman, sandbox_image: str) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    living, its_owner = owned.labels_of(os.getpid()), owned.labels_of(dead.pid)
    dead.communicate()
    again = {**living, owned.OWNER_START: "1"}  # a process that took a dead one's number
    elsewhere = {**its_owner, owned.OWNER_NAMESPACE: "pid:[1]"}
    kept = [start(own_storage, sandbox_image, owner) for owner in (living, elsewhere)]
    kept.append(start(own_storage, sandbox_image, {}))  # somebody's, not ours
    left = [start(own_storage, sandbox_image, owner) for owner in (its_owner, again)]

    told = json.loads(own_storage.familiar("list", "--json").stdout)
    assert {box["id"]: box["lives"] for box in told["sandboxes"]} == {
        **dict.fromkeys(kept[:2], True),
        **dict.fromkeys(left, False),
    }
    assert IMAGE in [name for image in told["images"] for name in image["names"]]
    words = own_storage.familiar("list").stdout
    assert words.count("left over: its kernel") == 2

    asked = own_storage.familiar("prune")
    assert last_line(asked).endswith("add --yes.")
    assert all(own_storage.exists("container", box) for box in left)
    done = own_storage.familiar("prune", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Removed 2 of 2.\n")
    assert [box for box in (*kept, *left) if own_storage.exists("container", box)] == kept
    assert own_storage.familiar("prune", "--yes").stdout == "Nothing is left over.\n"


def test_replaced_images_are_removed_and_with_all_the_others(
    own_storage: Podman, sandbox_image: str, tmp_path: Path
) -> None:
    ids = []
    for entry in ("one", "two"):
        folder = tmp_path / entry
        folder.mkdir()
        (folder / "Containerfile").write_text(f"FROM {sandbox_image}\nLABEL entry={entry}\n")
        built = ("build", "--quiet", "--layers=false", "--tag=localhost/mine:latest", str(folder))
        ids.append(own_storage.run(*built).stdout.strip())
    done = own_storage.familiar("prune", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [i for i in ids if own_storage.exists("image", i)] == ids[1:]

    # One that a sandbox runs stays whatever is asked.
    box = start(own_storage, "localhost/mine:latest", owned.labels_of(os.getpid()))
    own_storage.familiar("prune", "--all", "--yes")
    assert own_storage.exists("image", ids[1])
    own_storage.run("rm", "--force", "--time=0", box)
    own_storage.familiar("prune", "--all", "--yes")
    assert not own_storage.exists("image", ids[1])


def test_an_owner_is_known_by_number_and_start(tmp_path: Path) -> None:
    ours = owned.labels_of(os.getpid())
    assert owners.owner_lives(ours)
    assert not owners.owner_lives({**ours, owned.OWNER_START: "12"})
    assert owners.owner_lives({})
    # A name may hold anything, also what looks like the next fields.
    (tmp_path / "7").mkdir()
    fields = " ".join(["S", *map(str, range(4, 53))])
    (tmp_path / "7/stat").write_text(f"7 (a) b) {fields}\n")
    assert owned.start_of(7, tmp_path) == 22


# -- the doctor ------------------------------------------------------------------------------------


def findings(podman: Podman, *arguments: str, **variables: str) -> dict[str, tuple[str, str, str]]:
    done = podman.familiar("doctor", "--json", *arguments, **variables)
    told = json.loads(done.stdout)
    assert done.returncode == any(entry["state"] == "problem" for entry in told), done.stderr
    return {entry["name"]: (entry["state"], entry["summary"], entry["fix"]) for entry in told}


def test_the_doctor_finds_nothing_wrong(podman: Podman, sandbox_image: str) -> None:
    told = findings(podman, "--image", sandbox_image)
    assert {
        name: told[name][0] for name in ("runtime", "storage", "image", "start")
    } == dict.fromkeys(("runtime", "storage", "image", "start"), "ok")
    assert "numpy" in told["image"][1]


def test_the_doctor_finds_nothing_wrong_rootless(rootless: Podman, sandbox_image: str) -> None:
    told = findings(rootless, "--image", sandbox_image)
    assert "rootless" in told["runtime"][1]
    assert told["rootless"][0] != "problem"
    assert (told["image"][0], told["start"][0]) == ("ok", "ok")


def test_the_doctor_sees_vfs(own_storage: Podman) -> None:
    conf = Path(own_storage.variables["CONTAINERS_STORAGE_CONF"])
    conf.write_text(conf.read_text().replace('"overlay"', '"vfs"'))
    state, summary, fix = findings(own_storage)["storage"]
    assert state == "warning"
    assert "copies the whole image at each start" in summary
    assert f'driver = "overlay" under [storage] in {conf}' in fix


def test_the_doctor_sees_what_is_missing(podman: Podman) -> None:
    told = findings(podman, "--image", "localhost/nowhere")
    assert told["image"] == (
        "problem",
        "there is no localhost/nowhere here",
        "familiar sandbox build --tag localhost/nowhere",
    )
    told = findings(podman, "--runtime", "podman-of-nobody")
    assert set(told) <= {"runtime", "rootless"}
    assert told["runtime"][1] == "podman-of-nobody was not found"


def test_the_doctor_says_why_nothing_starts(
    podman: Podman, sandbox_image: str, tmp_path: Path
) -> None:
    conf = tmp_path / "containers.conf"
    conf.write_text('[engine]\nruntime = "crun-of-nobody"\n')
    conf.chmod(0o644)
    told = findings(podman, "--image", sandbox_image, CONTAINERS_CONF=str(conf))
    assert told["runtime"][0] == "problem"
    assert told["runtime"][1].endswith("needs the program crun-of-nobody, which is not here")


def test_an_image_says_what_it_holds(
    podman: Podman, sandbox_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in podman.variables.items():
        monkeypatch.setenv(name, value)
    found = look_into(Runtime(), sandbox_image)
    assert found.fault() == ""
    assert {"ipykernel", "numpy"} <= set(found.asked_for)
    assert "pip" not in found.asked_for
