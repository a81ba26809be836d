"""What a runtime's own words mean, and what to type: its stderr -> one sentence. Pure.

The patterns are what podman 4.3, runc, crun, newuidmap and pip print; each was seen, but for those
marked "from its source". They are tried in order, so the more telling ones stand first.
"""

from __future__ import annotations

import re
from typing import NamedTuple

IMAGE = "localhost/familiar-sandbox:latest"
"""The image that a sandbox runs where nothing else is chosen."""


class SandboxFault(Exception):
    """What keeps a sandbox or its image from being had; the message says what to do about it."""


class Case(NamedTuple):
    """What is known of the command that failed.

    Attributes:
        runtime: the program that was run: ``podman``, ``podman-hpc``, ``docker`` or a path.
        image: the image that was to run or to be built.
        base: the image that was to be built upon.
        rootless: whether the runtime runs for an ordinary user.
    """

    runtime: str = "podman"
    image: str = IMAGE
    base: str = ""
    rootless: bool = True

    @property
    def conf(self) -> str:
        """The file that holds this user's settings of podman."""
        folder = "~/.config" if self.rootless else "/etc"
        return f"{folder}/containers/containers.conf"

    @property
    def build(self) -> str:
        """The command that builds the image."""
        option = "" if self.runtime == "podman" else f" --runtime {self.runtime}"
        tag = "" if self.image == IMAGE else f" --tag {self.image}"
        return f"familiar sandbox build{option}{tag}"

    @property
    def doctor(self) -> str:
        """The command that looks further."""
        option = "" if self.runtime == "podman" else f" --runtime {self.runtime}"
        image = "" if self.image == IMAGE else f" --image {self.image}"
        return f"familiar sandbox doctor{option}{image}"


SUBIDS = (
    "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"
    " && podman system migrate"
)
NEWUIDMAP = "sudo apt install uidmap (Fedora: shadow-utils)"
SETUID = "sudo chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap"
USER_NAMESPACES = "sudo sysctl -w user.max_user_namespaces=28633"
DOCKER = "sudo systemctl start docker"
ULIMITS = 'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]'

_LIMITS = {"6": "processes", "7": "open files", "NPROC": "processes", "NOFILE": "open files"}

_ANYWHERE: tuple[tuple[str, str], ...] = (
    (
        r"permission denied .*docker(?:\.sock| daemon| API)",  # from its source
        "Docker does not let this user in; type: sudo usermod -aG docker $USER, and sign in anew.",
    ),
    (
        r"(?:[Cc]annot connect to the Docker daemon|failed to connect to the docker API)",
        f"Docker is not running; type: {DOCKER}",
    ),
    (
        r"cgroups in hybrid mode not supported",
        "The runtime crun refuses this machine's mixed cgroups; install runc and write"
        ' runtime = "runc" under [engine] in {case.conf}.',
    ),
    (
        r"(?:default OCI runtime \"(?P<a>[^\"]+)\" not found"
        r"|no valid executable found for OCI runtime (?P<b>\S+):)",
        "{case.runtime} needs the program {a}{b}, which is not here; install it"
        " (sudo apt install crun), or name another as runtime = ... under [engine] in {case.conf}.",
    ),
    (
        r"(?:error setting rlimit type (?P<a>[67])|setrlimit `RLIMIT_(?P<b>NPROC|NOFILE)`)"
        r": [Oo]peration not permitted",
        "{case.runtime} asks for more {limit} than this machine allows; write"
        " {ulimits} under [containers] in {case.conf}.",
    ),
    (
        r"exec: \"new[ug]idmap\": executable file not found",
        f"Rootless containers need newuidmap, which is not here; type: {NEWUIDMAP}",
    ),
    (
        r"should have setuid or have filecaps setuid|newuidmap: write to uid_map failed",
        f"newuidmap lacks the right to map user ids; type: {SETUID}",
    ),
    (
        r"user namespaces are not enabled|User namespaces are not enabled|cannot clone: "
        r"|cannot re-exec process",
        "This machine allows this user no user namespaces; type: {userns} (and, where they exist,"
        " set kernel.unprivileged_userns_clone=1 and"
        " kernel.apparmor_restrict_unprivileged_userns=0).",
    ),
    (
        r"no subuid ranges found|insufficient UIDs or GIDs available|cannot find UID/GID for user",
        f"This user has no subordinate user ids; type: {SUBIDS}",
    ),
    (
        r"XDG_RUNTIME_DIR directory .* is not owned by|\$XDG_RUNTIME_DIR must be writable",
        "XDG_RUNTIME_DIR names a folder that belongs to somebody else; type:"
        " unset XDG_RUNTIME_DIR, or sign in as this user instead of su.",
    ),
    (
        r"systemd not running on this host, cannot use systemd cgroups",
        'There is no systemd here; write cgroup_manager = "cgroupfs" under [engine]'
        " in {case.conf}.",
    ),
    (
        r"database storage graph driver \"(?P<a>[^\"]+)\" does not match"
        r" our storage graph driver \"(?P<b>[^\"]+)\"",
        "The storage of {case.runtime} was begun with the driver {a} and storage.conf now says"
        " {b}; put {a} back, or give up all images and containers: podman system reset",
    ),
    (
        r"[Nn]o space left on device",
        "The disk that holds the images is full; make room, for example with:"
        " familiar sandbox prune --all, or {case.runtime} system prune",
    ),
)

