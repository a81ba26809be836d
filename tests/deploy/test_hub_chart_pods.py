"""What a lab's Pod is like, by its person, groups and profile: decided without a cluster."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from familiar_hub.cluster import Claims, Cluster, ClusterError, Place, profile_faults, read_cluster
from familiar_hub.kubernetes import (
    BASE,
    claim_manifests,
    claim_names,
    plan,
    slug,
)
from familiar_hub.profiles import Profile, ProfileError, read_profiles
from familiar_hub.settings import Settings

GIB = 2**30
PROFILES = read_profiles(
    """
- name: Standard
- name: Sandbox
  groups: [engineers]
  podman: true
- name: GPU
  groups: [engineers]
  image: cuda:1
  memory: 16G
  cpus: 8
  environment: {A: "{b}"}
"""
)
SETTINGS = Settings(spawner="kubernetes", profiles=PROFILES)
CLUSTER = Cluster(
    places={"GPU": Place(gpus=2, runtime_class="nvidia", shared_memory="8Gi")},
    environment={"PROXY_URLS": ("proxies", "urls"), "A": "all labs'"},
)
THEIRS: dict[str, Any] = {
    "image": "lab:1",
    "mem_limit": 4 * GIB,
    "mem_guarantee": 1 * GIB,
    "cpu_limit": 2.0,
    "cpu_guarantee": 0.25,
    "volumes": [{"name": "files", "secret": {"secretName": "singleuser"}}],
    "volume_mounts": [{"name": "files", "mountPath": "/etc/x"}],
    "node_selector": {"disk": "fast"},
    "tolerations": [{"key": "user", "operator": "Exists"}],
    "extra_resource_limits": {},
    "extra_pod_config": {"dnsPolicy": "ClusterFirst"},
    "extra_labels": {"hub.jupyter.org/network-access-hub": "true"},
    "extra_annotations": {},
}
"""What zero-to-jupyterhub's values have made of KubeSpawner."""


def traits(*groups: str, cluster: Cluster = CLUSTER, **options: Any) -> dict[str, Any]:
    """Return KubeSpawner's settings for somebody who is in some groups."""
    made = plan(SETTINGS, cluster, "ada", groups, options, THEIRS)
    return dict(made.traits)


def test_every_setting_that_is_laid_over_is_laid_anew() -> None:
    # Else what one start has set would be there in the next one, of a profile that has it not.
    assert set(BASE) == set(THEIRS)
    assert set(BASE) <= set(traits())
    before = json.dumps(THEIRS)
    traits("engineers", profile="GPU")
    assert json.dumps(THEIRS) == before


