"""The hub in zero-to-jupyterhub: its values say where the hub is, ours say who comes in and what
they get.

``hub.extraConfig`` of the values in ``deploy/helm/familiar-hub/z2jh`` calls :func:`configure`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import audit, config
from .settings import Settings, SettingsError

FOLDER = Path("/etc/familiar-hub")
"""Where the chart's ConfigMap is mounted."""
SETTINGS = "settings.json"
"""The hub's variables, in that folder."""

Get = Callable[[str, Any], Any]


def configure(
    c: Any, get_config: Get, get_name: Callable[[str], str], environ: Mapping[str, str]
) -> None:
    """Write what is ours into the configuration, or end the hub with sentences that say why not.

    Args:
        c: JupyterHub's configuration, with all that zero-to-jupyterhub has written into it.
        get_config: zero-to-jupyterhub's function that reads its values.
        get_name: its function that returns a resource's full name.
        environ: the hub's environment, in which Kubernetes says where Services are.
    """
    try:
        settings = read_settings(FOLDER / SETTINGS)
        if faults := value_faults(get_config, settings):
            raise SettingsError(faults)
        people_and_pods(c, settings, proxy_address(get_name, environ))
    except (SettingsError, OSError, ValueError, audit.AuditError) as error:
        sys.exit(str(error))


def people_and_pods(c: Any, settings: Settings, proxy: str) -> None:
    """Write all that is ours into the configuration.

    Args:
        proxy: where the culler reaches labs.
    """
    config.configure(c, settings)
    if settings.public_url:
        # Cookies are marked as Secure by it.
        c.JupyterHub.public_url = settings.public_url
    if settings.subdomains:
        c.JupyterHub.subdomain_host = settings.public_url.removesuffix(settings.base_url)
    # Not by the hub's Service: its policy lets in labs and the proxy, and not itself.
    port = urlsplit(c.JupyterHub.get("hub_bind_url", "")).port or config.HUB_PORT
    config.stopping(c, settings, proxy, f"http://127.0.0.1:{port}{settings.base_url}hub/api")


def pods(c: Any, settings: Settings) -> None:
    """Configure how labs are made: in Pods, of what zero-to-jupyterhub's values say and more."""
    c.JupyterHub.spawner_class = "familiar_hub.kube_spawner.KubeLab"
    lab = c.KubeLab
    lab.settings = settings
    lab.cmd = ["jupyterhub-singleuser"]
    # The workspace and the shared folder are both in sight of the file browser.
    lab.notebook_dir = "/home/jovyan"
    lab.default_url = "/lab/tree/work"
    lab.http_timeout = 60


def read_settings(file: Path) -> Settings:
    """Return the settings in the chart's ConfigMap.

    They are a file, and not the environment: there Kubernetes would add to them, as
    ``FAMILIAR_HUB_PORT`` for a Service of that name.

    Raises:
        OSError, ValueError: it cannot be read.
        SettingsError: it describes no hub.
    """
    told = json.loads(file.read_text(encoding="utf-8"))
    return Settings.from_environment({**told, "FAMILIAR_HUB_SPAWNER": "kubernetes"})


def proxy_address(get_name: Callable[[str], str], environ: Mapping[str, str]) -> str:
    """Return where labs are reached by HTTP within the cluster.

    Raises:
        SettingsError: Kubernetes does not say.
    """
    # Where zero-to-jupyterhub gets certificates itself, the public Service sends people to https,
    # and the other one is the proxy.
    for short in ("proxy-http", "proxy-public"):
        name = get_name(short)
        variable = f"{name}_SERVICE_PORT".upper().replace("-", "_")
        if port := environ.get(f"{variable}_HTTP") or environ.get(variable):
            return f"http://{name}:{port}"
    raise SettingsError(
        ["no Service of the proxy is in the environment; leave hub.extraPodSpec.enableServiceLinks"]
    )


def value_faults(get_config: Get, settings: Settings) -> list[str]:
    """Return what in zero-to-jupyterhub's values does not go with ours, one sentence each."""

    def get(key: str, otherwise: Any = None) -> Any:
        return get_config(key, otherwise)

    faults = []
    base = f"/{str(get('hub.baseUrl', '/')).strip('/')}/".replace("//", "/")
    if base != settings.base_url:
        faults.append(
            f"hub.baseUrl is {base!r} in zero-to-jupyterhub's values, and baseUrl is"
            f" {settings.base_url!r} in ours; make them the same."
        )
    if get("hub.db.type") in ("postgres", "mysql", "other") and not get("hub.db.url"):
        # zero-to-jupyterhub would take an SQLite file in the container, which goes with it.
        faults.append(
            "hub.db.url is empty, and hub.db.type is not sqlite-pvc; say where the database is, as"
            " postgresql+psycopg2://familiar@postgres.databases:5432/familiar, with its password"
            " in hub.existingSecret (hub.db.password)."
        )
    if get("hub.db.type") == "sqlite-memory":
        faults.append(
            "hub.db.type sqlite-memory forgets all accounts at each start; use sqlite-pvc."
        )
    if get("singleuser.profileList"):
        faults.append(
            "singleuser.profileList would do nothing; write the profiles into our chart's values."
        )
    if get("singleuser.storage.type") != "none":
        faults.append(
            "singleuser.storage.type must be none; our chart's values say what people's files lie"
            " on (storage)."
        )
    if get("cull.enabled"):
        faults.append(
            "cull.enabled must be false: that culler stops labs in which something works; our"
            " chart's values have one that asks them (culling)."
        )
    if get("singleuser.cloudMetadata.blockWithIptables"):
        faults.append(
            "singleuser.cloudMetadata.blockWithIptables must be false: it puts a privileged"
            " container into each lab's Pod; our NetworkPolicy blocks those addresses."
        )
    if get("singleuser.podNameTemplate"):
        faults.append("singleuser.podNameTemplate must be empty, so that no two names are alike.")
    if get("proxy.https.enabled") and get("proxy.https.type") in ("manual", "secret"):
        faults.append(
            "proxy.https.type manual and secret keep the hub from asking labs whether something"
            " works there; end TLS at an Ingress or a Gateway, or use letsencrypt or offload."
        )
    if get("hub.allowNamedServers") and settings.cluster.claims.access != "ReadWriteMany":
        faults.append(
            "hub.allowNamedServers lets one person have labs on several nodes, which"
            " storage.accessMode ReadWriteOnce does not; set ReadWriteMany, or no named servers."
        )
    return faults
