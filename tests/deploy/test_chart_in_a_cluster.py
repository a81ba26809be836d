"""The chart: what helm makes of it where it finds a cluster: a token that is kept, and the notes.

The cluster is the one thing that is not real here. A small server answers what helm asks of one, so
that it looks a Secret up and prints its notes as it would at an installation.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from deploy.chart import IMAGE, NAMESPACE, Manifest, Values, helm, over, serving
from deploy.chart_values import DEV, PROXY, PUBLIC

KINDS = {
    "v1": ["ConfigMap", "PersistentVolumeClaim", "Pod", "Secret", "Service", "ServiceAccount"],
    "apps/v1": ["Deployment"],
    "networking.k8s.io/v1": ["Ingress", "NetworkPolicy"],
    "rbac.authorization.k8s.io/v1": ["Role", "RoleBinding"],
}


class _Cluster(BaseHTTPRequestHandler):
    """Answers what helm asks of a cluster that has some Secrets and nothing else."""

    secrets: dict[str, Manifest]
    version: str

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        found = self._found(parts)
        body = json.dumps(found or {"kind": "Status", "code": 404, "reason": "NotFound"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _found(self, parts: list[str]) -> dict[str, Any] | None:
        match parts:
            case ["version"]:
                return {"major": "1", "minor": self.version, "gitVersion": f"v1.{self.version}.0"}
            case ["api"]:
                return {"kind": "APIVersions", "versions": ["v1"]}
            case ["apis"]:
                return {
                    "kind": "APIGroupList",
                    "groups": [self._group(v) for v in KINDS if "/" in v],
                }
            case ["api", version] | ["apis", *_, version] if len(parts) < 4:
                name = version if parts[0] == "api" else f"{parts[1]}/{version}"
                return {
                    "kind": "APIResourceList",
                    "groupVersion": name,
                    "resources": [self._resource(kind) for kind in KINDS.get(name, [])],
                }
            case ["api", "v1", "namespaces", _, "secrets"]:
                return {"kind": "SecretList", "apiVersion": "v1", "items": []}
            case ["api", "v1", "namespaces", namespace, "secrets", name] if namespace == NAMESPACE:
                return self.secrets.get(name)
        return None

    @staticmethod
    def _group(version: str) -> dict[str, Any]:
        name, _, short = version.partition("/")
        it = {"groupVersion": version, "version": short}
        return {"name": name, "versions": [it], "preferredVersion": it}

    @staticmethod
    def _resource(kind: str) -> dict[str, Any]:
        name = kind.lower() + ("es" if kind.endswith("s") else "s")
        name = name.replace("policys", "policies")
        verbs = ["get", "list", "create", "update", "patch", "delete"]
        return {"name": name, "kind": kind, "namespaced": True, "verbs": verbs}

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def cluster(secrets: dict[str, Manifest], version: str = "33") -> Iterator[str]:
    """Serve a cluster that has some Secrets, and yield its address."""
    handler = type("Handler", (_Cluster,), {"secrets": secrets, "version": version})
    with serving(handler) as url:
        yield url


def installed(values: Values, secrets: dict[str, Manifest], version: str = "33") -> Any:
    """Return what helm would install into a cluster, as it tells it."""
    with cluster(secrets, version) as url:
        told = helm(
            *("install", "lab", "--dry-run=server", "--output=json", f"--kube-apiserver={url}"),
            *(f"--namespace={NAMESPACE}", "--disable-openapi-validation"),
            values=[{"image": {"repository": IMAGE}}, values],
        )
    return json.loads(told)


def secret(name: str, token: str) -> dict[str, Manifest]:
    """Return a Secret with a token, by its name."""
    encoded = base64.b64encode(token.encode()).decode()
    data = {"token": encoded} if token else {}
    owner = {"meta.helm.sh/release-name": "lab", "meta.helm.sh/release-namespace": NAMESPACE}
    ours = {"app.kubernetes.io/managed-by": "Helm"}
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": owner, "labels": ours}
    return {name: {"kind": "Secret", "apiVersion": "v1", "metadata": metadata, "data": data}}


def tokens(manifest: str) -> list[str]:
    """Return the tokens in rendered manifests."""
    lines = (line.strip() for line in manifest.splitlines())
    held = (line.partition(": ")[2].strip('"') for line in lines if line.startswith("token: "))
    return [base64.b64decode(one).decode() for one in held]


def test_the_token_is_made_once_and_kept() -> None:
    first, second = (tokens(installed({}, {})["manifest"]) for _ in range(2))
    assert len(first[0]) == 48
    assert first != second
    kept = secret("lab-familiar-token", "as-it-was")
    assert tokens(installed({}, kept)["manifest"]) == ["as-it-was"]
    # One for each instance; and one that is empty is none.
    both = {**kept, **secret("lab-familiar-dev-token", "")}
    ours, other = tokens(installed(DEV, both)["manifest"])
    assert ours == "as-it-was"
    assert len(other) == 48


def test_the_notes_lead_to_the_token_without_showing_it() -> None:
    kept = secret("lab-familiar-token", "as-it-was")
    notes = installed({}, kept)["info"]["notes"]
    assert "port-forward service/lab-familiar 8888:80" in notes
    assert "get secret lab-familiar-token" in notes
    assert """go-template='{{ index .data "token" | base64decode }}{{ "\\n" }}'""" in notes
    assert "%claude_auth" in notes
    assert "as-it-was" not in notes
    assert "WARNING" not in notes


def test_the_notes_warn_of_what_was_given_up() -> None:
    given_up = {
        "podman": {"mode": "privileged"},
        "claude": {"bypassPermissions": True},
        "networkPolicy": {"enabled": False},
        "ingress": {"enabled": True, "host": "lab.example.org", "tls": {"enabled": False}},
    }
    notes = installed(given_up, {})["info"]["notes"]
    for name in ("podman.mode", "claude.bypassPermissions", "networkPolicy", "ingress.tls"):
        assert any(name in line for line in notes.splitlines() if "WARNING" in line), name
    assert "http://lab.example.org/" in notes
    older = installed({}, {}, version="31")["info"]["notes"]
    assert "WARNING: podman.mode rootless needs user namespaces" in older


def test_the_notes_of_two_instances() -> None:
    values = over(over(PUBLIC, DEV), {"replicas": 0})
    notes = installed(values, {})["info"]["notes"]
    assert "https://lab.example.org/" in notes
    assert "https://dev.example.org/" in notes
    assert "scale deployment lab-familiar --replicas=1" in notes
    behind = installed(PROXY, {})["info"]["notes"]
    assert "oauth2Proxy.allowedEmails" in behind
    assert "get secret" not in behind