def test_a_lab_may_nothing_beyond_its_own() -> None:
    made = traits()
    assert made["container_security_context"] == {
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert made["pod_security_context"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert made["pod_security_context"]["runAsNonRoot"] is True
    assert made["extra_pod_config"] == {"dnsPolicy": "ClusterFirst", "enableServiceLinks": False}


@pytest.mark.parametrize(
    ("groups", "options"), [(("podman",), {}), (("engineers",), {"profile": "Sandbox"})]
)
def test_podman_comes_with_a_user_namespace(
    groups: tuple[str, ...], options: dict[str, str]
) -> None:
    made = traits(*groups, **options)
    security = made["container_security_context"]
    assert made["extra_pod_config"]["hostUsers"] is False
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["SETUID", "SETGID"]}
    assert security["procMount"] == "Unmasked"
    assert security["seccompProfile"] == security["appArmorProfile"] == {"type": "Unconfined"}
    assert made["privileged"] is False
    assert (security["runAsUser"], made["pod_security_context"]["runAsNonRoot"]) == (1000, True)


def test_fuse_is_a_device_and_one_capability_more() -> None:
    plugin = replace(CLUSTER, podman="fuseOverlayfs", fuse_resource="smarter-devices/fuse")
    made = traits("podman", cluster=plugin)
    assert made["container_security_context"]["capabilities"]["add"][-1] == "SYS_ADMIN"
    assert made["extra_pod_config"]["hostUsers"] is False
    assert made["extra_resource_limits"] == {"smarter-devices/fuse": "1"}
    crio = traits("podman", cluster=replace(plugin, fuse_resource=""))
    assert crio["extra_annotations"]["io.kubernetes.cri-o.Devices"] == "/dev/fuse"
    assert "smarter-devices/fuse" not in traits(cluster=plugin)["extra_resource_limits"]


def test_off_is_off_for_everybody() -> None:
    off = replace(CLUSTER, podman="off")
    made = plan(SETTINGS, off, "ada", {"podman"}, {}, THEIRS)
    assert made.traits["container_security_context"]["allowPrivilegeEscalation"] is False
    assert made.grants == frozenset()
    assert "podman.mode off" in made.remarks[0]


def test_there_is_no_docker_to_give() -> None:
    made = plan(SETTINGS, CLUSTER, "ada", {"docker-privileged"}, {}, THEIRS)
    assert made.grants == frozenset()
    assert "on Kubernetes there is no Docker to give" in made.remarks[0]
    text = json.dumps(dict(made.traits))
    assert "docker.sock" not in text
    assert "hostPath" not in text


def test_a_profile_lays_over_what_there_is() -> None:
    made = traits("engineers", profile="GPU")
    assert made["image"] == "cuda:1"
    assert made["extra_resource_limits"] == {"nvidia.com/gpu": "2"}
    assert made["extra_pod_config"]["runtimeClassName"] == "nvidia"
    assert made["node_selector"] == {"disk": "fast"}
    assert made["volumes"]["familiar-shared-memory"]["emptyDir"] == {
        "medium": "Memory",
        "sizeLimit": "8Gi",
    }
    assert made["extra_labels"]["familiar-hub/kind"] == "gpu"
    # A quarter was guaranteed of memory, an eighth of processors, and so it is here.
    assert (made["mem_limit"], made["mem_guarantee"]) == (16 * GIB, 4 * GIB)
    assert (made["cpu_limit"], made["cpu_guarantee"]) == (8, 1.0)
    environment = plan(SETTINGS, CLUSTER, "ada", {"engineers"}, {"profile": "GPU"}, THEIRS)
    assert environment.environment["A"] == "{b}"
    assert environment.environment["PROXY_URLS"]["valueFrom"] == {
        "secretKeyRef": {"name": "proxies", "key": "urls"}
    }


@given(
    st.integers(256, 10**6),
    st.integers(1, 10**6),
    st.one_of(st.none(), st.integers(1, 10**6)),
)
def test_what_is_guaranteed_is_never_above_the_limit(
    wanted: int, sure: int, limit: int | None
) -> None:
    settings = replace(SETTINGS, profiles=(Profile(name="P", memory=wanted, cpus=float(wanted)),))
    sure = min(sure, limit) if limit else sure
    theirs = THEIRS | {"mem_limit": limit, "mem_guarantee": sure}
    theirs |= {"cpu_limit": limit and float(limit), "cpu_guarantee": float(sure)}
    made = plan(settings, Cluster(), "ada", (), {}, theirs).traits
    assert 0 <= made["mem_guarantee"] <= made["mem_limit"] == wanted
    assert 0 <= made["cpu_guarantee"] <= made["cpu_limit"]


# -- what people send ------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["GPU", "Sandbox", "gpu", "Nothing", "", None, ["GPU"], {}, 1])
def test_a_profile_may_only_be_had_by_its_groups(wanted: object) -> None:
    if wanted is None:
        assert traits(profile=wanted)["image"] == "lab:1"
        return
    with pytest.raises(ProfileError, match="you may choose: Standard"):
        traits(profile=wanted)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *BASE, "privileged", "uid", "kubespawner_override", "image--unlisted-choice",
                "extra_containers", "service_account", "pod_security_context", "groups", "GPU",
            ]
        ),
        st.one_of(st.text(), st.booleans(), st.integers(), st.just({"hostPID": True})),
    )
)  # fmt: skip
def test_hostile_options_change_nothing(options: dict[str, Any]) -> None:
    assert traits(**options) == traits()


# -- names -----------------------------------------------------------------------------------------

NAMES = st.text(min_size=1, max_size=210)


@given(NAMES, NAMES, st.text(max_size=60), st.text(max_size=60))
@example("ada", "ada--x", "x", "")
@example("ada.l", "ada-2el", "", "")
@example("a" * 200, "a" * 199, "", "")
@example("ada", "ada", "x" * 60, "x" * 59)
@example("ä", "a-\u0308", "", "")
def test_no_two_labs_have_one_name(one: str, other: str, server: str, second: str) -> None:
    # The hub's own names are never odder: no lone surrogates.
    names = [slug(SETTINGS, one, server), slug(SETTINGS, other, second)]
    assert (names[0] == names[1]) is ((one, server) == (other, second))
    for name in names:
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name), name


