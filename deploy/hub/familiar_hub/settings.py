"""What a hub is like, as its environment says: read once, checked at once, and never changed.

Secrets do not stand here, only the files that hold them; so settings may be shown and compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from . import let_through
from .cluster import Cluster, cluster_of
from .profiles import Profile, ProfileError, read_profiles
from .tools import read_tokens
from .variables import Reader, read_credentials, read_secret

NATIVE_NAMES = r"[a-z][a-z0-9_.-]{0,31}"
"""Names that people may sign up with."""
NATIVE_NAMES_RULE = (
    "it must begin with a letter, hold lower-case letters, digits, dots, dashes and underscores"
    " only, and have at most 32 characters"
)
OIDC_NAMES = r"[^\s/\x00-\x1f\x7f]{1,200}"
"""Names that a provider may give: it has its own idea of them, such as mail addresses."""
MOST_PASSWORD_BYTES = 72
"""What bcrypt can tell apart."""


class SettingsError(ValueError):
    """The environment does not describe a hub.

    Attributes:
        faults: all that is wrong, one sentence each.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(
            "familiar: the hub cannot start:\n" + "\n".join(f"  - {fault}" for fault in faults)
        )
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Accounts:
    """The hub's own accounts."""

    signup: bool = True
    pending: int = 100
    password_file: Path | None = None
    password_reset: bool = False
    minimum_password: int = 12
    failed_logins: int = 5
    lockout_seconds: int = 600


@dataclass(frozen=True)
class Oidc:
    """A provider that knows the people. Addresses, and what its answers mean."""

    client_id: str
    secret_file: Path
    authorize_url: str
    token_url: str
    userdata_url: str
    logout_url: str
    scopes: tuple[str, ...]
    username_claim: str
    groups_claim: str
    everybody: bool
    allowed_groups: frozenset[str]


@dataclass(frozen=True)
class Limits:
    """What one lab may use, and how many there may be."""

    memory: int = 4 * 2**30
    cpus: float = 2.0
    pids: int = 2048
    named_servers: int = 2
    active_servers: int = 0
    concurrent_spawns: int = 20


@dataclass(frozen=True)
class Culling:
    """When labs are stopped, in seconds; 0 is never."""

    idle: int = 7200
    busy: int = 86400
    age: int = 0


@dataclass(frozen=True)
class Cifs:
    """The shared folder on another machine."""

    share: str
    credentials_file: Path
    options: str


@dataclass(frozen=True)
class DockerAccess:
    """How members of ``docker-privileged`` reach Docker.

    Attributes:
        sockets: the host's folder with a folder for each person's filtered socket; empty for none.
        raw: the engine's own socket instead. Whoever has it is root on the host.
        raw_gid: the group of that socket.
    """

    sockets: str = ""
    raw: bool = False
    raw_gid: int = 0


