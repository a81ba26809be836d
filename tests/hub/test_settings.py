"""The environment of a hub: read whole, refused whole, and no secret in what is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from familiar_hub.profiles import ProfileError, allowed, chosen, form, from_form, read_profiles
from familiar_hub.settings import Settings, SettingsError
from familiar_hub.variables import VARIABLES, parse_size
from hub.core_hub import PACKAGE, environment


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environ)
    return list(caught.value.faults)


def test_what_holds_without_more(tmp_path: Path) -> None:
    settings = Settings.from_environment(environment(tmp_path))
    assert settings.admin == "admin"
    assert settings.base_url == "/"
    assert settings.limits.memory == 4 * 2**30
    assert settings.culling.idle == 7200
    assert not settings.docker.raw
    assert not settings.podman


def test_a_whole_hub(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text("- name: small\n- name: large\n  groups: [teachers]\n  memory: 8G\n")
    share = tmp_path / "share"
    share.write_text("username=hub\npassword=a=b c\n")
    cookie = tmp_path / "cookie"
    cookie.write_text("ab" * 32 + "\n")
    settings = Settings.from_environment(
        environment(
            tmp_path,
            ENABLE_JUPYTERHUB_SSL="1",
            FAMILIAR_HUB_PUBLIC_URL="https://lab.example.org/",
            JUPYTERHUB_BASE_URL="jupyter",
            ENABLE_GPU_SUPPORT="2",
            ENABLE_SERVICE_MLFLOW="1",
            FAMILIAR_HUB_MLFLOW_TOKEN_FILE=str(cookie),
            FAMILIAR_HUB_MEMORY="1.5G",
            FAMILIAR_HUB_CPUS="0.5",
            FAMILIAR_HUB_PROFILES_FILE=str(profiles),
            FAMILIAR_HUB_SHARED="cifs",
            FAMILIAR_HUB_SHARED_CIFS_SHARE="//files.example.org/lab",
            FAMILIAR_HUB_SHARED_CIFS_CREDENTIALS_FILE=str(share),
            FAMILIAR_HUB_COOKIE_SECRET_FILE=str(cookie),
            FAMILIAR_HUB_RAW_DOCKER_SOCKET="1",
            FAMILIAR_HUB_RAW_DOCKER_SOCKET_GID="0",
            SOCKET_PEOPLE_ON_HOST="/run/familiar-hub/people",
        )
    )
    assert settings.public_url == "https://lab.example.org/jupyter/"
    assert settings.limits.memory == 3 * 2**29
    assert settings.services == ("mlflow",)
    assert [profile.name for profile in settings.profiles] == ["small", "large"]
    assert settings.profiles[1].memory == 8 * 2**30
    assert settings.docker.raw_gid == 0
    # Settings may be shown: they say where secrets are, and none of them.
    assert "a=b c" not in repr(settings)
    assert "ab" * 32 not in repr(settings)


def test_what_the_filter_would_refuse_is_found_at_the_start(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text("- name: one\n  podman: true\n- name: two\n  image: other:1\n")
    told = {
        "FAMILIAR_HUB_PROFILES_FILE": str(profiles),
        "FAMILIAR_HUB_LAB_PODMAN": "1",
        "SOCKET_PEOPLE_ON_HOST": "/run/familiar-hub/people",
    }
    lacks = faults(environment(tmp_path, **told))
    assert len(lacks) == 3
    assert sum("SOCKET_NESTED=1" in fault for fault in lacks) == 2
    assert sum("other:1" in fault and "SOCKET_LAB_IMAGES" in fault for fault in lacks) == 1
    allowed_now = {"SOCKET_NESTED": "1", "SOCKET_LAB_IMAGES": "other:1"}
    assert Settings.from_environment(environment(tmp_path, **told, **allowed_now)).nested
    # Without a filter nothing is in the way.
    del told["SOCKET_PEOPLE_ON_HOST"]
    assert Settings.from_environment(environment(tmp_path, **told)).nested


def test_all_faults_at_once(tmp_path: Path) -> None:
    found = faults(
        {
            "JUPYTERHUB_ADMIN": "Ünï",
            "JUPYTERHUB_BASE_URL": "/a b/",
            "DOCKER_NOTEBOOK_IMAGE": "-v /:/host",
            "DOCKER_NETWORK_NAME": "a/b",
            "ENABLE_GPU_SUPPORT": "yes",
            "ENABLE_SERVICE_GLANCES": "true",
            "FAMILIAR_HUB_MEMORY": "10M",
            "FAMILIAR_HUB_CPUS": "-1",
            "FAMILIAR_HUB_PIDS": "1e9",
            "FAMILIAR_HUB_SHARED": "nfs",
            "FAMILIAR_HUB_RAW_DOCKER_SOCKET": "1",
            "FAMILIAR_HUB_MEMROY": "4G",
            "FAMILIAR_HUB_DATABASE_URL_FILE": str(tmp_path / "missing"),
        }
    )
    named = {fault.split()[0] for fault in found}
    assert named == {
        "JUPYTERHUB_ADMIN",
        "JUPYTERHUB_BASE_URL",
        "DOCKER_NOTEBOOK_IMAGE",
        "DOCKER_NETWORK_NAME",
        "ENABLE_GPU_SUPPORT",
        "ENABLE_SERVICE_GLANCES",
        "FAMILIAR_HUB_ADMIN_PASSWORD_FILE",
        "FAMILIAR_HUB_PUBLIC_URL",
        "FAMILIAR_HUB_MEMORY",
        "FAMILIAR_HUB_CPUS",
        "FAMILIAR_HUB_PIDS",
        "FAMILIAR_HUB_SHARED",
        "FAMILIAR_HUB_RAW_DOCKER_SOCKET_GID",
        "FAMILIAR_HUB_MEMROY",
        "FAMILIAR_HUB_DATABASE_URL_FILE",
    }
    # Each is one sentence that says what it may be, or what to do.
    for fault in found:
        assert re.search(r"may be|must be|cannot be read|correct its name", fault), fault
        assert fault.endswith(".")
        assert "\n" not in fault


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FAMILIAR_HUB_PUBLIC_URL", "lab.example.org"),
        ("FAMILIAR_HUB_PUBLIC_URL", "https://ada:hidden@lab.example.org"),
        ("FAMILIAR_HUB_PUBLIC_URL", "https://lab.example.org:99999"),
        ("FAMILIAR_HUB_PUBLIC_URL", "https://lab.example.org/path"),
        ("FAMILIAR_HUB_PUBLIC_URL", "https://lab..example.org"),
        ("FAMILIAR_HUB_PREFIX", "Lab"),
        ("FAMILIAR_HUB_PREFIX", "a-b"),
        ("FAMILIAR_HUB_HOST", "hub;id"),
        ("FAMILIAR_HUB_DATA", "relative"),
        ("FAMILIAR_HUB_USERNAME_PATTERN", "["),
        ("FAMILIAR_HUB_USERNAME_PATTERN", "(?i)[a-z]+"),
        ("FAMILIAR_HUB_MINIMUM_PASSWORD_LENGTH", "7"),
        ("SOCKET_PEOPLE_ON_HOST", "/run/../etc"[:4] + "/a b"),
        ("FAMILIAR_HUB_SUBDOMAINS", "1"),
    ],
)
def test_one_fault(tmp_path: Path, name: str, text: str) -> None:
    found = faults(environment(tmp_path, **{name: text}))
    assert {fault.split()[0] for fault in found} == {name}
    assert "hidden" not in str(found)


@pytest.mark.parametrize("password", ["short", "x" * 73, "ü" * 40, ""])
def test_an_administrators_password_that_will_not_do(tmp_path: Path, password: str) -> None:
    environ = environment(tmp_path)
    Path(environ["FAMILIAR_HUB_ADMIN_PASSWORD_FILE"]).write_text(password)
    (fault,) = faults(environ)
    assert fault.startswith("FAMILIAR_HUB_ADMIN_PASSWORD_FILE ")
    assert not password or password not in fault


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("FAMILIAR_HUB_DATABASE_URL_FILE", "postgresql+psycopg://hub:hidden@db/hub"),
        ("FAMILIAR_HUB_COOKIE_SECRET_FILE", "0f" * 32),
    ],
)
def test_a_file_that_holds_something_else(tmp_path: Path, name: str, fits: str) -> None:
    file = tmp_path / "secret"
    file.write_text("hidden, and of another kind\n")
    (fault,) = faults(environment(tmp_path, **{name: str(file)}))
    assert fault.startswith(f"{name} names {file}, which may hold ")
    assert "hidden" not in fault
    file.write_text(f"{fits}\n")
    Settings.from_environment(environment(tmp_path, **{name: str(file)}))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("username=hub\n", "password= is missing"),
        ("username=hub\npassword=hidden,rw\n", "comma"),
        ("hidden\n", "line 1"),
        ("username=hub\npassword=hidden\nuid=0\n", "line 3"),
    ],
)
def test_credentials_that_will_not_do(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "share"
    file.write_text(text)
    (fault,) = faults(
        environment(
            tmp_path,
            FAMILIAR_HUB_SHARED="cifs",
            FAMILIAR_HUB_SHARED_CIFS_SHARE="//files/lab",
            FAMILIAR_HUB_SHARED_CIFS_CREDENTIALS_FILE=str(file),
        )
    )
    assert why in fault
    assert "hidden" not in fault


@pytest.mark.parametrize(
    "options", ["password=x", "vers=3.0,username=root", "credentials=/etc/x", "a b", "pass=x"]
)
def test_credentials_stand_in_their_file_only(tmp_path: Path, options: str) -> None:
    file = tmp_path / "share"
    file.write_text("username=hub\npassword=hidden\n")
    found = faults(
        environment(
            tmp_path,
            FAMILIAR_HUB_SHARED="cifs",
            FAMILIAR_HUB_SHARED_CIFS_SHARE="//files/lab",
            FAMILIAR_HUB_SHARED_CIFS_CREDENTIALS_FILE=str(file),
            FAMILIAR_HUB_SHARED_CIFS_OPTIONS=options,
        )
    )
    assert [fault.split()[0] for fault in found] == ["FAMILIAR_HUB_SHARED_CIFS_OPTIONS"]


def test_a_provider(tmp_path: Path) -> None:
    secret = tmp_path / "client"
    secret.write_text("hidden")
    environ = {
        "ENABLE_JUPYTERHUB_SSL": "0",
        "FAMILIAR_HUB_DATA": str(tmp_path),
        "FAMILIAR_HUB_AUTHENTICATOR": "oidc",
    }
    named = {fault.split()[0].removeprefix("FAMILIAR_HUB_OIDC_") for fault in faults(environ)}
    assert named == {
        "JUPYTERHUB_ADMIN", "CLIENT_ID", "CLIENT_SECRET_FILE", "AUTHORIZE_URL", "TOKEN_URL",
        "USERDATA_URL", "ALLOW",
    }  # fmt: skip
    environ |= {
        f"FAMILIAR_HUB_OIDC_{part}_URL": f"https://id.example.org/{part.lower()}"
        for part in ("AUTHORIZE", "TOKEN", "USERDATA")
    }
    environ |= {
        "JUPYTERHUB_ADMIN": "boss@example.org",
        "FAMILIAR_HUB_OIDC_CLIENT_ID": "lab",
        "FAMILIAR_HUB_OIDC_CLIENT_SECRET_FILE": str(secret),
        "FAMILIAR_HUB_OIDC_ALLOW": "staff students",
    }
    (fault,) = faults(environ)
    assert fault.startswith("FAMILIAR_HUB_OIDC_GROUPS_CLAIM ")
    environ["FAMILIAR_HUB_OIDC_GROUPS_CLAIM"] = "groups"
    settings = Settings.from_environment(environ)
    assert settings.oidc is not None
    assert settings.oidc.allowed_groups == {"staff", "students"}
    assert not settings.oidc.everybody
    # A mail address is a name there.
    assert re.fullmatch(settings.username_pattern, "ada@example.org")


def test_the_table_names_each_variable_once_and_has_defaults_that_are_read() -> None:
    names = [variable.name for variable in VARIABLES]
    assert len(names) == len(set(names))
    text = (PACKAGE / "familiar_hub" / "settings.py").read_text()
    built = {f"ENABLE_SERVICE_{name}" for name in ("MLFLOW", "GLANCES", "TENSORBOARD")}
    built |= {f"FAMILIAR_HUB_{name}_TOKEN_FILE" for name in ("MLFLOW", "GLANCES", "TENSORBOARD")}
    built |= {name for name in names if re.fullmatch(r"FAMILIAR_HUB_OIDC_\w+_URL", name)}
    assert [name for name in names if name not in built and f'"{name}"' not in text] == []


def test_sizes() -> None:
    assert [parse_size(text) for text in ("1", "1k", "512M", "1.5G", "2TB")] == [
        1, 1024, 512 * 2**20, 3 * 2**29, 2 * 2**40,
    ]  # fmt: skip
    assert [parse_size(text) for text in ("", "G", "-1G", "1 G", "1P", "1e3", "٣G")] == [
        None, None, None, None, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "list"),
        ("name: a", "list"),
        ("- summary: a", "needs a name"),
        ("- name: 'a<b'", "letters"),
        ("- name: a\n- name: a", "twice"),
        ("- name: a\n  groups: [x]", "one without"),
        ("- name: a\n  memory: much", "size"),
        ("- name: a\n  memory: 1M", "256M"),
        ("- name: a\n  cpus: true", "number"),
        ("- name: a\n  gpu: 1", "true or false"),
        ("- name: a\n  volumes: [/]", "it may have"),
        ("- name: a\n  environment: {A: 1}", "quotes"),
        ("- name: a\n  groups: [1]", "names"),
        ("- !!python/object/apply:os.system [id]", "YAML"),
        ("- name: [", "YAML"),
    ],
)
def test_profiles_that_cannot_be_read(text: str, why: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(why)):
        read_profiles(text)


def test_a_profile_is_for_its_groups() -> None:
    profiles = read_profiles("- name: small\n- name: large\n  groups: [teachers]\n")
    assert [profile.name for profile in allowed(profiles, ["pupils"])] == ["small"]
    assert [profile.name for profile in allowed(profiles, ["teachers"])] == ["small", "large"]
    found = chosen(profiles, ["teachers"], {"profile": "large"})
    assert found is not None
    assert found.name == "large"
    default = chosen(profiles, [], {})
    assert default is not None
    assert default.name == "small"
    for wanted in ("large", "none", "", ["large"], {"name": "large"}):
        with pytest.raises(ProfileError, match="you may choose: small"):
            chosen(profiles, ["pupils"], {"profile": wanted})


def test_the_form_shows_what_there_is_to_choose() -> None:
    profiles = read_profiles("- name: small\n- name: large\n  summary: for <big> data\n")
    assert form(profiles[:1]) == ""
    page = form(profiles)
    assert '<option value="large">large: for &lt;big&gt; data</option>' in page
    assert from_form({"profile": ["large"], "image": ["mine"]}) == {"profile": "large"}
    assert from_form({}) == {}
