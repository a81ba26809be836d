"""What hub, doors and Compose are told of tools: who may, where, and all faults at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config import Config

from familiar_hub import tools
from familiar_hub.settings import Settings, SettingsError
from familiar_tool.settings import Settings as DoorSettings
from familiar_tool.settings import SettingsError as DoorError
from familiar_tool.tools import TOOLS as KNOWN
from hub.core_hub import environment
from hub.pages_hub import ROOT

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def token(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return str(file)


def settings(folder: Path, **variables: str) -> Settings:
    return Settings.from_environment(environment(folder, **variables))


def faults(folder: Path, **variables: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        settings(folder, **variables)
    return caught.value.faults


def configured(wanted: Settings) -> Any:
    c = Config()
    c.JupyterHub.services = [{"name": "other"}]
    tools.configure(c, wanted, 8000)
    return c


def test_a_tool_has_a_secret_with_the_hub(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, ENABLE_SERVICE_GLANCES="1")
    assert fault.startswith("FAMILIAR_HUB_GLANCES_TOKEN_FILE is empty; it must be set with ENABLE_")
    for text in ("short", f"{TOKEN} and more", TOKEN * 3, "ü" * 40):
        file = tmp_path / "poor"
        file.write_text(text)
        (fault,) = faults(
            tmp_path, ENABLE_SERVICE_GLANCES="1", FAMILIAR_HUB_GLANCES_TOKEN_FILE=str(file)
        )
        assert "32 to 128" in fault
        assert text not in fault


def test_what_does_not_go_together_is_said(tmp_path: Path, token: str) -> None:
    given = {f"FAMILIAR_HUB_{tool.name.upper()}_TOKEN_FILE": token for tool in tools.TOOLS}
    # Of those that are not wanted nothing is read.
    assert settings(tmp_path, **given, FAMILIAR_HUB_SPAWNER="kubernetes").services == ()
    (fault,) = faults(
        tmp_path, **given, ENABLE_SERVICE_MLFLOW="1", FAMILIAR_HUB_SPAWNER="kubernetes"
    )
    assert fault.startswith("ENABLE_SERVICE_MLFLOW is 1; it may be 0 with")
    (fault,) = faults(tmp_path, **given, ENABLE_SERVICE_TENSORBOARD="1", FAMILIAR_HUB_SHARED="off")
    assert fault.startswith("ENABLE_SERVICE_TENSORBOARD is 1; it may be 0 with")


def test_nothing_is_configured_that_is_not_wanted(tmp_path: Path, token: str) -> None:
    c = configured(settings(tmp_path, FAMILIAR_HUB_MLFLOW_TOKEN_FILE=token))
    assert c.JupyterHub.services == [{"name": "other"}]
    assert "load_roles" not in c.JupyterHub
    assert "Spawner" not in c
    c = configured(
        settings(tmp_path, ENABLE_SERVICE_GLANCES="1", FAMILIAR_HUB_GLANCES_TOKEN_FILE=token)
    )
    _, glances = c.JupyterHub.services
    assert (glances["name"], glances["url"]) == ("glances", "http://glances:8888")
    assert glances["api_token"] == TOKEN
    # It is for administrators, who need no role, and for no program in a lab.
    assert "load_roles" not in c.JupyterHub
    assert "Spawner" not in c


def test_labs_find_mlflow_by_the_hub_s_name_on_their_network(tmp_path: Path, token: str) -> None:
    given = {
        "ENABLE_SERVICE_MLFLOW": "1",
        "FAMILIAR_HUB_MLFLOW_TOKEN_FILE": token,
        "JUPYTERHUB_BASE_URL": "/jupyter",
        "FAMILIAR_HUB_HOST": "hub-of-labs",
    }
    plain = settings(tmp_path, **given)
    address = "http://hub-of-labs:8000/jupyter/services/mlflow"
    assert tools.lab_addresses(plain, 8000) == {"MLFLOW_TRACKING_URI": address}
    assert tools.lab_routes(plain) == {}
    assert "Proxy" not in configured(plain)
    apart = settings(
        tmp_path,
        **given,
        FAMILIAR_HUB_SUBDOMAINS="1",
        FAMILIAR_HUB_PUBLIC_URL="http://lab.example.org",
    )
    routes = {"hub-of-labs/jupyter/services/mlflow/": "http://mlflow:8888"}
    assert configured(apart).Proxy.extra_routes == routes


def test_compose_has_a_container_for_each_tool_and_no_way_around_the_door() -> None:
    given = yaml.safe_load((ROOT / "deploy" / "compose" / "tools.yml").read_text())
    services = given["services"]
    assert set(services) == {tool.name for tool in tools.TOOLS} == set(KNOWN)
    assert given["networks"] == {"tools": {"internal": True}}
    for name, service in services.items():
        assert service["profiles"] == [name]
        assert service["networks"] == ["tools"]
        assert not service.keys() & {"ports", "expose", "network_mode", "privileged", "cap_add"}
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"].partition(":")[0] not in ("0", "1000")
        assert {"mem_limit", "memswap_limit", "cpus", "pids_limit", "logging"} <= service.keys()
        assert "docker.sock" not in str(service)
        assert f"{name}-token:/run/familiar-tool:ro" in service["volumes"]
    users = [service["user"] for service in services.values() if "pid" in service]
    # Whoever sees the host's processes shares no number with any of them.
    assert users == ["64111:64111"]
    assert [service["user"] for service in services.values()].count("64111:64111") == 1
    (shared,) = (v for v in services["tensorboard"]["volumes"] if isinstance(v, dict))
    assert shared["read_only"] is True


def test_what_is_closed_of_mlflow_is_its_assistant() -> None:
    closed = re.compile(KNOWN["mlflow"]().closed)
    assert closed.fullmatch("ajax-api/3.0/mlflow/assistant/message")
    assert closed.fullmatch("/ajax-api/3.0/mlflow/assistant")
    assert not closed.fullmatch("api/2.0/mlflow-artifacts/artifacts/1/x/artifacts/assistant/a")
    assert not closed.fullmatch("ajax-api/2.0/mlflow/runs/search")


def test_a_door_says_all_that_it_is_told_wrongly(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("short\n")
    with pytest.raises(DoorError) as caught:
        DoorSettings.from_environment(
            {
                "FAMILIAR_TOOL": "nothing",
                "FAMILIAR_TOOL_TOKEN_FILE": str(token),
                "JUPYTERHUB_BASE_URL": "/a b/",
                "FAMILIAR_HUB_HOST": "http://hub",
                "FAMILIAR_HUB_PUBLIC_URL": "lab.example.org",
            },
            frozenset(KNOWN),
        )
    said = str(caught.value)
    assert len(said.splitlines()) == 5
    assert "short" not in said
    token.write_text("t0ken-" * 6)
    settings = DoorSettings.from_environment(
        {
            "FAMILIAR_TOOL": "glances",
            "FAMILIAR_TOOL_TOKEN_FILE": str(token),
            "JUPYTERHUB_BASE_URL": "jupyter",
            "FAMILIAR_HUB_PUBLIC_URL": "https://lab.example.org:8443/",
            "FAMILIAR_HUB_SUBDOMAINS": "1",
        },
        frozenset(KNOWN),
    )
    assert "t0ken" not in repr(settings)
    assert settings.hub == "http://hub:8081"
    assert settings.prefix == "/jupyter/services/glances/"
    assert settings.services_origin == "https://glances--service.lab.example.org:8443"
    assert settings.tls


def test_no_tool_listens_anywhere_but_on_loopback() -> None:
    for name, tool in KNOWN.items():
        command = tool().command
        assert {"--host=127.0.0.1", "--bind=127.0.0.1"} & set(command), name
        assert not [word for word in command if "0.0.0.0" in word]
