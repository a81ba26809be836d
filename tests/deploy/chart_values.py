"""The values that the tests give to the chart."""

from __future__ import annotations

import itertools

import yaml

from deploy.chart import EXAMPLES, Values, nested, over

PROXY: Values = {
    "oauth2Proxy": {
        "enabled": True,
        "oidcIssuerUrl": "https://accounts.example.org",
        "allowedEmails": ["me@example.org"],
        "secretName": "lab-oauth2",
        "redirectUrl": "https://lab.example.org/oauth2/callback",
    }
}
PUBLIC: Values = {
    "ingress": {"enabled": True, "host": "lab.example.org"},
    "networkPolicy": {"allowFrom": [{"namespaceSelector": {"matchLabels": {"edge": "yes"}}}]},
}
DEV: Values = {"dev": {"enabled": True, "ingress": {"host": "dev.example.org"}}}
DEV_PROXY = {"redirectUrl": "https://dev.example.org/oauth2/callback"}
CREDENTIALS: Values = {
    "claude": {"apiKeySecretName": "anthropic"},
    "podman": {"registryAuthSecretName": "registry"},
    "git": {"credentialsSecretName": "git", "sshKeySecretName": "git-ssh"},
    "mullvad": {"proxySecretName": "proxies"},
    "notify": {"urlsSecretName": "notices"},
    "token": {"existingSecret": "door"},
}
PODMAN = ("rootless", "fuseOverlayfs", "privileged", "off")


def _matrix() -> dict[str, Values]:
    """Each way to be reached with each podman, and the rest in turn."""
    rest = itertools.cycle(
        [
            {},
            {"kubeAccess": "view", "tor": {"enabled": True}},
            over(CREDENTIALS, {"kubeAccess": "edit"}),
            {"replicas": 0, "persistence": {"existingClaim": "mine"}},
            {"networkPolicy": {"egress": {"mode": "internet"}}, "gpu": {"count": 1}},
        ]
    )
    cases = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in EXAMPLES}
    for podman, public, proxy, dev in itertools.product(PODMAN, *[(False, True)] * 3):
        values = over(nested("podman.mode", podman), next(rest))
        values = over(values, PUBLIC) if public else values
        values = over(values, PROXY) if proxy else values
        if dev:
            values = over(values, DEV)
            values = over(values, {"dev": {"oauth2Proxy": DEV_PROXY}}) if proxy else values
        chosen = {"public": public, "proxy": proxy, "dev": dev}
        name = [podman, *(one for one, on in chosen.items() if on)]
        cases["-".join(name)] = values
    return cases


MATRIX = _matrix()
"""The values that the tests try, by name."""
