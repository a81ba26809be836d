"""The chart: what it refuses, and whether a person can read why."""

from __future__ import annotations

import pytest

from deploy.chart import IMAGE, Refused, Values, helm, nested, over, refusal, render
from deploy.chart_values import DEV, PROXY, PUBLIC

SCHEMA = {
    "a name that is not there": ("podman.moode", "off", "podman: Additional property moode"),
    "another one": ("replica", 1, "Additional property replica is not allowed"),
    "a word for a switch": ("claude.bypassPermissions", "true", "Expected: boolean, given: string"),
    "an unknown word": ("podman.mode", "rootles", 'one of the following: "rootless", "fuse'),
    "a right of the cluster": (
        "kubeAccess",
        "admin",
        'one of the following: "off", "view", "edit"',
    ),
    "two of one": ("replicas", 2, "replicas must be one of the following: 0, 1"),
    "a number in words": ("gpu.count", "one", "gpu.count: Invalid type. Expected: integer"),
    "a size without a unit": ("persistence.size", "20", "persistence.size: Does not match pattern"),
    "an address of another kind": ("claude.endpoint", "ftp://x", "claude.endpoint: Does not match"),
    "a password in an address": (
        "claude.endpoint",
        "http://a:b@c",
        "claude.endpoint: Does not match",
    ),
    "everybody": ("oauth2Proxy.allowedEmails", ["*"], "allowedEmails.0: Does not match pattern"),
    "a peer that is nobody": ("networkPolicy.allowFrom", [{}], "at least 1 properties"),
    "a mistake in dev": ("dev.gpu.cuont", 1, "dev.gpu: Additional property cuont"),
    "a dev in dev": ("dev.dev", {"enabled": True}, "dev: Additional property dev"),
    "a line end in a name": ("git.userName", "a\n[core]", "git.userName: Does not match pattern"),
    "a digest that is none": ("image.digest", "sha256:12", "image.digest: Does not match pattern"),
}


@pytest.mark.parametrize("name", SCHEMA)
def test_the_schema_refuses(name: str) -> None:
    path, value, told = SCHEMA[name]
    said = refusal(nested(path, value))
    assert "values don't meet the specifications of the schema" in said
    assert told in said


def _extra(name: str, value: str = "1") -> Values:
    return {"extraEnv": [{"name": name, "value": value}]}


TOGETHER: dict[str, tuple[Values, str]] = {
    "no image": ({"image": {"repository": ""}}, "image.repository is empty; name the lab's image"),
    "the proxy without a policy": (
        over(PROXY, nested("networkPolicy.enabled", False)),
        "needs networkPolicy.enabled as well",
    ),
    "the proxy for everybody": (
        over(PROXY, nested("oauth2Proxy.allowedEmails", [])),
        "list the mail addresses that may enter",
    ),
    "the proxy without its secrets": (
        over(PROXY, nested("oauth2Proxy.secretName", "")),
        "name the Secret with the keys client-id",
    ),
    "no way back from signing in": (
        over(PROXY, nested("oauth2Proxy.redirectUrl", "")),
        "set ingress.enabled and ingress.host, or oauth2Proxy.redirectUrl",
    ),
    "a proxy without https": (
        over(over(PROXY, PUBLIC), nested("ingress.tls.enabled", False)),
        "needs https; set ingress.tls.enabled",
    ),
    "no issuer": (
        over(PROXY, nested("oauth2Proxy.oidcIssuerUrl", "")),
        "needs its issuer's address",
    ),
    "a name that nobody knows": (nested("ingress.enabled", True), "ingress.host is empty"),
    "a name that leads nowhere": (
        nested("ingress", {"enabled": True, "host": "lab.example.org"}),
        "name the namespace of the ingress controller",
    ),
    "dev without a name": (
        over(PUBLIC, nested("dev.enabled", True)),
        "(the instance `dev`): ingress.host is empty",
    ),
    "dev under the same name": (
        over(PUBLIC, {"dev": {"enabled": True, "ingress": {"host": "lab.example.org"}}}),
        "give it a name of its own",
    ),
    "dev on the same volume": (
        over(DEV, {"dev": {"persistence": {"existingClaim": "lab-familiar"}}}),
        "a volume is for one of them",
    ),
    "a key for somebody else": (
        {"claude": {"endpoint": "http://ollama", "apiKeySecretName": "anthropic"}},
        "would send your Anthropic key to claude.endpoint",
    ),
    "a token for nobody": (
        nested("claude.endpointTokenSecretName", "ollama"),
        "say which server the token is for",
    ),
    "an endpoint with a version": (nested("claude.endpoint", "http://x/v1"), "leave that away"),
    "a password in git's addresses": (
        nested("git.insteadOf", [{"url": "https://me:secret@host/", "insteadOf": "h:"}]),
        "git.credentialsSecretName",
    ),
    "rights for every Pod": (
        {"kubeAccess": "view", "serviceAccount": {"create": False}},
        "which every Pod of the namespace has",
    ),
    "a secret in the open": (_extra("MY_API_KEY", "s3cr3t"), "valueFrom.secretKeyRef"),
    "a password of a proxy": (_extra("HTTP_PROXY", "http://me:s3cr3t@proxy:3128"), "in HTTP_PROXY"),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_values_that_do_not_go_together_are_refused(name: str) -> None:
    values, told = TOGETHER[name]
    said = refusal(values)
    assert told in said
    # It names what it is about, and never what is secret.
    assert "familiar" in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    "argument",
    [
        "--IdentityProvider.token=",
        "--PasswordIdentityProvider.hashed_password=",
        "--NotebookApp.token=''",
        "--ip=0.0.0.0",
        "--ServerApp.ip=*",
        "--ServerApp.port=80",
        "--ServerApp.allow_unauthenticated_access=true",
        "--ServerApp.identity_provider_class=x.Y",
        "--ServerApp.allow_origin=*",
        "--ServerApp.disable_check_xsrf=True",
        "--ServerApp.tornado_settings={}",
        "--config=/tmp/x.py",
        "--ServerApp.base_url=/x",
    ],
)
def test_no_argument_of_the_lab_changes_who_gets_in(argument: str) -> None:
    assert "may change who gets in" in refusal(nested("lab.extraArgs", [argument]))


