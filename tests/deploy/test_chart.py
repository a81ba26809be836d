"""The chart: what it makes of values, over a matrix of them, and what that means."""

from __future__ import annotations

import importlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.chart import (
    CHART,
    EXAMPLES,
    NEWEST,
    OLDEST,
    Manifest,
    Values,
    commented,
    from_secret,
    helm,
    lab,
    literals,
    nested,
    of_kind,
    only,
    over,
    render,
    selects,
)
from deploy.chart_values import CREDENTIALS, DEV, MATRIX
from needs import need


@pytest.fixture(scope="module", params=MATRIX)
def case(request: pytest.FixtureRequest) -> tuple[Values, list[Manifest]]:
    """One entry of the matrix, and what helm makes of it."""
    values = MATRIX[request.param]
    return values, render(values)


def test_helm_lint_finds_nothing() -> None:
    for path in EXAMPLES:
        told = helm("lint", "--strict", values=[yaml.safe_load(path.read_text("utf-8"))])
        assert "1 chart(s) linted, 0 chart(s) failed" in told, told


@pytest.mark.parametrize("kubernetes", [OLDEST, "1.33.0", NEWEST])
def test_every_manifest_keeps_to_the_schemas(kubernetes: str) -> None:
    need("kubernetes_validate")
    validate = importlib.import_module("kubernetes_validate").validate
    seen = set()
    for values in MATRIX.values():
        for one in render(values, kubernetes=kubernetes):
            if (text := json.dumps(one, sort_keys=True)) not in seen:
                seen.add(text)
                validate(one, kubernetes, strict=True)
    assert len(seen) > 100


# -- who gets in -----------------------------------------------------------------------------------


