"""The chart of the hub: what helm makes of its values, and that the hub takes it as it is meant."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config import Config

from deploy.chart import (
    NEWEST,
    OLDEST,
    Manifest,
    Values,
    commented,
    helm,
    nested,
    of_kind,
    only,
    over,
    selects,
    strings,
)
from deploy.hub_chart import (
    CHART,
    EXAMPLES,
    OURS,
    SIZES,
    files,
    get_in,
    render,
    settings,
    z2jh,
)
from deploy.test_chart_in_a_cluster import cluster
from familiar_hub import audit, zero_to_jupyterhub
from familiar_hub.cluster import label
from familiar_hub.spawning import PLACES
from needs import need

LAB = {"app.kubernetes.io/component": "singleuser-server", "component": "singleuser-server"}
"""Labels that KubeSpawner gives to every lab."""
CASES: dict[str, Values] = {
    path.stem: yaml.safe_load(path.read_text("utf-8")) for path in EXAMPLES
} | {
    "podman off": {"podman": {"mode": False}},
    "no policy": {"networkPolicy": {"enabled": False}},
    "a share that is there": {"storage": {"shared": {"enabled": True, "existingClaim": "nfs"}}},
    "http": {"publicUrl": "http://lab.example.org", "allowHttp": True},
    "the old way of a hub": {"culling": {"idleMinutes": 0, "maxAgeHours": 0}},
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Values, list[Manifest]]:
    """Some values, and what helm makes of them."""
    return CASES[request.param], render(CASES[request.param])


def test_helm_lint_finds_nothing() -> None:
    for path in EXAMPLES:
        told = helm("lint", "--strict", values=[yaml.safe_load(path.read_text())], chart=CHART)
        assert "1 chart(s) linted, 0 chart(s) failed" in told, told


@pytest.mark.parametrize("kubernetes", [OLDEST, "1.33.0", NEWEST])
def test_every_manifest_keeps_to_the_schemas(kubernetes: str) -> None:
    need("kubernetes_validate")
    validate = importlib.import_module("kubernetes_validate").validate
    seen = 0
    for values in CASES.values():
        for one in render(values, kubernetes=kubernetes):
            validate(one, kubernetes, strict=True)
            seen += 1
    assert seen > 20


def test_each_value_says_what_it_does() -> None:
    text = (CHART / "values.yaml").read_text("utf-8")
    # Tables whose entries are explained one by one, and lines in braces.
    bare = [name for name, has_one in commented(text) if not has_one]
    assert set(bare) <= {
        "accounts", "oidc", "podman", "gpu", "claude", "storage", "storage.shared", "data",
        "culling", "networkPolicy", "profiles.summary", "summary",
    }, bare  # fmt: skip


def test_the_hub_takes_what_the_chart_says(
    case: tuple[Values, list[Manifest]], tmp_path: Path
) -> None:
    values, _ = case
    told = settings(tmp_path, values)
    merged = over(yaml.safe_load((CHART / "values.yaml").read_text()), over(OURS, values))
    assert told.spawner == "kubernetes"
    assert told.public_url == merged["publicUrl"] + merged["baseUrl"]
    assert told.base_url == merged["baseUrl"]
    assert told.ssl is merged["publicUrl"].startswith("https")
    assert told.authenticator == merged["authenticator"]
    assert [kind.name for kind in told.profiles] == [one["name"] for one in merged["profiles"]]
    assert told.culling.idle == 60 * merged["culling"]["idleMinutes"]
    assert told.cluster.podman == (merged["podman"]["mode"] or "off")
    assert told.podman is merged["podman"]["everybody"]
    assert told.cluster.claims.sizes["workspace"] == merged["storage"]["workspace"]
    assert told.cluster.claims.access == merged["storage"]["accessMode"]
    assert bool(told.cluster.shared) is merged["storage"]["shared"]["enabled"]
    for one in merged["profiles"]:
        place = told.cluster.places.get(one["name"])
        assert (place.gpus if place else 0) == one.get("gpus", 0)


def test_a_profile_says_all_of_it(tmp_path: Path) -> None:
    told = settings(tmp_path, CASES["everything-values"])
    gpu = next(kind for kind in told.profiles if kind.name == "GPU")
    assert gpu.groups == {"engineers"}
    assert (gpu.memory, gpu.cpus) == (32 * 2**30, 8)
    assert gpu.environment == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    place = told.cluster.places["GPU"]
    assert (place.gpus, place.runtime_class, place.shared_memory) == (1, "nvidia", "8Gi")
    assert place.node_selector == {"pool": "gpu"}
    assert place.tolerations[0]["key"] == "nvidia.com/gpu"
    assert told.oidc
    assert told.oidc.allowed_groups == {"lab"}
    assert told.admin == "ada@example.org"


def test_claude_elsewhere_gets_no_sign_in(tmp_path: Path) -> None:
    reach = nested("networkPolicy.reach", CASES["ollama-values"]["networkPolicy"]["reach"])
    values = over(reach, nested("claude.endpoint", "http://ollama.models:11434/"))
    told = settings(tmp_path, values).cluster.environment
    assert told["ANTHROPIC_BASE_URL"] == "http://ollama.models:11434"
    assert told["ANTHROPIC_AUTH_TOKEN"] == "none"
    with_token = settings(tmp_path, CASES["ollama-values"]).cluster.environment
    assert with_token["ANTHROPIC_AUTH_TOKEN"] == ("ollama", "token")
    assert {with_token[f"ANTHROPIC_{name}MODEL"] for name in ("", "SMALL_FAST_", "DEFAULT_OPUS_")}
    assert with_token["PROXY_URLS"] == ("proxies", "PROXY_URLS")
    assert "ANTHROPIC_BASE_URL" not in settings(tmp_path).cluster.environment


def test_no_secret_stands_in_what_is_made(case: tuple[Values, list[Manifest]]) -> None:
    values, manifests = case
    assert not of_kind(manifests, "Secret")
    wanted = {one["secretName"] for one in values.get("secretEnvironment", {}).values()}
    cluster_file = json.loads(only(manifests, "ConfigMap")["data"]["cluster.json"])
    variables = cluster_file["environment"].values()
    assert wanted <= {one["secret"] for one in variables if isinstance(one, dict)}


def test_the_chart_refuses_every_variable_that_labs_have_of_us() -> None:
    text = (CHART / "templates" / "_checks.tpl").read_text()
    refused = set(re.findall(r'"([A-Z_]{4,})"', text)) | {"JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"}
    assert set(PLACES) <= refused


# -- what stays ------------------------------------------------------------------------------------


def test_claims_are_kept_unless_somebody_says_otherwise() -> None:
    shared = nested("storage.shared.enabled", True)
    keep = {"helm.sh/resource-policy": "keep"}
    claims = of_kind(render(shared), "PersistentVolumeClaim")
    assert {one["metadata"]["name"]: one["spec"]["accessModes"] for one in claims} == {
        "familiar-hub-data": ["ReadWriteOnce"],
        "familiar-hub-shared": ["ReadWriteMany"],
    }
    assert all(one["metadata"]["annotations"] == keep for one in claims)
    dropped = of_kind(render(shared, nested("data.keep", False)), "PersistentVolumeClaim")
    assert not any("annotations" in one["metadata"] for one in dropped)


# -- what labs may reach ---------------------------------------------------------------------------


def _reached(policies: Iterable[Manifest], address: str) -> bool:
    """Whether rules with addresses let somebody reach one."""
    it = ip_address(address)
    for policy in policies:
        for rule in policy["spec"]["egress"]:
            for peer in rule["to"]:
                block = peer.get("ipBlock")
                if (
                    block
                    and it in ip_network(block["cidr"])
                    and not any(it in ip_network(one) for one in block.get("except", ()))
                ):
                    return True
    return False


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("160.79.104.10", True),
        ("2607:6bc0::10", True),
        ("10.1.2.3", False),
        ("172.20.0.1", False),
        ("192.168.1.1", False),
        ("100.64.7.7", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("169.254.170.2", False),
        ("100.100.100.200", False),
        ("fd00:ec2::254", False),
        ("fd12::1", False),
        ("fe80::1", False),
    ],
)
def test_labs_reach_public_addresses_only(address: str, expected: bool) -> None:
    assert _reached(of_kind(render(), "NetworkPolicy"), address) is expected


def test_nothing_is_reached_but_what_is_named() -> None:
    policies = of_kind(render(CASES["ollama-values"]), "NetworkPolicy")
    assert {one["metadata"]["name"] for one in policies} == {
        "familiar-hub-ollama",
        "familiar-hub-proxies",
    }
    assert _reached(policies, "10.20.0.9")
    assert not _reached(policies, "10.20.0.12")
    assert not _reached(policies, "160.79.104.10")
    model = next(one for one in policies if one["metadata"]["name"].endswith("ollama"))
    (rule,) = model["spec"]["egress"]
    (peer,) = rule["to"]
    assert set(peer) == {"namespaceSelector", "podSelector"}
    assert rule["ports"] == [{"protocol": "TCP", "port": 11434}]


def test_a_policy_means_labs_and_takes_nothing_from_them(
    case: tuple[Values, list[Manifest]],
) -> None:
    values, manifests = case
    policies = of_kind(manifests, "NetworkPolicy")
    enabled = values.get("networkPolicy", {}).get("enabled", True)
    assert bool(policies) is enabled
    for policy in policies:
        spec = policy["spec"]
        assert selects(spec["podSelector"]["matchLabels"], LAB)
        assert not selects(spec["podSelector"]["matchLabels"], {"component": "hub"})
        # With Ingress here, labs would no longer be reached by anybody but whom it names.
        assert spec["policyTypes"] == ["Egress"]
        assert all(rule["to"] for rule in spec["egress"]), "a rule without `to` is everything"


def test_what_is_for_some_profiles_is_for_no_others() -> None:
    policies = of_kind(render(CASES["everything-values"]), "NetworkPolicy")
    policy = next(one for one in policies if one["metadata"]["name"].endswith("datasets"))
    (wanted,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert wanted["key"] == "familiar-hub/kind"
    assert wanted["values"] == [label("Sandbox"), label("GPU")]


@pytest.mark.parametrize("name", ["Standard", "Two Words", "a.b_c-D", "X" * 63, "Tail -", "a  b"])
def test_the_chart_and_the_hub_have_the_same_labels(name: str) -> None:
    profiles = [{"name": "Everybody"}, {"name": name, "groups": ["g"]}]
    reach = [{"name": "x", "profiles": [name], "to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}]
    values = {"profiles": profiles, "networkPolicy": {"internet": False, "reach": reach}}
    (wanted,) = only(render(values), "NetworkPolicy")["spec"]["podSelector"]["matchExpressions"]
    assert wanted["values"] == [label(name)]
    assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", label(name))


# -- zero-to-jupyterhub's values -------------------------------------------------------------------


def test_they_mount_what_the_chart_makes() -> None:
    manifests = render()
    volumes = {one["name"]: one for one in z2jh()["hub"]["extraVolumes"]}
    mounts = {one["mountPath"]: volumes[one["name"]] for one in z2jh()["hub"]["extraVolumeMounts"]}
    told = json.loads(only(manifests, "ConfigMap")["data"]["settings.json"])
    folder = str(zero_to_jupyterhub.FOLDER)
    assert mounts[folder]["configMap"]["name"] == only(manifests, "ConfigMap")["metadata"]["name"]
    assert {
        Path(told[f"FAMILIAR_HUB_{name}_FILE"]).name for name in ("PROFILES", "CLUSTER")
    } <= set(files())
    secret = Path(told["FAMILIAR_HUB_ADMIN_PASSWORD_FILE"])
    assert mounts[str(secret.parent)]["secret"] == {
        "secretName": "familiar-hub",
        "defaultMode": 0o440,
    }
    claim = mounts[told["FAMILIAR_HUB_DATA"]]["persistentVolumeClaim"]["claimName"]
    assert claim == only(manifests, "PersistentVolumeClaim")["metadata"]["name"]


def test_they_open_nothing_that_our_policies_leave_out() -> None:
    rules = z2jh()["singleuser"]["networkPolicy"]["egressAllowRules"]
    assert {name for name, on in rules.items() if on} == {
        "dnsPortsCloudMetadataServer",
        "dnsPortsKubeSystemNamespace",
        "dnsPortsPrivateIPs",
    }
    assert z2jh()["singleuser"]["networkPolicy"]["enabled"] is True


def _configured(
    folder: Path, monkeypatch: pytest.MonkeyPatch, values: Values, *ours: Values
) -> Any:
    """Run ``hub.extraConfig`` as zero-to-jupyterhub does, and return the configuration."""
    settings(folder, *ours)
    monkeypatch.setattr(zero_to_jupyterhub, "FOLDER", folder / "etc" / "familiar-hub")
    monkeypatch.setenv("PROXY_PUBLIC_SERVICE_PORT", "80")
    c = Config()
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    c.JupyterHub.template_paths = ["/theirs"]
    c.JupyterHub.services = [{"name": "theirs"}]
    c.JupyterHub.load_roles = [{"name": "theirs"}]
    known = {"c": c, "get_config": lambda key, default=None: get_in(values, key, default)}
    for text in values["hub"]["extraConfig"].values():
        exec(text, known | {"get_name": lambda name: name})
    return c


@pytest.fixture
def no_audit_after() -> Iterable[None]:
    yield
    audit.configure(None)


@pytest.mark.usefixtures("no_audit_after")
@pytest.mark.parametrize("size", SIZES, ids=lambda file: file.stem)
def test_the_hub_is_configured_with_each_size(
    size: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {} if size.stem == "10" else nested("hub.db.url", "postgresql://familiar@db/familiar")
    values = z2jh(yaml.safe_load(size.read_text("utf-8")), there)
    c = _configured(tmp_path, monkeypatch, values)
    assert c.JupyterHub.spawner_class == "familiar_hub.kube_spawner.KubeLab"
    assert c.JupyterHub.public_url == "https://lab.example.org/"
    # What was there is there still.
    assert c.JupyterHub.tornado_settings["slow_spawn_timeout"] == 0
    assert c.JupyterHub.template_paths[-1] == "/theirs"
    theirs, culler = c.JupyterHub.services
    assert theirs == {"name": "theirs"}
    assert culler["environment"]["FAMILIAR_HUB_CULLING_PROXY"] == "http://proxy-public:80"
    assert culler["environment"]["FAMILIAR_HUB_CULLING_API"] == "http://127.0.0.1:8081/hub/api"
    assert [role["name"] for role in c.JupyterHub.load_roles] == ["theirs", "idle-culler"]


def test_sizes_grow() -> None:
    told = [yaml.safe_load(size.read_text("utf-8")) for size in SIZES]
    assert [int(size.stem) for size in SIZES] == [10, 100, 1000, 10000]
    for key in ("hub.concurrentSpawnLimit", "hub.activeServerLimit"):
        numbers = [get_in(values, key) for values in told]
        assert numbers == sorted(numbers), key
    assert [get_in(values, "hub.db.type") for values in told] == ["sqlite-pvc", *["postgres"] * 3]
    for values in told:
        # A budget of one Pod would hold up every node's maintenance.
        assert not get_in(over(z2jh(), values), "hub.pdb.enabled")
        assert not [text for text in strings(values) if re.search(r"://[^/@]*:[^/@]*@", text)]


@pytest.mark.usefixtures("no_audit_after")
@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("hub.baseUrl", "/jupyter/", "make them the same"),
        ("singleuser.profileList", [{"display_name": "x"}], "write the profiles into our chart's"),
        ("singleuser.storage.type", "dynamic", "must be none"),
        ("cull.enabled", True, "that culler stops labs in which something works"),
        ("singleuser.cloudMetadata.blockWithIptables", True, "privileged container"),
        ("singleuser.podNameTemplate", "x-{username}", "no two names are alike"),
        ("proxy.https", {"enabled": True, "type": "manual"}, "end TLS at an Ingress"),
        ("hub.allowNamedServers", True, "set ReadWriteMany"),
        ("hub.db.type", "postgres", "hub.db.url is empty"),
        ("hub.db.type", "sqlite-memory", "forgets all accounts at each start"),
    ],
)
def test_the_hub_refuses_what_does_not_go_together(
    key: str, value: object, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        _configured(tmp_path, monkeypatch, z2jh(nested(key, value)))
    assert told in str(ended.value)
    assert key.split(".")[1] in str(ended.value)


@pytest.mark.usefixtures("no_audit_after")
def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = z2jh(nested("cull.enabled", True), nested("singleuser.storage.type", "static"))
    with pytest.raises(SystemExit) as ended:
        _configured(tmp_path, monkeypatch, wrong)
    assert str(ended.value).count("\n  - ") == 2
    monkeypatch.setattr(zero_to_jupyterhub, "FOLDER", tmp_path / "nowhere")
    with pytest.raises(SystemExit, match=r"nowhere/settings\.json"):
        zero_to_jupyterhub.configure(Config(), lambda key, default: None, str, {})


def test_named_servers_go_with_storage_that_many_nodes_can_have(tmp_path: Path) -> None:
    told = settings(tmp_path, nested("storage.accessMode", "ReadWriteMany"))
    values = z2jh(nested("hub.allowNamedServers", True))

    def get(key: str, default: object) -> object:
        return get_in(values, key, default)

    assert zero_to_jupyterhub.value_faults(get, told) == []


def test_the_culler_asks_the_proxy_and_not_what_gets_certificates() -> None:
    services = {"HUB_PROXY_PUBLIC_SERVICE_PORT": "443", "HUB_PROXY_PUBLIC_SERVICE_PORT_HTTP": "80"}
    there = zero_to_jupyterhub.proxy_address(lambda name: f"hub-{name}", services)
    assert there == "http://hub-proxy-public:80"
    services["HUB_PROXY_HTTP_SERVICE_PORT"] = "8000"
    there = zero_to_jupyterhub.proxy_address(lambda name: f"hub-{name}", services)
    assert there == "http://hub-proxy-http:8000"


# -- what is said to people ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "create secret generic familiar-hub --from-file=admin-password=FILE"),
        ({}, "pod-security.kubernetes.io/enforce=privileged"),
        (CASES["everything-values"], "oidc-client-secret=FILE"),
        (CASES["everything-values"], "WARNING: claude.apiKeySecretName"),
        (CASES["http"], "WARNING: publicUrl is no https://"),
        (CASES["no policy"], "WARNING: without networkPolicy.enabled"),
    ],
)
def test_the_notes(values: Values, told: str) -> None:
    said = _notes(values)
    assert told in said


def test_the_notes_keep_silent_about_what_is_not() -> None:
    said = _notes(nested("podman.mode", "off"))
    assert "WARNING" not in said
    assert "pod-security" not in said


def _notes(values: Values) -> str:
    with cluster({}) as url:
        told = helm(
            *("install", "familiar", "--dry-run=server", "--output=json", "--namespace=people"),
            *(f"--kube-apiserver={url}", "--disable-openapi-validation"),
            values=[OURS, values],
            chart=CHART,
        )
    return str(json.loads(told)["info"]["notes"])


def test_the_image_is_made_of_what_is_there() -> None:
    text = (CHART / "image" / "Containerfile").read_text()
    for source in re.findall(r"^COPY (\S+) ", text, re.MULTILINE):
        assert (CHART.parents[2] / source).exists(), source
    assert text.rstrip().endswith("USER 1000")