@given(NAMES, NAMES)
def test_no_two_people_have_one_claim(one: str, other: str) -> None:
    mine, theirs = (set(claim_names(SETTINGS, CLUSTER, name).values()) for name in (one, other))
    assert len(mine) == 3
    assert mine.isdisjoint(theirs) is (one != other)
    # Nor is one the shared folder's, or the hub's own.
    assert not mine & {"familiar-hub-shared", "familiar-hub-data", "hub-db-dir"}


def test_claims_are_as_large_as_the_values_say() -> None:
    cluster = Cluster(
        claims=Claims(storage_class="fast", sizes={**Claims().sizes, "home": "512Mi"})
    )
    made = claim_manifests(SETTINGS, cluster, "ada.l", "20260101T000000")
    assert [one["metadata"]["name"] for one in made] == [
        f"jupyterlab-ada-2el--{kind}" for kind in ("home", "workspace", "cache")
    ]
    home = made[0]
    assert home["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "512Mi"}},
        "storageClassName": "fast",
    }
    assert home["metadata"]["annotations"]["familiar-hub/account"] == "20260101T000000"
    together = replace(cluster, claims=replace(cluster.claims, together=True))
    (one,) = claim_manifests(SETTINGS, together, "ada.l", "")
    assert one["spec"]["resources"]["requests"]["storage"] == f"{512 + 20 * 1024}Mi"


@pytest.mark.parametrize("together", [False, True])
def test_a_lab_sees_three_places(together: bool) -> None:
    cluster = replace(CLUSTER, claims=Claims(together=together), shared="all")
    made = traits(cluster=cluster)
    mounts = [made["volume_mounts"][key] for key in sorted(made["volume_mounts"])]
    # In the order of their nesting, the home before what is mounted in it.
    assert [mount["mountPath"] for mount in mounts] == [
        "/home/jovyan", "/home/jovyan/work", "/home/jovyan/.cache", "/home/jovyan/shared", "/etc/x",
    ]  # fmt: skip
    assert [mount.get("subPath") for mount in mounts[:3]] == (
        ["home", "workspace", "cache"] if together else [None] * 3
    )
    volumes = {volume["name"]: volume for volume in made["volumes"].values()}
    assert {mount["name"] for mount in mounts} == set(volumes)
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes.values()
        if "persistentVolumeClaim" in volume
    }
    assert claims == {"all", *claim_names(SETTINGS, cluster, "ada").values()}


# -- the cluster's description ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "it is no JSON"),
        ("[]", "it is no table"),
        ('{"podmann": "off"}', "it has 'podmann'; it may have claims"),
        ('{"podman": "privileged"}', "podman is 'privileged'; it may be rootless"),
        ('{"claims": {"sizes": {"home": "2"}}}', "claims.sizes.home is '2'"),
        ('{"claims": {"sizes": {"attic": "2Gi"}}}', "claims.sizes has 'attic'"),
        ('{"claims": {"access": "ReadOnlyMany"}}', "claims.access is 'ReadOnlyMany'"),
        ('{"claims": {"together": 1}}', "claims.together may be true or false"),
        ('{"shared": 1}', "shared is 1"),
        ('{"environment": {"A": {"secret": "x"}}}', "environment.A needs the name of a Secret"),
        ('{"environment": {"A": 1}}', "environment.A is no table"),
        ('{"places": {"GPU": {"gpus": true}}}', "places.GPU.gpus is True"),
        ('{"places": {"GPU": {"gpus": 1000}}}', "places.GPU.gpus is 1000"),
        ('{"places": {"GPU": {"tolerations": {}}}}', "places.GPU.tolerations is no list"),
        ('{"places": {"GPU": {"sharedMemory": "big"}}}', "places.GPU.sharedMemory is 'big'"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(text: str, told: str) -> None:
    with pytest.raises(ClusterError) as refused:
        read_cluster(text)
    assert told in str(refused.value)


def test_profiles_and_places_must_fit() -> None:
    cluster = Cluster(places={"Gone": Place(gpus=1)})
    kinds = (Profile("Large One"), Profile("large-one"), Profile("Few", pids=64))
    assert profile_faults(cluster, kinds) == [
        "places has 'Gone', and there is no profile of that name",
        "two profiles would have the label 'large-one'; rename one of them",
        "the profile 'Few' has pids, which are the kubelet's to limit (podPidsLimit)",
    ]