def test_harmless_arguments_pass() -> None:
    arguments = [
        "--MappingKernelManager.cull_idle_timeout=3600",
        "--KernelSpecManager.allowed_kernelspecs=python-claude",
        "--LabApp.news_url=None",
    ]
    assert render(nested("lab.extraArgs", arguments))


@pytest.mark.parametrize(
    "argument",
    [
        "--email-domain=*",
        "--skip-auth-route=.*",
        "--skip-auth-regex=.*",
        "--skip-auth-preflight",
        "--skip-jwt-bearer-tokens",
        "--trusted-ip=0.0.0.0/0",
        "--upstream=http://x",
        "--api-route=.*",
        "--http-address=:80",
        "--client-secret=abc",
        "--cookie-secret=abc",
        "--cookie-secure=false",
        "--alpha-config=/x",
        "--insecure-oidc-allow-unverified-email",
        "--htpasswd-file=/x",
        "--skip-provider-button --email-domain=*",
    ],
)
def test_no_argument_of_the_proxy_opens_a_way_past_it(argument: str) -> None:
    said = refusal(PROXY, nested("oauth2Proxy.extraArgs", [argument]))
    assert "not among the options that are known" in said


@pytest.mark.parametrize(
    "name",
    [
        "JUPYTER_TOKEN",
        "JUPYTER_TOKEN_FILE",
        "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS",
        "JUPYTER_CONFIG_PATH",
        "FAMILIAR_LAB_AUTH",
        "FAMILIAR_LAB_IP",
        "FAMILIAR_BYPASS_PERMISSIONS",
        "CLAUDE_CONFIG_DIR",
    ],
)
def test_no_variable_of_a_persons_goes_over_the_charts(name: str) -> None:
    told = f"extraEnv sets {name}, which the chart sets itself"
    assert told in refusal(_extra(name))
    # In dev too, which is said.
    assert "(the instance `dev`)" in refusal(over(DEV, {"dev": _extra(name)}))


def test_an_older_cluster_is_refused_before_anything_is_made() -> None:
    with pytest.raises(Refused, match="kubeVersion"):
        render(kubernetes="1.29.9")


def test_without_values_it_says_what_is_missing() -> None:
    with pytest.raises(Refused, match=r"--set image\.repository="):
        helm("template", "lab")
    assert helm("template", "lab", values=[{"image": {"repository": IMAGE}}])
