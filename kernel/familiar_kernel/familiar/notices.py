"""What the kernel and the process that sends notices both say."""

from __future__ import annotations

CENTRE = "JupyterLab"
"""The name of the notifier that is JupyterLab's notification centre."""
NO_CENTRE = (
    "its server knows no notifications; install jupyterlab_notifications_extension beside it"
)
"""Why that one fails where the extension is not installed."""
