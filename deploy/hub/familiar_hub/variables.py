"""The variables that a hub is set up with: what each is for, and how its text is read.

The table is the one place that names them; the documentation shows it. A reader goes on after a
fault, so that whoever sets up a hub hears of all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit


class Variable(NamedTuple):
    """One variable: its name, what holds without it, and what it does."""

    name: str
    default: str
    summary: str


VARIABLES = (
    # People
    Variable(
        "JUPYTERHUB_ADMIN",
        "admin",
        "the administrator's name, which nobody can sign up with; must be set with oidc",
    ),
    Variable(
        "FAMILIAR_HUB_ADMIN_PASSWORD_FILE",
        "",
        "a file with the administrator's first password; needed with the hub's own accounts",
    ),
    Variable(
        "FAMILIAR_HUB_ADMIN_PASSWORD_RESET",
        "0",
        "1: that file's password holds again from this start on, for an administrator who lost it",
    ),
    Variable("FAMILIAR_HUB_AUTHENTICATOR", "native", "native: the hub's own accounts; oidc"),
    Variable("FAMILIAR_HUB_SIGNUP", "1", "people may ask for an account, which waits for approval"),
    Variable("FAMILIAR_HUB_PENDING_ACCOUNTS", "100", "how many may wait; then sign-up is closed"),
    Variable(
        "FAMILIAR_HUB_USERNAME_PATTERN",
        "",
        "a regular expression for whole names; native: [a-z][a-z0-9_.-]{0,31}",
    ),
    Variable("FAMILIAR_HUB_MINIMUM_PASSWORD_LENGTH", "12", "characters of a password, 8 to 72"),
    Variable("FAMILIAR_HUB_FAILED_LOGINS", "5", "wrong passwords before a name is locked"),
    Variable("FAMILIAR_HUB_LOCKOUT_SECONDS", "600", "how long a name is locked then"),
    Variable("FAMILIAR_HUB_OIDC_CLIENT_ID", "", "oidc: the hub's name at the provider"),
    Variable("FAMILIAR_HUB_OIDC_CLIENT_SECRET_FILE", "", "oidc: a file with the client's secret"),
    Variable("FAMILIAR_HUB_OIDC_AUTHORIZE_URL", "", "oidc: where people sign in"),
    Variable("FAMILIAR_HUB_OIDC_TOKEN_URL", "", "oidc: where the hub gets tokens"),
    Variable("FAMILIAR_HUB_OIDC_USERDATA_URL", "", "oidc: where the hub asks who it is"),
    Variable("FAMILIAR_HUB_OIDC_LOGOUT_URL", "", "oidc: where signing out leads"),
    Variable("FAMILIAR_HUB_OIDC_SCOPES", "openid profile", "oidc: what the hub asks for"),
    Variable(
        "FAMILIAR_HUB_OIDC_USERNAME_CLAIM",
        "preferred_username",
        "oidc: the claim that is a person's name; it must be one that people cannot choose freely",
    ),
    Variable(
        "FAMILIAR_HUB_OIDC_GROUPS_CLAIM", "", "oidc: the claim with groups; replaces the hub's"
    ),
    Variable(
        "FAMILIAR_HUB_OIDC_ALLOW",
        "",
        "oidc: groups that may come in, with spaces between; * is everybody the provider knows",
    ),
    # Where
    Variable("JUPYTERHUB_BASE_URL", "/", "the path that the hub is served under"),
    Variable(
        "FAMILIAR_HUB_PUBLIC_URL",
        "",
        "the address that people type, such as https://lab.example.org",
    ),
    Variable(
        "ENABLE_JUPYTERHUB_SSL", "1", "people reach the hub by https, which a proxy in front ends"
    ),
    Variable(
        "FAMILIAR_HUB_SUBDOMAINS",
        "0",
        "1: each person's lab gets an origin (a wildcard name) of its own",
    ),
    Variable(
        "FAMILIAR_HUB_HOST",
        "hub",
        "the hub's name on the labs' network; keep it, running labs know it",
    ),
    Variable("FAMILIAR_HUB_DATA", "/srv/jupyterhub", "a folder for what the hub keeps"),
    Variable(
        "FAMILIAR_HUB_DATABASE_URL_FILE", "", "a file with the database's address; else SQLite"
    ),
    Variable("FAMILIAR_HUB_COOKIE_SECRET_FILE", "", "32 bytes in hexadecimal; else one is made"),
    Variable(
        "FAMILIAR_HUB_PROXY_TOKEN_FILE", "", "what hub and proxy share; else made at each start"
    ),
    # Labs
    Variable("FAMILIAR_HUB_SPAWNER", "docker", "docker, or kubernetes in zero-to-jupyterhub"),
    Variable("DOCKER_NOTEBOOK_IMAGE", "familiar-lab", "the labs' image"),
    Variable(
        "DOCKER_NETWORK_NAME", "familiar-labs", "the labs' Docker network; the hub is on it too"
    ),
    Variable(
        "FAMILIAR_HUB_PREFIX", "jupyterlab", "what names of containers and volumes begin with"
    ),
    Variable("FAMILIAR_HUB_PULL", "ifnotpresent", "pull the image: ifnotpresent, always or never"),
    Variable("FAMILIAR_HUB_DOCKER_THREADS", "8", "requests to Docker at the same time"),
    Variable("FAMILIAR_HUB_MEMORY", "4G", "a lab's memory; there is no swap beside it"),
    Variable("FAMILIAR_HUB_CPUS", "2", "a lab's processors, in parts of one"),
    Variable("FAMILIAR_HUB_PIDS", "2048", "a lab's processes and threads"),
    Variable("FAMILIAR_HUB_NAMED_SERVERS", "2", "labs beside the first that a person may have"),
    Variable(
        "FAMILIAR_HUB_ACTIVE_SERVERS", "0", "labs that may run at the same time; 0: any number"
    ),
    Variable("FAMILIAR_HUB_CONCURRENT_SPAWNS", "20", "labs that may be starting at the same time"),
    Variable(
        "FAMILIAR_HUB_PROFILES_FILE", "", "YAML: kinds of labs, and which groups may have them"
    ),
    Variable(
        "FAMILIAR_HUB_CLUSTER_FILE",
        "",
        "kubernetes: JSON, what the chart says of labs' Pods: claims, podman, nodes",
    ),
    Variable(
        "ENABLE_GPU_SUPPORT", "2", "0: never, 1: always, 2: if the engine and nvidia-smi say so"
    ),
    Variable("FAMILIAR_HUB_IDLE_MINUTES", "120", "a lab idle so long is stopped; 0: never"),
    Variable(
        "FAMILIAR_HUB_BUSY_HOURS", "24", "so long a working kernel without a sign keeps its lab"
    ),
    Variable(
        "FAMILIAR_HUB_MAX_AGE_HOURS", "0", "a lab is stopped after this, idle or not; 0: never"
    ),
    # Tools beside the labs
    Variable("ENABLE_SERVICE_MLFLOW", "0", "1: MLflow, for everybody; all see all runs"),
    Variable("ENABLE_SERVICE_GLANCES", "0", "1: Glances, for administrators: it shows the machine"),
    Variable(
        "ENABLE_SERVICE_TENSORBOARD",
        "0",
        "1: TensorBoard, for everybody; it shows the folder tensorboard of the shared folder",
    ),
    Variable("FAMILIAR_HUB_MLFLOW_TOKEN_FILE", "", "what the hub and MLflow's door share"),
    Variable("FAMILIAR_HUB_GLANCES_TOKEN_FILE", "", "what the hub and Glances' door share"),
    Variable("FAMILIAR_HUB_TENSORBOARD_TOKEN_FILE", "", "what the hub and TensorBoard's share"),
    # The folder that all share
    Variable("FAMILIAR_HUB_SHARED", "local", "the shared folder: local, cifs or off"),
    Variable("FAMILIAR_HUB_SHARED_CIFS_SHARE", "", "cifs: //server/share"),
    Variable(
        "FAMILIAR_HUB_SHARED_CIFS_CREDENTIALS_FILE",
        "",
        "cifs: a file with lines username=, password= and perhaps domain=",
    ),
    Variable("FAMILIAR_HUB_SHARED_CIFS_OPTIONS", "vers=3.0", "cifs: further options of the mount"),
    # Containers within labs
    Variable(
        "FAMILIAR_HUB_LAB_PODMAN",
        "0",
        "1: every lab may use rootless podman, not only group podman",
    ),
    Variable(
        "SOCKET_NESTED", "0", "1: the filter lets labs have what rootless podman needs, if they may"
    ),
    Variable(
        "SOCKET_LAB_IMAGES",
        "",
        "images of labs beside DOCKER_NOTEBOOK_IMAGE that the filter lets through, for profiles",
    ),
    Variable(
        "SOCKET_PEOPLE_ON_HOST",
        "",
        "a folder of the host in which the filter keeps a folder with a docker.sock for each person"
        " of group docker-privileged",
    ),
    Variable(
        "FAMILIAR_HUB_RAW_DOCKER_SOCKET",
        "0",
        "1: group docker-privileged gets the engine's own socket. Each member is then root on the"
        " host: may read and change every person's files, the hub's database, and the machine",
    ),
    Variable("FAMILIAR_HUB_RAW_DOCKER_SOCKET_GID", "", "the group of the engine's own socket"),
)
_DEFAULTS = {variable.name: variable.default for variable in VARIABLES}

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)B?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Reader:
    """Reads variables, and notes what is wrong with each.

    Each method returns a value of the right type whatever the text is, so that reading goes on.

    Attributes:
        faults: one sentence each.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[str] = []
        for name in sorted(environ):
            if name.startswith("FAMILIAR_HUB_") and name not in _DEFAULTS:
                self.fault(name, "is not a variable of the hub; correct its name or remove it")

    def fault(self, name: str, sentence: str) -> None:
        """Note what is wrong with a variable. The sentence must not hold a secret."""
        self.faults.append(f"{name} {sentence}.")

    def text(self, name: str) -> str:
        """Return its text, without spaces around it. An empty variable is as none."""
        return self._environ.get(name, "").strip() or _DEFAULTS[name]

    def given(self, name: str) -> bool:
        """Say whether it is set, whatever holds without it."""
        return bool(self._environ.get(name, "").strip())

    def needed(self, name: str, when: str) -> str:
        """Return its text, which must be there.

        Args:
            when: why it must, such as "with FAMILIAR_HUB_SHARED=cifs".
        """
        text = self.text(name)
        if not text:
            self.fault(name, f"is empty; it must be set {when}")
        return text

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """Return one of these."""
        text = self.text(name)
        if text in choices:
            return text
        self.fault(name, f"is {text!r}; it may be {_either(choices)}")
        return choices[0]

    def flag(self, name: str) -> bool:
        """Return whether it is 1."""
        return self.choice(name, ("0", "1")) == "1"

    def whole(self, name: str, least: int, most: int) -> int:
        """Return a whole number."""
        text = self.text(name)
        if re.fullmatch(r"[0-9]{1,12}", text) and least <= int(text) <= most:
            return int(text)
        self.fault(name, f"is {text!r}; it may be a whole number from {least} to {most}")
        return least

    def number(self, name: str, least: float, most: float) -> float:
        """Return a number."""
        text = self.text(name)
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) and least <= float(text) <= most:
            return float(text)
        self.fault(name, f"is {text!r}; it may be a number from {least:g} to {most:g}")
        return least

    def size(self, name: str, least: int) -> int:
        """Return bytes, of a text such as 512M or 4G."""
        size = parse_size(self.text(name))
        if size is not None and size >= least:
            return size
        self.fault(
            name,
            f"is {self.text(name)!r}; it may be a size such as 512M or 4G, and at least"
            f" {least // 2**20}M",
        )
        return least

    def matching(self, name: str, pattern: str, what: str) -> str:
        """Return its text, which must match wholly; ``what`` says in words what it may be."""
        text = self.text(name)
        if not re.fullmatch(pattern, text, re.ASCII):
            self.fault(name, f"is {text!r}; it may be {what}")
        return text

    def pattern(self, name: str) -> str:
        """Return a regular expression for whole texts."""
        text = self.text(name)
        try:
            re.compile(rf"(?:{text})\Z")  # as it is used, which not every expression can be
        except re.error as error:
            self.fault(name, f"is no regular expression: {error}")
        return text

    def address(self, name: str, schemes: Sequence[str], path: bool = True) -> SplitResult:
        """Return an address's parts; they are empty where there is none."""
        text = self.text(name)
        try:
            parts = urlsplit(text)
            port_fits = parts.port is None or parts.port > 0
            (parts.hostname or "").encode("idna")  # as certificates name it
        except ValueError:
            parts, port_fits = urlsplit(""), False
        plain = not (parts.query or parts.fragment or parts.username or parts.password)
        if text and not (
            parts.scheme in schemes
            and parts.hostname
            and port_fits
            and plain
            and (path or parts.path in ("", "/"))
        ):
            # A password could stand in it, so the text is not repeated.
            what = "an address" if path else "an address without a path"
            self.fault(name, f"may be {what} that begins with {_either(schemes, '://')}")
            return urlsplit("")
        return parts

    def file(self, name: str, needed_when: str = "") -> Path | None:
        """Return a file that can be read and holds something, or none where none is named."""
        text = self.needed(name, needed_when) if needed_when else self.text(name)
        if not text:
            return None
        path = Path(text)
        try:
            if not path.read_bytes().strip():
                self.fault(name, f"names {text}, which is empty, and may be a file with content")
                return None
        except OSError as error:
            self.fault(name, f"names {text}, which cannot be read: {error.strerror}")
            return None
        return path

    def file_with(self, name: str, pattern: str, what: str, needed_when: str = "") -> Path | None:
        """Return a file whose text, without spaces around it, matches wholly.

        Args:
            what: what it may hold, in words; the text itself is not told.
        """
        path = self.file(name, needed_when)
        if path and not re.fullmatch(pattern.encode(), path.read_bytes().strip()):
            self.fault(name, f"names {path}, which may hold {what}")
        return path


