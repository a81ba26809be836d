"""The chart of the hub: what it refuses, and whether a person can read why."""

from __future__ import annotations

import pytest

from deploy.chart import Refused, Values, helm, nested, over
from deploy.hub_chart import CHART, OURS, refusal, render

TO = [{"ipBlock": {"cidr": "10.20.0.0/24"}}]
OIDC: Values = {
    "authenticator": "oidc",
    "admin": "ada",
    "oidc": {
        "clientId": "lab",
        "authorizeUrl": "https://id.example.org/a",
        "tokenUrl": "https://id.example.org/t",
        "userdataUrl": "https://id.example.org/u",
        "groupsClaim": "groups",
        "allow": ["staff"],
    },
}

SCHEMA: dict[str, tuple[str, object, str]] = {
    "a name that is not there": ("podman.moode", "off", "Additional property moode"),
    "another one": ("profile", [], "Additional property profile is not allowed"),
    "privileged": ("podman.mode", "privileged", 'one of the following: "rootless", "fuse'),
    "a word for a switch": ("subdomains", "yes", "Expected: boolean, given: string"),
    "no profile": ("profiles", [], "profiles: Array must have at least 1 items"),
    "a profile without a name": ("profiles", [{"gpus": 1}], "profiles.0: name is required"),
    "pids": ("profiles", [{"name": "A", "pids": 9}], "Additional property pids is not allowed"),
    "a size of nothing": ("profiles", [{"name": "A", "memory": "8"}], "Does not match pattern"),
    "no size": ("storage.home", "", "storage.home: Does not match pattern"),
    "a path in the address": (
        "publicUrl",
        "https://lab.example.org/x",
        "publicUrl: Does not match pattern",
    ),
    "a password in it": ("publicUrl", "https://a:b@lab.example.org", "publicUrl: Does not match"),
    "a base without an end": ("baseUrl", "/jupyter", "baseUrl: Does not match pattern"),
    "short passwords": ("accounts.minimumPassword", 4, "greater than or equal to 8"),
    "a peer that is nobody": ("networkPolicy.reach", [{"name": "x", "to": [{}]}], "at least 1"),
    "everything there is": ("networkPolicy.reach", [{"name": "x", "to": []}], "at least 1 items"),
    "nobody in particular": ("networkPolicy.reach", [{"name": "x"}], "to is required"),
    "a Secret without a key": ("secretEnvironment", {"A": {"secretName": "a"}}, "key is required"),
    "a value for a Secret": ("secretEnvironment", {"A": "x"}, "Expected: object, given: string"),
    "no number of minutes": ("culling.idleMinutes", "2h", "Expected: integer, given: string"),
}


@pytest.mark.parametrize("name", SCHEMA)
def test_the_schema_refuses(name: str) -> None:
    path, value, told = SCHEMA[name]
    said = refusal(nested(path, value))
    assert "values don't meet the specifications of the schema" in said
    assert told in said


def _reach(*entries: Values) -> Values:
    return {"networkPolicy": {"reach": list(entries)}}