def test_nothing_is_open_without_a_token_or_the_proxy(case: tuple[Values, list[Manifest]]) -> None:
    _, manifests = case
    for deployment in of_kind(manifests, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        container = lab(deployment)
        told = literals(container)
        assert not any("token" in one.lower() for one in container["args"])
        if told["FAMILIAR_LAB_AUTH"] == "token":
            # It listens for all, and its token is a file that comes from a Secret.
            assert from_secret(spec, container, told["JUPYTER_TOKEN_FILE"]), told
        else:
            # It listens for nobody but the proxy, which lets in whom a file lists, and a policy
            # is in front.
            assert told["FAMILIAR_LAB_AUTH"] == "proxy"
            assert told["FAMILIAR_LAB_IP"] == "127.0.0.1"
            assert "ports" not in container
            (proxy,) = (c for c in spec["containers"] if c["name"] == "oauth2-proxy")
            assert "--authenticated-emails-file=/etc/familiar/emails" in proxy["args"]
            assert not any(
                arg.startswith(("--email-domain", "--skip-auth")) for arg in proxy["args"]
            )
            assert _policy_of(manifests, deployment)
            (config,) = (
                c
                for c in of_kind(manifests, "ConfigMap")
                if c["metadata"]["name"] == deployment["metadata"]["name"]
            )
            assert config["data"]["emails"].split() == ["me@example.org"]


def test_a_service_leads_to_the_one_open_port_of_its_own_pods(
    case: tuple[Values, list[Manifest]],
) -> None:
    _, manifests = case
    for service in of_kind(manifests, "Service"):
        assert service["spec"]["type"] == "ClusterIP"
        (port,) = service["spec"]["ports"]
        chosen = [
            d
            for d in of_kind(manifests, "Deployment")
            if selects(service["spec"]["selector"], d["spec"]["template"]["metadata"]["labels"])
        ]
        assert [d["metadata"]["name"] for d in chosen] == [service["metadata"]["name"]]
        ports = [
            p["name"]
            for c in chosen[0]["spec"]["template"]["spec"]["containers"]
            for p in c.get("ports", [])
        ]
        assert ports == [port["targetPort"]]


def test_a_policy_means_its_own_pods_and_lets_nobody_in_by_leaving_something_out(
    case: tuple[Values, list[Manifest]],
) -> None:
    values, manifests = case
    wanted = values.get("networkPolicy", {}).get("enabled", True)
    for deployment in of_kind(manifests, "Deployment"):
        policies = _policy_of(manifests, deployment)
        assert len(policies) == (1 if wanted else 0)
        for policy in policies:
            others = [d for d in of_kind(manifests, "Deployment") if d is not deployment]
            assert not any(policy in _policy_of(manifests, other) for other in others)
            assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
            (rule,) = policy["spec"]["ingress"]
            assert rule["from"], "no `from` means everybody"
            assert all(rule["from"])
            (port,) = rule["ports"]
            assert port["port"] in _ports(deployment)
            for rule in policy["spec"]["egress"]:
                assert rule, "an empty rule means everywhere"


def test_the_metadata_of_a_cloud_is_out_of_reach() -> None:
    for mode in ("open", "internet"):
        policy = only(render(nested("networkPolicy.egress.mode", mode)), "NetworkPolicy")
        wide = [
            peer["ipBlock"]
            for rule in policy["spec"]["egress"]
            for peer in rule["to"]
            if peer.get("ipBlock", {}).get("cidr") in ("0.0.0.0/0", "::/0")
        ]
        assert {block["cidr"] for block in wide} == {"0.0.0.0/0", "::/0"}
        blocked = {address for block in wide for address in block["except"]}
        assert {"169.254.169.254/32", "fd00:ec2::254/128"} <= blocked
        assert ("10.0.0.0/8" in blocked) is (mode == "internet")
        for block in wide:
            # Of its own family, and not what it is taken from: a cluster refuses that.
            assert all((":" in one) is (":" in block["cidr"]) for one in block["except"])
            assert block["cidr"] not in block["except"]


def test_listed_egress_reaches_dns_and_the_list() -> None:
    extra = [{"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": [{"port": 443}]}]
    values = nested("networkPolicy.egress", {"mode": "listed", "extra": extra})
    dns, *rest = only(render(values), "NetworkPolicy")["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert rest == extra


# -- what stays, and two beside each other ---------------------------------------------------------


def test_the_old_pod_ends_before_the_new_one_wants_the_volume(
    case: tuple[Values, list[Manifest]],
) -> None:
    values, manifests = case
    for deployment in of_kind(manifests, "Deployment"):
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}
        assert deployment["spec"]["replicas"] in (0, 1)
        container = lab(deployment)
        (work,) = (m for m in container["volumeMounts"] if m["name"] == "work")
        assert literals(container)["CLAUDE_CONFIG_DIR"].startswith(work["mountPath"] + "/")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe].get("httpGet", container[probe].get("exec"))
            proxied = literals(container)["FAMILIAR_LAB_AUTH"] == "proxy"
            wanted = {"command": ["lab-healthy"]} if proxied else {"path": "/api", "port": "lab"}
            assert asked == wanted
    for claim in of_kind(manifests, "PersistentVolumeClaim"):
        assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
        keep = values.get("persistence", {}).get("keep", True)
        kept = claim["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert (kept == "keep") is keep


def test_two_instances_share_nothing_that_only_one_can_have(
    case: tuple[Values, list[Manifest]],
) -> None:
    values, manifests = case
    deployments = of_kind(manifests, "Deployment")
    assert len(deployments) == (2 if values.get("dev", {}).get("enabled") else 1)
    if len(deployments) == 1:
        return
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(names) == len(set(names))
    work = [
        next(v for v in spec["volumes"] if v["name"] == "work")["persistentVolumeClaim"][
            "claimName"
        ]
        for spec in (d["spec"]["template"]["spec"] for d in deployments)
    ]
    assert len(set(work)) == 2
    for one, other in itertools.permutations(deployments, 2):
        labels = other["spec"]["template"]["metadata"]["labels"]
        assert not selects(one["spec"]["selector"]["matchLabels"], labels)
    hosts = [i["spec"]["rules"][0]["host"] for i in of_kind(manifests, "Ingress")]
    certificates = [
        t["secretName"] for i in of_kind(manifests, "Ingress") for t in i["spec"].get("tls", [])
    ]
    tokens = [
        from_secret(d["spec"]["template"]["spec"], lab(d), path)
        for d in deployments
        if (path := literals(lab(d)).get("JUPYTER_TOKEN_FILE"))
    ]
    accounts = [d["spec"]["template"]["spec"]["serviceAccountName"] for d in deployments]
    for each in (hosts, certificates, tokens, accounts):
        assert len(set(each)) == len(each)


def test_dev_has_the_values_of_the_other_but_for_its_own() -> None:
    values = {
        "replicas": 0,
        "gpu": {"count": 2},
        "nodeSelector": {"zone": "a"},
        "resources": {"limits": {"memory": "9Gi"}},
        "dev": {"enabled": True, "replicas": 1, "gpu": {"count": 0}, "image": {"tag": "dev"}},
    }
    production, dev = of_kind(render(values), "Deployment")
    assert (production["spec"]["replicas"], dev["spec"]["replicas"]) == (0, 1)
    assert lab(production)["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert lab(dev)["resources"]["limits"] == {"memory": "9Gi"}
    assert dev["spec"]["template"]["spec"]["nodeSelector"] == {"zone": "a"}
    assert lab(dev)["image"].endswith(":dev")
    assert not lab(production)["image"].endswith(":dev")


def test_an_upgrade_changes_nothing_that_cannot_be_changed(tmp_path: Path) -> None:
    newer = tmp_path / "familiar"
    shutil.copytree(CHART, newer)
    description = newer / "Chart.yaml"
    text = description.read_text("utf-8")
    description.write_text(text.replace("0.1.0", "0.9.0"), "utf-8")

    before = render(DEV)
    changed = over(DEV, {"nameOverride": "notes", "fullnameOverride": "lab-familiar"})
    changed = over(over(changed, CREDENTIALS), {"podLabels": {"team": "x"}, "kubeAccess": "edit"})
    after = render(changed, chart=newer)
    for one, other in zip(of_kind(before, "Deployment"), of_kind(after, "Deployment"), strict=True):
        assert one["metadata"]["name"] == other["metadata"]["name"]
        assert one["spec"]["selector"] == other["spec"]["selector"]
        labels = other["spec"]["template"]["metadata"]["labels"]
        assert selects(other["spec"]["selector"]["matchLabels"], labels)
    claims = "PersistentVolumeClaim"
    assert [c["spec"] for c in of_kind(before, claims)] == [
        c["spec"] for c in of_kind(after, claims)
    ]
    # Another chart alone ends no kernel: its version is not in the Pod.
    same = render(DEV, chart=newer)
    for one, other in zip(of_kind(before, "Deployment"), of_kind(same, "Deployment"), strict=True):
        assert one["spec"]["template"]["metadata"] == other["spec"]["template"]["metadata"]


def test_a_label_of_a_person_does_not_lead_the_selectors_astray() -> None:
    values = {"podLabels": {"app.kubernetes.io/component": "elsewhere"}}
    deployment = only(render(values), "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert selects(deployment["spec"]["selector"]["matchLabels"], labels)


def test_a_changed_file_starts_the_pod_anew() -> None:
    def mark(values: Values) -> Any:
        template = only(render(values), "Deployment")["spec"]["template"]
        return template["metadata"]["annotations"]["familiar/config"]

    assert mark({}) == mark({"replicas": 0})
    assert mark({}) != mark(nested("notify.urlsSecretName", "notices"))


# -- what the values say ---------------------------------------------------------------------------


def test_every_value_has_a_comment_and_a_place_in_the_schema() -> None:
    text = (CHART / "values.yaml").read_text("utf-8")
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    known = commented(text)
    assert len(known) > 90
    groups = {name.rpartition(".")[0] for name, _ in known}
    # A group of values speaks through its members; `requests` and `limits` are their parent's.
    silent = [
        name
        for name, has_one in known
        if not has_one and name not in groups and not name.endswith((".requests", ".limits"))
    ]
    assert not silent
    defaults = yaml.safe_load(text)
    assert set(defaults) == set(schema["properties"]) - {"global"}
    assert set(schema["properties"]["dev"]["properties"]) == {"enabled", *defaults} - {
        *("dev", "nameOverride", "fullnameOverride"),
    }
    for name, of_it in schema["properties"].items():
        if of_it.get("type") == "object" and "properties" in of_it and name != "dev":
            assert of_it["additionalProperties"] is False, name
            assert set(of_it["properties"]) >= set(defaults[name]), name


def _ports(deployment: Manifest) -> list[int]:
    of_all = deployment["spec"]["template"]["spec"]["containers"]
    return [port["containerPort"] for one in of_all for port in one.get("ports", [])]


def _policy_of(manifests: list[Manifest], deployment: Manifest) -> list[Manifest]:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    return [
        policy
        for policy in of_kind(manifests, "NetworkPolicy")
        if selects(policy["spec"]["podSelector"]["matchLabels"], labels)
    ]
