"""From settings and a person to what their lab's Pod is like. Pure: nothing is asked of Kubernetes.

What :mod:`.spawning` is for Docker. Names, rights and profiles are decided by the same rules; what
is said here is how a Pod says them. What neither a profile nor the cluster's description says stays
as zero-to-jupyterhub's values have it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from . import groups as rights
from .cluster import Cluster, Place, label
from .profiles import Profile, chosen
from .settings import Settings
from .spawning import PLACES, SHARED, USER, VOLUMES, escaped

KIND = "familiar-hub/kind"
"""The label with a lab's profile, for NetworkPolicies."""
GRANTS = "familiar-hub/grants"
"""The annotation with what its person may."""
ACCOUNT = "familiar-hub/account"
"""The annotation of a claim: which account of that name it was made for."""
_LONGEST = 63
"""Characters of a name: a Pod's is its host's name too."""
_KEPT = 12
"""Characters of a name that is too long which stand before its digest."""
_TOGETHER = "files"

BASE = (
    "image", "mem_limit", "mem_guarantee", "cpu_limit", "cpu_guarantee", "volumes",
    "volume_mounts", "node_selector", "tolerations", "extra_resource_limits", "extra_pod_config",
    "extra_labels", "extra_annotations",
)  # fmt: skip
"""KubeSpawner's settings that a plan is laid over. They are kept as they were before the first."""


def slug(settings: Settings, person: str, server: str = "") -> str:
    """Return the name of a person's things, or of one of their labs, which no other person gets.

    KubeSpawner's own names end in 32 bits of a digest where a person's name has a dot, say, and
    somebody who may choose a name can find another one with the same bits.

    Raises:
        ValueError: the person's name is empty.
    """
    # No part holds two dashes in a row. Three stand before the digest, which nothing else gives.
    text = f"{escaped(person)}--{escaped(server)}" if server else escaped(person)
    if "." in text or len(settings.prefix) + 1 + len(text) > _LONGEST:
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        kept = text.split(".")[0].split("--")[0][:_KEPT].strip("-")
        text = f"{kept}---{digest}" if kept else f"x---{digest}"
    return f"{settings.prefix}-{text}"


def claim_names(settings: Settings, cluster: Cluster, person: str) -> dict[str, str]:
    """Return the names of a person's claims, by what they are for."""
    kinds = (_TOGETHER,) if cluster.claims.together else tuple(VOLUMES)
    return {kind: f"{slug(settings, person)}--{kind}" for kind in kinds}


def claim_manifests(
    settings: Settings, cluster: Cluster, person: str, account: str
) -> list[dict[str, Any]]:
    """Return a person's claims as they are to be made.

    Args:
        account: which account of that name it is.
    """
    claims = cluster.claims
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": name,
                "labels": {
                    "app.kubernetes.io/name": "familiar-hub",
                    "app.kubernetes.io/managed-by": "familiar-hub",
                    "app.kubernetes.io/component": "singleuser-storage",
                    "familiar-hub/volume": kind,
                },
                # A person's name need not be a label's value.
                "annotations": {"hub.jupyter.org/username": person, ACCOUNT: account},
            },
            "spec": {
                "accessModes": [claims.access],
                "resources": {"requests": {"storage": _size(cluster, kind)}},
                **({"storageClassName": claims.storage_class} if claims.storage_class else {}),
            },
        }
        for kind, name in claim_names(settings, cluster, person).items()
    ]


