"""Ways from the Engine's socket to the host, to labs and to other people, in one table.

Each is a request as a client could send it. ``raw`` is what the Engine itself answers, where asking
is harmless: a container that is made and not started, a name that is read. So the table shows what
the policy keeps out, and not what would not have worked anyway.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

IMAGE = "localhost/familiar-test-socket:latest"
"""The lab's image in these tests."""
NETWORK = "familiar-test-socket"
PREFIX = "socketlab-"
LAB = "socketlab-victim"
"""A lab, started by the hub."""
OTHERS = "person_bob_web"
"""A container of another person."""
OUTSIDE = "familiar-test-outside"
"""A container that no client of the proxy has made: the hub's own, say."""
OUTSIDE_VOLUME = "familiar-test-outside"
OPTIONS_VOLUME = {"hub": "socketlab-with-options", "alice": "person_alice_with_options"}
"""Volumes that an operator made over a folder of the machine, with a client's prefix."""


_BODY: dict[str, Any] = {"Image": IMAGE, "Cmd": ["true"]}


@dataclass(frozen=True)
class Attack:
    """A request that has to be refused.

    Attributes:
        name: what is tried.
        who: ``hub``, or ``alice`` for a person.
        method: of the request.
        target: path and query; the version is put before it.
        body: text, or an object for JSON.
        raw: the status of the Engine's own answer; 0 where it is not asked.
        status: of the refusal.
        looks: whether the Engine has to be asked whose a thing is, before it can be refused.
        kind: the body's content type.
    """

    name: str
    who: str
    method: str
    target: str
    body: Any = None
    raw: int = 0
    status: int = 403
    looks: bool = False
    kind: str = "application/json"

    @property
    def data(self) -> bytes:
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def _made(name: str, who: str, raw: int = 201, **given: Any) -> Attack:
    """Return a create with something in HostConfig, or with ``top`` beside it."""
    top = given.pop("top", {})
    body = {**_BODY, **top}
    if given:
        body["HostConfig"] = {"NetworkMode": "none", **given}
    return Attack(name, who, "POST", _create(who), body, raw)


def _create(who: str, name: str = "attack") -> str:
    prefix = PREFIX if who == "hub" else "person_alice_"
    return f"/containers/create?name={prefix}{name}"


def _text(name: str, who: str, host: str, raw: int = 201) -> Attack:
    """Return a create whose body is written as it is."""
    body = f'{{"Image": "{IMAGE}", "Cmd": ["true"], {host}}}'
    return Attack(name, who, "POST", _create(who), body, raw)


_BINDING = {"type": "none", "o": "bind", "device": "/"}