@dataclass(frozen=True)
class Settings:
    """A whole hub. See :data:`.variables.VARIABLES` for what each field is set with."""

    admin: str = "admin"
    authenticator: Literal["native", "oidc"] = "native"
    username_pattern: str = NATIVE_NAMES
    accounts: Accounts = field(default_factory=Accounts)
    oidc: Oidc | None = None
    base_url: str = "/"
    public_url: str = ""
    ssl: bool = True
    subdomains: bool = False
    host: str = "hub"
    data: Path = Path("/srv/jupyterhub")
    database_url_file: Path | None = None
    cookie_secret_file: Path | None = None
    proxy_token_file: Path | None = None
    spawner: Literal["docker", "kubernetes"] = "docker"
    image: str = "familiar-lab"
    network: str = "familiar-labs"
    prefix: str = "jupyterlab"
    pull: str = "ifnotpresent"
    docker_threads: int = 8
    limits: Limits = field(default_factory=Limits)
    culling: Culling = field(default_factory=Culling)
    profiles: tuple[Profile, ...] = ()
    gpu: Literal["0", "1", "2"] = "2"
    services: tuple[str, ...] = ()
    service_tokens: Mapping[str, Path] = field(default_factory=dict)
    shared: Literal["local", "cifs", "off"] = "local"
    cifs: Cifs | None = None
    podman: bool = False
    nested: bool = True
    docker: DockerAccess = field(default_factory=DockerAccess)
    cluster: Cluster = field(default_factory=Cluster)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings that these variables describe.

        Raises:
            SettingsError: something is wrong; it names everything that is.
        """
        read = Reader(environ)
        authenticator = read.choice("FAMILIAR_HUB_AUTHENTICATOR", ("native", "oidc"))
        spawner = read.choice("FAMILIAR_HUB_SPAWNER", ("docker", "kubernetes"))
        native = authenticator == "native"
        pattern = read.pattern("FAMILIAR_HUB_USERNAME_PATTERN") or (
            NATIVE_NAMES if native else OIDC_NAMES
        )
        ssl = read.flag("ENABLE_JUPYTERHUB_SSL")
        base_url = _base_url(read)
        shared = read.choice("FAMILIAR_HUB_SHARED", ("local", "cifs", "off"))
        service_tokens = read_tokens(read, spawner, shared)
        limits = Limits(
            memory=read.size("FAMILIAR_HUB_MEMORY", 256 * 2**20),
            cpus=read.number("FAMILIAR_HUB_CPUS", 0.1, 1024),
            pids=read.whole("FAMILIAR_HUB_PIDS", 64, 4_000_000),
            named_servers=read.whole("FAMILIAR_HUB_NAMED_SERVERS", 0, 100),
            active_servers=read.whole("FAMILIAR_HUB_ACTIVE_SERVERS", 0, 1_000_000),
            concurrent_spawns=read.whole("FAMILIAR_HUB_CONCURRENT_SPAWNS", 1, 10_000),
        )
        settings = cls(
            admin=_admin(read, pattern, native),
            authenticator="native" if native else "oidc",
            username_pattern=pattern,
            accounts=_accounts(read, native),
            oidc=None if native else _oidc(read),
            base_url=base_url,
            public_url=_public_url(read, ssl, base_url),
            ssl=ssl,
            subdomains=_subdomains(read),
            host=read.matching(
                "FAMILIAR_HUB_HOST", r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", "a host's name"
            ),
            data=Path(read.matching("FAMILIAR_HUB_DATA", r"/.*", "a folder's full path")),
            database_url_file=read.file_with(
                # JupyterHub takes any other text for the name of an SQLite database, and makes it.
                "FAMILIAR_HUB_DATABASE_URL_FILE",
                r"[a-z0-9+]+://.+",
                "an address such as postgresql://NAME@HOST/DATABASE",
            ),
            cookie_secret_file=read.file_with(
                "FAMILIAR_HUB_COOKIE_SECRET_FILE",
                r"([0-9a-fA-F]{2}){32,}",
                "64 hexadecimal digits (`openssl rand -hex 32`)",
            ),
            proxy_token_file=read.file("FAMILIAR_HUB_PROXY_TOKEN_FILE"),
            spawner="docker" if spawner == "docker" else "kubernetes",
            image=read.matching("DOCKER_NOTEBOOK_IMAGE", r"[\w][\w./:@-]*", "an image's name"),
            network=read.matching("DOCKER_NETWORK_NAME", _DOCKER_NAME, "a network's name"),
            prefix=read.matching(
                "FAMILIAR_HUB_PREFIX",
                r"[a-z][a-z0-9]{0,30}",
                "a letter, and then up to 30 lower-case letters and digits",
            ),
            pull=read.choice("FAMILIAR_HUB_PULL", ("ifnotpresent", "always", "never")),
            docker_threads=read.whole("FAMILIAR_HUB_DOCKER_THREADS", 1, 64),
            limits=limits,
            culling=Culling(
                idle=60 * read.whole("FAMILIAR_HUB_IDLE_MINUTES", 0, 1_000_000),
                busy=3600 * read.whole("FAMILIAR_HUB_BUSY_HOURS", 0, 100_000),
                age=3600 * read.whole("FAMILIAR_HUB_MAX_AGE_HOURS", 0, 100_000),
            ),
            profiles=_profiles(read),
            gpu=_gpu(read),
            services=tuple(service_tokens),
            service_tokens=service_tokens,
            shared=_shared(shared),
            cifs=_cifs(read) if shared == "cifs" else None,
            podman=read.flag("FAMILIAR_HUB_LAB_PODMAN"),
            nested=read.flag("SOCKET_NESTED") or not read.given("SOCKET_PEOPLE_ON_HOST"),
            docker=_docker(read),
        )
        if settings.docker.sockets:
            images = {settings.image, *read.text("SOCKET_LAB_IMAGES").replace(",", " ").split()}
            for fault in let_through.faults(
                settings.podman, settings.nested, settings.profiles, images
            ):
                read.fault(*fault)
        if spawner == "kubernetes":
            settings = replace(
                settings, cluster=cluster_of(read, "FAMILIAR_HUB_CLUSTER_FILE", settings.profiles)
            )
        if read.faults:
            raise SettingsError(read.faults)
        return settings


_DOCKER_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"


def _base_url(read: Reader) -> str:
    text = read.matching(
        "JUPYTERHUB_BASE_URL", r"/?|/?[\w.~-]+(/[\w.~-]+)*/?", "a path such as / or /jupyter/"
    )
    return f"/{text.strip('/')}/" if text.strip("/") else "/"


def _admin(read: Reader, pattern: str, native: bool) -> str:
    name = read.text("JUPYTERHUB_ADMIN")
    try:
        fits = re.fullmatch(pattern, name) is not None
    except re.error:
        return name  # said already
    if not native and not read.given("JUPYTERHUB_ADMIN"):
        # Whoever the provider happens to call "admin" would be it.
        read.fault("JUPYTERHUB_ADMIN", "is empty; it must be a name that the provider gives")
    elif not fits:
        read.fault("JUPYTERHUB_ADMIN", f"is {name!r}; it may be a name that matches {pattern}")
    return name


def _accounts(read: Reader, native: bool) -> Accounts:
    minimum = read.whole("FAMILIAR_HUB_MINIMUM_PASSWORD_LENGTH", 8, MOST_PASSWORD_BYTES)
    name = "FAMILIAR_HUB_ADMIN_PASSWORD_FILE"
    file = read.file(name, "so that there is an administrator" if native else "")
    if native and file:
        try:
            password = read_secret(file)
        except UnicodeDecodeError:
            password = ""
        if not minimum <= len(password) or len(password.encode()) > MOST_PASSWORD_BYTES:
            read.fault(
                name,
                f"names a file whose password may be text of {minimum} characters (see"
                f" FAMILIAR_HUB_MINIMUM_PASSWORD_LENGTH) to {MOST_PASSWORD_BYTES} bytes",
            )
    return Accounts(
        signup=read.flag("FAMILIAR_HUB_SIGNUP"),
        pending=read.whole("FAMILIAR_HUB_PENDING_ACCOUNTS", 1, 100_000),
        password_file=file,
        password_reset=read.flag("FAMILIAR_HUB_ADMIN_PASSWORD_RESET"),
        minimum_password=minimum,
        failed_logins=read.whole("FAMILIAR_HUB_FAILED_LOGINS", 1, 1000),
        lockout_seconds=read.whole("FAMILIAR_HUB_LOCKOUT_SECONDS", 1, 86_400),
    )


def _oidc(read: Reader) -> Oidc:
    when = "with FAMILIAR_HUB_AUTHENTICATOR=oidc"
    addresses = {}
    for part in ("AUTHORIZE_URL", "TOKEN_URL", "USERDATA_URL", "LOGOUT_URL"):
        name = f"FAMILIAR_HUB_OIDC_{part}"
        if part != "LOGOUT_URL":
            read.needed(name, when)
        addresses[part.lower()] = read.address(name, ("https", "http")).geturl()
    allow = read.needed("FAMILIAR_HUB_OIDC_ALLOW", when).split()
    groups_claim = read.text("FAMILIAR_HUB_OIDC_GROUPS_CLAIM")
    if allow and "*" not in allow and not groups_claim:
        read.fault(
            "FAMILIAR_HUB_OIDC_GROUPS_CLAIM",
            "is empty; it must be set where FAMILIAR_HUB_OIDC_ALLOW names groups",
        )
    return Oidc(
        client_id=read.needed("FAMILIAR_HUB_OIDC_CLIENT_ID", when),
        secret_file=read.file("FAMILIAR_HUB_OIDC_CLIENT_SECRET_FILE", when) or Path(),
        scopes=tuple(read.text("FAMILIAR_HUB_OIDC_SCOPES").split()),
        username_claim=read.text("FAMILIAR_HUB_OIDC_USERNAME_CLAIM"),
        groups_claim=groups_claim,
        everybody="*" in allow,
        allowed_groups=frozenset(allow) - {"*"},
        **addresses,
    )


def _public_url(read: Reader, ssl: bool, base_url: str) -> str:
    name = "FAMILIAR_HUB_PUBLIC_URL"
    address = read.address(name, ("https",) if ssl else ("https", "http"), path=False).geturl()
    if ssl and not read.text(name):
        # JupyterHub marks its cookies as Secure only if it knows that people come by https.
        read.fault(
            name,
            "is empty; with ENABLE_JUPYTERHUB_SSL=1 it must be the address that people type,"
            " such as https://lab.example.org",
        )
    return address.rstrip("/") + base_url if address else ""


def _subdomains(read: Reader) -> bool:
    wanted = read.flag("FAMILIAR_HUB_SUBDOMAINS")
    if wanted and not read.text("FAMILIAR_HUB_PUBLIC_URL"):
        read.fault("FAMILIAR_HUB_SUBDOMAINS", "is 1, which needs FAMILIAR_HUB_PUBLIC_URL")
    return wanted


def _profiles(read: Reader) -> tuple[Profile, ...]:
    file = read.file("FAMILIAR_HUB_PROFILES_FILE")
    if file is None:
        return ()
    try:
        return read_profiles(file.read_text(encoding="utf-8"))
    except (ProfileError, UnicodeDecodeError) as error:
        read.fault("FAMILIAR_HUB_PROFILES_FILE", f"names {file}: {str(error).rstrip('.')}")
        return ()


def _gpu(read: Reader) -> Literal["0", "1", "2"]:
    chosen = read.choice("ENABLE_GPU_SUPPORT", ("0", "1", "2"))
    return "0" if chosen == "0" else "1" if chosen == "1" else "2"


def _shared(chosen: str) -> Literal["local", "cifs", "off"]:
    return "local" if chosen == "local" else "cifs" if chosen == "cifs" else "off"


def _cifs(read: Reader) -> Cifs:
    when = "with FAMILIAR_HUB_SHARED=cifs"
    read.needed("FAMILIAR_HUB_SHARED_CIFS_SHARE", when)
    file = read.file("FAMILIAR_HUB_SHARED_CIFS_CREDENTIALS_FILE", when)
    if file:
        try:
            read_credentials(file)
        except ValueError as error:
            read.fault("FAMILIAR_HUB_SHARED_CIFS_CREDENTIALS_FILE", f"names {file}: {error}")
    return Cifs(
        share=read.matching(
            "FAMILIAR_HUB_SHARED_CIFS_SHARE", r"|//[\w.-]+(/[^/,\s]+)+", "//SERVER/SHARE"
        ),
        credentials_file=file or Path(),
        options=read.matching(
            "FAMILIAR_HUB_SHARED_CIFS_OPTIONS",
            r"(?!.*\b(pass(word)?2?|cred(entials)?|user(name)?)=)[\w.=,:-]+",
            "options of a cifs mount with commas between, without credentials",
        ),
    )


def _docker(read: Reader) -> DockerAccess:
    sockets = read.matching(
        "SOCKET_PEOPLE_ON_HOST", r"|(/[\w.-]+)+", "a folder's full path on the host"
    )
    raw = read.flag("FAMILIAR_HUB_RAW_DOCKER_SOCKET")
    name = "FAMILIAR_HUB_RAW_DOCKER_SOCKET_GID"
    if raw:
        read.needed(
            name,
            "to what `stat -c %g /var/run/docker.sock` says on the host,"
            " with FAMILIAR_HUB_RAW_DOCKER_SOCKET=1",
        )
    gid = read.whole(name, 0, 2**31 - 1) if read.text(name) else 0
    return DockerAccess(sockets=sockets, raw=raw, raw_gid=gid)