def _size(cluster: Cluster, kind: str) -> str:
    sizes = cluster.claims.sizes
    if kind != _TOGETHER:
        return sizes[kind]
    # In Mi, since the three may have different units.
    units = {"M": 1e6, "G": 1e9, "T": 1e12, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    split = [(size.rstrip("MGTi"), size[len(size.rstrip("MGTi")) :]) for size in sizes.values()]
    return f"{-int(-sum(float(number) * units[unit] for number, unit in split) // 2**20)}Mi"


@dataclass(frozen=True)
class Plan:
    """What one lab's Pod is like.

    Attributes:
        traits: KubeSpawner's settings by name; all of :data:`BASE` and those of security.
        environment: beside what JupyterHub itself sets. A Secret's key is as Kubernetes writes it.
        remarks: sentences for the hub's log: what somebody should have and cannot get.
    """

    traits: Mapping[str, Any]
    environment: Mapping[str, Any]
    grants: frozenset[str]
    remarks: tuple[str, ...] = field(default=())


def plan(
    settings: Settings,
    cluster: Cluster,
    person: str,
    groups: Iterable[str],
    options: Mapping[str, Any],
    base: Mapping[str, Any],
) -> Plan:
    """Return what a person's lab is to be like.

    Args:
        cluster: what the chart says of labs' Pods.
        groups: the names of all groups that they are in now.
        options: what they chose when they started it.
        base: KubeSpawner's settings of the names in :data:`BASE`, as they are configured.

    Raises:
        ProfileError: they chose what they may not have.
    """
    groups = frozenset(groups)
    profile = chosen(settings.profiles, groups, options) or Profile(name="")
    place = cluster.places.get(profile.name, Place())
    grants, remarks = _grants(settings, cluster, profile, person, groups)
    podman = rights.PODMAN in grants
    fuse = podman and cluster.podman == "fuseOverlayfs"
    limits = dict(base["extra_resource_limits"])
    annotations = {**base["extra_annotations"], GRANTS: ",".join(sorted(grants))}
    if place.gpus:
        limits[cluster.gpu_resource] = str(place.gpus)
    if fuse and cluster.fuse_resource:
        limits[cluster.fuse_resource] = "1"
    elif fuse:
        annotations["io.kubernetes.cri-o.Devices"] = "/dev/fuse"
    volumes, mounts = _volumes(settings, cluster, person, place)
    traits = {
        **_sizes(profile, base),
        "image": profile.image or base["image"],
        "volumes": {**_numbered(base["volumes"], "volume"), **volumes},
        "volume_mounts": {**_numbered(base["volume_mounts"], "mount"), **mounts},
        "node_selector": {**base["node_selector"], **place.node_selector},
        "tolerations": [*_listed(base["tolerations"]), *map(dict, place.tolerations)],
        "extra_resource_limits": limits,
        "extra_pod_config": {**base["extra_pod_config"], **_pod(place, podman)},
        "extra_labels": {
            **base["extra_labels"],
            **({KIND: label(profile.name)} if profile.name else {}),
        },
        "extra_annotations": annotations,
        **_confinement(podman, fuse),
    }
    return Plan(
        traits=traits,
        environment=_environment(cluster, profile),
        grants=grants,
        remarks=remarks,
    )


def _grants(
    settings: Settings, cluster: Cluster, profile: Profile, person: str, groups: frozenset[str]
) -> tuple[frozenset[str], tuple[str, ...]]:
    grants = rights.grants_of(groups)
    if settings.podman or profile.podman:
        grants |= {rights.PODMAN}
    remarks = []
    if rights.DOCKER in grants:
        grants -= {rights.DOCKER}
        remarks.append(
            f"{person} is in docker-privileged; on Kubernetes there is no Docker to give, and the"
            " group podman lets people run containers"
        )
    if rights.PODMAN in grants and cluster.podman == "off":
        grants -= {rights.PODMAN}
        remarks.append(f"{person} may use podman, which podman.mode off gives to nobody")
    return grants, tuple(remarks)


def _sizes(profile: Profile, base: Mapping[str, Any]) -> dict[str, Any]:
    """Return limits, and what is guaranteed: the same part of a profile's limit as of others'.

    More than the limit cannot be guaranteed, and Kubernetes refuses such a Pod.
    """
    made = {}
    for what, wanted in (("mem", profile.memory), ("cpu", profile.cpus)):
        limit, sure = base[f"{what}_limit"], base[f"{what}_guarantee"]
        if wanted and sure:
            sure = min(wanted, sure * wanted / limit if limit else sure)
            sure = int(sure) if what == "mem" else round(sure, 3)
        made[f"{what}_limit"] = wanted or limit
        made[f"{what}_guarantee"] = sure
    return made


def _volumes(
    settings: Settings, cluster: Cluster, person: str, place: Place
) -> tuple[dict[str, Any], dict[str, Any]]:
    claims = {
        kind: {"name": kind, "persistentVolumeClaim": {"claimName": name}}
        for kind, name in claim_names(settings, cluster, person).items()
    }
    mounts = [
        {"name": _TOGETHER, "mountPath": target, "subPath": kind}
        if cluster.claims.together
        else {"name": kind, "mountPath": target}
        for kind, target in VOLUMES.items()
    ]
    if cluster.shared:
        shared = {"claimName": cluster.shared}
        claims["shared"] = {"name": "shared", "persistentVolumeClaim": shared}
        mounts.append({"name": "shared", "mountPath": SHARED})
    if place.shared_memory:
        memory = {"medium": "Memory", "sizeLimit": place.shared_memory}
        claims["shared-memory"] = {"name": "shared-memory", "emptyDir": memory}
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
    # KubeSpawner goes by the keys' order, and the home comes before what is mounted in it.
    numbered = {f"familiar-{number}": mount for number, mount in enumerate(mounts)}
    return {f"familiar-{kind}": volume for kind, volume in claims.items()}, numbered


def _pod(place: Place, podman: bool) -> dict[str, Any]:
    # Else every Service of the namespace is a variable, and one called `jupyter` sets JUPYTER_PORT.
    pod: dict[str, Any] = {"enableServiceLinks": False}
    if podman:
        # Whoever is root in the Pod is nobody on the node, whatever becomes of the Pod's walls.
        pod["hostUsers"] = False
    if place.runtime_class:
        pod["runtimeClassName"] = place.runtime_class
    return pod


def _confinement(podman: bool, fuse: bool) -> dict[str, Any]:
    """Return what a lab's processes may ask of the node's kernel."""
    container: dict[str, Any] = {
        "runAsUser": USER,
        "runAsGroup": USER,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    if podman:
        # Rootless podman makes user namespaces and mounts in them, which the runtime's profiles
        # refuse. Its two helpers get one capability each from their files, which no-new-privileges
        # forbids. Containers mount a /proc of their own, for which the Pod's may not be masked.
        container |= {
            "allowPrivilegeEscalation": True,
            "capabilities": {
                "drop": ["ALL"],
                "add": ["SETUID", "SETGID", *(["SYS_ADMIN"] if fuse else [])],
            },
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
            "procMount": "Unmasked",
        }
    return {
        "privileged": False,
        "allow_privilege_escalation": container["allowPrivilegeEscalation"],
        "uid": USER,
        "gid": USER,
        "fs_gid": USER,
        "container_security_context": container,
        "pod_security_context": {
            "runAsNonRoot": True,
            "fsGroup": USER,
            # Else each start goes through every file, and changes those of the containers.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _environment(cluster: Cluster, profile: Profile) -> dict[str, Any]:
    made: dict[str, Any] = dict(PLACES)
    for name, value in cluster.environment.items():
        if isinstance(value, str):
            made[name] = value
        else:
            secret, key = value
            made[name] = {
                "name": name,
                "valueFrom": {"secretKeyRef": {"name": secret, "key": key}},
            }
    return {**made, **profile.environment}


def _numbered(told: Any, prefix: str) -> dict[str, Any]:
    """Return what KubeSpawner takes as a list or as a table, as a table."""
    if isinstance(told, Mapping):
        return deepcopy(dict(told))
    return {f"{prefix}-{number}": deepcopy(each) for number, each in enumerate(told)}


def _listed(told: Any) -> list[Any]:
    if isinstance(told, Mapping):
        return [deepcopy(told[key]) for key in sorted(told)]
    return deepcopy(list(told))
