"""From settings to JupyterHub: what is configured, and that a hub so configured behaves."""

from __future__ import annotations

import re
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from familiar_hub import audit, config
from familiar_hub.profiles import read_profiles
from familiar_hub.settings import Oidc, Settings
from familiar_hub.spawner import LabSpawner
from hub.core_hub import ADMIN_PASSWORD, Hub, environment, running_hub
from hub.pages_hub import pythons


@pytest.fixture(autouse=True)
def no_audit_after() -> Iterator[None]:
    yield
    audit.configure(None)


def configured(settings: Settings) -> Any:
    c = Config()
    config.configure(c, settings)
    return c


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment(environment(tmp_path))


def test_labs_outlive_the_hub_and_not_their_rights(settings: Settings) -> None:
    c = configured(settings)
    assert c.JupyterHub.cleanup_servers is False
    assert c.LabSpawner.remove is True
    assert c.LabSpawner.use_internal_ip is True
    # What running labs know the hub by must not change when its container does.
    assert c.JupyterHub.hub_connect_ip == "hub"


def test_what_is_configured_exists(settings: Settings) -> None:
    c = configured(settings)
    traits = LabSpawner.class_trait_names(config=True)
    assert set(c.LabSpawner) <= set(traits)
    from jupyterhub.app import JupyterHub

    assert set(c.JupyterHub) <= set(JupyterHub.class_trait_names(config=True))
    from familiar_hub.accounts import HubAccounts

    assert set(c.HubAccounts) <= set(HubAccounts.class_trait_names(config=True))
    assert set(c.Authenticator) <= set(HubAccounts.class_trait_names(config=True))


def test_secrets_come_from_their_files(settings: Settings, tmp_path: Path) -> None:
    for name, text in (("cookie", "ab" * 32), ("proxy", "t0ken"), ("db", "postgresql://u:p@db/h")):
        (tmp_path / name).write_text(text + "\n")
    c = configured(
        replace(
            settings,
            cookie_secret_file=tmp_path / "cookie",
            proxy_token_file=tmp_path / "proxy",
            database_url_file=tmp_path / "db",
        )
    )
    assert c.JupyterHub.cookie_secret == bytes.fromhex("ab" * 32)
    assert c.ConfigurableHTTPProxy.auth_token == "t0ken"
    assert c.JupyterHub.db_url == "postgresql://u:p@db/h"
    # Only an SQLite database is copied before it is changed.
    assert "upgrade_db" not in c.JupyterHub
    assert configured(settings).JupyterHub.upgrade_db is True


def test_behind_tls(settings: Settings) -> None:
    c = configured(
        replace(
            settings, public_url="https://lab.example.org/jupyter/", base_url="/jupyter/",
            subdomains=True,
        )
    )  # fmt: skip
    assert c.JupyterHub.public_url == "https://lab.example.org/jupyter/"
    assert c.JupyterHub.subdomain_host == "https://lab.example.org"
    assert c.JupyterHub.bind_url == "http://:8000/jupyter/"


def test_idle_labs(settings: Settings) -> None:
    c = configured(settings)
    (service,) = c.JupyterHub.services
    (role,) = c.JupyterHub.load_roles
    assert role["services"] == [service["name"]]
    assert "admin:users" not in role["scopes"]
    never = replace(settings.culling, idle=0, age=0)
    assert "services" not in configured(replace(settings, culling=never)).JupyterHub


def test_a_provider(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "client").write_text("hidden\n")
    oidc = Oidc(
        client_id="lab",
        secret_file=tmp_path / "client",
        authorize_url="https://id.example.org/a",
        token_url="https://id.example.org/t",
        userdata_url="https://id.example.org/u",
        logout_url="",
        scopes=("openid",),
        username_claim="preferred_username",
        groups_claim="groups",
        everybody=False,
        allowed_groups=frozenset({"staff"}),
    )
    c = configured(replace(settings, oidc=oidc, authenticator="oidc"))
    assert c.JupyterHub.authenticator_class == "familiar_hub.oidc.HubOidc"
    assert c.HubOidc.client_secret == "hidden"
    assert c.HubOidc.allow_all is False
    assert c.HubOidc.allowed_groups == {"staff"}
    # JupyterHub refuses groups of its own beside a provider's.
    assert "load_groups" not in c.JupyterHub
    from familiar_hub.oidc import HubOidc

    assert set(c.HubOidc) <= set(HubOidc.class_trait_names(config=True))
    signing_in = HubOidc(config=c)
    pages = [handler[0] for handler in signing_in.get_handlers(None)]
    assert r"/oauth_callback" in pages
    assert r"/broadcast" in pages


