"""From settings to JupyterHub's configuration: everything, and in one place.

In zero-to-jupyterhub its values say where the hub is; see :mod:`.zero_to_jupyterhub`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from . import audit, culling, groups, handlers, same_origin, tools
from .gpu import SECONDS, Gpu, Probe, look
from .settings import NATIVE_NAMES, NATIVE_NAMES_RULE, Settings
from .variables import read_secret

PORT = 8000
"""Where the hub's proxy listens; what ends TLS stands before it."""
HUB_PORT = 8081
"""Where labs reach the hub's API."""
_START_SECONDS = 300
"""The first start of a lab may have to pull its image."""


def configure(c: Any, settings: Settings) -> None:
    """Write a whole hub into JupyterHub's configuration.

    Args:
        c: what ``get_config()`` gives in a configuration file.
        settings: the hub.

    Raises:
        OSError: a secret file cannot be read any more.
        familiar_hub.audit.AuditError: the audit log cannot be written.
    """
    people(c, settings)
    pages(c, settings)
    if settings.spawner == "docker":
        place(c, settings)
        labs(c, settings)
        stopping(c, settings)
        tools.configure(c, settings, PORT)
    else:
        from .zero_to_jupyterhub import pods

        pods(c, settings)


def people(c: Any, settings: Settings) -> None:
    """Configure who may come in, and the groups."""
    # A `$` would let a name end with a new line.
    c.Authenticator.username_pattern = rf"(?:{settings.username_pattern})\Z"
    c.Authenticator.admin_users = {settings.admin}
    named = sorted({name for profile in settings.profiles for name in profile.groups})
    oidc = settings.oidc
    if oidc is not None:
        c.JupyterHub.authenticator_class = "familiar_hub.oidc.HubOidc"
        chosen = c.HubOidc
        chosen.client_id = oidc.client_id
        chosen.client_secret = read_secret(oidc.secret_file)
        chosen.authorize_url = oidc.authorize_url
        chosen.token_url = oidc.token_url
        chosen.userdata_url = oidc.userdata_url
        chosen.scope = list(oidc.scopes)
        chosen.username_claim = oidc.username_claim
        chosen.allow_all = oidc.everybody
        if oidc.logout_url:
            chosen.logout_redirect_url = oidc.logout_url
        if settings.public_url:
            chosen.oauth_callback_url = f"{settings.public_url}hub/oauth_callback"
        if oidc.groups_claim:
            # Then groups are the provider's, also the protected ones; JupyterHub loads no others.
            chosen.manage_groups = True
            chosen.auth_state_groups_key = f"oauth_user.{oidc.groups_claim}"
            chosen.allowed_groups = set(oidc.allowed_groups)
        else:
            c.JupyterHub.load_groups = groups.to_load(named)
        return
    accounts = settings.accounts
    c.JupyterHub.authenticator_class = "familiar_hub.accounts.HubAccounts"
    chosen = c.HubAccounts
    # The gate is the approval, which is asked at each sign-in and again while somebody stays.
    chosen.allow_all = True
    chosen.auth_refresh_age = 60
    chosen.refresh_pre_spawn = True
    chosen.open_signup = False
    chosen.enable_signup = accounts.signup
    chosen.check_common_password = True
    chosen.minimum_password_length = accounts.minimum_password
    chosen.allowed_failed_logins = accounts.failed_logins
    chosen.seconds_before_next_try = accounts.lockout_seconds
    chosen.pending_limit = accounts.pending
    chosen.names_rule = (
        NATIVE_NAMES_RULE
        if settings.username_pattern == NATIVE_NAMES
        else f"it must be like {settings.username_pattern}"
    )
    chosen.admin_password_file = str(accounts.password_file or "")
    chosen.admin_password_reset = accounts.password_reset
    c.JupyterHub.load_groups = groups.to_load(named)


def pages(c: Any, settings: Settings) -> None:
    """Configure the platform's pages, and the audit log behind them."""
    native = settings.oidc is None
    paths = [handlers.TEMPLATES]
    if native:
        import nativeauthenticator

        paths.append(str(Path(nativeauthenticator.__file__).parent / "templates"))
    # What zero-to-jupyterhub's values say stays.
    c.JupyterHub.template_paths = [*paths, *c.JupyterHub.get("template_paths", ())]
    c.JupyterHub.template_vars = {
        **c.JupyterHub.get("template_vars", {}),
        **handlers.template_vars(),
        "familiar_native_accounts": native,
    }
    c.JupyterHub.tornado_settings = {
        **c.JupyterHub.get("tornado_settings", {}),
        **handlers.tornado_settings(settings.data),
        **_cookies(settings.public_url.startswith("https://")),
        "transforms": [same_origin.ForWindows],
    }
    audit.configure(settings.data / "audit.jsonl")