TOGETHER: dict[str, tuple[Values, str]] = {
    "no address": ({"publicUrl": ""}, "publicUrl is empty; say the address that people type"),
    "no TLS": ({"publicUrl": "http://lab.example.org"}, "or set allowHttp"),
    "a provider's admin": (over(OIDC, {"admin": ""}), "which of the provider's names is the admin"),
    "no client": (over(OIDC, nested("oidc.clientId", "")), "oidc.clientId is empty"),
    "no token address": (over(OIDC, nested("oidc.tokenUrl", "")), "oidc.tokenUrl is empty"),
    "nobody": (over(OIDC, nested("oidc.allow", [])), "oidc.allow lets nobody in"),
    "groups from nowhere": (over(OIDC, nested("oidc.groupsClaim", "")), "oidc.groupsClaim does"),
    "nothing for the rest": (
        {"profiles": [{"name": "A", "groups": ["a"]}]},
        "whoever is in none could have no lab",
    ),
    "two that look alike": (
        {"profiles": [{"name": "Large One"}, {"name": "large-one"}]},
        "whose name would be large-one in a label",
    ),
    "podman for nobody": (
        {"podman": {"mode": "off"}, "profiles": [{"name": "A", "podman": True}]},
        'the profile "A" has podman, which podman.mode off gives to nobody',
    ),
    "podman for all and none": (
        {"podman": {"mode": False, "everybody": True}},
        "podman.everybody gives podman to all labs, and podman.mode off to none",
    ),
    "the hub's own variable": (
        nested("environment.JUPYTERHUB_API_TOKEN", "x"),
        "environment sets JUPYTERHUB_API_TOKEN, which the hub or the lab sets itself",
    ),
    "the lab's own variable": (
        {"profiles": [{"name": "A", "environment": {"CLAUDE_CONFIG_DIR": "/x"}}]},
        'the environment of the profile "A" sets CLAUDE_CONFIG_DIR',
    ),
    "the hub's own from a Secret": (
        {"secretEnvironment": {"JUPYTERHUB_HOST": {"secretName": "a", "key": "b"}}},
        "secretEnvironment sets JUPYTERHUB_HOST",
    ),
    "a secret": (
        nested("environment.WANDB_API_KEY", "abc"),
        "looks like a secret; put it into a Secret, and name that in secretEnvironment",
    ),
    "a password in an address": (
        nested("environment.HTTPS_PROXY", "http://me:word@proxy:3128"),
        "an address with a password in it, in HTTPS_PROXY",
    ),
    "one variable twice": (
        {"environment": {"A": "1"}, "secretEnvironment": {"A": {"secretName": "a", "key": "b"}}},
        "both set A",
    ),
    "a key for another": (
        {"claude": {"endpoint": "https://m.example.org", "apiKeySecretName": "anthropic"}},
        "would send your Anthropic key to claude.endpoint",
    ),
    "a token for nothing": (nested("claude.endpointTokenSecretName", "t"), "which is empty"),
    "a model out of reach": (
        nested("claude.endpoint", "http://ollama.models:11434"),
        "claude.endpoint is http://ollama.models:11434, and labs reach public addresses at most",
    ),
    "a model on the Internet without one": (
        {"claude": {"endpoint": "https://m.example.org"}, "networkPolicy": {"internet": False}},
        "name it in networkPolicy.reach",
    ),
    "the same twice": (_reach({"name": "x", "to": TO}, {"name": "x", "to": TO}), "has x twice"),
    "a taken name": (_reach({"name": "internet", "to": TO}), "under a name that is taken"),
    "a profile that is not": (
        _reach({"name": "x", "to": TO, "profiles": ["GPU"]}),
        'networkPolicy.reach x names the profile "GPU", which there is not',
    ),
    "all addresses": (
        _reach({"name": "x", "to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}),
        "networkPolicy.reach x would open 0.0.0.0/0, where the clouds' credentials are",
    ),
    "all addresses of the other kind": (
        _reach({"name": "x", "to": [{"ipBlock": {"cidr": "::/0"}}]}),
        "would open ::/0",
    ),
    "a cloud's credentials": (
        _reach({"name": "x", "to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}),
        "would open 169.254.169.254/32",
    ),
    "rules without policies": (
        over(_reach({"name": "x", "to": TO}), nested("networkPolicy.enabled", False)),
        "does nothing without networkPolicy.enabled",
    ),
    "a share without sharing": (
        nested("storage.shared.existingClaim", "nfs"),
        "does nothing without storage.shared.enabled",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOGETHER)
def test_what_does_not_go_together_is_refused(name: str) -> None:
    values, told = TOGETHER[name]
    said = refusal(values)
    assert told in said
    # One sentence of the chart's own, and no address or secret of the person's beside it.
    assert said.count("familiar-hub: ") == 1


def test_what_is_refused_is_the_fault_and_not_the_rest() -> None:
    told = helm("template", "familiar", values=[OURS, OIDC], chart=CHART)
    assert "FAMILIAR_HUB_OIDC_CLIENT_ID" in told


def test_an_older_kubernetes_is_refused() -> None:
    with pytest.raises(Refused, match=r"which is incompatible with Kubernetes v1\.29"):
        render(kubernetes="1.29.0")