def _bodies(who: str) -> list[Attack]:
    own = PREFIX if who == "hub" else "person_alice_"
    options = {"DriverConfig": {"Name": "local", "Options": _BINDING}}
    mount = {"Type": "volume", "Source": f"{own}x", "Target": "/x"}
    return [
        _made("privileged", who, Privileged=True),
        _made("a folder of the host in Binds", who, Binds=["/:/host"]),
        _made("a folder of the host in Binds, read-only", who, Binds=["/etc:/x:ro"]),
        _made("the socket itself in Binds", who, Binds=["/var/run/docker.sock:/x"]),
        _made("a folder of the host behind a volume's name", who, raw=400,
              Binds=[f"{own}x/../../..:/x"]),
        _made("a folder of the host in Mounts", who,
              Mounts=[{"Type": "bind", "Source": "/", "Target": "/x"}]),
        _made("a bind in Mounts with its type in capitals", who, raw=400,
              Mounts=[{"Type": "BIND", "Source": "/", "Target": "/x"}]),
        _made("a volume whose driver binds", who,
              Mounts=[{**mount, "VolumeOptions": options}]),
        _made("a mount with two types", who, raw=0,
              Mounts=[{"type": "bind", "Type": "volume", "Source": "/", "Target": "/x"}]),
        _made("a named pipe in Mounts", who, raw=400,
              Mounts=[{"Type": "npipe", "Source": "/x", "Target": "/x"}]),
        _made("somebody's volume", who, Binds=[f"{OUTSIDE_VOLUME}:/x"]),
        _made("somebody's volume in Mounts", who,
              Mounts=[{"Type": "volume", "Source": OUTSIDE_VOLUME, "Target": "/x"}]),
        _made("a mount over /proc", who, Binds=[f"{own}x:/proc/sys"]),
        _made("a mount with propagation", who, raw=400,
              Mounts=[{**mount, "BindOptions": {"Propagation": "rshared"}}]),
        _made("the volumes of another container", who, VolumesFrom=[OUTSIDE]),
        _made("a driver of volumes", who, VolumeDriver="local"),
        _made("a disk of the host", who,
              Devices=[{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x",
                        "CgroupPermissions": "rwm"}]),
        _made("all devices by a rule of cgroups", who, DeviceCgroupRules=["b *:* rwm"]),
        _made("a device by a request", who, raw=0,
              DeviceRequests=[{"Driver": "cdi", "DeviceIDs": ["vendor.com/disk=all"]}]),
        _made("the host's processes", who, PidMode="host"),
        _made("another container's processes", who, PidMode=f"container:{OUTSIDE}"),
        _made("the host's network", who, NetworkMode="host"),
        _made("another container's network", who, NetworkMode=f"container:{OUTSIDE}"),
        _made("the Engine's own bridge by another name", who, raw=0, NetworkMode="docker0"),
        _made("the host's IPC", who, IpcMode="host"),
        _made("an IPC that others may join", who, IpcMode="shareable"),
        _made("another container's IPC", who, raw=201, IpcMode=f"container:{OUTSIDE}"),
        _made("the host's name", who, UTSMode="host"),
        _made("the host's users", who, UsernsMode="host"),
        _made("the host's cgroups", who, CgroupnsMode="host"),
        _made("a cgroup of its choice", who, CgroupParent="/"),
        _made("a legacy cgroup", who, Cgroup="container:x", raw=0),
        _made("SYS_ADMIN", who, CapAdd=["SYS_ADMIN"]),
        _made("all capabilities", who, CapAdd=["ALL"]),
        _made("a capability in small letters", who, CapAdd=["cap_sys_ptrace"]),
        _made("no AppArmor", who, SecurityOpt=["apparmor=unconfined"]),
        _made("no labels of SELinux", who, SecurityOpt=["label=disable"]),
        _made("a seccomp profile of its own", who, SecurityOpt=['seccomp={"defaultAction":"x"}']),
        _made("seccomp off, with a colon", who, SecurityOpt=["seccomp:unconfined"]),
        _made("settings of the kernel", who, Sysctls={"net.ipv4.ip_forward": "1"}),
        _made("another runtime", who, Runtime="runc"),
        _made("unlimited locked memory", who,
              Ulimits=[{"Name": "memlock", "Soft": -1, "Hard": -1}]),
        _made("a limit beyond the host's", who,
              Ulimits=[{"Name": "nofile", "Soft": 1 << 30, "Hard": 1 << 30}]),
        _made("a file written on the host", who, ContainerIDFile="/etc/cron.d/x"),
        _made("a log sent to an inner address", who,
              LogConfig={"Type": "syslog", "Config": {"syslog-address": "udp://127.0.0.1:1514"}}),
        _made("a log sent to fluentd", who,
              LogConfig={"Type": "fluentd", "Config": {"fluentd-address": "127.0.0.1:24224"}}),
        _made("a log with options", who,
              LogConfig={"Type": "json-file", "Config": {"env": "SECRET"}}),
        _made("links to a lab", who, raw=0, Links=[f"{LAB}:lab"]),
        _made("a port of the host", who, PortBindings={"80/tcp": [{"HostPort": "80"}]}),
        _made("all ports of the host", who, PublishAllPorts=True),
        _made("not to be killed for memory", who, OomKillDisable=True),
        _made("others killed before it", who, OomScoreAdj=-1000),
        _made("a weight on the disk", who, raw=0, BlkioWeight=1000),
        _made("a limit on a disk, by its path", who, raw=0,
              BlkioDeviceReadBps=[{"Path": "/dev/sda", "Rate": 1}]),
        _made("options of storage", who, raw=0, StorageOpt={"size": "1T"}),
        _made("real-time priority", who, raw=0, CpuRealtimeRuntime=950000),
        _made("annotations for the runtime", who, raw=0, Annotations={"io.x": "1"}),
        _made("an address of the hardware", who, top={"MacAddress": "02:42:00:00:00:01"}),
        _made("another network beside", who, raw=0,
              top={"NetworkingConfig": {"EndpointsConfig": {"none": {}, "host": {}}}}),
        _made("an address on the network", who, raw=0, top={"NetworkingConfig": {
            "EndpointsConfig": {NETWORK: {"IPAMConfig": {"IPv4Address": "172.17.0.1"}}}}}),
        _made("a healthcheck without pause", who, raw=201,
              top={"Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000}}),
        _made("the owner's label", who, top={"Labels": {"familiar-hub.owner": "person/bob"}}),
        _made("the owner's label in capitals", who, top={"Labels": {"Familiar-Hub.Owner": "x"}}),
        _made("a label that an updater goes by", who,
              top={"Labels": {"com.centurylinklabs.watchtower.enable": "true"}}),
        _made("a label by which operators find the hub", who,
              top={"Labels": {"com.docker.compose.project": "familiar"}}),
        _made("a field that is not known", who, raw=0, Frobnicate=1),
        _made("a field that is not known, above", who, raw=0, top={"Frobnicate": 1}),
        _text("privileged in small letters", who, '"HostConfig": {"privileged": true}'),
        _text("HostConfig in small letters", who, '"hostconfig": {"Privileged": true}'),
        _text("privileged twice", who, '"HostConfig": {"Privileged": false, "Privileged": true}'),
        _text("privileged twice, in two cases", who,
              '"HostConfig": {"Privileged": false, "PRIVILEGED": true}'),
        _text("HostConfig twice", who, '"HostConfig": {}, "HostConfig": {"Privileged": true}'),
        _text("a letter that Go folds (the Kelvin sign)", who,
              '"HostConfig": {"NetworkMode": "none", "CgroupnsMode": "private", '
              '"Lin\\u212as": ["a:b"]}', raw=0),
        _text("a letter that Go folds (the long s)", who,
              '"HostConfig": {"Privileged": false, "Bind\\u017f": ["/:/x"]}'),
        _text("an escape in a key", who, '"HostConfig": {"Pri\\u0076ileged": true}'),
        _text("a number that is none", who, '"HostConfig": {"Memory": NaN}', raw=0),
        _text("text behind the body", who, '"Tty": false}{"HostConfig": {"Privileged": true}',
              raw=0),
        Attack("a body in UTF-16", who, "POST", _create(who),
               json.dumps(_BODY).encode("utf-16"), 0),
        Attack("a body that is a list", who, "POST", _create(who), "[]", 0),
        Attack("a body nested a hundred thousand times", who, "POST", _create(who),
               '{"Env":' + "[" * 100_000 + "]" * 100_000 + "}", 0),
        Attack("a body of two megabytes", who, "POST", _create(who),
               {**_BODY, "Env": ["A=" + "x" * (2 << 20)]}, 201),
        Attack("a form beside the query", who, "POST", f"{_create(who)}",
               "name=attack", 0, kind="application/x-www-form-urlencoded"),
        Attack("a volume whose driver binds, made first", who, "POST", "/volumes/create",
               {"Name": f"{own}x", "Driver": "local", "DriverOpts": _BINDING}, 201),
        Attack("another driver of volumes", who, "POST", "/volumes/create",
               {"Name": f"{own}x", "Driver": "rclone"}, 0),
        Attack("a volume of another's name", who, "POST", "/volumes/create",
               {"Name": "familiar-test-attack"}, 201),
        Attack("a volume that an operator made over a folder", who, "POST", _create(who),
               {**_BODY, "HostConfig": {"Binds": [f"{OPTIONS_VOLUME[who]}:/x"],
                                               "NetworkMode": "none"}},
               201, 403 if who == "hub" else 404, looks=True),
        Attack("a look at somebody's volume", who, "GET", f"/volumes/{OUTSIDE_VOLUME}", None,
               200, 404),
        Attack("a container of another's name", who, "POST",
               "/containers/create?name=familiar-test-attack", _BODY, 201),
        Attack("a platform, for another image", who, "POST", f"{_create(who)}&platform=linux/s390x",
               _BODY, 0),
        Attack("a look at somebody's container", who, "GET", f"/containers/{OUTSIDE}/json", None,
               200, 404, looks=True),
        Attack("the end of somebody's container", who, "DELETE", f"/containers/{OUTSIDE}?force=1",
               None, 0, 404, looks=True),
        Attack("somebody's logs", who, "GET", f"/containers/{OUTSIDE}/logs?stdout=1", None, 200,
               404, looks=True),
        Attack("links removed", who, "DELETE", f"/containers/{OUTSIDE}?link=1", None, 0),
    ]  # fmt: skip


def _paths(who: str) -> list[Attack]:
    """What neither may ask at all, whomever it belongs to."""
    mine = "socketlab-mine" if who == "hub" else "person_alice_mine"
    asked: list[tuple[str, str, str, Any, int]] = [
        ("a rename", "POST", f"/containers/{mine}/rename?name=x", None, 0),
        ("an update of limits", "POST", f"/containers/{mine}/update", {"Memory": 0}, 0),
        ("an image made of a container", "POST", f"/commit?container={mine}", {}, 0),
        ("a file put into a container", "PUT", f"/containers/{mine}/archive?path=/", b"x", 0),
        ("a file taken from a container", "GET", f"/containers/{OUTSIDE}/archive?path=/etc/hosts",
         None, 200),
        ("a whole container taken", "GET", f"/containers/{OUTSIDE}/export", None, 200),
        ("a stream over a web socket", "GET", f"/containers/{mine}/attach/ws", None, 0),
        ("all containers pruned", "POST", "/containers/prune", None, 0),
        ("all volumes pruned", "POST", "/volumes/prune", None, 0),
        ("all images pruned", "POST", "/images/prune", None, 0),
        ("all networks pruned", "POST", "/networks/prune", None, 0),
        ("the cache of builds pruned", "POST", "/build/prune", None, 0),
        ("everybody's events", "GET", "/events?until=1", None, 200),
        ("what lies on the disk", "GET", "/system/df", None, 200),
        ("a sign-in at a registry, from the host", "POST", "/auth",
         {"serveraddress": "http://127.0.0.1:9"}, 0),
        ("a look at a registry, from the host", "GET", "/distribution/127.0.0.1:9/x/json", None, 0),
        ("a search at a registry, from the host", "GET", "/images/search?term=x", None, 0),
        ("an image loaded", "POST", "/images/load", b"x", 0),
        ("images saved", "GET", f"/images/{IMAGE}/get", None, 200),
        ("an image pushed", "POST", f"/images/{IMAGE}/push?tag=latest", None, 0),
        ("an image imported from an address", "POST",
         "/images/create?fromSrc=http://127.0.0.1:9/x&repo=x", None, 0),
        ("an image pulled from an inner registry", "POST",
         "/images/create?fromImage=127.0.0.1:9/x&tag=1", None, 0),
        ("BuildKit's session", "POST", "/session", None, 0),
        ("BuildKit's calls", "POST", "/grpc", None, 0),
        ("a swarm", "POST", "/swarm/init", {"ListenAddr": "127.0.0.1"}, 0),
        ("a service", "POST", "/services/create", {}, 0),
        ("secrets", "GET", "/secrets", None, 0),
        ("configurations", "GET", "/configs", None, 0),
        ("nodes", "GET", "/nodes", None, 0),
        ("tasks", "GET", "/tasks", None, 0),
        ("a plugin", "POST", "/plugins/pull?remote=x", [], 0),
        ("the list of plugins", "GET", "/plugins", None, 200),
        ("the Engine's profiles", "GET", "/debug/pprof/heap", None, 0),
    ]  # fmt: skip
    return [Attack(name, who, *rest) for name, *rest in asked]


def _targets(who: str) -> list[Attack]:
    """Paths with two readings. The Engine cleans and decodes them, and may send elsewhere."""
    return [
        Attack(name, who, method, target)
        for name, method, target in [
            ("two slashes", "GET", f"//containers/{OUTSIDE}/json"),
            ("two slashes inside", "GET", f"/containers//{OUTSIDE}/json"),
            ("dots", "GET", f"/containers/x/../{OUTSIDE}/json"),
            ("an escaped slash", "GET", f"/containers%2f{OUTSIDE}%2fjson"),
            ("an escaped dot", "GET", f"/containers/%2e%2e/containers/{OUTSIDE}/json"),
            ("a letter escaped", "GET", f"/%63ontainers/{OUTSIDE}/json"),
            ("an escape escaped", "GET", f"/containers/%2540{OUTSIDE}/json"),
            ("a NUL", "GET", f"/containers/{OUTSIDE}%00/json"),
            ("a slash at the end", "GET", "/containers/json/"),
            ("capitals", "GET", "/Containers/json"),
            ("an old version", "GET", "/v1.24/containers/json"),
            ("two versions", "GET", "/v1.41/v1.41/containers/json"),
            ("a version of four figures", "GET", "/v1.4100/containers/json"),
            ("a query with semicolons", "GET", "/containers/json?all=1;filters=x"),
            ("an argument twice", "GET", "/containers/json?all=0&all=1"),
            ("an argument in capitals", "GET", "/containers/json?Filters={}"),
            ("filters twice in one", "GET",
             "/containers/json?filters=%7B%22label%22:%5B%5D,%22label%22:%5B%22x%22%5D%7D"),
            ("a filter that is not known", "GET",
             "/containers/json?filters=%7B%22isolation%22:%5B%22x%22%5D%7D"),
            ("a fragment", "GET", "/containers/json#x"),
            ("a method of no kind", "TRACE", "/containers/json"),
            ("a change by GET", "GET", f"/containers/{OUTSIDE}/stop"),
            ("the proxy's own paths, by another method", "POST", "/familiar/people/alice"),
        ]
    ]  # fmt: skip


_HUB = [
    Attack("a command in a lab", "hub", "POST", f"/containers/{LAB}/exec", {"Cmd": ["id"]}, 201),
    Attack("a command in its own container", "hub", "POST", f"/containers/{OUTSIDE}/exec",
           {"Cmd": ["id"]}, 201),
    Attack("a stream of a lab", "hub", "POST", f"/containers/{LAB}/attach?stdin=1&stream=1"),
    Attack("a build", "hub", "POST", "/build?t=x", b"x"),
    Attack("another image", "hub", "POST", _create("hub"), {"Image": "familiar-test-socket"}, 0),
    Attack("an image by its digest", "hub", "POST", _create("hub"),
           {"Image": "localhost/familiar-test-socket@sha256:" + "0" * 64}, 0),
    Attack("an image by the beginning of an ID", "hub", "POST", _create("hub"),
           {"Image": "0123456789ab"}, 0),
    Attack("an image by a whole ID", "hub", "POST", _create("hub"), {"Image": "0" * 64}, 0),
    Attack("an image with a tag and a digest", "hub", "POST", _create("hub"),
           {"Image": f"{IMAGE}@sha256:" + "0" * 64}, 0),
    Attack("the lab's image of another registry", "hub", "POST", _create("hub"),
           {"Image": f"evil.example/{IMAGE}"}, 0),
    Attack("another image pulled", "hub", "POST", "/images/create?fromImage=busybox&tag=latest"),
    Attack("all tags of the lab's image pulled", "hub", "POST",
           "/images/create?fromImage=localhost/familiar-test-other"),
    Attack("another image's tag in the name", "hub", "POST",
           f"/images/create?fromImage={IMAGE}&tag=latest"),
    Attack("a look at another image", "hub", "GET", "/images/busybox/json", status=404),
    Attack("the list of images", "hub", "GET", "/images/json", None, 200),
    Attack("the list of networks", "hub", "GET", "/networks", None, 200),
    Attack("a look at another network", "hub", "GET", "/networks/host", None, 200, 404),
    Attack("a network made", "hub", "POST", "/networks/create", {"Name": "x"}),
    Attack("a lab put on another network", "hub", "POST", "/networks/host/connect",
           {"Container": LAB}),
    Attack("a lab on another network", "hub", "POST", _create("hub"),
           {**_BODY, "HostConfig": {"NetworkMode": "bridge"}}, 201),
    Attack("the shared volume removed", "hub", "DELETE", "/volumes/familiar-test-shared"),
    _made("a folder of sockets that is nobody's", "hub", raw=0, Mounts=[
        {"Type": "bind", "ReadOnly": True, "Source": "/srv/people/../hub", "Target": "/x"}]),
    _made("the folder of all people's sockets", "hub", raw=0, Mounts=[
        {"Type": "bind", "ReadOnly": True, "Source": "/srv/people", "Target": "/x"}]),
    Attack("all of /proc in a lab that needs it not", "hub", "POST", _create("hub"),
           {**_BODY, "HostConfig": {"NetworkMode": "none", "MaskedPaths": ["/x"]}}, 201),
    Attack("no container's name", "hub", "POST", "/containers/create", _BODY, 201),
]  # fmt: skip

_OF_A_PERSON = [
    Attack("another's container", "alice", "GET", f"/containers/{OTHERS}/json", None, 200, 404,
           looks=True),
    Attack("another's container killed", "alice", "POST", f"/containers/{OTHERS}/kill", None, 0,
           404, looks=True),
    Attack("a command in another's container", "alice", "POST", f"/containers/{OTHERS}/exec",
           {"Cmd": ["id"]}, 201, 404, looks=True),
    Attack("a command in a lab", "alice", "POST", f"/containers/{LAB}/exec", {"Cmd": ["id"]}, 201,
           404, looks=True),
    Attack("a lab's stream", "alice", "POST", f"/containers/{LAB}/attach?stream=1&stdin=1", None,
           0, 404, looks=True),
    Attack("a lab's processes", "alice", "GET", f"/containers/{LAB}/top", None, 200, 404,
           looks=True),
    Attack("arguments of the host's ps", "alice", "GET", f"/containers/{OTHERS}/top?ps_args=e"),
    Attack("a privileged command", "alice", "POST", f"/containers/{OTHERS}/exec",
           {"Cmd": ["id"], "Privileged": True}, 201),
    Attack("a privileged command, in small letters", "alice", "POST",
           f"/containers/{OTHERS}/exec", {"Cmd": ["id"], "privileged": True}, 201),
    Attack("a lab's volume", "alice", "POST", _create("alice"),
           {**_BODY, "HostConfig": {"Binds": ["socketlab-victim-home:/x"],
                                           "NetworkMode": "none"}}, 201),
    Attack("the labs' network", "alice", "POST", _create("alice"),
           {**_BODY, "HostConfig": {"NetworkMode": NETWORK}}, 201),
    Attack("another's network", "alice", "POST", _create("alice"),
           {**_BODY, "HostConfig": {"NetworkMode": "person_bob_default"}}),
    Attack("the labs' network joined", "alice", "POST", f"/networks/{NETWORK}/connect",
           {"Container": "person_alice_mine"}, 0, 404, looks=True),
    Attack("a lab's name", "alice", "POST", "/containers/create?name=socketlab-carol",
           _BODY, 201),
    Attack("the name of a longer person's container", "alice", "POST",
           "/containers/create?name=person_alice-2db_x", _BODY, 201),
    Attack("more memory than allowed", "alice", "POST", _create("alice"),
           {**_BODY, "HostConfig": {"Memory": 1 << 40, "NetworkMode": "none"}}, 201),
    Attack("a quota in place of cores", "alice", "POST", _create("alice"),
           {**_BODY, "HostConfig": {"CpuQuota": 1 << 40, "NetworkMode": "none"}}, 201),
    Attack("a container that starts with the Engine", "alice", "POST", _create("alice"),
           {**_BODY, "HostConfig": {"RestartPolicy": {"Name": "always"},
                                           "NetworkMode": "none"}}, 201),
    Attack("the lab's image replaced by a tag", "alice", "POST",
           f"/images/{IMAGE}/tag?repo=localhost/familiar-test-other&tag=latest"),
    Attack("another's image replaced by a tag", "alice", "POST",
           f"/images/{IMAGE}/tag?repo=localhost/person/bob/x&tag=latest"),
    Attack("the lab's image removed", "alice", "DELETE", f"/images/{IMAGE}"),
    Attack("the lab's image pulled anew", "alice", "POST",
           "/images/create?fromImage=localhost/familiar-test-socket&tag=latest"),
    Attack("a registry of its choice", "alice", "POST",
           "/images/create?fromImage=registry.example:5000/x&tag=1"),
    Attack("a build that overwrites the lab's image", "alice", "POST", f"/build?t={IMAGE}", b"x"),
    Attack("a build from an address", "alice", "POST",
           "/build?remote=http://169.254.169.254/latest", b""),
    Attack("a build with BuildKit", "alice", "POST", "/build?version=2&session=x", b""),
    Attack("a build on the host's network", "alice", "POST", "/build?networkmode=host", b"x"),
    Attack("a build in a container's network", "alice", "POST",
           f"/build?networkmode=container:{OUTSIDE}", b"x"),
    Attack("a build in a cgroup of its choice", "alice", "POST", "/build?cgroupparent=/x", b"x"),
    Attack("a build that pulls what it begins with", "alice", "POST", "/build?pull=1", b"x"),
    Attack("a build without seccomp", "alice", "POST",
           "/build?securityopt=%5B%22seccomp=unconfined%22%5D", b"x"),
    Attack("a build with another's label", "alice", "POST",
           "/build?labels=%7B%22familiar-hub.owner%22:%22hub%22%7D", b"x"),
    Attack("a network on the host's interfaces", "alice", "POST", "/networks/create",
           {"Name": "person_alice_x", "Driver": "macvlan", "Options": {"parent": "lo"}}),
    Attack("a network with addresses of the host's", "alice", "POST", "/networks/create",
           {"Name": "person_alice_x", "IPAM": {"Config": [{"Subnet": "10.0.0.0/8"}]}}),
    Attack("a network with a bridge's name", "alice", "POST", "/networks/create",
           {"Name": "person_alice_x", "Options": {"com.docker.network.bridge.name": "docker0"}}),
    Attack("a network of another's name", "alice", "POST", "/networks/create",
           {"Name": "person_bob_x"}),
    Attack("a person's socket", "alice", "POST", _create("alice"),
           {**_BODY, "HostConfig": {"NetworkMode": "none", "Mounts": [
               {"Type": "bind", "ReadOnly": True, "Source": "/srv/people/bob", "Target": "/x"}]}}),
    Attack("seccomp off", "alice", "POST", _create("alice"),
           {**_BODY, "HostConfig": {"SecurityOpt": ["seccomp=unconfined"],
                                           "NetworkMode": "none"}}, 201),
    Attack("SETUID added", "alice", "POST", _create("alice"),
           {**_BODY, "HostConfig": {"CapAdd": ["SETUID"], "NetworkMode": "none"}}, 201),
    Attack("a socket opened for oneself", "alice", "PUT", "/familiar/people/bob"),
    Attack("the list of those who have sockets", "alice", "GET", "/familiar/people"),
]  # fmt: skip

ATTACKS = [
    attack
    for who in ("hub", "alice")
    for attack in (*_bodies(who), *_paths(who), *_targets(who))
] + [*_HUB, *_OF_A_PERSON]  # fmt: skip

DOCKERFILES = {
    "an address in ADD": "FROM {image}\nADD http://169.254.169.254/ /x",
    "an address in ADD, in quotes": 'FROM {image}\nADD ["http://127.0.0.1/", "/x"]',
    "an address in ADD, in pieces": 'FROM {image}\nADD h"ttp:"//127.0.0.1/ /x',
    "an address in ADD, from an argument": "FROM {image}\nARG U\nADD $U /x",
    "an address in ADD over two lines": "FROM {image}\nADD ht\\\ntp://127.0.0.1/ /x",
    "an address behind an option of ADD": "FROM {image}\nADD --chown=0 http://127.0.0.1/ /x",
    "an image from an argument": "ARG I={image}\nFROM $I",
    "an image from an argument, with a default": "FROM ${{I:-busybox}}",
    "an image in quotes": 'FROM "{image}"',
    "a platform": "FROM --platform=linux/s390x {image}",
    "another's image in COPY, from an argument": "FROM {image}\nCOPY --from=$X / /x",
    "another's image in COPY, escaped": "FROM {image}\nCOPY --fr\\om=x / /x",
    "a mount in RUN": "FROM {image}\nRUN --mount=type=bind,from=x true",
    "the host's network in RUN": "FROM {image}\nRUN --network=host true",
    "an instruction for later": "FROM {image}\nONBUILD ADD http://127.0.0.1/ /x",
    "another escape": "# escape=`\nFROM {image}\nRUN true `\nADD http://x /x",
    "another front end": "# syntax=evil/front\nFROM {image}",
    "text that swallows what follows": "FROM {image}\nRUN cat <<X\nUSER 1",
    "a control character": "FROM {image}\nRUN true\x0bADD http://x /x",
    "an instruction that is not known": "FROM {image}\nFROBNICATE x",
    "an unfinished line": "FROM {image}\nRUN true \\",
    "no image at all": "RUN true",
    "nothing": "",
}
"""Dockerfiles that may not be built."""