def _cookies(tls: bool) -> dict[str, Any]:
    """Return how cookies are set. JupyterHub marks its own as Secure, but not the forms' tokens."""
    common = {"samesite": "Lax"}
    # No script reads the forms' token from its cookie: the hub's own have it in their page, and a
    # lab's, which may call its address anything of the same origin, are not to have it.
    token = {**common, "httponly": True}
    return {
        "cookie_options": common,
        "xsrf_cookie_kwargs": {**token, "secure": True} if tls else token,
    }


def place(c: Any, settings: Settings) -> None:
    """Configure where the hub is, and what it keeps."""
    hub = c.JupyterHub
    hub.bind_url = f"http://:{PORT}{settings.base_url}"
    hub.hub_ip = "0.0.0.0"
    hub.hub_port = HUB_PORT
    hub.hub_connect_ip = settings.host
    if settings.public_url:
        # Cookies are marked as Secure by it.
        hub.public_url = settings.public_url
    if settings.subdomains:
        hub.subdomain_host = settings.public_url.removesuffix(settings.base_url)
    if settings.database_url_file:
        hub.db_url = read_secret(settings.database_url_file).strip()
    else:
        hub.db_url = f"sqlite:///{settings.data}/jupyterhub.sqlite"
        # JupyterHub copies an SQLite database before it changes it for a new release; another
        # kind it would change without a copy.
        hub.upgrade_db = True
    if settings.cookie_secret_file:
        hub.cookie_secret = bytes.fromhex(read_secret(settings.cookie_secret_file).strip())
    else:
        hub.cookie_secret_file = str(settings.data / "cookie_secret")
    if settings.proxy_token_file:
        c.ConfigurableHTTPProxy.auth_token = read_secret(settings.proxy_token_file).strip()
    c.ConfigurableHTTPProxy.pid_file = str(settings.data / "proxy.pid")
    # While the hub starts, its proxy knows no labs. What they are asked then would be answered with
    # 404, which JupyterLab takes for the end of folders and kernels; so it is 503.
    default = f"--default-target=http://127.0.0.1:{HUB_PORT}"
    c.ConfigurableHTTPProxy.command = ["configurable-http-proxy", default]
    # Labs go on while the hub starts anew.
    hub.cleanup_servers = False


def labs(c: Any, settings: Settings) -> None:
    """Configure how labs are made."""
    limits = settings.limits
    hub, lab = c.JupyterHub, c.LabSpawner
    hub.spawner_class = "familiar_hub.spawner.LabSpawner"
    hub.allow_named_servers = limits.named_servers > 0
    hub.named_server_limit_per_user = limits.named_servers
    hub.active_server_limit = limits.active_servers
    hub.concurrent_spawn_limit = limits.concurrent_spawns
    lab.settings = settings
    lab.gpu = _probe(settings)
    lab.image = settings.image
    lab.pull_policy = settings.pull
    lab.network_name = settings.network
    lab.use_internal_ip = True
    # Each start makes a new container, with the rights that the person has then.
    lab.remove = True
    lab.cmd = ["jupyterhub-singleuser"]
    # The workspace and the shared folder are both in sight of the file browser.
    lab.notebook_dir = "/home/jovyan"
    lab.default_url = "/lab/tree/work"
    lab.start_timeout = _START_SECONDS
    lab.http_timeout = 60
    lab.client_kwargs = {"timeout": 60}


def stopping(
    c: Any, settings: Settings, proxy: str = f"http://127.0.0.1:{PORT}", api: str = ""
) -> None:
    """Configure the service that stops idle labs.

    Args:
        proxy: where the service reaches labs, without a path.
        api: where it reaches the hub's API; empty: where labs do.
    """
    limits = settings.culling
    if not (limits.idle or limits.age):
        return
    never = 10 * 365 * 86400
    c.JupyterHub.load_roles = [
        *c.JupyterHub.get("load_roles", ()),
        {"name": "idle-culler", "scopes": culling.SCOPES, "services": ["idle-culler"]},
    ]
    c.JupyterHub.services = [
        *c.JupyterHub.get("services", ()),
        {
            "name": "idle-culler",
            "command": [sys.executable, "-m", "familiar_hub.culling"],
            "environment": {
                culling.IDLE: str(limits.idle or never),
                culling.BUSY: str(limits.busy),
                culling.AGE: str(limits.age),
                culling.PROXY: proxy,
                culling.API: api,
            },
        },
    ]


def _probe(settings: Settings) -> Probe:
    """Return who finds out about GPUs; it begins at once, and the hub does not wait."""

    def ask() -> Gpu:
        import docker
        from docker.utils import kwargs_from_env

        client = docker.APIClient(**{"version": "auto", "timeout": SECONDS, **kwargs_from_env()})
        try:
            return look(client, settings.image, settings.prefix)
        finally:
            client.close()

    probe = Probe(settings.gpu, ask)
    probe.begin()
    return probe
