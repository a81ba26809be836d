"""The fields of a container that a client may set, whoever it is: one table, and their checks.

What the Engine knows and this table does not is refused. Pure.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from .socket_reading import (
    Check,
    Refused,
    anything_matching,
    each,
    fields,
    flag,
    named,
    never,
    one_of,
    refusing,
    text,
    whole,
    within,
    words,
)

UNDER_KERNEL = ("/proc", "/sys", "/dev")
LARGEST = 1 << 50
PAUSE = 10_000_000_000
"""A healthcheck's least interval, in nanoseconds: each runs a program."""
USUAL_PAUSE = 30_000_000_000
"""The Engine's own choice where nobody says one."""


def path_inside(where: str, value: Any) -> str:
    """Check for a place in a container."""
    path: str = text(where, value)
    plain = posixpath.normpath(path)
    if not path.startswith("/") or path.startswith("//") or ".." in path.split("/"):
        raise Refused(f"{where} is {path[:80]!r}; write a whole path in the container.")
    hidden = plain in UNDER_KERNEL or plain.startswith(tuple(f"{p}/" for p in UNDER_KERNEL))
    if plain == "/" or ":" in path or (hidden and not plain.startswith("/dev/shm")):
        raise Refused(f"{where} is {path[:80]!r}, where nothing may be mounted.")
    return plain


def _nothing(where: str, value: Any) -> dict[str, Any]:
    """Check for the empty object behind a port or a folder; docker-py writes null for it."""
    return fields(f"{where}.", {} if value is None else value, {})


_port = anything_matching(r"\d{1,5}(/(tcp|udp|sctp))?", "a port such as 8888/tcp")
_size = r"\d{1,15}[bkmgBKMG]?"
_tmpfs = anything_matching(
    rf"((rw|ro|noexec|exec|nosuid|nodev|size={_size}|mode=0?[0-7]{{3,4}}|[ug]id=\d{{1,10}})(,|$))*",
    "options of a tmpfs: size, mode, uid, gid, ro, noexec, nosuid, nodev",
)
_address = anything_matching(r"[0-9a-fA-F.:]{2,45}", "an IP address")
_host = anything_matching(
    r"[A-Za-z0-9._-]{1,253}:(host-gateway|[0-9a-fA-F.:\[\]]{2,45})", "a name:address"
)
_nonnegative = whole(0, LARGEST)

_healthcheck = within(
    {
        "Test": each(text),
        "Interval": whole(PAUSE, 10**15),
        "Timeout": whole(10**6, 10**15),
        "Retries": whole(1, 1000),
        "StartPeriod": whole(0, 10**15),
        "StartInterval": whole(PAUSE, 10**15),
    }
)
_ulimit = within(
    {
        "Name": one_of("nofile", "nproc", "core", "stack"),
        "Soft": whole(0, 1 << 20),
        "Hard": whole(0, 1 << 20),
    }
)
_log = within(
    {
        # Other drivers send to addresses, as the machine itself.
        "Type": one_of("json-file", "local", "none"),
        "Config": within(
            {
                "max-size": anything_matching(r"\d{1,4}[kmKM]", "such as 10m"),
                "max-file": anything_matching(r"\d", "a figure"),
                "compress": one_of("true", "false"),
            }
        ),
    }
)