def parse_size(text: str) -> int | None:
    """Return a size in bytes, of a text such as ``512M``; None where it is none."""
    match = _SIZE.fullmatch(text.strip())
    return int(float(match[1]) * _UNITS[match[2].upper()]) if match else None


def read_secret(path: Path) -> str:
    """Return what a secret file holds, without the end of its line.

    Raises:
        OSError: it cannot be read (any more).
    """
    return path.read_text(encoding="utf-8").rstrip("\r\n")


def read_credentials(file: Path) -> dict[str, str]:
    """Return the user name, password and domain that a credentials file holds.

    Raises:
        ValueError: it is not such a file. The message holds nothing of it.
        OSError: it cannot be read.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(read_secret(file).splitlines(), 1):
        key, sign, value = line.partition("=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not sign or key.strip() not in ("username", "password", "domain"):
            raise ValueError(f"line {number} may begin with username=, password= or domain=")
        if "," in value:
            # Docker passes all of it on as one list with commas between.
            raise ValueError(f"the value of line {number} holds a comma, which Docker splits at")
        found[key.strip()] = value
    if missing := {"username", "password"} - found.keys():
        raise ValueError(f"a line {min(missing)}= is missing")
    return found


def _either(choices: Sequence[str], suffix: str = "") -> str:
    words = [choice + suffix for choice in choices]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
