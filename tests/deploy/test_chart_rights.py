"""The chart: what a Pod may, and what of its secrets and of the cluster it gets."""

from __future__ import annotations

import json

import pytest

from deploy.chart import (
    Manifest,
    Values,
    containers,
    from_secret,
    is_dev,
    lab,
    literals,
    nested,
    of_kind,
    only,
    over,
    pods,
    render,
    strings,
)
from deploy.chart_values import CREDENTIALS, MATRIX, PROXY
from familiar_kernel.familiar.options import MODELS


@pytest.fixture(scope="module", params=MATRIX)
def case(request: pytest.FixtureRequest) -> tuple[Values, list[Manifest]]:
    """One entry of the matrix, and what helm makes of it."""
    values = MATRIX[request.param]
    return values, render(values)


# -- what a Pod may --------------------------------------------------------------------------------


def test_a_pod_may_what_its_mode_of_podman_says(case: tuple[Values, list[Manifest]]) -> None:
    values, manifests = case
    for deployment in of_kind(manifests, "Deployment"):
        own = over(values, values["dev"]) if is_dev(deployment) else values
        mode = own.get("podman", {}).get("mode", "rootless")
        spec = deployment["spec"]["template"]["spec"]
        may = lab(deployment)["securityContext"]
        assert may.get("privileged", False) is (mode == "privileged")
        assert ("hostUsers" in spec) is (mode in ("rootless", "fuseOverlayfs"))
        assert spec.get("hostUsers", False) is False
        added = {
            "rootless": {"SETUID", "SETGID"},
            "fuseOverlayfs": {"SETUID", "SETGID", "SYS_ADMIN"},
        }.get(mode, set())
        assert set(may.get("capabilities", {}).get("add", [])) == added
        if mode != "privileged":
            assert may["capabilities"]["drop"] == ["ALL"]
        if added:
            # With any of these, only in a user namespace; and a cluster refuses procMount else.
            assert may["procMount"] == "Unmasked"
            assert spec["hostUsers"] is False
        else:
            assert "procMount" not in may
            assert "seccompProfile" not in may
        assert ("smarter-devices/fuse" in lab(deployment)["resources"]["limits"]) is (
            mode == "fuseOverlayfs"
        )


def test_all_but_the_lab_meet_the_restricted_standard(case: tuple[Values, list[Manifest]]) -> None:
    _, manifests = case
    for spec in pods(manifests):
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            assert name not in spec
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        known = {"configMap", "secret", "emptyDir", "projected", "persistentVolumeClaim"}
        assert kinds <= known
        for container in containers(spec):
            if container["name"] != "lab":
                _is_restricted(spec, container)


def test_without_podman_every_pod_meets_the_restricted_standard() -> None:
    values = over(over(CREDENTIALS, {"tor": {"enabled": True}, "kubeAccess": "edit"}), PROXY)
    # Both ways to write it: YAML reads a bare `off` as false.
    for off in ("off", False):
        for spec in pods(render(values, nested("podman.mode", off))):
            for container in containers(spec):
                _is_restricted(spec, container)