CONFIG: Mapping[str, Check] = {
    "Hostname": anything_matching(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", "a name of a host"),
    "Domainname": anything_matching(r"[A-Za-z0-9][A-Za-z0-9.-]{0,253}", "a domain"),
    "User": text,
    "AttachStdin": flag,
    "AttachStdout": flag,
    "AttachStderr": flag,
    "ExposedPorts": named(_port, _nothing),
    "Tty": flag,
    "OpenStdin": flag,
    "StdinOnce": flag,
    "Env": each(text),
    "Cmd": words,
    "Healthcheck": _healthcheck,
    "ArgsEscaped": never,
    "Image": text,
    "Volumes": named(path_inside, _nothing),
    "WorkingDir": text,
    "Entrypoint": words,
    "NetworkDisabled": flag,
    "MacAddress": never,
    "OnBuild": never,
    "Labels": named(text, text),
    "StopSignal": anything_matching(r"(SIG)?[A-Z0-9+]{1,12}", "a signal"),
    # The Engine itself does not end before the last container has had this time.
    "StopTimeout": whole(0, 60),
    "Shell": each(text),
    "Runtime": never,
}

_NEVER = refusing(
    """
    Annotations BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps
    BlkioWeight BlkioWeightDevice CPURealtimePeriod CPURealtimeRuntime Capabilities Cgroup
    CgroupParent ContainerIDFile CpuCount CpuPercent CpuRealtimePeriod CpuRealtimeRuntime
    CpusetMems DeviceCgroupRules Devices IOMaximumBandwidth IOMaximumIOps InitPath KernelMemory
    KernelMemoryTCP Links LxcConf OomKillDisable PidMode PortBindings Privileged PublishAllPorts
    Runtime StorageOpt Sysctls UTSMode UsernsMode VolumeDriver VolumesFrom
    """
)
"""Fields of HostConfig that clients send empty, and that nobody may set."""

HOST: Mapping[str, Check] = {
    **_NEVER,
    "AutoRemove": flag,
    "CapDrop": each(text),
    "CgroupnsMode": one_of("private"),
    # Two numbers that only Windows uses, and that docker sends.
    "ConsoleSize": each(whole(0, 10**5)),
    "CpuPeriod": whole(1000, 1_000_000),
    "CpuQuota": whole(1000, LARGEST),
    "CpuShares": whole(2, 262_144),
    "CpusetCpus": anything_matching(r"[0-9,-]{1,200}", "cores such as 0-3"),
    "Dns": each(_address),
    "DnsOptions": each(anything_matching(r"[a-z0-9:-]{1,40}", "an option of resolv.conf")),
    "DnsSearch": each(anything_matching(r"[A-Za-z0-9.-]{1,253}", "a domain")),
    "ExtraHosts": each(_host),
    "GroupAdd": each(anything_matching(r"[a-z0-9_-]{1,32}", "a group in the container")),
    "Init": flag,
    "IpcMode": one_of("private", "none"),
    "Isolation": one_of("default"),
    "LogConfig": _log,
    "Memory": whole(6 << 20, LARGEST),
    "MemoryReservation": _nonnegative,
    "MemorySwap": whole(-1, LARGEST),
    "MemorySwappiness": whole(-1, 100),
    "NanoCpus": whole(1, LARGEST),
    "OomScoreAdj": whole(0, 1000),
    "PidsLimit": whole(-1, 4_194_304),
    "ReadonlyRootfs": flag,
    "ShmSize": _nonnegative,
    "Tmpfs": named(path_inside, _tmpfs),
    "Ulimits": each(_ulimit),
}

endpoint = within(
    {
        "Aliases": each(anything_matching(r"[A-Za-z0-9_.-]{1,253}", "a name")),
        **refusing(
            """DriverOpts DNSNames EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen
            GwPriority IPAMConfig IPAddress IPPrefixLen IPv6Gateway Links MacAddress NetworkID"""
        ),
    }
)
"""Check for how a container is joined to a network: other names, and no addresses of its choice."""
networking = within({"EndpointsConfig": named(text, endpoint)})


def mount(sources: Mapping[str, Check]) -> Check:
    """Return a check for one entry of Mounts, by the type that it has."""
    common: dict[str, Check] = {
        "Target": path_inside,
        "ReadOnly": flag,
        "Consistency": one_of("default"),
        "BindOptions": within({"Propagation": one_of("rprivate"), "NonRecursive": flag}),
        # A driver's options can bind any folder of the host: type=none,o=bind,device=/.
        "VolumeOptions": within(
            {"NoCopy": flag, "DriverConfig": within({"Name": one_of("local")}), "Labels": never}
        ),
        "TmpfsOptions": within({"SizeBytes": _nonnegative, "Mode": whole(0, 0o7777)}),
    }

    def check(where: str, value: Any) -> dict[str, Any]:
        kind = value.get("Type", "") if isinstance(value, dict) else ""
        if kind not in sources:
            raise Refused(f"{where}: a mount's type can be {', '.join(sources)} here.")
        known = {**common, "Type": text, "Source": sources[kind]}
        found = fields(f"{where}.", value, known)
        if "Target" not in found or (kind == "bind" and found.get("ReadOnly") is not True):
            raise Refused(f"{where}: give a target; and a person's socket is read-only.")
        return found

    return check


def bind(volume: Check) -> Check:
    """Return a check for one entry of Binds, which may name volumes and no paths."""

    def check(where: str, value: Any) -> str:
        parts = text(where, value).split(":")
        if len(parts) not in (2, 3):
            raise Refused(f"{where} is {value[:80]!r}; write volume:path or volume:path:ro.")
        modes = parts[2].split(",") if len(parts) == 3 else ["rw"]
        if not set(modes) <= {"rw", "ro", "nocopy"}:
            raise Refused(f"{where}: a volume can be rw, ro or nocopy, and not {parts[2][:40]!r}.")
        return ":".join((volume(where, parts[0]), path_inside(where, parts[1]), ",".join(modes)))

    return check
