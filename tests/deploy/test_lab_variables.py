"""The lab does as its variables say, or says in one sentence why it does not start."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deploy.labs import WORK, Image, free_port

pytest_plugins = ["deploy.lab_fixtures"]
# The first test waits for the build.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["--IdentityProvider.token="], {}, "would serve everybody who reaches this machine"),
        (["--ServerApp.token="], {"FAMILIAR_LAB_IP": "::"}, "would serve everybody"),
        ([], {"FAMILIAR_LAB_AUTH": "none"}, "it may be 'token' or 'proxy'"),
        ([], {"JUPYTER_TOKEN_FILE": "/nowhere"}, "names /nowhere, which cannot be read"),
        ([], {"JUPYTER_TOKEN_FILE": "/dev/null"}, "is empty; write a token into it"),
        ([], {"FAMILIAR_BYPASS_PERMISSIONS": "yes"}, "it may be 1 or 0"),
        ([], {"FAMILIAR_GIT_SSH_KEY_FILE": "/nowhere"}, "names /nowhere, which cannot be read"),
        ([], {"FAMILIAR_GIT_INSTEAD_OF": "https://one.example/"}, "write two addresses on it"),
    ],
)
def test_it_does_not_start(
    podman_lab: Image, arguments: list[str], env: dict[str, str], said: str
) -> None:
    env = {"FAMILIAR_LAB_PORT": str(free_port()), **env}
    done = podman_lab.once(*arguments, env=env, check=False)
    assert done.returncode == 1, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("familiar: ")
    assert said in line


def test_a_volume_of_somebody_else(podman_lab: Image) -> None:
    mount = f"--tmpfs={WORK}:mode=755"
    done = podman_lab.once("true", options=(mount,), check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("(on Kubernetes: fsGroup 1000), or mount another volume.")


def test_ways_to_let_people_in(podman_lab: Image, tmp_path: Path) -> None:
    # A token from a file whose last line ends, as those of Secrets often do.
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    file.chmod(0o644)
    mount = f"--volume={file}:/run/token:ro"
    from_file = {"JUPYTER_TOKEN_FILE": "/run/token"}
    with podman_lab.running(mount, env=from_file) as lab:
        assert lab.status("api/contents", "from-a-file") == 200
        assert lab.status("api/contents") == 403
        assert "from-a-file" not in lab.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "from-a-file" not in lab.log()
    # Behind a proxy, which shows the server the name under which people know it.
    behind = {"FAMILIAR_LAB_AUTH": "proxy", "JUPYTER_TOKEN": "", "FAMILIAR_LAB_IP": ""}
    with podman_lab.running(env=behind) as lab:
        code = "curl -s -o /dev/null -w '%{http_code}' -H 'Host: lab.example.org' "
        assert lab.run(f"{code} {lab.url}/api/contents") == "200"
        listening = lab.run("cat /proc/net/tcp")
        assert f"0100007F:{int(lab.url.rpartition(':')[2]):04X}" in listening  # 127.0.0.1 only


MODE = """
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python-claude", startup_timeout=120)
client.execute_interactive("%claude_permissions", timeout=120)
client.stop_channels()
manager.shutdown_kernel()
"""


def test_claude_asks_nobody_if_told_so(podman_lab: Image) -> None:
    env = {"FAMILIAR_BYPASS_PERMISSIONS": "1", "FAMILIAR_REHEARSAL": "1"}
    look = "cd $CLAUDE_CONFIG_DIR && cat settings.json && stat -c %a settings.json && python - "
    written = podman_lab.once("bash", "-c", f"{look} <<'END'\n{MODE}\nEND", env=env)
    settings, _, rest = written.stdout.partition("\n600\n")
    assert json.loads(settings)["permissions"]["defaultMode"] == "bypassPermissions"
    assert "bypass" in rest.split("\n")[0]

    theirs = "cd $CLAUDE_CONFIG_DIR && echo {} >settings.json && start-lab cat settings.json"
    again = podman_lab.once("bash", "-c", theirs, env=env)
    assert again.stdout == "{}\n"
    assert "changes nothing in it" in again.stderr
    nothing = podman_lab.once("bash", "-c", "ls $CLAUDE_CONFIG_DIR")
    assert nothing.stdout == ""


def test_git_as_it_is_told(podman_lab: Image, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("https://ada:a-token@git.example.org\n")
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(made, check=True)
    tmp_path.chmod(0o755)
    for file in tmp_path.iterdir():
        file.chmod(0o644)  # as a Secret that its group may read
    env = {
        "FAMILIAR_GIT_NAME": "Ada Lovelace",
        "FAMILIAR_GIT_EMAIL": "ada@example.org",
        "FAMILIAR_GIT_CREDENTIALS_FILE": "/run/git/credentials",
        "FAMILIAR_GIT_SSH_KEY_FILE": "/run/git/key",
        "FAMILIAR_GIT_INSTEAD_OF": f"file://{WORK}/ https://mirrored.example/\n\n",
    }
    script = r"""
    set -eu
    git init --quiet one.git && git -C one.git commit --quiet --allow-empty --message=first
    git clone --quiet https://mirrored.example/one.git two && git -C two log --format='%an <%ae>'
    printf 'protocol=https\nhost=git.example.org\n\n' | git credential fill | grep password
    key=$(git config core.sshCommand | sed 's/.*-i \([^ ]*\).*/\1/')
    stat -c %a "$key"; ssh-keygen -y -f "$key" | cut -d' ' -f1,2
    git config --global user.name Somebody && git config user.name && cat ~/work/.gitconfig
    """
    mount = f"--volume={tmp_path}:/run/git:ro"
    told = podman_lab.once("bash", "-c", script, env=env, options=(mount,))
    public = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    assert told.stdout.splitlines() == [
        "Ada Lovelace <ada@example.org>", "password=a-token", "600", public,
        "Somebody", "[user]", "\tname = Somebody",
    ]  # fmt: skip
    assert "a-token" not in told.stderr