def _is_restricted(pod: Manifest, container: Manifest) -> None:
    may = {**pod["securityContext"], **container["securityContext"]}
    assert may["runAsNonRoot"] is True
    assert may["runAsUser"] > 0
    assert may["allowPrivilegeEscalation"] is False
    assert may["capabilities"] == {"drop": ["ALL"]}
    assert may["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"privileged", "procMount", "appArmorProfile"} & set(may)


# -- secrets and the cluster's token ---------------------------------------------------------------


def test_no_token_of_the_cluster_unless_asked_and_then_for_the_lab_alone(
    case: tuple[Values, list[Manifest]],
) -> None:
    values, manifests = case
    for account in of_kind(manifests, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for spec in pods(manifests):
        assert spec["automountServiceAccountToken"] is False
        projected = {v["name"] for v in spec["volumes"] if "projected" in v}
        for container in containers(spec):
            has = projected & {m["name"] for m in container.get("volumeMounts", [])}
            assert not has or container["name"] == "lab"
    asked = values.get("kubeAccess", "off") != "off"
    assert bool(of_kind(manifests, "RoleBinding")) is asked
    assert any("projected" in str(spec["volumes"]) for spec in pods(manifests)) is asked


def test_what_the_cluster_grants() -> None:
    for access in ("view", "edit"):
        manifests = render({"kubeAccess": access})
        role, binding = only(manifests, "Role"), only(manifests, "RoleBinding")
        assert binding["roleRef"]["kind"] == "Role"
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        (subject,) = binding["subjects"]
        assert subject["name"] == only(manifests, "ServiceAccount")["metadata"]["name"]
        granted = {
            (group, resource, verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        assert "*" not in {part for right in granted for part in right}
        resources = {resource for _, resource, _ in granted}
        # What shows Secrets or a ServiceAccount's token, runs programs, or changes rights.
        assert not resources & {
            *("secrets", "serviceaccounts", "serviceaccounts/token", "roles", "rolebindings"),
            *("pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers"),
        }
        verbs = {verb for *_, verb in granted}
        changes = {right for right in granted if right[2] not in ("get", "list", "watch")}
        if access == "view":
            assert not changes
        else:
            assert ("apps", "deployments/scale", "patch") in changes
        assert not verbs & {"create", "impersonate", "bind", "escalate", "*"}
        # What Pods are made from, and what they read, stays as it is.
        assert {r for _, r, v in changes if v != "delete"} <= {
            *("deployments/scale", "statefulsets/scale"),
        }


def test_secrets_are_named_and_never_written(case: tuple[Values, list[Manifest]]) -> None:
    _, manifests = case
    made = of_kind(manifests, "Secret")
    held = [value for secret in made for value in secret["data"].values()]
    for one in manifests:
        if one["kind"] != "Secret":
            assert not any(value in text for text in strings(one) for value in held)
    for spec in pods(manifests):
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in containers(spec):
            assert {m["name"] for m in container.get("volumeMounts", [])} <= volumes
            for name, value in literals(container).items():
                if name == "ANTHROPIC_AUTH_TOKEN":
                    assert value == "none"
                elif name.endswith(("TOKEN", "KEY", "SECRET", "PASSWORD")):
                    raise AssertionError(f"{name} is written into the manifest")


def test_a_secret_that_is_named_is_there_under_the_name() -> None:
    manifests = render(CREDENTIALS, nested("token.key", "password"))
    deployment = only(manifests, "Deployment")
    spec, container = deployment["spec"]["template"]["spec"], lab(deployment)
    told = literals(container)
    files = {
        "JUPYTER_TOKEN_FILE": ("door", "password"),
        "FAMILIAR_GIT_CREDENTIALS_FILE": ("git", "credentials"),
        "FAMILIAR_GIT_SSH_KEY_FILE": ("git-ssh", "ssh-privatekey"),
        "FAMILIAR_GIT_KNOWN_HOSTS_FILE": ("git-ssh", "known_hosts"),
        "REGISTRY_AUTH_FILE": ("registry", ".dockerconfigjson"),
    }
    for name, wanted in files.items():
        assert from_secret(spec, container, told[name]) == wanted, name
    config = json.loads(only(manifests, "ConfigMap")["data"]["kernel.json"])
    urls = config["Notifications"]["urls_file"]
    assert from_secret(spec, container, urls) == ("notices", "urls")
    references = {
        one["name"]: tuple(one["valueFrom"]["secretKeyRef"].values())
        for one in container["env"]
        if "valueFrom" in one
    }
    assert references == {
        "ANTHROPIC_API_KEY": ("anthropic", "api-key"),
        "PROXY_URLS": ("proxies", "PROXY_URLS"),
    }
    assert not of_kind(manifests, "Secret"), "a token that is given needs no other"


def test_an_endpoint_of_ones_own_gets_neither_the_sign_in_nor_another_model() -> None:
    values = {"endpoint": "http://ollama.models:11434/", "model": "qwen3-coder"}
    container = lab(only(render({"claude": values}), "Deployment"))
    told = literals(container)
    assert told["ANTHROPIC_BASE_URL"] == "http://ollama.models:11434"
    # Without a token of its own, Claude Code would send the one of the sign-in.
    assert told["ANTHROPIC_AUTH_TOKEN"] == "none"
    assert told["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    models = {name: value for name, value in told.items() if name.endswith("_MODEL")}
    assert set(models.values()) == {"qwen3-coder"}
    assert set(models) == {"ANTHROPIC_MODEL", *MODELS}

    values["endpointTokenSecretName"] = "ollama"
    container = lab(only(render({"claude": values}), "Deployment"))
    (token,) = (one for one in container["env"] if one["name"] == "ANTHROPIC_AUTH_TOKEN")
    assert token["valueFrom"] == {"secretKeyRef": {"name": "ollama", "key": "token"}}
    plain = literals(lab(only(render(), "Deployment")))
    assert not [name for name in plain if name.startswith("ANTHROPIC_")]


def test_git_gets_its_names_and_addresses_as_they_are() -> None:
    values = {
        "userName": 'Ada "the Countess" Lovelace \u00fc',
        "userEmail": "ada@example.org",
        "insteadOf": [
            {"url": "https://github.com/", "insteadOf": "git@github.com:"},
            {"url": "ssh://git@example.org/", "insteadOf": "work:"},
        ],
    }
    told = literals(lab(only(render({"git": values}), "Deployment")))
    assert told["FAMILIAR_GIT_NAME"] == values["userName"]
    assert told["FAMILIAR_GIT_EMAIL"] == values["userEmail"]
    assert told["FAMILIAR_GIT_INSTEAD_OF"].splitlines() == [
        "https://github.com/ git@github.com:",
        "ssh://git@example.org/ work:",
    ]
