"""Makes the volume of the folder that all share, where that is on another machine (CIFS).

``python -m familiar_hub.share``, once before the hub starts: it needs the engine's own socket,
which the hub has not, since a volume with options of one's choice can be any folder of the host.
The password goes from its file into the request's body: it stands in no argument and in no log.
The engine keeps it with the volume, where root can read it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env

from . import spawning
from .settings import Settings, SettingsError
from .variables import read_credentials


class ShareError(Exception):
    """The volume cannot be made; one sentence."""


def ensure_share(client: Any, settings: Settings) -> str:
    """Make the volume, or make it anew if it leads elsewhere by now.

    Args:
        client: docker-py's ``APIClient``.

    Returns:
        One sentence that says what was done.

    Raises:
        ShareError: the volume is an ordinary one.
        docker.errors.APIError: the engine refuses, as while labs use the old volume.
    """
    if settings.cifs is None:
        return "The shared folder is not on another machine; there is nothing to do."
    name = spawning.shared_volume(settings)
    options = spawning.cifs_options(settings.cifs, read_credentials(settings.cifs.credentials_file))
    try:
        there = client.inspect_volume(name).get("Options") or {}
    except NotFound:
        there = None
    if there == options:
        return f"The volume {name} is as it should be."
    if there is not None:
        if there.get("type") != "cifs":
            # Somebody's files may be in it.
            raise ShareError(
                f"The volume {name} is there, and holds files of this machine: copy them elsewhere,"
                " remove the volume, and run this again."
            )
        client.remove_volume(name)  # what it showed stays on the server
    client.create_volume(name, driver="local", driver_opts=options)
    return f"The volume {name} leads to {settings.cifs.share} now."


def main() -> None:
    """Run it, and say in one sentence what became of it."""
    try:
        settings = Settings.from_environment(os.environ)
        client = docker.APIClient(**{"version": "auto", "timeout": 60, **kwargs_from_env()})
        said = ensure_share(client, settings)
    except SettingsError as error:
        sys.exit(str(error))
    except ShareError as error:
        sys.exit(f"familiar: {error}")
    except APIError as error:
        if error.status_code == 409:
            sys.exit("familiar: labs use the shared folder as it was; stop them, and try again.")
        # Not the request, whose body holds the password.
        sys.exit(f"familiar: Docker refuses the shared folder's volume ({error.status_code}).")
    except DockerException as error:
        sys.exit(f"familiar: Docker does not answer: {type(error).__name__}.")
    print(f"familiar: {said}")


if __name__ == "__main__":
    main()
