"""What Docker Compose makes of our files, in every combination, and that names agree everywhere."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compose.stack import DEPLOYMENT, deployment_in
from familiar_hub.variables import VARIABLES
from needs import need

PROFILES = ("mlflow", "glances", "tensorboard", "watchtower")
FIXED = {
    "FAMILIAR_HUB_ADMIN_PASSWORD_FILE", "FAMILIAR_HUB_MLFLOW_TOKEN_FILE",
    "FAMILIAR_HUB_GLANCES_TOKEN_FILE", "FAMILIAR_HUB_TENSORBOARD_TOKEN_FILE",
    "FAMILIAR_HUB_RAW_DOCKER_SOCKET_GID", "SOCKET_PEOPLE_ON_HOST",
}  # fmt: skip
"""The hub's variables that compose.yml sets itself."""
NOT_HERE = {
    "FAMILIAR_HUB_CLUSTER_FILE", "FAMILIAR_HUB_DATA", "FAMILIAR_HUB_HOST", "FAMILIAR_HUB_SPAWNER",
}  # fmt: skip
"""Those that are another thing's: of Kubernetes, or of the image."""
_VARIABLE = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]+)=", re.MULTILINE)


def config(folder: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    """Return the whole configuration as Compose reads it."""
    done = subprocess.run(
        [need("docker-compose"), *arguments, "config", "--format=json"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "DOCKER_SOCKET_GID": "5", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # A variable that has neither a value nor a default.
    assert "is not set" not in done.stderr, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployment") / "d"
    deployment_in(folder, FAMILIAR_HUB_PUBLIC_URL="https://lab.example.org")
    example = folder / "compose_override.example.yml"
    shutil.copy(example, folder / "compose_override.yml")
    return folder


def _combinations() -> list[tuple[tuple[str, ...], bool]]:
    sets = [c for n in range(len(PROFILES) + 1) for c in itertools.combinations(PROFILES, n)]
    return [(chosen, override) for chosen in sets for override in (False, True)]


@pytest.mark.parametrize(("profiles", "override"), _combinations())
def test_every_combination_is_sound(
    folder: Path, profiles: tuple[str, ...], override: bool
) -> None:
    files = ["-f", "compose.yml", *(["-f", "compose_override.yml"] if override else [])]
    told = config(folder, *files, *(f"--profile={name}" for name in profiles))
    services = told["services"]
    assert set(services) == {"prepare", "edge", "hub", "filter", *profiles}
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == ("no" if name == "prepare" else "unless-stopped"), name
        assert int(service["mem_limit"]) == int(service["memswap_limit"]) > 0, name
        assert service["pids_limit"] > 0, name
        assert service["logging"]["driver"] == "json-file", name
        assert set(service["logging"]["options"]) >= {"max-size", "max-file"}, name
        # A tag that does not move, or one that is built here.
        assert re.fullmatch(r"\S+:v?\d+\.\d+\.\d+|localhost/\S+:latest", service["image"]), name
        assert service.get("privileged") is not True, name
        sources = [volume["source"] for volume in service.get("volumes", [])]
        raw = "/var/run/docker.sock" in sources
        assert raw == (name in ("filter", "watchtower")), name
        assert ("ports" in service) == (name == "edge"), name
        if name != "prepare":
            assert service["user"].split(":")[0] not in ("0", "root"), name
            assert "authority" not in sources, name
            assert not service.get("cap_add"), name
    assert services["hub"]["mem_limit"] == str(2**31 if override else 2**30)
    assert services["hub"]["networks"].keys() == {"edge", "labs", "tools"}
    assert services["edge"]["networks"].keys() == {"edge"}
    assert services["filter"]["network_mode"] == services["prepare"]["network_mode"] == "none"
    assert told["networks"]["labs"]["name"] == "familiar-labs"
    # What people send for builds may be more than the filter's memory.
    places = {volume["target"]: volume["type"] for volume in services["filter"]["volumes"]}
    assert places["/tmp"] == "volume"
    assert "tmpfs" not in services["filter"]


def test_hub_and_filter_are_told_the_same(folder: Path) -> None:
    services = config(folder, ENABLE_GPU_SUPPORT="1", FAMILIAR_HUB_PREFIX="lab")["services"]
    hub, guard = services["hub"]["environment"], services["filter"]["environment"]
    assert guard.items() <= hub.items()
    assert guard["ENABLE_GPU_SUPPORT"] == "1"
    assert guard["SOCKET_PREFIX"] == "lab-"
    assert guard["SOCKET_FOLDER"] in hub["DOCKER_HOST"]
    prepare = services["prepare"]["environment"]
    assert hub.items() <= prepare.items()


def test_every_variable_of_the_hub_reaches_it(folder: Path) -> None:
    names = {variable.name for variable in VARIABLES} - NOT_HERE
    given = {name: f"v{number}" for number, name in enumerate(sorted(names - FIXED))}
    # Compose reads these two itself.
    given |= {"FAMILIAR_HUB_MEMORY": "7g"}
    hub = config(folder, **given)["services"]["hub"]["environment"]
    assert {name: hub.get(name) for name in given} == given
    assert {name for name in FIXED if not hub.get(name)} == set()
    # None that the hub would refuse as unknown.
    known = {variable.name for variable in VARIABLES}
    assert {name for name in hub if name.startswith("FAMILIAR_HUB_")} <= known


def test_the_example_says_a_sentence_about_every_variable() -> None:
    text = (DEPLOYMENT / ".env.example").read_text()
    named = _VARIABLE.findall(text)
    assert len(named) == len(set(named))
    files = "".join((DEPLOYMENT / name).read_text() for name in ("compose.yml", "tools.yml"))
    read = set(re.findall(r"\$\{([A-Z][A-Z0-9_]+)", files))
    # Compose's own, and what start.sh finds out.
    assert set(named) - read == {"COMPOSE_PROFILES"}
    assert read - set(named) == {"DOCKER_SOCKET_GID", "FAMILIAR_SHARED_KIND"}
    # A comment stands before each, or before the group that it is of.
    for block in re.split(r"\n\n", text):
        if _VARIABLE.search(block):
            first = re.search(r"^# (?![A-Z][A-Z0-9_]+=).+\w", block, re.MULTILINE)
            assert first, block


def test_the_example_shows_what_holds_without_it(folder: Path) -> None:
    text = (DEPLOYMENT / ".env.example").read_text()
    shown = dict(re.findall(r"^# ([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    hub = {variable.name: variable.default for variable in VARIABLES}
    environment = config(folder)["services"]["hub"]["environment"]
    for name, value in shown.items():
        if name in hub:
            # What compose.yml gives where .env is silent, or else what the hub takes.
            assert (environment.get(name) or hub[name]) == value, name
    files = "".join((DEPLOYMENT / name).read_text() for name in ("compose.yml", "tools.yml"))
    defaults = dict(re.findall(r"\$\{([A-Z][A-Z0-9_]+):-([^}$]*)\}", files))
    for name, value in shown.items():
        if defaults.get(name):
            assert defaults[name] == value, name


def test_what_opens_a_door_says_so() -> None:
    text = (DEPLOYMENT / ".env.example").read_text()
    for name in (
        "ENABLE_JUPYTERHUB_SSL", "FAMILIAR_HUB_RAW_DOCKER_SOCKET", "SOCKET_NESTED",
        "FAMILIAR_HUB_OIDC_ALLOW", "WATCHTOWER_MONITOR_ONLY", "COMPOSE_PROFILES",
        "ENABLE_SERVICE_GLANCES", "FAMILIAR_HUB_SHARED",
    ):  # fmt: skip
        lines = text[: text.index(f"\n# {name}=")].splitlines()
        comment = itertools.takewhile(
            lambda line: line.startswith("#") and not _VARIABLE.match(line), reversed(lines)
        )
        assert "DOOR" in " ".join(comment), name
