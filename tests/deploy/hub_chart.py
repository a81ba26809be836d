"""The chart of the hub: what its tests share. Rendered by the real helm, read by the real hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.chart import CHART as LAB_CHART
from deploy.chart import NAMESPACE, NEWEST, Manifest, Refused, Values, _Strict, helm, only, over
from familiar_hub.settings import Settings
from hub.core_hub import ADMIN_PASSWORD

CHART = LAB_CHART.with_name("familiar-hub")
EXAMPLES = sorted(CHART.glob("ci/*-values.yaml"))
Z2JH = CHART / "z2jh" / "values.yaml"
SIZES = sorted(CHART.glob("sizes/*.yaml"), key=lambda file: int(file.stem))
OURS: Values = {"publicUrl": "https://lab.example.org"}


def render(*values: Mapping[str, Any], kubernetes: str = NEWEST) -> list[Manifest]:
    """Return the manifests for some values, over an address.

    Raises:
        Refused: helm refuses the values.
    """
    text = helm(
        "template",
        "familiar",
        f"--namespace={NAMESPACE}",
        f"--kube-version={kubernetes}",
        values=[OURS, *values],
        chart=CHART,
    )
    return [one for one in yaml.load_all(text, _Strict) if one]


def refusal(*values: Mapping[str, Any]) -> str:
    """Return why helm refuses some values, on one line."""
    try:
        render(*values)
    except Refused as err:
        return " ".join(str(err).split())
    raise AssertionError(f"helm takes {values}")


def files(*values: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of the ConfigMap that helm makes of some values."""
    found: dict[str, str] = only(render(*values), "ConfigMap")["data"]
    return found


def written(folder: Path, *values: Mapping[str, Any]) -> Path:
    """Write the ConfigMap's files as the hub's Pod sees them, but below a folder.

    Returns:
        where the settings are.
    """
    secrets = folder / "etc" / "familiar-hub-secrets"
    secrets.mkdir(parents=True, exist_ok=True)
    (secrets / "admin-password").write_text(ADMIN_PASSWORD + "\n")
    (secrets / "oidc-client-secret").write_text("hidden\n")
    mounted = folder / "etc" / "familiar-hub"
    mounted.mkdir(exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    for name, text in files(*values).items():
        for place in ("/etc/familiar-hub-secrets", "/etc/familiar-hub"):
            text = text.replace(f'"{place}/', f'"{folder}{place}/')
        (mounted / name).write_text(text.replace("/var/lib/familiar-hub", str(folder / "data")))
    return mounted / "settings.json"


def settings(folder: Path, *values: Mapping[str, Any]) -> Settings:
    """Return the settings that the hub has with some values of the chart."""
    told = json.loads(written(folder, *values).read_text())
    return Settings.from_environment({**told, "FAMILIAR_HUB_SPAWNER": "kubernetes"})


def z2jh(*more: Mapping[str, Any]) -> Values:
    """Return our values for zero-to-jupyterhub, with others over them."""
    told: Values = yaml.safe_load(Z2JH.read_text("utf-8"))
    for each in more:
        told = over(told, each)
    return told


def get_in(values: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """Return a value by its path, as zero-to-jupyterhub's ``get_config`` does."""
    found: Any = values
    for level in key.split("."):
        if not isinstance(found, Mapping) or level not in found:
            return default
        found = found[level]
    return found
