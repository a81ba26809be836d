"""What Prometheus sees of these pages, at the hub's own ``/hub/metrics``.

The names begin as JupyterHub's do. All outcomes are there from the start, so that a rule about
failures can be written before the first one.
"""

from __future__ import annotations

from jupyterhub.metrics import metrics_prefix
from prometheus_client import Counter, Histogram

PREFIX = f"{metrics_prefix}_familiar"
RESTART_OUTCOMES = ("done", "failed", "refused")
RESET_OUTCOMES = ("done", "failed", "refused")
DELIVERY_OUTCOMES = ("delivered", "failed")

BROADCASTS = Counter("broadcasts", "Broadcasts that were sent", namespace=PREFIX)
BROADCAST_SECONDS = Histogram(
    "broadcast_duration_seconds",
    "Time until a broadcast had been tried at every running server",
    namespace=PREFIX,
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, float("inf")),
)
DELIVERIES = Counter(
    "broadcast_deliveries", "Servers to which a broadcast was sent", ["outcome"], namespace=PREFIX
)
RESETS = Counter("volume_resets", "Volumes that were reset", ["outcome"], namespace=PREFIX)
RESTARTS = Counter("server_restarts", "Labs that were restarted", ["outcome"], namespace=PREFIX)
RESTART_SECONDS = Histogram(
    "server_restart_duration_seconds",
    "Time until a restarted lab answered again",
    namespace=PREFIX,
    buckets=(0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, float("inf")),
)
AUDIT_FAILURES = Counter(
    "audit_failures", "Acts that stand in the hub's log in place of the audit log", namespace=PREFIX
)

for _counter, _outcomes in (
    (DELIVERIES, DELIVERY_OUTCOMES),
    (RESETS, RESET_OUTCOMES),
    (RESTARTS, RESTART_OUTCOMES),
):
    for _outcome in _outcomes:
        _counter.labels(outcome=_outcome)
