"""How each tool is started: its command and its environment. Pure.

All listen on loopback, since none of them knows people, and are told nothing that is secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

PORT = 5000
"""Where the tool listens, on loopback of its container."""
LOOPBACK = "127.0.0.1"
STORE = "/var/lib/tool"
"""What a tool keeps: a volume."""
LOGS = "/srv/shared/tensorboard"
"""What TensorBoard shows: a folder of the volume that all labs share."""


class Tool(NamedTuple):
    """How a program is run.

    Attributes:
        command: the program and its arguments.
        environment: what it gets beside what every program gets.
        closed: a regular expression for paths that lead nobody to the tool.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = {}
    closed: str = ""


def _mlflow() -> Tool:
    return Tool(
        (
            "mlflow", "server",
            f"--host={LOOPBACK}", f"--port={PORT}", "--workers=1",
            f"--backend-store-uri=sqlite:///{STORE}/mlflow.db",
            "--serve-artifacts", f"--artifacts-destination={STORE}/artifacts",
        ),
        {
            # It is to send nobody anything, and run nothing by itself.
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        # Its assistant runs programs on the server, for whoever comes from the same machine.
        closed=r"/*(ajax-)?api/[\d.]+/mlflow/assistant(/.*)?",
    )  # fmt: skip


def _tensorboard() -> Tool:
    return Tool(
        (
            "tensorboard",
            f"--logdir={LOGS}",
            f"--host={LOOPBACK}",
            f"--port={PORT}",
            "--reload_interval=15",
        )
    )


def _glances() -> Tool:
    return Tool(
        (
            "glances", "--webserver", f"--bind={LOOPBACK}", f"--port={PORT}",
            "--disable-check-update", "--disable-autodiscover", "--disable-config-exec",
            # These would ask the network, or Docker.
            "--disable-plugin=cloud,containers,ip,ports,vms",
        ),
    )  # fmt: skip


TOOLS: Mapping[str, Callable[[], Tool]] = {
    "mlflow": _mlflow,
    "glances": _glances,
    "tensorboard": _tensorboard,
}
