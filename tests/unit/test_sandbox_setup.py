"""What needs no podman: sentences for what runtimes say, pip's settings, the doctor's judgement.

The texts of the runtimes were copied from real failures.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
from pathlib import Path

import pytest

from familiar_kernel.sandbox import command, doctor, pip_settings
from familiar_kernel.sandbox.faults import (
    Case,
    SandboxFault,
    why_it_cannot_start,
    why_the_build_failed,
)
from familiar_kernel.sandbox.image import Contents, building, contents
from familiar_kernel.sandbox.machine import Facts, gather
from familiar_kernel.sandbox.runtime import Runtime, environment

# -- sentences -------------------------------------------------------------------------------------

ANY_RUN = [
    (
        "Error: OCI runtime error: crun: cgroups in hybrid mode not supported, drop all controllers"
        " from cgroupv2",
        'runtime = "runc" under [engine] in ~/.config/containers/containers.conf.',
    ),
    (
        'Error: default OCI runtime "crun" not found: invalid argument',
        "podman needs the program crun, which is not here;",
    ),
    (
        "Error: no valid executable found for OCI runtime /usr/bin/nonesuch: invalid argument",
        "podman needs the program /usr/bin/nonesuch, which is not here;",
    ),
    (
        "Error: runc: runc create failed: unable to start container process: error during container"
        " init: error setting rlimits for ready process: error setting rlimit type 7: operation not"
        " permitted: OCI permission denied",
        'more open files than this machine allows; write default_ulimits = ["nofile=4096:4096", ',
    ),
    (
        "Error: crun: setrlimit `RLIMIT_NPROC`: Operation not permitted: OCI permission denied",
        "more processes than this machine allows; write",
    ),
    (
        'Error: command required for rootless mode with multiple IDs: exec: "newuidmap": executable'
        " file not found in $PATH",
        "newuidmap, which is not here; type: sudo apt install uidmap",
    ),
    (
        'level=error msg="running `/usr/bin/newuidmap 31681 0 1002 1 1 200000 65536`: newuidmap:'
        ' write to uid_map failed: Operation not permitted\\n"\nError: cannot set up namespace'
        ' using "/usr/bin/newuidmap": should have setuid or have filecaps setuid: exit status 1',
        "type: sudo chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap",
    ),
    (
        "cannot clone: No space left on device\n"
        "user namespaces are not enabled in /proc/sys/user/max_user_namespaces\n",
        "no user namespaces; type: sudo sysctl -w user.max_user_namespaces=28633",
    ),
    (
        'level=error msg="cannot find UID/GID for user x: no subuid ranges found for user \\"x\\"'
        ' in /etc/subuid - check rootless mode in man pages."',
        "no subordinate user ids; type: sudo usermod --add-subuids 100000-165535",
    ),
    (
        "Error: potentially insufficient UIDs or GIDs available in user namespace (requested 0:42"
        " for /etc/gshadow): Check /etc/subuid and /etc/subgid",
        "no subordinate user ids; type: sudo usermod",
    ),
    (
        'level=error msg="XDG_RUNTIME_DIR directory \\"/run/user/0\\" is not owned by the current'
        ' user"',
        "belongs to somebody else; type: unset XDG_RUNTIME_DIR",
    ),
    (
        "Error: OCI runtime error: runc: runc create failed: systemd not running on this host,"
        " cannot use systemd cgroups manager",
        'write cgroup_manager = "cgroupfs" under [engine]',
    ),
    (
        'Error: database storage graph driver "overlay" does not match our storage graph driver'
        ' "vfs": database configuration mismatch',
        "was begun with the driver overlay and storage.conf now says vfs; put overlay back",
    ),
    (
        "Error: creating container storage: write /x/.tmp-layers.json: no space left on device",
        "The disk that holds the images is full;",
    ),
    (
        "failed to dial gRPC: cannot connect to the Docker daemon. Is 'docker daemon' running?",
        "Docker is not running;",
    ),
    (
        "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker"
        " daemon running?",
        "Docker is not running; type: sudo systemctl start docker",
    ),
]

RUN = [
    ("Error: localhost/x:latest: image not known", "There is no image localhost/x here; type: "),
    (
        "Error: initializing source docker://localhost/x:latest: pinging container registry"
        ' localhost: Get "https://localhost/v2/": dial tcp 127.0.0.1:443: connect: refused',
        "There is no image localhost/x here; type: familiar sandbox build --tag localhost/x",
    ),
    ("Error: unknown flag: --frob\nSee 'podman run --help'", "does not know the option --frob;"),
    (
        "unable to set memory limit to 1048576 (current usage: 2752512, peak usage: 2916352)",
        "memory limit is too small to start in; allow",
    ),
    ("docker: Error response from daemon: Minimum memory limit allowed is 6MB.", "allow more"),
    ("Error: statfs /no such: no such file or directory", "is to see /no such, which does not"),
    ("Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all", "nvidia-ctk"),
    (
        'Error: runc: runc create failed: unable to start container process: exec: "python3":'
        " executable file not found in $PATH: OCI runtime attempted to invoke a command",
        "The image localhost/x has no python3; choose another, or",
    ),
    (
        "Error: opening seccomp profile failed: open /x.json: no such file or directory",
        "pip install --force-reinstall --no-deps familiar-kernel",
    ),
    ("Error: keep-id is only supported in rootless mode", "start the kernel as an ordinary user"),
    (
        "Error: something new happened.",
        "podman could not start the sandbox: something new happened;",
    ),
    ("", "podman could not start the sandbox: it said nothing;"),
]

BUILD = [
    (
        "ERROR: BuildKit is enabled but the buildx component is missing or broken.",
        "Docker needs its builder",
    ),
    (
        "familiar: the base image's Python is 3.9.2\n",
        "has Python 3.9.2, and the sandbox needs 3.10",
    ),
    ("familiar: the base image has no python3\n", "The base image base has no python3; choose"),
    (
        "WARNING: Retrying after connection broken by 'SSLError(SSLCertVerificationError(1, '[SSL:"
        " CERTIFICATE_VERIFY_FAILED] certificate verify failed'))'\n"
        "ERROR: No matching distribution found for debugpy==1.8.22\n",
        "does not trust the certificate of the package index; name the file",
    ),
    (
        "ERROR: No matching distribution found for debugpy==1.8.22",
        "reaches no package index; let the build use this machine's network: familiar sandbox build"
        " --tag localhost/x --network host",
    ),
    ("ERROR: No matching distribution found for tomli==999", "pip finds no tomli==999 for"),
    ("ERROR: ResolutionImpossible: for help visit", "exclude each other"),
    ("ERROR: Invalid requirement: '???' (from line 1 of x)", "the requirement ???; write it"),
    (
        "ERROR: Cannot find command 'git' - do you have 'git' installed",
        "with git, which base lacks",
    ),
    ("error: metadata-generation-failed", "has no wheel for the Python of this image"),
    (
        "Error: creating build container: initializing source docker://python:3.13-slim: pinging"
        " container registry registry-1.docker.io: Get: dial tcp: no such host",
        "The base image base cannot be fetched",
    ),
    (
        'Error: short-name "nope" did not resolve to an alias and no unqualified-search registries',
        "--base REGISTRY/base",
    ),
    (
        'ERROR: pip broke\nError: building at STEP "RUN x": while running runtime: exit status 1',
        "podman could not build the image: pip broke",
    ),
]


@pytest.mark.parametrize(("told", "meant"), [*ANY_RUN, *RUN])
def test_why_a_sandbox_cannot_start(told: str, meant: str) -> None:
    assert meant in why_it_cannot_start(told, Case(image="localhost/x"))


@pytest.mark.parametrize(("told", "meant"), [*ANY_RUN, *BUILD])
def test_why_a_build_failed(told: str, meant: str) -> None:
    sentence = why_the_build_failed(told, Case(image="localhost/x", base="base"))
    assert meant in sentence
    assert "\n" not in sentence


def test_a_sentence_names_the_runtime_and_the_right_file() -> None:
    told = why_it_cannot_start("cgroups in hybrid mode not supported", Case(rootless=False))
    assert "in /etc/containers/containers.conf" in told
    told = why_it_cannot_start("image not known", Case(runtime="podman-hpc"))
    assert told.endswith("type: familiar sandbox build --runtime podman-hpc")


# -- pip's settings --------------------------------------------------------------------------------


def test_pips_settings_are_carried_but_for_places_of_this_machine(tmp_path: Path) -> None:
    told = (
        "global.index-url='https://me:word@index.example/simple'\n"
        "global.extra-index-url='file:///srv/simple https://b.example/simple\\nhttps://c.example'\n"
        "global.find-links='/srv/wheels'\n"
        "global.timeout='7'\n"
        "install.timeout='60'\n"
        "global.target='/elsewhere'\n"
        ":env:.find-links='/srv/wheels'\n"
    )
    authorities = tmp_path / "ca.pem"
    authorities.write_text("x")
    environment = {"PIP_RETRIES": "2", "SSL_CERT_FILE": str(authorities), "PIP_CERT": "/none"}
    found = pip_settings.settings(told, environment)
    assert found.conf == (
        "[global]\n"
        "index-url = https://me:word@index.example/simple\n"
        "extra-index-url = https://b.example/simple\n"
        "    https://c.example\n"
        "timeout = 60\n"
        "retries = 2\n"
        "cert = /run/secrets/authorities.pem\n"
    )
    assert found.authorities == str(authorities)
    assert found.left_out == ("file:///srv/simple", "/srv/wheels")
    assert pip_settings.settings("", {}) == pip_settings.PipSettings()


# -- images ----------------------------------------------------------------------------------------


def test_a_build_keeps_its_secrets_out() -> None:
    arguments = building(Runtime(), Path("/c"), Path("/s"), "name", "base", "host")
    assert arguments[0] == "build"
    assert arguments[-1] == "/c"
    assert "--secret=id=pip.conf,src=/s/pip.conf" in arguments
    assert "--build-arg=BASE_IMAGE=base" in arguments
    assert "--network=host" in arguments
    assert "--layers=false" in arguments
    docker = building(Runtime("docker"), Path("/c"), Path("/s"), "name", "", "")
    assert "--layers=false" not in docker
    assert not [a for a in docker if "BASE_IMAGE" in a or "--network" in a]
    assert "--build-arg=HTTPS_PROXY" in docker


def test_what_an_image_says_is_read_after_its_greeting() -> None:
    told = '*** welcome ***\n{"python": "3.12.1", "packages": {}, "asked_for": [], "trouble": ""}\n'
    assert contents(told) == Contents("3.12.1", {}, [], "")
    with pytest.raises(ValueError, match="Expecting"):
        contents("hello")


def test_labels_name_what_was_asked_for() -> None:
    found = Contents("3.12.1", {"numpy": "2", "six": "1"}, ("numpy",))
    assert found.labels()["org.familiar-kernel.packages"] == "numpy==2"
    assert found.summary() == "Python 3.12.1, numpy 2"
    assert dataclasses.replace(found, asked_for=()).labels()[
        "org.familiar-kernel.packages"
    ] == "numpy==2 six==1"  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("numpy,pandas", ("numpy", "pandas")),
        (" numpy >=2,<3 , dask[array,distributed]==2025.1,six,", (
            "numpy >=2,<3", "dask[array,distributed]==2025.1", "six",
        )),
        ("", ()),
    ],
)  # fmt: skip
def test_a_list_of_packages(text: str, names: tuple[str, ...]) -> None:
    options = command.parser().parse_args(["build", "--packages", text])
    assert options.packages == names


def test_an_option_is_no_package() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="--pre"):
        command._names("numpy,--pre")


def test_environment_of_the_runtimes() -> None:
    assert environment("podman", {"A": "1"}) == {"A": "1"}
    assert environment("podman-hpc", {"TMPDIR": "/lustre", "USER": "me"}) == {
        "TMPDIR": "/tmp",
        "USER": "me",
    }
    assert Runtime("/opt/bin/podman-hpc").kind == "podman-hpc"
    assert not Runtime("docker").rootless


# -- the doctor ------------------------------------------------------------------------------------

FINE = Facts(
    info={
        "version": {"Version": "5.2.1"},
        "store": {"graphDriverName": "overlay", "graphRoot": "/g", "configFile": "/etc/s.conf"},
        "host": {
            "cgroupVersion": "v2",
            "cgroupControllers": ["cpu", "memory", "pids"],
            "ociRuntime": {"name": "crun"},
            "security": {"selinuxEnabled": False},
        },
    },
    user="me",
    rootless=True,
    free=10**11,
)


def judged(facts: Facts) -> dict[str, tuple[str, str]]:
    told = [finding for check in doctor.CHECKS for finding in check(facts)]
    return {f.name: (f.state, f.summary + " -> " + f.fix) for f in told if f.state != "ok"}


def with_host(**host: object) -> Facts:
    return dataclasses.replace(FINE, info={**FINE.info, "host": {**FINE.info["host"], **host}})


def test_nothing_is_wrong_with_a_good_machine() -> None:
    assert judged(FINE) == {}


@pytest.mark.parametrize(
    ("facts", "name", "state", "words"),
    [
        (dataclasses.replace(FINE, found=False, info={}), "runtime", "problem",
         "apt install podman"),
        (dataclasses.replace(FINE, info={"version": {"Version": "3.4.4"}}), "runtime", "problem",
         "3.4.4, rootless; needed is 4.3"),
        (dataclasses.replace(FINE, kind="docker", info={"SecurityOptions": ["name=seccomp"]}),
         "runtime", "warning", "this machine's user 1000"),
        (dataclasses.replace(FINE, subids=("/etc/subgid",)), "rootless", "problem",
         "me has no subordinate ids in /etc/subgid -> sudo usermod"),
        (dataclasses.replace(FINE, newuidmap="missing"), "rootless", "problem", "uidmap"),
        (dataclasses.replace(FINE, newuidmap="no right"), "rootless", "problem", "chmod u+s"),
        (dataclasses.replace(FINE, sysctls={"user.max_user_namespaces": 0}), "rootless", "problem",
         "sudo sysctl -w user.max_user_namespaces=28633"),
        (dataclasses.replace(FINE, sysctls={"kernel.unprivileged_userns_clone": 0}), "rootless",
         "problem", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        (dataclasses.replace(FINE, xdg="unset"), "rootless", "warning", "enable-linger"),
        (dataclasses.replace(FINE, xdg="foreign"), "rootless", "problem", "unset XDG_RUNTIME_DIR"),
        (dataclasses.replace(FINE, crun_refuses=True), "cgroups", "problem", 'runtime = "runc"'),
        (dataclasses.replace(FINE, free=10**8), "storage", "warning", "0.1 GB free"),
        (dataclasses.replace(FINE, info={"store": {"graphDriverName": "vfs"}}), "storage",
         "warning", 'driver = "overlay" under [storage] in ~/.config/containers/storage.conf'),
        (with_host(cgroupVersion="v1"), "limits", "warning", "enforces no limits on cgroups v1"),
        (with_host(cgroupControllers=["memory", "pids"]), "limits", "warning", "v2: cpus -> sudo"),
        (with_host(security={"selinuxEnabled": True}), "SELinux", "warning", "chcon"),
        (dataclasses.replace(FINE, fuse="missing"), "writing", "warning", "sudo modprobe fuse"),
        (dataclasses.replace(FINE, fuse="no right"), "writing", "warning", "chmod a+rw /dev/fuse"),
        (dataclasses.replace(FINE, kind="docker"), "writing", "warning", "podman can"),
    ],
)  # fmt: skip
def test_the_doctor_judges(facts: Facts, name: str, state: str, words: str) -> None:
    told = judged(facts)
    assert told[name][0] == state
    assert words in told[name][1]


def test_docker_with_user_namespaces_is_good() -> None:
    info = {"ServerVersion": "27.1", "SecurityOptions": ["name=seccomp", "name=userns"]}
    assert "runtime" not in judged(Facts(runtime="docker", kind="docker", info=info))


def test_a_start_is_judged() -> None:
    good = Contents("3.12.1", {"ipykernel": "7.4.0", "pyzmq": "27.0"})
    assert [f.state for f in doctor.start_findings("x", good, 0.3)] == ["ok", "ok"]
    assert [f.state for f in doctor.start_findings("x", good, 13.0)] == ["ok", "warning"]
    old = Contents("3.12.1", {"ipykernel": "6.1.0", "pyzmq": "27.0"})
    assert [f.state for f in doctor.start_findings("x", old, 0.3)] == ["problem", "ok"]


def test_the_machine_can_be_asked_without_a_runtime() -> None:
    facts = gather(Runtime("podman-of-nobody"))
    assert not facts.found
    assert facts.info == {}


def test_a_runtime_that_is_not_there_is_a_fault() -> None:
    with pytest.raises(SandboxFault, match="podman-of-nobody was not found; install it"):
        Runtime("podman-of-nobody").located()


def test_watched_output_is_shown_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    status, told = Runtime("sh").watch("-c", "printf 'caf\\303\\251\\n'; echo no >&2; exit 3")
    assert (status, told) == (3, "café\nno\n")
    assert shown.getvalue() == told