def test_on_kubernetes_the_chart_says_where_and_how(settings: Settings) -> None:
    kinds = read_profiles("- name: small\n- name: large\n  groups: [teachers]\n")
    told = replace(settings, spawner="kubernetes", profiles=kinds)
    c = configured(told)
    for name in ("bind_url", "db_url", "services", "hub_ip"):
        assert name not in c.JupyterHub, name
    assert c.JupyterHub.authenticator_class == "familiar_hub.accounts.HubAccounts"
    assert set(c.JupyterHub.load_groups) == {"docker-privileged", "podman", "teachers"}
    assert c.JupyterHub.spawner_class == "familiar_hub.kube_spawner.KubeLab"
    assert c.KubeLab.settings == told
    from familiar_hub.kube_spawner import KubeLab

    assert set(c.KubeLab) <= set(KubeLab.class_trait_names(config=True))


@pytest.fixture(scope="module", params=pythons(), ids=lambda python: Path(python).parents[1].name)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that people reach by https, as behind Traefik, on a path of its own."""
    with running_hub(
        tmp_path_factory.mktemp("tls"),
        request.param,
        JUPYTERHUB_BASE_URL="/jupyter/",
        ENABLE_JUPYTERHUB_SSL="1",
        FAMILIAR_HUB_PUBLIC_URL="https://lab.example.org",
    ) as running:
        yield running


def test_cookies_go_over_tls_only(hub: Hub) -> None:
    browser = hub.browser()
    browser.get("login")
    seen = {cookie.name: cookie for cookie in browser.session.cookies}
    assert all(cookie.secure for cookie in seen.values())
    # As the proxy that ends TLS hands them on.
    for cookie in seen.values():
        cookie.secure = False
    found = re.search(r'name="_xsrf" value="([^"]+)"', browser.get("login").text)
    assert found
    for cookie in browser.session.cookies:
        cookie.secure = False
    answer = browser.post("login", None, username="admin", password=ADMIN_PASSWORD, _xsrf=found[1])
    assert answer.status == 302
    seen = {cookie.name: cookie for cookie in browser.session.cookies}
    login = seen["jupyterhub-hub-login"]
    assert login.secure
    assert login.path == "/jupyter/hub/"
    assert login.has_nonstandard_attr("HttpOnly")
    assert login.get_nonstandard_attr("SameSite") == "Lax"


def test_what_the_hub_keeps_is_its_own(hub: Hub) -> None:
    for name in ("cookie_secret", "audit.jsonl", "audit-people.jsonl"):
        mode = (hub.folder / name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600, name


def test_protected_groups_are_there_from_the_start(hub: Hub) -> None:
    with sqlite3.connect(hub.folder / "jupyterhub.sqlite") as database:
        names = {name for (name,) in database.execute("select name from groups")}
    assert {"docker-privileged", "podman"} <= names


def test_nothing_is_configured_that_this_jupyterhub_does_not_know(hub: Hub) -> None:
    for word in ("not recognized", "Traceback", "DeprecationWarning", "TraitError"):
        assert word not in hub.log, word


def test_members_stay_when_the_hub_starts_anew(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        hub.person("ada")
        with sqlite3.connect(tmp_path / "jupyterhub.sqlite") as database:
            database.execute(
                "insert into user_group_map select users.id, groups.id from users, groups"
                " where users.name = 'ada' and groups.name = 'docker-privileged'"
            )
    with running_hub(tmp_path) as hub:
        with sqlite3.connect(tmp_path / "jupyterhub.sqlite") as database:
            (count,) = database.execute("select count(*) from user_group_map").fetchone()
        assert count == 1
        assert hub.browser().sign_in("ada").status == 302


def test_a_hub_that_is_set_up_wrongly_says_all_and_does_not_start(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError) as caught,
        running_hub(tmp_path, ENABLE_GPU_SUPPORT="3", FAMILIAR_HUB_CPUS="0"),
    ):
        pass
    assert "ENABLE_GPU_SUPPORT is '3'; it may be 0, 1 or 2." in str(caught.value)
    assert "FAMILIAR_HUB_CPUS is '0'" in str(caught.value)
