"""The hub on Kubernetes: a real JupyterHub with the chart's ConfigMap and the real KubeSpawner, in
a cluster whose Pods are processes."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.chart import Values
from deploy.hub_chart_hub import HubInCluster, hub_in_cluster
from hub.pages_hub import pythons
from needs import need

VALUES: Values = {
    "profiles": [
        {"name": "Standard", "summary": "For everybody"},
        {"name": "Sandbox", "groups": ["engineers"], "podman": True},
        {"name": "GPU", "groups": ["engineers"], "gpus": 1, "memory": "16G"},
    ],
    "environment": {"SAID": "a {brace}"},
    "secretEnvironment": {"PROXY_URLS": {"secretName": "proxies", "key": "urls"}},
}
CLAIMS = ["jupyterlab-{}--home", "jupyterlab-{}--workspace", "jupyterlab-{}--cache"]


@pytest.fixture(scope="module", params=pythons(), ids=lambda python: Path(python).parents[1].name)
def hub(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HubInCluster]:
    """One hub, once with each JupyterHub that has a KubeSpawner."""
    if subprocess.run([request.param, "-c", "import kubespawner"], capture_output=True).returncode:
        need(f"kubespawner beside {request.param}")
    folder = tmp_path_factory.mktemp("hub")
    with hub_in_cluster(folder, VALUES, python=request.param) as running:
        yield running


def test_a_person_gets_a_pod_and_claims_of_their_own(hub: HubInCluster) -> None:
    ada = hub.person("ada.l")
    hub.start(ada, "ada.l")
    assert hub.state(ada, "ada.l") == "running", hub.log[-3000:]
    pod = hub.cluster.labs()["jupyterlab-ada-2el"]
    assert pod["metadata"]["labels"]["familiar-hub/kind"] == "standard"
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "singleuser-server"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "hostUsers" not in pod["spec"]
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"] == 4 * 2**30
    # For the image's own entry point, which prepares the lab before it becomes this.
    assert (container["args"], container.get("command")) == (["jupyterhub-singleuser"], None)
    variables = {one["name"]: one for one in container["env"]}
    assert variables["SAID"]["value"] == "a {brace}"
    assert variables["PROXY_URLS"]["valueFrom"]["secretKeyRef"] == {
        "name": "proxies",
        "key": "urls",
    }
    assert variables["JUPYTERHUB_DEFAULT_URL"]["value"] == "/lab/tree/work"
    made = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert sorted(made) == sorted(name.format("ada-2el") for name in CLAIMS)
    assert set(made) <= set(hub.cluster.claims())


def test_the_culler_reaches_the_hub(hub: HubInCluster) -> None:
    hub.wait_for(lambda: re.search(r"200 GET /hub/api/users\?.* \(idle-culler@127", hub.log))


def test_profiles_are_offered_and_given_by_group(hub: HubInCluster) -> None:
    bob = hub.person("bob")
    # Nothing to choose, and nothing to be had by asking.
    assert hub.start(bob, "bob", {"profile": "GPU"}) in (202, 403)
    hub.wait_for(lambda: hub.state(bob, "bob") == "stopped")
    assert "jupyterlab-bob" not in hub.cluster.labs()
    assert "you may choose: Standard" in bob.get("spawn-pending/bob").text
    hostile = {
        "image": "evil:1", "privileged": True, "extra_pod_config": {"hostPID": True},
        "kubespawner_override": {"image": "evil:1"}, "image--unlisted-choice": "evil:1",
    }  # fmt: skip
    hub.start(bob, "bob", hostile)
    assert hub.state(bob, "bob") == "running", hub.log[-3000:]
    text = json.dumps(hub.cluster.labs()["jupyterlab-bob"])
    assert "evil" not in text
    assert "hostPID" not in text
    hub.stop(bob, "bob")

    admin = hub.admin()
    put = hub.as_person(admin, "POST", "groups/engineers/users", json={"users": ["bob"]})
    assert put.status_code == 200, put.text
    page = bob.get("spawn/bob").text
    assert page.index("Standard: For everybody") < page.index("Sandbox") < page.index("GPU")
    hub.choose(bob, "bob", "GPU")
    (container,) = hub.cluster.labs()["jupyterlab-bob"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["resources"]["requests"]["memory"] == 4 * 2**30
    hub.stop(bob, "bob")

    # Of the one lab nothing is left in the next one.
    hub.start(bob, "bob", {"profile": "Sandbox"})
    spec = hub.cluster.labs()["jupyterlab-bob"]["spec"]
    assert spec["hostUsers"] is False
    (container,) = spec["containers"]
    assert container["securityContext"]["capabilities"]["add"] == ["SETUID", "SETGID"]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert container["resources"]["limits"]["memory"] == 4 * 2**30
    hub.stop(bob, "bob")

    # Nor of a group, once somebody has left it.
    gone = hub.as_person(admin, "DELETE", "groups/engineers/users", json={"users": ["bob"]})
    assert gone.status_code == 200, gone.text
    hub.start(bob, "bob", {"profile": "Sandbox"})
    assert hub.state(bob, "bob") == "stopped"
    assert "jupyterlab-bob" not in hub.cluster.labs()


def test_the_group_podman_runs_containers(hub: HubInCluster) -> None:
    carol, admin = hub.person("carol"), hub.admin()
    put = hub.as_person(admin, "POST", "groups/podman/users", json={"users": ["carol"]})
    assert put.status_code == 200, put.text
    hub.start(carol, "carol")
    spec = hub.cluster.labs()["jupyterlab-carol"]["spec"]
    assert spec["hostUsers"] is False
    assert spec["containers"][0]["securityContext"]["procMount"] == "Unmasked"


def test_a_volume_is_made_new(hub: HubInCluster) -> None:
    dora = hub.person("dora")
    hub.start(dora, "dora")
    cache, workspace = (f"jupyterlab-dora--{kind}" for kind in ("cache", "workspace"))
    before = hub.cluster.claims()

    def reset(confirm: str) -> tuple[int, str]:
        path = "users/dora/volumes/cache/reset"
        told = hub.as_person(dora, "POST", path, json={"confirm": confirm})
        return told.status_code, told.text

    assert reset(cache)[0] == 409
    hub.stop(dora, "dora")
    assert reset("cache")[0] == 400
    assert reset(cache)[0] == 200
    assert cache not in hub.cluster.claims()
    hub.start(dora, "dora")
    after = hub.cluster.claims()
    assert after[cache]["metadata"]["uid"] != before[cache]["metadata"]["uid"]
    assert after[workspace]["metadata"]["uid"] == before[workspace]["metadata"]["uid"]
    hub.stop(dora, "dora")
    # A Pod that the hub knows nothing of has it: nothing is deleted under its hands.
    pod = _pod("a-job", workspace)
    assert hub.cluster.add("pods", pod)[0] == 201
    told = hub.as_person(
        dora, "POST", "users/dora/volumes/workspace/reset", json={"confirm": workspace}
    )
    assert told.status_code == 409
    assert "in use by the Pod a-job" in told.text
    assert f"DELETE persistentvolumeclaims/{workspace}" not in hub.cluster.asked
    hub.cluster.remove("pods", "a-job")


def _pod(name: str, claim: str) -> Values:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"component": "singleuser-server"}},
        "spec": {
            "containers": [
                {
                    "name": "x",
                    "image": "x:1",
                    "env": [
                        {"name": "JUPYTERHUB_SERVICE_PREFIX", "value": "/"},
                        {"name": "JUPYTERHUB_SERVICE_URL", "value": "http://0.0.0.0:8888/"},
                    ],
                }
            ],
            "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }


def test_a_start_waits_for_a_claim_that_is_being_deleted(hub: HubInCluster) -> None:
    erik = hub.person("erik")
    hub.start(erik, "erik")
    hub.stop(erik, "erik")
    home = "jupyterlab-erik--home"
    old = hub.cluster.claims()[home]["metadata"]["uid"]
    hub.cluster.keep.add(home)
    hub.cluster.remove("persistentvolumeclaims", home)
    told = hub.as_person(erik, "POST", "users/erik/server", json={})
    assert told.status_code == 202, told.text
    time.sleep(1)
    assert "jupyterlab-erik" not in hub.cluster.labs()
    hub.cluster.keep.clear()
    hub.cluster.remove("persistentvolumeclaims", home)
    hub.wait_for(lambda: hub.state(erik, "erik") == "running")
    assert hub.cluster.claims()[home]["metadata"]["uid"] != old


def test_a_restart_in_place_is_refused_with_what_to_do(hub: HubInCluster) -> None:
    finn = hub.person("finn")
    hub.start(finn, "finn")
    told = hub.as_person(finn, "GET", "users/finn/lab").json()
    assert told["servers"][0]["restartable"] is False
    assert [volume["kind"] for volume in told["volumes"]] == ["home", "workspace", "cache"]
    answer = hub.as_person(finn, "POST", "users/finn/server/restart")
    assert answer.status_code == 409
    assert "cannot be restarted in place; stop and start it" in answer.text


def test_nobody_reaches_what_is_somebody_elses(hub: HubInCluster) -> None:
    gina, hugo = hub.person("gina"), hub.person("hugo")
    hub.start(gina, "gina")
    confirm = {"confirm": "jupyterlab-gina--home"}
    for method, path in (
        ("GET", "users/gina/lab"),
        ("POST", "users/gina/volumes/home/reset"),
        ("POST", "users/gina/server/restart"),
        ("DELETE", "users/gina/server"),
    ):
        assert hub.as_person(hugo, method, path, json=confirm).status_code in (403, 404), path
    assert "jupyterlab-gina--home" in hub.cluster.claims()
    assert hub.state(gina, "gina") == "running"


def test_a_broadcast_reaches_pods(hub: HubInCluster) -> None:
    ines, admin = hub.person("ines"), hub.admin()
    hub.start(ines, "ines")
    begun = hub.as_person(admin, "POST", "broadcasts", json={"message": "at noon", "kind": "info"})
    assert begun.status_code == 202, begun.text
    path = f"broadcasts/{begun.json()['id']}"
    hub.wait_for(lambda: hub.as_person(admin, "GET", path).json()["state"] == "done")
    told = hub.as_person(admin, "GET", path).json()
    mine = [one for one in told["deliveries"] if one["person"] == "ines"]
    assert mine
    assert mine[0]["reason"] == ""
    got = (hub.folder / "labs" / "jupyterlab-ines.jsonl").read_text()
    assert json.loads(got)["body"]["message"] == "at noon"


def test_an_account_gets_nothing_of_an_earlier_one_of_its_name(hub: HubInCluster) -> None:
    admin = hub.admin()
    jan = hub.person("jan")
    hub.start(jan, "jan")
    first = {name: one["metadata"]["uid"] for name, one in hub.cluster.claims().items()}
    # Something in the cluster has one of the claims, so it cannot go when its person goes.
    home = "jupyterlab-jan--home"
    hub.stop(jan, "jan")
    hub.cluster.add("pods", _pod("backup", home))
    assert hub.as_person(admin, "DELETE", "users/jan").status_code == 204
    left = [name for name in hub.cluster.claims() if name.startswith("jupyterlab-jan-")]
    assert left == [home]
    hub.cluster.remove("pods", "backup")

    again = hub.person("jan")
    hub.start(again, "jan")
    assert hub.state(again, "jan") == "stopped"
    assert "jupyterlab-jan" not in hub.cluster.labs()
    page = again.get("spawn-pending/jan").text
    assert f"The claim {home} was made for an earlier account" in page
    assert "kubectl annotate --overwrite" in page
    hub.cluster.remove("persistentvolumeclaims", home)
    hub.start(again, "jan")
    assert hub.state(again, "jan") == "running"
    for name, one in hub.cluster.claims().items():
        if name.startswith("jupyterlab-jan-"):
            assert one["metadata"]["uid"] != first[name]


def test_labs_outlive_the_hub(hub: HubInCluster) -> None:
    lena = hub.person("lena")
    hub.start(lena, "lena")
    before = hub.cluster.labs()["jupyterlab-lena"]["metadata"]["uid"]
    hub.restart()
    assert lena.is_in
    hub.wait_for(lambda: hub.state(lena, "lena") == "running")
    assert hub.cluster.labs()["jupyterlab-lena"]["metadata"]["uid"] == before
    # And is still the hub's to stop.
    hub.stop(lena, "lena")
    assert "jupyterlab-lena" not in hub.cluster.labs()


def test_two_starts_at_once_make_one_of_each(hub: HubInCluster) -> None:
    kim = hub.person("kim")
    asks = [
        threading.Thread(target=hub.as_person, args=(kim, "POST", "users/kim/server"), daemon=True)
        for _ in range(2)
    ]
    for ask in asks:
        ask.start()
    for ask in asks:
        ask.join()
    hub.wait_for(lambda: hub.state(kim, "kim") == "running")
    made = [line for line in hub.cluster.asked if line.startswith("POST") and "kim" in line]
    assert len(made) == len(set(made)) == 4
