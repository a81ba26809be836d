"""The lab's defaults for Jupyter Server. Whatever a person configures goes before them."""

import ipaddress
import os
from typing import Any

from jupyter_server.auth.identity import PasswordIdentityProvider


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class LabIdentity(PasswordIdentityProvider):
    """Jupyter's own sign-in, which never leaves a server open to a network.

    Only here are all sources of a token or password known: variables, files and arguments.
    """

    def validate_security(self, app: Any, ssl_options: Any = None) -> None:
        """Let the server start, or end it with one sentence."""
        if self.auth_enabled or _is_loopback(app.ip):
            super().validate_security(app, ssl_options)
        elif os.environ.get("FAMILIAR_LAB_AUTH") != "proxy":
            app.exit(
                "familiar: JupyterLab would serve everybody who reaches this machine, without a"
                " token or a password; set JUPYTER_TOKEN, or FAMILIAR_LAB_AUTH=proxy where the only"
                " way to it is a proxy that asks who is there."
            )


c = get_config()  # type: ignore[name-defined]  # noqa: F821  # Jupyter defines it
if not os.environ.get("JUPYTERHUB_API_TOKEN"):
    # Under a hub, jupyterhub-singleuser brings its own, which asks the hub who is there.
    c.ServerApp.identity_provider_class = LabIdentity
if os.environ.get("FAMILIAR_LAB_AUTH") == "proxy" and not os.environ.get("JUPYTER_TOKEN"):
    # The proxy has asked already. Its requests carry the name under which people know it.
    c.IdentityProvider.token = ""
    c.ServerApp.allow_remote_access = True
