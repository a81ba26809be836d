"""What the chart says of labs' pods: a JSON file, read once and checked whole.

Kubernetes knows things that Docker has not: claims, how many GPUs, which nodes. They are not
variables, since they are lists and tables; ``FAMILIAR_HUB_CLUSTER_FILE`` names the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .profiles import Profile
from .variables import Reader

Podman = Literal["rootless", "fuseOverlayfs", "off"]
_PODMAN: tuple[Podman, ...] = ("rootless", "fuseOverlayfs", "off")
KINDS = ("home", "workspace", "cache")
_SIZE = re.compile(r"[0-9]+(\.[0-9]+)?(M|G|T|Mi|Gi|Ti)")
_ACCESS = ("ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany")
_LONGEST_LABEL = 63


class ClusterError(ValueError):
    """A description that cannot be used. One sentence."""


@dataclass(frozen=True)
class Claims:
    """What a person's files lie on.

    Attributes:
        sizes: of home, workspace and cache, as Kubernetes writes them.
        storage_class: the class of storage; empty for the cluster's own.
        access: how many nodes may have one at a time, as Kubernetes names it.
        together: one claim that holds all three, because nodes can have few volumes.
    """

    sizes: Mapping[str, str] = field(
        default_factory=lambda: {"home": "2Gi", "workspace": "10Gi", "cache": "10Gi"}
    )
    storage_class: str = ""
    access: str = "ReadWriteOnce"
    together: bool = False


@dataclass(frozen=True)
class Place:
    """Where labs of one profile run, and what of the node they get.

    Attributes:
        gpus: how many.
        runtime_class: the name of the RuntimeClass, where GPUs need one.
        node_selector: labels of the nodes.
        tolerations: as Kubernetes writes them.
        shared_memory: how much /dev/shm holds, such as 2Gi; empty is the node's 64 MB.
    """

    gpus: int = 0
    runtime_class: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    shared_memory: str = ""


@dataclass(frozen=True)
class Cluster:
    """All of it.

    Attributes:
        shared: the claim of the folder that all share; empty for none.
        podman: how labs that may use podman get to.
        fuse_resource: what a device plugin calls /dev/fuse; empty where CRI-O gives it.
        gpu_resource: what the cluster calls its GPUs.
        environment: each lab's variables: a text, or a Secret and its key.
        places: by the profiles' names.
    """

    claims: Claims = field(default_factory=Claims)
    shared: str = ""
    podman: Podman = "rootless"
    fuse_resource: str = ""
    gpu_resource: str = "nvidia.com/gpu"
    environment: Mapping[str, str | tuple[str, str]] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)


def cluster_of(read: Reader, name: str, kinds: Sequence[Profile]) -> Cluster:
    """Return the cluster that the file named by a variable describes; faults go to the reader.

    Args:
        name: the variable's.
        kinds: the profiles that there are.
    """
    file = read.file(name)
    try:
        cluster = read_cluster(file.read_text(encoding="utf-8")) if file else Cluster()
    except (ClusterError, UnicodeDecodeError) as error:
        read.fault(name, f"names {file}: {str(error).rstrip('.')}")
        return Cluster()
    for fault in profile_faults(cluster, kinds):
        read.fault(name, f"names {file}: {fault}")
    return cluster


def read_cluster(text: str) -> Cluster:
    """Return what a JSON text describes.

    Raises:
        ClusterError: it is no such description; the sentence says where.
    """
    try:
        told = json.loads(text)
    except json.JSONDecodeError as error:
        raise ClusterError(f"it is no JSON: {error}") from error
    it = _table(
        told, "it", ("claims", "shared", "podman", "fuseResource", "gpuResource", "environment",
                     "places"),
    )  # fmt: skip
    podman = it.get("podman", "rootless")
    if podman not in _PODMAN:
        raise ClusterError(f"podman is {podman!r}; it may be {', '.join(_PODMAN)}")
    places = _table(it.get("places", {}), "places")
    return Cluster(
        claims=_claims(it.get("claims", {})),
        shared=_text(it, "shared"),
        podman=podman,
        fuse_resource=_text(it, "fuseResource"),
        gpu_resource=_text(it, "gpuResource") or "nvidia.com/gpu",
        environment={
            name: _variable(name, value)
            for name, value in _table(it.get("environment", {}), "environment").items()
        },
        places={name: _place(name, value) for name, value in places.items()},
    )


def label(name: str) -> str:
    """Return a profile's name as a label's value, for the policies that mean its labs."""
    text = re.sub(r"[^a-z0-9._-]+", "-", name.lower())[:_LONGEST_LABEL]
    return text.strip("-._")


def profile_faults(cluster: Cluster, kinds: Iterable[Profile]) -> list[str]:
    """Return what is wrong with the places of profiles, one sentence each.

    Args:
        kinds: the profiles that there are.
    """
    kinds = list(kinds)
    names = [kind.name for kind in kinds]
    faults = [
        f"places has {name!r}, and there is no profile of that name"
        for name in cluster.places
        if name not in names
    ]
    labels = [label(name) for name in names]
    faults += [
        f"two profiles would have the label {twice!r}; rename one of them"
        for twice in sorted({each for each in labels if labels.count(each) > 1})
    ]
    faults += [
        f"the profile {kind.name!r} has pids, which are the kubelet's to limit (podPidsLimit)"
        for kind in kinds
        if kind.pids
    ]
    return faults


def _claims(told: object) -> Claims:
    it = _table(told, "claims", ("sizes", "storageClass", "access", "together"))
    sizes = {**Claims().sizes, **_table(it.get("sizes", {}), "claims.sizes", KINDS)}
    for kind, size in sizes.items():
        if not isinstance(size, str) or not _SIZE.fullmatch(size):
            raise ClusterError(f"claims.sizes.{kind} is {size!r}; it may be a size such as 10Gi")
    access = it.get("access", "ReadWriteOnce")
    if access not in _ACCESS:
        raise ClusterError(f"claims.access is {access!r}; it may be {', '.join(_ACCESS)}")
    together = it.get("together", False)
    if not isinstance(together, bool):
        raise ClusterError("claims.together may be true or false")
    return Claims(
        sizes=sizes,
        storage_class=_text(it, "storageClass"),
        access=access,
        together=together,
    )


def _place(name: str, told: object) -> Place:
    what = f"places.{name}"
    it = _table(told, what, ("gpus", "runtimeClass", "nodeSelector", "tolerations", "sharedMemory"))
    gpus = it.get("gpus", 0)
    if not isinstance(gpus, int) or isinstance(gpus, bool) or not 0 <= gpus <= 64:
        raise ClusterError(f"{what}.gpus is {gpus!r}; it may be a number from 0 to 64")
    tolerations = it.get("tolerations", [])
    if not isinstance(tolerations, list):
        raise ClusterError(f"{what}.tolerations is no list")
    shared_memory = _text(it, "sharedMemory")
    if shared_memory and not _SIZE.fullmatch(shared_memory):
        raise ClusterError(f"{what}.sharedMemory is {shared_memory!r}; it may be such as 2Gi")
    return Place(
        gpus=gpus,
        runtime_class=_text(it, "runtimeClass"),
        node_selector=_table(it.get("nodeSelector", {}), f"{what}.nodeSelector"),
        tolerations=tuple(_table(each, f"{what}.tolerations") for each in tolerations),
        shared_memory=shared_memory,
    )


def _variable(name: str, value: object) -> str | tuple[str, str]:
    if isinstance(value, str):
        return value
    it = _table(value, f"environment.{name}", ("secret", "key"))
    secret, key = _text(it, "secret"), _text(it, "key")
    if not (secret and key):
        raise ClusterError(f"environment.{name} needs the name of a Secret and a key in it")
    return secret, key


def _table(told: object, what: str, names: Iterable[str] = ()) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise ClusterError(f"{what} is no table")
    names = tuple(names)
    if unknown := sorted(set(told) - set(names)) if names else []:
        raise ClusterError(f"{what} has {unknown[0]!r}; it may have {', '.join(names)}")
    return told


def _text(it: Mapping[str, Any], name: str) -> str:
    value = it.get(name, "")
    if not isinstance(value, str):
        raise ClusterError(f"{name} is {value!r}; it may be text")
    return value
