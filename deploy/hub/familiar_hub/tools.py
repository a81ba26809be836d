"""Tools beside the labs: services of the hub, each with a door of its own that asks the hub.

A tool runs in a container that labs do not reach (see containers/tools). People and labs come to
it by the hub's proxy, and its door lets in whoever has ``access:services!service=NAME``: for MLflow
and TensorBoard everybody, for Glances administrators. A lab gets a token with just that scope,
which lives as long as the lab does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .variables import Reader, read_secret

if TYPE_CHECKING:
    from .settings import Settings

DOOR = 8888
"""Where a tool's door listens; its host is the service's name."""


@dataclass(frozen=True)
class Tool:
    """A tool that a hub may offer.

    Attributes:
        name: as in ``ENABLE_SERVICE_NAME``, and the service's.
        everybody: whether all people have access; administrators have it anyway.
        address: the variable by which programs in a lab find it; empty where none does.
        token: the variable with the token that they send.
    """

    name: str
    everybody: bool
    address: str = ""
    token: str = ""


TOOLS = (
    Tool("mlflow", True, "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"),
    # It shows the whole machine.
    Tool("glances", False),
    Tool("tensorboard", True),
)


def read_tokens(read: Reader, spawner: str, shared: str) -> dict[str, Path]:
    """Return the files with the tokens of the tools that are wanted, by the tools' names.

    Args:
        spawner: how labs are made.
        shared: what the folder that all share is.
    """
    found = {}
    for tool in TOOLS:
        upper = tool.name.upper()
        switch, file = f"ENABLE_SERVICE_{upper}", f"FAMILIAR_HUB_{upper}_TOKEN_FILE"
        if not read.flag(switch):
            continue
        if spawner == "kubernetes":
            # There a tool is a service of the chart's values, with an image and a door of theirs.
            read.fault(switch, "is 1; it may be 0 with FAMILIAR_HUB_SPAWNER=kubernetes")
        if tool.name == "tensorboard" and shared == "off":
            read.fault(
                switch, "is 1; it may be 0 with FAMILIAR_HUB_SHARED=off, where logs would be"
            )
        path = read.file_with(
            file,
            "[A-Za-z0-9_-]{32,128}",
            "32 to 128 letters, digits, - and _ (`openssl rand -hex 32`)",
            f"with {switch}=1",
        )
        found[tool.name] = path or Path()
    return found


def chosen(settings: Settings) -> tuple[Tool, ...]:
    """Return the tools that this hub offers."""
    return tuple(tool for tool in TOOLS if tool.name in settings.services)


def scope(tool: Tool) -> str:
    """Return what somebody must have to be let in."""
    return f"access:services!service={tool.name}"


def path(settings: Settings, tool: Tool) -> str:
    """Return where a tool is, below the hub's address, without a slash at the end."""
    return f"{settings.base_url}services/{tool.name}"


def service(settings: Settings, tool: Tool) -> dict[str, Any]:
    """Return what JupyterHub must know of a tool.

    Raises:
        OSError: its secret file cannot be read any more.
    """
    from jupyterhub.services.service import Service

    # JupyterHub 6 waits so long for each service when it starts, 30 seconds by default, and people
    # would wait too. 5.5 waits a second anyway.
    patience = {"timeout": 1} if "timeout" in Service.class_trait_names() else {}
    return {
        "name": tool.name,
        "url": f"http://{tool.name}:{DOOR}",
        "api_token": read_secret(settings.service_tokens[tool.name]).strip(),
        # It learns who somebody is and that they may come in, so there is nothing to confirm.
        "oauth_no_confirm": True,
        **patience,
    }


def roles(tools: tuple[Tool, ...]) -> list[dict[str, Any]]:
    """Return the roles that give access. Administrators have it by JupyterHub's own."""
    scopes = [scope(tool) for tool in tools if tool.everybody]
    # The default role of people, and more.
    return [{"name": "user", "scopes": ["self", *scopes]}] if scopes else []


def lab_addresses(settings: Settings, port: int) -> dict[str, str]:
    """Return where programs in a lab find tools: by the hub's proxy, on the labs' network.

    Args:
        port: the proxy's.
    """
    return {
        tool.address: f"http://{settings.host}:{port}{path(settings, tool)}"
        for tool in chosen(settings)
        if tool.address
    }


def lab_routes(settings: Settings) -> dict[str, str]:
    """Return what the hub's proxy must know beside JupyterHub's own routes.

    Where each person's lab has an origin of its own, the proxy looks at the host that is asked for,
    and labs ask for the hub's name on their network.
    """
    if not settings.subdomains:
        return {}
    return {
        f"{settings.host}{path(settings, tool)}/": f"http://{tool.name}:{DOOR}"
        for tool in chosen(settings)
        if tool.address
    }


def configure(c: Any, settings: Settings, port: int) -> None:
    """Write a hub's tools into JupyterHub's configuration.

    Args:
        c: what ``get_config()`` gives.
        settings: the hub.
        port: where its proxy listens.

    Raises:
        OSError: a secret file cannot be read any more.
    """
    tools = chosen(settings)
    if not tools:
        return
    c.JupyterHub.services.extend(service(settings, tool) for tool in tools)
    if wanted := roles(tools):
        c.JupyterHub.load_roles.extend(wanted)
    if routes := lab_routes(settings):
        c.Proxy.extra_routes = routes
    if any(tool.token for tool in tools):
        tokens = LabTokens(tools, lab_addresses(settings, port))
        c.Spawner.pre_spawn_hook = tokens.give
        c.Spawner.post_stop_hook = tokens.take


class LabTokens:
    """The tokens by which programs in labs get into tools.

    Not the lab's own token: that one opens the lab to whoever has it, and a program sends its token
    wherever its settings lead.

    Args:
        tools: what the hub offers.
        addresses: variables that go into each lab's environment.
    """

    def __init__(self, tools: tuple[Tool, ...], addresses: Mapping[str, str]) -> None:
        self._tools = tuple(tool for tool in tools if tool.token)
        self._addresses = addresses

    def give(self, spawner: Any) -> None:
        """Give a lab that is about to start its tokens, and take older ones."""
        self.take(spawner)
        made = {
            tool.token: spawner.user.new_api_token(
                note=self._note(tool, spawner), scopes=[scope(tool)]
            )
            for tool in self._tools
        }
        spawner.environment = {**spawner.environment, **self._addresses, **made}

    def take(self, spawner: Any) -> None:
        """Take the tokens of a lab that has stopped."""
        notes = {self._note(tool, spawner) for tool in self._tools}
        session = spawner.user.db
        for token in list(spawner.user.orm_user.api_tokens):
            if token.note in notes:
                session.delete(token)
        session.commit()

    @staticmethod
    def _note(tool: Tool, spawner: Any) -> str:
        # People see it on the hub's page of tokens.
        return f"{tool.name} for the server {spawner.name!r}"
