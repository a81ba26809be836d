"""Metrics: all outcomes are there from the start, and count what happened."""

from __future__ import annotations

import pytest

from hub.pages_hub import Hub, running_hub

pytest_plugins = ["hub.pages_fixtures"]


def values(hub: Hub) -> dict[str, float]:
    text = hub.ask("GET", "metrics", token=hub.metrics_token).text
    lines = [line for line in text.splitlines() if line.startswith("jupyterhub_familiar_")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


ZERO = (
    "jupyterhub_familiar_broadcasts_total",
    'jupyterhub_familiar_broadcast_deliveries_total{outcome="delivered"}',
    'jupyterhub_familiar_broadcast_deliveries_total{outcome="failed"}',
    'jupyterhub_familiar_volume_resets_total{outcome="done"}',
    'jupyterhub_familiar_volume_resets_total{outcome="failed"}',
    'jupyterhub_familiar_volume_resets_total{outcome="refused"}',
    'jupyterhub_familiar_server_restarts_total{outcome="done"}',
    'jupyterhub_familiar_server_restarts_total{outcome="failed"}',
    'jupyterhub_familiar_server_restarts_total{outcome="refused"}',
    "jupyterhub_familiar_audit_failures_total",
)


@pytest.mark.slow
def test_they_begin_at_nothing_and_count(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_hub(tmp_path_factory.mktemp("hub")) as hub:
        before = values(hub)
        assert {name: before[name] for name in ZERO} == dict.fromkeys(ZERO, 0.0)
        hub.start("ada")
        hub.start("bare")
        hub.broadcast({"message": "x"})
        token = hub.person("ada")
        hub.ask("POST", "api/users/ada/server/restart", token=token)
        hub.ask("POST", "api/users/ada/volumes/attic/reset", {}, token=token)
        now = values(hub)
        assert {name: now[name] for name in ZERO if now[name]} == {
            ZERO[0]: 1.0, ZERO[1]: 1.0, ZERO[2]: 1.0, ZERO[5]: 1.0, ZERO[8]: 1.0,
        }  # fmt: skip
        assert now["jupyterhub_familiar_broadcast_duration_seconds_count"] == 1.0
        assert now["jupyterhub_familiar_broadcast_duration_seconds_sum"] > 0
