"""The sandbox's command line: each promise has its flag, and no value stands in it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from familiar_kernel.sandbox import seccomp
from familiar_kernel.sandbox.spec import OUTSIDE_IDS, Mount, Spec, run_arguments

SPEC = Spec(
    image="localhost/image:latest",
    name="familiar-1-abcd",
    sockets="/run/outside/s",
    seccomp="/run/outside/seccomp.json",
    labels={"org.familiar-kernel.owner": "1"},
    workspace="/home/ada/notes",
)
PROGRAM = ("python3", "-c", "boot", "/run/familiar/bridge")
PROMISES = {
    "no network": "--network=none",
    "no shared memory of the host's": "--ipc=private",
    "no name of the host's": "--hostname=sandbox",
    "nothing that is fetched": "--pull=never",
    "an init": "--init",
    "a root that stays": "--read-only",
    "a /tmp in memory, of a size": "--tmpfs=/tmp:rw,size=512m,mode=1777,nosuid,nodev",
    "no capabilities": "--cap-drop=all",
    "none to be had": "--security-opt=no-new-privileges",
    "few calls of the kernel": "--security-opt=seccomp=/run/outside/seccomp.json",
    "no root": "--user=1000:1000",
    "a limit of memory": "--memory=2g",
    "and no swap": "--memory-swap=2g",
    "a limit of processors": "--cpus=2",
    "of processes": "--pids-limit=512",
    "of open files": "--ulimit=nofile=4096:4096",
    "of the user's processes": "--ulimit=nproc=4096:4096",
    "no core files": "--ulimit=core=0:0",
    "no log": "--log-driver=none",
    "a home of its own": "--env=HOME=/tmp",
    "sockets that it cannot change": "--volume=/run/outside/s:/run/familiar:ro,nosuid,nodev,noexec",
    "a workspace that it cannot change": "--volume=/home/ada/notes:/workspace:ro,nosuid,nodev",
    "whose it is": "--label=org.familiar-kernel.owner=1",
}
KINDS = [("podman", False), ("podman", True), ("podman-hpc", True), ("docker", False)]


def arguments(kind: str = "podman", rootless: bool = True, **changed: object) -> list[str]:
    return run_arguments(replace(SPEC, **changed), PROGRAM, kind, rootless)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "rootless"), KINDS)
@pytest.mark.parametrize("promise", list(PROMISES))
def test_every_promise_has_its_flag(promise: str, kind: str, rootless: bool) -> None:
    assert PROMISES[promise] in arguments(kind, rootless)


@pytest.mark.parametrize(("kind", "rootless"), KINDS)
def test_the_program_stands_last_and_no_flag_behind_the_image(kind: str, rootless: bool) -> None:
    given = arguments(kind, rootless)
    assert tuple(given[-len(PROGRAM) :]) == PROGRAM
    assert given.index(SPEC.image) == len(given) - len(PROGRAM) - 1
    assert given[0] == "run"
    assert all(one.startswith("--") for one in given[1 : given.index(SPEC.image)])


def test_root_gives_a_sandbox_ids_that_nobody_has() -> None:
    given = arguments(rootless=False)
    assert f"--uidmap=0:{OUTSIDE_IDS}:65536" in given
    assert f"--gidmap=0:{OUTSIDE_IDS}:65536" in given
    assert OUTSIDE_IDS + 65536 < 2**31


def test_an_ordinary_user_is_the_sandboxes() -> None:
    assert "--userns=keep-id:uid=1000,gid=1000" in arguments(rootless=True)


@pytest.mark.parametrize("kind", ["podman", "podman-hpc"])
def test_podman_adds_nothing_that_can_be_written(kind: str) -> None:
    assert "--read-only-tmpfs=false" in arguments(kind)
    assert "--image-volume=ignore" in arguments(kind)


def test_docker_gets_no_option_of_podmans() -> None:
    given = " ".join(arguments("docker", rootless=False))
    for option in ("--read-only-tmpfs", "--image-volume", "--userns", "--uidmap"):
        assert option not in given


def test_of_a_variable_only_the_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "a-secret-value")
    given = arguments(environment=("TOKEN",))
    assert "--env=TOKEN" in given
    assert "a-secret-value" not in " ".join(given)


@pytest.mark.parametrize("changed", [{"workspace": ""}, {"workspace_mode": "none"}])
def test_without_a_workspace_there_is_none(changed: dict[str, str]) -> None:
    assert "/workspace" not in " ".join(arguments(**changed))


def test_what_is_chosen_is_given() -> None:
    given = arguments(
        mounts=(Mount("/data/set", "/data"),),
        devices=("nvidia.com/gpu=all",),
        memory="300m",
        cpus=0.5,
        pids=64,
        tmp_size="10m",
    )
    assert "--volume=/data/set:/data:ro,nosuid,nodev" in given
    assert "--device=nvidia.com/gpu=all" in given
    assert {"--memory=300m", "--memory-swap=300m", "--cpus=0.5", "--pids-limit=64"} <= set(given)
    assert any(one.startswith("--tmpfs=/tmp:rw,size=10m") for one in given)


def test_nothing_opens_it_again() -> None:
    given = " ".join(arguments(rootless=False) + arguments())
    for option in ("--privileged", "--cap-add", "unconfined", "=host", "--pid=", "--device-cgroup"):
        assert option not in given


# -- calls of the kernel ---------------------------------------------------------------------------


def allowed() -> set[str]:
    """The calls that are allowed whatever their arguments."""
    return {
        name
        for rule in seccomp.profile()["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }


DENIED = """
unshare setns clone clone3 mount umount umount2 pivot_root chroot open_tree move_mount fsopen
fsconfig fsmount fspick mount_setattr bpf perf_event_open io_uring_setup io_uring_enter
io_uring_register userfaultfd keyctl add_key request_key ptrace process_vm_readv process_vm_writev
pidfd_getfd process_madvise kcmp open_by_handle_at init_module finit_module delete_module
kexec_load kexec_file_load reboot swapon swapoff settimeofday clock_settime clock_adjtime adjtimex
stime quotactl quotactl_fd acct syslog iopl ioperm modify_ldt uselib nfsservctl vhangup
lookup_dcookie fanotify_init move_pages migrate_pages sethostname setdomainname socket
memfd_secret lsm_set_self_attr
"""


@pytest.mark.parametrize("name", DENIED.split())
def test_a_call_that_opens_the_kernel_is_not_allowed(name: str) -> None:
    assert name not in allowed()


def test_what_is_not_known_does_not_exist() -> None:
    told = seccomp.profile()
    assert told["defaultAction"] == "SCMP_ACT_ERRNO"
    assert told["defaultErrnoRet"] == 38


def test_other_ways_to_call_are_not_allowed() -> None:
    for machine in seccomp.profile()["archMap"]:
        assert machine["subArchitectures"] == []


def test_a_process_is_made_without_a_namespace() -> None:
    (rule,) = (r for r in seccomp.profile()["syscalls"] if r["names"] == ["clone"])
    (held,) = rule["args"]
    assert held["op"] == "SCMP_CMP_MASKED_EQ"
    assert held["valueTwo"] == 0
    for flag in (
        0x80,
        0x20000,
        0x2000000,
        0x4000000,
        0x8000000,
        0x10000000,
        0x20000000,
        0x40000000,
    ):
        assert held["value"] & flag, hex(flag)


def test_sockets_are_of_four_families() -> None:
    rules = [r for r in seccomp.profile()["syscalls"] if r["names"] == ["socket"]]
    assert sorted(rule["args"][0]["value"] for rule in rules) == [1, 2, 10, 16]
    assert all(rule["args"][0]["op"] == "SCMP_CMP_EQ" for rule in rules)


def test_a_profile_is_json() -> None:
    assert json.loads(json.dumps(seccomp.profile())) == seccomp.profile()