_STARTING: tuple[tuple[str, str], ...] = (
    (
        r"image not known|No such image|Unable to find image|pinging container registry"
        r"|did not resolve to an alias|reading manifest",
        "There is no image {case.image} here; type: {case.build}",
    ),
    (
        r"unknown flag: (?P<a>\S+)|unknown shorthand flag: (?P<b>.+)",
        "This {case.runtime} does not know the option {a}{b}; a sandbox needs podman 4.3 or newer.",
    ),
    (
        r"unable to set memory limit|[Mm]inimum memory limit",
        "The sandbox's memory limit is too small to start in; allow more.",
    ),
    (
        r"statfs (?P<a>[^\n]+): no such file or directory",
        "The sandbox is to see {a}, which does not exist; make it, or choose another folder.",
    ),
    (
        r"unresolvable CDI devices (?P<a>\S+)",
        "The device {a} is not known to podman; for an NVIDIA GPU type: sudo nvidia-ctk cdi"
        " generate --output=/etc/cdi/nvidia.yaml",
    ),
    (
        r"exec: \"(?P<a>[^\"]+)\":(?: stat [^:]+:)? (?:executable file not found|no such file)",
        "The image {case.image} has no {a}; choose another, or build one: familiar sandbox build",
    ),
    (
        r"(?:opening|loading) seccomp profile",
        "The sandbox's seccomp profile cannot be read; install familiar-kernel anew:"
        " pip install --force-reinstall --no-deps familiar-kernel",
    ),
    (
        r"keep-id is only supported in rootless mode",
        "keep-id is for rootless podman only; start the kernel as an ordinary user.",
    ),
)

_BUILDING: tuple[tuple[str, str], ...] = (
    (
        r"buildx component is missing",
        "Docker needs its builder for this; type: sudo apt install docker-buildx-plugin"
        " (Debian, Ubuntu: docker-buildx)",
    ),
    (
        r"familiar: the base image has no python3",
        "The base image {case.base} has no python3; choose another with --base.",
    ),
    (
        r"familiar: the base image's Python is (?P<a>[\d.]+)",
        "The base image {case.base} has Python {a}, and the sandbox needs 3.10 or newer;"
        " choose another with --base.",
    ),
    (
        r"familiar: the base image cannot make a virtual environment",
        "The base image {case.base} lacks Python's venv (Debian: python3-venv);"
        " choose another with --base.",
    ),
    (
        # What pip says of a name that it found no index to ask for stands below these.
        r"CERTIFICATE_VERIFY_FAILED|confirming the ssl certificate",
        "pip in the build does not trust the certificate of the package index; name the file of"
        " your authorities: PIP_CERT=FILE {case.build}",
    ),
    (
        r"\[Errno -\d\] (?:Temporary failure in name|Name or service)|NewConnectionError"
        r"|Failed to establish a new connection|Network is unreachable|ConnectTimeoutError"
        r"|ProxyError|getaddrinfo failed"
        # These exist for every Python that gets this far, so no index was asked.
        r"|No matching distribution found for (?:debugpy|ipykernel|pyzmq)==",
        "pip in the build reaches no package index; let the build use this machine's network:"
        " {case.build} --network host, or check PIP_INDEX_URL and HTTPS_PROXY.",
    ),
    (
        r"No matching distribution found for (?P<a>[^\n]+)",
        "pip finds no {a} for the Python of this image; check the name, the version and the package"
        " index (PIP_INDEX_URL).",
    ),
    (
        r"ResolutionImpossible|conflicting dependencies",
        "The packages asked for exclude each other, or what the sandbox needs; pip says above"
        " which, so loosen their versions.",
    ),
    (
        r"Invalid requirement: '?(?P<a>[^\n']+)",
        "pip does not understand the requirement {a}; write it like numpy or numpy==2.1.",
    ),
    (
        r"Could not open requirements file|looks like a filename, but the file does not exist"
        r"|does not appear to be a Python project",
        "The requirements name a file of this machine, which the build cannot see; write them"
        " into one file.",
    ),
    (
        r"Cannot find command '(?P<a>[\w-]+)'",
        "A package is fetched with {a}, which {case.base} lacks; choose a base image that has it"
        " (--base).",
    ),
    (
        r"Failed building wheel for|metadata-generation-failed|failed-wheel-build"
        r"|subprocess-exited-with-error",
        "A package has no wheel for the Python of this image and cannot be compiled in it; choose"
        " another version, or a base image with a compiler (--base).",
    ),
    (
        r"manifest unknown|requested access to the resource is denied|not found: manifest",
        "The base image {case.base} does not exist, or needs a sign-in; check the name in --base,"
        " or type: {case.runtime} login REGISTRY",
    ),
    (
        r"pinging container registry localhost|\"https?://localhost/|image not known"
        r"|No such image",
        "There is no base image {case.base} here; check the name in --base with:"
        " {case.runtime} images",
    ),
    (
        r"did not resolve to an alias",
        "{case.runtime} does not know where {case.base} comes from; write its registry's name"
        " before it: --base REGISTRY/{case.base}",
    ),
    (
        r"pinging container registry (?P<a>\S+):|initializing source docker://"
        r"|failed to (?:do request|resolve source metadata)|dial tcp[^\n]*",
        "The base image {case.base} cannot be fetched, since its registry is not reached; set"
        " HTTPS_PROXY, or name an image that is here: familiar sandbox build --base NAME",
    ),
)


def why_it_cannot_start(stderr: str, case: Case | None = None) -> str:
    """Return why a sandbox did not start, as one sentence with what to type.

    Args:
        stderr: what the runtime's ``run`` wrote before it failed.
        case: what is known of it.
    """
    case = case or Case()
    return _first(stderr, (*_ANYWHERE, *_STARTING), case) or (
        f"{case.runtime} could not start the sandbox: {_last_error(stderr)};"
        f" look further with: {case.doctor}"
    )


def why_the_build_failed(told: str, case: Case) -> str:
    """Return why an image was not built, as one sentence with what to do.

    Args:
        told: the end of what the runtime's ``build`` wrote.
        case: what is known of it.
    """
    return _first(told, (*_ANYWHERE, *_BUILDING), case) or (
        f"{case.runtime} could not build the image: {_last_error(told)}"
    )


def _first(text: str, table: tuple[tuple[str, str], ...], case: Case) -> str:
    for pattern, sentence in table:
        if found := re.search(pattern, text, re.MULTILINE):
            named = {name: value or "" for name, value in found.groupdict().items()}
            limit = _LIMITS.get(named.get("a", "") or named.get("b", ""), "")
            return sentence.format(
                case=case, limit=limit, ulimits=ULIMITS, userns=USER_NAMESPACES, **named
            )
    return ""


_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def _last_error(text: str) -> str:
    """Return the line of a runtime's output that most likely tells what went wrong."""
    lines = [line.strip() for line in _COLOUR.sub("", text).splitlines() if line.strip()]
    # The runtime says last which step failed; why, the step itself has said before.
    lines = [line for line in lines if not line.startswith("Error: building at STEP")] or lines
    errors = [line for line in lines if line.startswith(("Error", "ERROR", "error", "docker:"))]
    last = (errors or lines or ["it said nothing"])[-1]
    return re.sub(r"^(?:Error|ERROR|error|docker): ?", "", last).rstrip(".")
