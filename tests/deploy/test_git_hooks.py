"""The pre-push hook, with real repositories, real pushes, and everything that could fool it.

What looks like a secret is put together when a test runs: this file is pushed as well.
"""

from __future__ import annotations

import ast
import base64
import json
import os
import random
import re
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import familiar_kernel

ROOT = Path(__file__).parents[2]
HOOK = ROOT / "deploy" / "git-hooks" / "pre-push"
ALNUM = string.ascii_letters + string.digits


def made(*parts: str | int, among: str = ALNUM) -> str:
    """Return text with numbers replaced by so many letters, the same each time."""
    draw = random.Random(str(parts))
    return "".join(
        part if isinstance(part, str) else "".join(draw.choices(among, k=part)) for part in parts
    )


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


GITHUB = made("ghp", "_", 36)
KEY_HEAD, KEY_END = "-----BEGIN {}PRIVATE " + "KEY-----", "-----END {}PRIVATE " + "KEY-----"
KEY_LINE = made("MIIEv", 59)
PASSWORD = made("q9X", 17)
JWT = ".".join(
    base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
    for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": "somebody", "admin": True})
) + made(".", 43)
ADDRESS = ".".join(("10", "20", "30", "40"))
DOMAIN = "wiki." + "corp"


class Pushed:
    """What a push said."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.ok = done.returncode == 0
        self.told = (done.stdout + done.stderr).decode(errors="surrogateescape")

    @property
    def found(self) -> list[tuple[str, str]]:
        """The findings: where, and by which rule."""
        return [
            (match[1], match[2])
            for match in re.finditer(r"^  (\S.*?)  (\S+)  \S*\.\.\. \(\d+ char", self.told, re.M)
        ]


class Repo:
    """A repository with the hook, and a bare one to push to."""

    def __init__(self, folder: Path, *init: str) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.env = {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONPATH": str(Path(familiar_kernel.__file__).parents[1]),
        }
        self.path, self.remote = folder / "here", folder / "there.git"
        self.git("config", "--global", "user.name", "Ada", at=folder)
        self.git("config", "--global", "user.email", "ada@example.com", at=folder)
        self.git("config", "--global", "protocol.file.allow", "always", at=folder)
        self.git("init", "-q", "--bare", "-b", "main", *init, str(self.remote), at=folder)
        self.git("init", "-q", "-b", "main", *init, str(self.path), at=folder)
        self.git("remote", "add", "origin", str(self.remote))
        shutil.copy(HOOK, self.path / ".git" / "hooks" / "pre-push")

    def run(
        self, *command: str, at: Path | None = None, given: bytes = b"", **more: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command, cwd=at or self.path, env={**self.env, **more}, input=given,
            capture_output=True, check=False,
        )  # fmt: skip

    def git(self, *words: str, at: Path | None = None, given: bytes = b"", **more: str) -> str:
        done = self.run("git", *words, at=at, given=given, **more)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return os.fsdecode(done.stdout).strip()

    def familiar(self, *words: str, at: Path | None = None) -> tuple[int, str]:
        code = "import sys; from familiar_kernel.cli import main; sys.exit(main())"
        done = self.run(sys.executable, "-c", code, "git-hooks", *words, at=at)
        return done.returncode, (done.stdout + done.stderr).decode()

    def write(self, name: str | bytes, content: str | bytes) -> None:
        path = os.path.join(os.fsencode(self.path), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)

    def commit(self, message: str = "A change", **files: str | bytes) -> str:
        """Write files (``a_txt`` is ``a.txt``), commit everything, and return the commit."""
        for name, content in files.items():
            self.write(name.replace("_", "."), content)
        self.git("add", "--all", "--force")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def push(self, *words: str, **more: str) -> Pushed:
        return Pushed(self.run("git", "push", *(words or ("origin", "main")), **more))

    def tip(self, ref: str = "refs/heads/main") -> str:
        """Return what a ref of the remote points at; nothing if there is none."""
        done = self.run("git", "rev-parse", "-q", "--verify", ref, at=self.remote)
        return done.stdout.decode().strip()


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path)


def stopped(pushed: Pushed, *found: tuple[str, str]) -> None:
    assert not pushed.ok, pushed.told
    assert sorted(pushed.found) == sorted(found), pushed.told
    assert "nothing is pushed" in pushed.told


# -- what is found ---------------------------------------------------------------------------------

LINES = [
    ("github-token", GITHUB),
    *(("github-token", made(f"gh{kind}", "_", 36)) for kind in "ousr"),
    ("github-token", made("github", "_pat_", 22, "_", 59)),
    ("github-token", made("x = '\\ngh", "p_", 36, "'")),  # behind an escaped line break
    ("gitlab-token", made("glpat", "-", 20)),
    ("slack-token", made("xoxb", "-", 12, "-", 24)),
    ("slack-webhook", made("https://hooks.slack", ".com/services/T", 8, "/B", 8, "/", 24)),
    ("aws-key", made("AKI", "A", 16, among=string.ascii_uppercase)),
    ("aws-key", made("ASI", "A", 16, among=string.ascii_uppercase)),
    ("aws-secret", made("aws_secret_", "access_key = ", 40)),
    ("google-key", made("AIz", "a", 35)),
    ("google-token", made("ya29", ".", 60)),
    ("google-token", made("GOCSPX", "-", 28)),
    ("anthropic-key", made("sk-", "ant-api03-", 93)),
    ("anthropic-key", made("export ANTHROPIC_API_KEY=sk-", "ant-oat01-", 86)),
    ("openai-key", made("sk-", 48)),
    ("openai-key", made("sk-", "proj-", 60)),
    ("openai-key", made("sk-", "or-v1-", 64, among="0123456789abcdef")),
    ("npm-token", made("npm", "_", 36)),
    ("pypi-token", made("pypi", "-AgEIcHlwaS5vcmc", 80)),
    ("docker-token", made("dckr", "_pat_", 27)),
    ("docker-login", '{"auth": "' + encoded("somebody:" + PASSWORD) + '"}'),
    ("huggingface-token", made("hf", "_", 34)),
    ("stripe-key", made("sk", "_live_", 24)),
    ("sendgrid-key", made("SG", ".", 22, ".", 43)),
    ("vault-token", made("hvs", ".", 90)),
    ("tailscale-key", made("tskey", "-auth-", 12, "-", 24)),
    ("azure-key", made("Account", "Key=", 86, "==")),
    ("age-key", made("AGE-SECRET", "-KEY-1", 58, among=string.ascii_uppercase)),
    ("wireguard-key", made("Private", "Key = ", 43, "=")),
    ("json-web-token", JWT),
    ("kubeconfig-key", made("    client-key", "-data: ", 200)),
    ("private-key", "tls.key: " + encoded(KEY_HEAD.format("RSA ") + "\n" + KEY_LINE)),
    ("private-key", "tls.key: " + encoded(KEY_HEAD.format("") + "\n" + KEY_LINE)),
    ("private-key", "tls.key: " + encoded(KEY_HEAD.format("EC ") + "\n" + KEY_LINE)),
    ("private-key", f'"{KEY_HEAD.format("")}\\n{KEY_LINE}\\n"'),  # in a line of JSON
    ("url-login", f"https://ada:{PASSWORD}@git.example.dev/x.git"),
    ("url-login", f"postgres://app:{PASSWORD[:5]}@db.somewhere.net/app"),
    ("url-login", f"https://{made(30)}7a9@git.example.dev/x.git"),
    ("authorization", f"Authorization: Bearer {made(40)}"),
    ("netrc-login", f"machine git.example.dev login ada password {PASSWORD}"),
    ("assigned-secret", f"DB_PASSWORD={PASSWORD}"),
    ("assigned-secret", f"  apiKey: '{PASSWORD}'"),
    ("assigned-secret", f'  "client_secret": "{PASSWORD}",'),
    ("assigned-secret", f'os.environ["MY_TOKEN"] = "{PASSWORD}"'),
    ("assigned-secret", f'"source": ["password = \\"{PASSWORD}\\"\\n"]'),  # in a notebook
    ("vault-path", "vault kv get " + "team/prod/database"),
    ("vault-path", "secret/" + "data/team/database"),
    ("vault-path", "op:/" + "/Private/mail/password"),
    ("private-address", f"listen {ADDRESS};"),
    ("private-address", f"server={ADDRESS}:8080"),
    ("private-address", "http://172.16" + ".4.5/"),
    ("private-address", "172.31" + ".255.254"),
    ("private-address", "('192.168" + ".7.9', 80)"),
    ("private-address", "100.64" + ".0.1"),
    ("private-address", "ada@100.127" + ".9.9"),
    ("private-address", "10.1" + ".0.0/16"),
    ("private-address", "fd12:3456" + ":789a::1"),
    ("private-address", "[FD00" + "::12]:443"),
    ("internal-domain", f"see {DOMAIN} for more"),
    ("internal-domain", "https://git.company" + ".internal/x"),
    ("internal-domain", "ssh pi@nas" + ".local"),
    ("internal-domain", "dc01.ad.company" + ".local"),
    ("internal-domain", "DC01" + ".CORP"),
    ("internal-domain", "printer" + ".lan:631"),
    ("internal-domain", "http://box" + ".home/"),
    ("internal-domain", "ip-10-0-0-5.ec2" + ".internal"),
    ("internal-domain", "portal.bank" + ".intranet"),
]
"""Lines with one finding each."""


def test_every_rule_finds_its_kind_and_shows_nothing_of_it(repo: Repo) -> None:
    repo.commit(found_txt="\n".join(text for _, text in LINES) + "\n")
    pushed = repo.push()
    stopped(pushed, *((f"found.txt:{n}", rule) for n, (rule, _) in enumerate(LINES, 1)))
    assert repo.tip() == ""
    for secret in (GITHUB, PASSWORD, ADDRESS, DOMAIN, JWT, KEY_LINE):
        assert secret not in pushed.told
        assert secret[:9] not in pushed.told
    assert "ghp_... (40 characters)" in pushed.told
    known = set(re.findall(r'_rule\(\s*"([\w-]+)"', HOOK.read_text()))
    known.add("assigned-secret")
    assert known == {rule for rule, _ in LINES}, "each rule has a line above"


KEYS = {
    "rsa": "RSA ",
    "pkcs8": "",
    "ec": "EC ",
    "openssh": "OPENSSH ",
    "encrypted": "ENCRYPTED ",
    "pgp": "",
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_over_many_lines(repo: Repo, kind: str) -> None:
    head, end = KEY_HEAD.format(KEYS[kind]), KEY_END.format(KEYS[kind])
    if kind == "pgp":
        head, end = (text.replace("KEY-", "KEY BLOCK-") for text in (head, end))
        head += "\nVersion: 1\nComment: mine\n"
    if kind == "rsa":
        head += "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n"
    text = "\n".join([head, *(made(n, 64) for n in "abc"), end])
    indented = "\n".join("    " + line for line in text.splitlines())
    repo.commit(id_key=text + "\n", values_yaml=f"key: |\n{indented}\n")
    stopped(repo.push(), ("id.key:1", "private-key"), ("values.yaml:2", "private-key"))


def test_the_parts_of_a_key_in_two_files_are_none(repo: Repo) -> None:
    repo.commit(a_txt="fine", b_txt="fine")
    repo.commit(a_txt=KEY_HEAD.format(""), b_txt=KEY_LINE)
    pushed = repo.push()
    assert pushed.ok, pushed.told


@pytest.mark.parametrize(
    "first", [made("b3BlbnNzaC1r", "ZXktdjE", 50), made("MIIEvQ", "IBADANBgkqhkiG9w0BAQEFAASC", 38)]
)
def test_a_key_whose_head_was_there_before(repo: Repo, first: str) -> None:
    repo.commit(id_key="\n".join((KEY_HEAD.format(""), "soon", KEY_END.format(""))))
    assert repo.push().ok
    repo.commit(id_key="\n".join((KEY_HEAD.format(""), first, KEY_END.format(""))))
    stopped(repo.push(), ("id.key:2", "private-key"))


PASSES = {
    "addresses.txt": [
        "127.0.0.1 0.0.0.0 255.255.255.0 8.8.8.8 169.254.169.254",
        "192.0.2.1 198.51.100.7 203.0.113.9 2001:db8::1 ::1 fe80::1",
        "172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 192.169.0.1 11.0.0.1",
        # What the standards call private, which every NetworkPolicy repeats.
        "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fd00::/8 fc00::/7",
        # Where clouds tell a machine about itself.
        "169.254.169.254 100.100.100.200 fd00:ec2::254 http://[fd20:ce::254]/",
        "10.300.1.1 10.1.2 10.1.2.3.4 1.10.2.3 010.1.2.3 10.01.02.03",
        "AA:FD:12:34:56:78 fdab:cdef fd1234 fd:ab:cd:ef",
    ],
    "versions.txt": [
        "nvidia-curand-cu12==10.3.2.106",
        "libfoo >= 10.2.0.1, driver~=10.2.0.1",
        'version = "10.2.0.1"',
        '"version": "10.2.0.1",',
        "Version: 10.2.0.1-2ubuntu1",
        "<version>10.14.2.0</version>",
        'AssemblyVersion("10.0.0.0")',
        "curand-10.3.2.106-py3-none.whl libfoo_10.2.0.1.tar.gz v10.2.0.1",
        "10.2.0.1-beta 10.2.0.1.dev3 10.2.0.1+local",
    ],
    "requirements-dev.txt": ["curand 10.3.2.106"],  # git-hooks: allow
    "web/package-lock.json": ['"x": "10.2.0.1"'],  # git-hooks: allow
    "names.txt": [
        "api.default.svc.cluster.local kubernetes.default.svc.cluster.local:443",
        "host.docker.internal:8080 host.containers.internal metadata.google.internal",
        "localhost.localdomain ada@localhost.localdomain",
        "db.example.internal example.local www.example.corp",
        "~/.local/bin /etc/rc.local .env.local config.local jail.local threading.local",
        "settings.local.json docker-compose.local.yml project.settings.local",
        "{{ host }}.internal ${HOST}.local <name>.corp *.internal .internal",
        "foo.internal.example.com foo.localhost corporate.land my.corporation",
        "git@github.com ada@example.com",
    ],
    "code.py": [
        "state = threading.local()",
        "from asgiref.local import Local",
        "self.internal = other.internal",
        "import company.tools.internal",
        "x = self.config.local",
        'DJANGO = "project.settings.local"',
        "password = getpass()",
        "token = config.token_of_user1a2b",
        "def login(password: str, token=None, secret=os.environ['SECRET']): ...",
        'TOKEN_NAME = "a1b2c3d4e5f6g7h8"',
        'token_sha256 = "9f86d081884c7d659a2feaa0c55ad015"',
        'print(f"password={password}")',
        'key = "' + KEY_HEAD.format("") + '"',
    ],
    "Main.java": ["import com.company.internal.Tool;", "package com.company.internal;"],
    "samples.txt": [
        made("ghp", "_") + "x" * 36,
        "AKI" + "AIOSFODNN7EXAMPLE",
        made("sk-", "ant-..."),
        made("the class sk-", "container-id-1-of-a-very-long-list-of-names"),
        made("xAKI", "A", 16, among=string.ascii_uppercase),
        made("iVBORw0KGgo+AIz", "a", 35, "/+"),
        "https://user:password@host/ https://user:secret@proxy:3128/ http://me:pw@localhost/",
        "postgres://postgres:postgres@db/app http://user:${PASSWORD}@host https://x:<token>@y.org",
        "git@github.com:owner/repository.git ssh://git@github.com/x",
        "https://x.org/@scope/a:b@1.2.3",
        "password: changeme password=your-password-123 PASSWORD=<secret1234>",
        "token: ${{ secrets.GITHUB_TOKEN }} token=$(cat /run/secrets/token1)",
        "secretName: my-secret-1a2b3c4d passwordFile: /run/secrets/db1pass2x",
        "password: ENC[AES256_GCM,data:" + made(20) + ",type:str]",
        "$ANSIBLE_VAULT;1.1;AES256",
        "39653932393834613339393036613931393266376238643664356665",
        "vault secrets, a vault kv get and put, secret/database",
        "token_type: bearer, tokenizer = utf8mb4_general_ci",
        '"auth": "aGVsbG8gd29ybGQh"',
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "sha256-" + made(43) + "=",
    ],
}


def test_what_only_looks_like_it_passes(repo: Repo) -> None:
    for name, lines in PASSES.items():
        repo.write(name, "\n".join(lines) + "\n")
    repo.commit("Fix threading.local in version 10.2.0.1")
    pushed = repo.push()
    assert pushed.ok, pushed.told
    assert pushed.found == []
    assert repo.tip() == repo.git("rev-parse", "HEAD")


def test_in_code_a_name_counts_where_it_is_a_text_or_said_in_a_comment(repo: Repo) -> None:
    host = "git.company" + ".internal"
    lines = [f"{host}", f'"{host}"', f"x = 1  # ask {host}", "host = a." + "corp"]
    repo.commit(a_py="\n".join(lines), a_txt="\n".join(lines))
    every = [(f"a.txt:{n}", "internal-domain") for n in (1, 2, 3, 4)]
    stopped(repo.push(), *every, *((f"a.py:{n}", "internal-domain") for n in (2, 3)))


# -- in which commits ------------------------------------------------------------------------------


def test_a_secret_that_the_next_commit_removes(repo: Repo) -> None:
    repo.commit(a_txt="nothing\n")
    bad = repo.commit("Add the settings", a_txt=f"nothing\n\n{GITHUB}\n")
    repo.commit(a_txt="nothing\n")
    pushed = repo.push()
    stopped(pushed, ("a.txt:3", "github-token"))
    assert f"commit {bad[:7]} Add the settings" in pushed.told
    for way in ("--amend", "rebase --interactive", ".git-hooks-allow", "--no-verify"):
        assert way in pushed.told
    assert repo.push("--no-verify", "origin", "main").ok


def test_only_lines_that_a_commit_adds(repo: Repo) -> None:
    repo.commit(a_txt=f"1\n{GITHUB}\n3\n")
    assert repo.push("--no-verify", "origin", "main").ok
    repo.commit(a_txt=f"one\n{GITHUB}\nthree\n")
    repo.git("config", "diff.renames", "false")
    repo.git("mv", "a.txt", "moved.txt")
    repo.commit("Move it, with what is in it")
    assert repo.push().ok
    repo.commit(b_txt=f"again {GITHUB}")
    stopped(repo.push(), ("b.txt:1", "github-token"))


def test_message_names_path_and_branch(repo: Repo) -> None:
    repo.commit(f"Use {GITHUB}\n\nIt is on {DOMAIN}.")
    repo.git("config", "user.email", "ada@laptop" + ".lan")
    repo.write(f"conf/{DOMAIN}/x", "")
    repo.commit("Two more")
    repo.commit("And a third by the same person")
    repo.git(
        "commit",
        "-q",
        "--amend",
        "--no-edit",
        "--allow-empty",
        GIT_COMMITTER_EMAIL="x@build" + ".lan",
    )
    pushed = repo.push("origin", f"main:refs/heads/{DOMAIN}")
    stopped(
        pushed,
        ("message:1", "github-token"),
        ("message:3", "internal-domain"),
        ("author", "internal-domain"),
        ("committer", "internal-domain"),
        ("path conf/wik... (9 characters)/x", "internal-domain"),
        ("name", "internal-domain"),
    )
    assert GITHUB not in pushed.told
    assert DOMAIN not in pushed.told.replace(f"-> {DOMAIN}", "").replace(str(repo.remote), "")
    repo.push("--no-verify", "origin", f"main:refs/heads/{DOMAIN}")
    repo.git("config", "user.email", "ada@example.com")
    repo.commit("The branch is no news any more", a_txt="fine")
    assert repo.push("origin", f"main:refs/heads/{DOMAIN}").ok


def test_the_first_push_of_a_root_commit_and_of_a_second_root(repo: Repo) -> None:
    repo.git("config", "log.showRoot", "false")
    repo.commit(a_txt=GITHUB)
    stopped(repo.push(), ("a.txt:1", "github-token"))
    repo.git("checkout", "-q", "--orphan", "other")
    repo.commit("Another root", b_txt=GITHUB)
    stopped(repo.push("origin", "other"), *((f"{n}.txt:1", "github-token") for n in "ab"))


def test_a_new_branch_is_only_what_the_remote_lacks(repo: Repo) -> None:
    repo.commit(a_txt=GITHUB)
    assert repo.push("--no-verify", "origin", "main").ok
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit(b_txt="fine")
    assert repo.push("origin", "feature").ok
    # Also where it is named by its URL.
    repo.git("checkout", "-q", "-b", "more")
    repo.commit(c_txt="fine")
    assert repo.push(str(repo.remote), "more").ok
    # Another remote has nothing of it.
    other = repo.remote.with_name("other.git")
    repo.git("init", "-q", "--bare", str(other))
    stopped(repo.push(str(other), "more"), ("a.txt:1", "github-token"))
    repo.git("remote", "add", "other", str(other))
    stopped(repo.push("other", "more"), ("a.txt:1", "github-token"))


def test_several_refs_and_a_deleted_one(repo: Repo) -> None:
    repo.commit(a_txt="fine")
    assert repo.push("origin", "main", "main:refs/heads/old").ok
    repo.git("checkout", "-q", "-b", "bad")
    repo.commit(b_txt=GITHUB)
    repo.git("checkout", "-q", "main")
    repo.commit(c_txt="fine")
    stopped(repo.push("origin", ":old", "main", "bad"), ("b.txt:1", "github-token"))
    assert repo.tip("refs/heads/old"), "one finding stops all of it"
    assert repo.push("origin", ":old").ok
    assert not repo.tip("refs/heads/old")
    assert repo.push("origin", "main").ok


def test_tags(repo: Repo) -> None:
    repo.commit(a_txt="fine")
    assert repo.push().ok
    repo.git("tag", "light")
    assert repo.push("origin", "light").ok
    repo.git("tag", "-a", "-m", f"Version 1\n\nhttps://{DOMAIN}/", "v1")
    repo.git("tag", "-a", "-m", "A tag of a tag", "v2", "v1")
    for name in ("v1", "v2"):
        pushed = repo.push("origin", name)
        stopped(pushed, ("message:3", "internal-domain"))
        assert "\ntag " in pushed.told
    bad = repo.commit(b_txt=GITHUB)
    repo.git("tag", "-a", "-m", "fine", "v3")
    repo.git("reset", "-q", "--hard", f"{bad}^")
    stopped(repo.push("origin", "v3"), ("b.txt:1", "github-token"))
    # Of a file and of a folder.
    blob = repo.git("hash-object", "-w", "--stdin", given=GITHUB.encode())
    repo.git("tag", "file", blob)
    assert repo.push("origin", "file").found == [(":1", "github-token")]
    tree = repo.git("mktree", given=f"100644 blob {blob}\tkey\n".encode())
    repo.git("tag", "folder", tree)
    assert repo.push("origin", "folder").found == [("key:1", "github-token")]


def test_a_forced_push_over_commits_that_are_not_here(repo: Repo, tmp_path: Path) -> None:
    repo.commit(a_txt="fine")
    assert repo.push().ok
    theirs = tmp_path / "theirs"
    repo.git("clone", "-q", str(repo.remote), str(theirs), at=tmp_path)
    repo.git("commit", "-q", "--allow-empty", "-m", "Theirs", at=theirs)
    repo.git("push", "-q", "origin", "main", at=theirs)
    unknown = repo.tip()
    repo.commit(b_txt=GITHUB)
    stopped(repo.push("--force", "origin", "main"), ("b.txt:1", "github-token"))
    assert repo.tip() == unknown
    repo.git("reset", "-q", "--hard", "HEAD^")
    repo.commit("Mine", c_txt="fine")
    assert repo.push("--force", "origin", "main").ok
    assert repo.tip() == repo.git("rev-parse", "HEAD")


@pytest.fixture
def diverged(repo: Repo) -> Repo:
    """main and side have both changed the same file; a secret of before is known to the remote."""
    numbers = "".join(f"{n}\n" for n in range(30))
    repo.commit(a_txt=numbers, old_txt=GITHUB)
    assert repo.push("--no-verify", "origin", "main").ok
    repo.git("checkout", "-q", "-b", "side")
    repo.commit("Side", a_txt="side\n" + numbers, side_txt="fine")
    repo.git("checkout", "-q", "main")
    repo.commit("Main", a_txt=numbers + f"{ADDRESS}\n", main_txt="fine")
    assert repo.push("--no-verify", "origin", "main").ok
    return repo


def test_a_merge_does_not_repeat_what_its_parents_have(diverged: Repo) -> None:
    diverged.git("checkout", "-q", "side")
    diverged.git("merge", "-q", "-m", "Merge main", "main")
    pushed = diverged.push("origin", "side")
    assert pushed.ok, pushed.told


def test_a_merge_that_adds_something_itself(diverged: Repo) -> None:
    diverged.git("merge", "-q", "--no-commit", "side")
    text = (diverged.path / "a.txt").read_text()
    diverged.write("a.txt", text.replace("15\n", f"15\nhttps://{DOMAIN}\n"))
    diverged.write(f"new {DOMAIN}.txt", made("glpat", "-", 20))
    bad = diverged.commit("Merge side")
    pushed = diverged.push()
    where = "new wik... (9 characters).txt"
    stopped(
        pushed,
        ("a.txt:18", "internal-domain"),
        (f"path {where}", "internal-domain"),
        (f"{where}:1", "gitlab-token"),
    )
    assert f"commit {bad[:7]} Merge side" in pushed.told


def test_a_merge_of_many(repo: Repo) -> None:
    repo.commit(a_txt="fine")
    for name in ("one", "two", "three"):
        repo.git("checkout", "-q", "-b", name, "main")
        repo.write(name, "fine")
        repo.commit(name)
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "-m", "All", "one", "two", "three")
    assert repo.push().ok
    repo.write("one", GITHUB)
    repo.git("add", "one")
    repo.git("commit", "-q", "--amend", "--no-edit")
    assert len(repo.git("log", "-1", "--format=%P").split()) == 3
    stopped(repo.push("--force", "origin", "main"), ("one:1", "github-token"))


# -- in which files --------------------------------------------------------------------------------

NAMES = [
    b"with space",
    b" leading and trailing ",
    b'quo"ted',
    b"back\\slash",
    b"new\nline",
    b"tab\t",
    "gr\u00fc\u00dfe/\u65e5\u672c".encode(),
    b"latin-\xe9",
    b"a b/c d",
    b"-dash",
    b"x b/x",
    b"\x1b[31mred",
    b"::1",
]


def test_names_of_all_kinds(repo: Repo) -> None:
    for raw in NAMES:
        repo.write(b"d/" + raw, f"fine\n{GITHUB}\n")
        repo.write(b"empty/" + raw + b" " + DOMAIN.encode(), "")
    repo.commit()
    pushed = repo.push()
    assert not pushed.ok
    assert len(pushed.found) == 2 * len(NAMES), pushed.told
    shown = ["with space", 'quo"ted', "back\\slash", "new\\nline", "tab\\t", "latin-\\xe9", "x b/x",
             "gr\u00fc\u00dfe/\u65e5\u672c", "\\x1b[31mred"]  # fmt: skip
    for name in shown:
        assert (f"d/{name}:2", "github-token") in pushed.found, pushed.told
    # The same names in a change, a change of mode and a merge.
    repo.push("--no-verify", "origin", "main")
    for raw in NAMES:
        repo.write(b"d/" + raw, f"fine\n{GITHUB}\nfine\n{ADDRESS}")
        os.chmod(os.path.join(os.fsencode(repo.path), b"d/" + raw), 0o755)
    repo.commit()
    again = repo.push()
    assert {rule for _, rule in again.found} == {"private-address"}, again.told
    assert len(again.found) == len(NAMES)


FILES: dict[str, tuple[bytes, str]] = {
    "zero bytes at the start": (b"\0\0\n" + GITHUB.encode(), "a.bin"),
    "zero bytes far behind": (b"x\n" * 9000 + b"\0\n" + GITHUB.encode(), "a.bin:9002"),
    "utf-16": (("fine\n" + GITHUB + "\n").encode("utf-16"), "a.bin:2"),
    "no line break": (b"fine\n" + GITHUB.encode(), "a.bin:2"),
    "carriage returns": (b"fine\r\n" + GITHUB.encode() + b"\r\n", "a.bin:2"),
    "one long line": (b"x " * 400_000 + GITHUB.encode() + b" y" * 400_000, "a.bin:1"),
    "many lines": (b"fine\n" * 200_000 + GITHUB.encode() + b"\n", "a.bin:200001"),
    "what looks like a patch": (
        b"diff --git a/x b/x\n--- a/x\n+++ /dev/null\n@@ -1 +1 @@\n-x\n\\ No newline\n\n"
        + GITHUB.encode(), "a.bin:8",
    ),
    "what looks like a commit": (b"\0" * 7 + b"\n\n" + GITHUB.encode(), "a.bin"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_contents_of_all_kinds(repo: Repo, kind: str) -> None:
    content, where = FILES[kind]
    repo.commit("fine", a_bin=b"\0before" if kind.startswith("zero bytes at") else b"before")
    assert repo.push().ok
    repo.commit(a_bin=content)
    stopped(repo.push(), (where, "github-token"))


def test_of_what_git_calls_binary_only_new_lines_count(repo: Repo) -> None:
    repo.commit(a_bin=b"\0\n" + GITHUB.encode() + b"\n")
    assert repo.push("--no-verify", "origin", "main").ok
    repo.commit(a_bin=b"\0\n" + GITHUB.encode() + b"\nmore\n")
    assert repo.push().ok


def test_what_is_too_large_and_binary_is_named(repo: Repo) -> None:
    repo.commit(a_bin=bytes(33 << 20))
    pushed = repo.push()
    assert pushed.ok
    assert "not looked into: a.bin of commit" in pushed.told
    assert "35 MB" in pushed.told
    # Text of that size is read.
    repo.commit(a_txt=b"fine\n" * (7 << 20) + GITHUB.encode())
    assert repo.push().found == [(f"a.txt:{(7 << 20) + 1}", "github-token")]


def test_a_submodule(repo: Repo, tmp_path: Path) -> None:
    part = tmp_path / "part"
    repo.git("init", "-q", str(part), at=tmp_path)
    repo.git("commit", "-q", "--allow-empty", "-m", "x", at=part)
    repo.git("submodule", "-q", "add", str(part), "part")
    repo.git("config", "diff.submodule", "diff")
    repo.commit()
    assert repo.push().ok
    repo.git("commit", "-q", "--allow-empty", "-m", "y", at=repo.path / "part")
    repo.commit(a_txt=GITHUB)
    stopped(repo.push(), ("a.txt:1", "github-token"))
    repo.git("config", "diff.ignoreSubmodules", "all")
    repo.git("reset", "-q", "--hard", "HEAD^")
    repo.git("submodule", "-q", "add", "--name", "more", str(part), f"lib/{DOMAIN}")
    repo.commit()
    shown = f"path lib/{DOMAIN[:3]}... ({len(DOMAIN)} characters)"
    assert (shown, "internal-domain") in repo.push().found


def test_a_repository_with_sha256(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "sha256", "--object-format=sha256")
    repo.commit(a_txt="fine")
    assert repo.push().ok
    bad = repo.commit(a_txt="fine\n" + GITHUB, b_bin=b"\0" + GITHUB.encode())
    assert len(bad) == 64
    stopped(repo.push(), ("a.txt:2", "github-token"), ("b.bin", "github-token"))


# -- what must not fool it -------------------------------------------------------------------------

HOSTILE = {
    "color.ui": "always", "color.diff": "always", "diff.external": "true", "diff.noprefix": "true",
    "diff.mnemonicPrefix": "true", "diff.renames": "copies", "diff.relative": "true",
    "diff.context": "7", "diff.interHunkContext": "9", "diff.suppressBlankEmpty": "true",
    "diff.submodule": "log", "diff.ignoreSubmodules": "all", "diff.orderFile": ".git/order",
    "diff.algorithm": "patience", "diff.wsErrorHighlight": "all", "diff.colorMoved": "zebra",
    "diff.srcPrefix": "one/", "diff.dstPrefix": "two/", "diff.hide.textconv": "true",
    "diff.hide.binary": "true", "diff.run.command": "true", "log.showRoot": "false",
    "log.showSignature": "true", "log.diffMerges": "first-parent", "log.follow": "true",
    "log.decorate": "full", "log.date": "relative", "log.mailmap": "true",
    "log.abbrevCommit": "true", "format.pretty": "oneline", "notes.displayRef": "refs/notes/*",
    "core.quotePath": "true", "core.abbrev": "40", "core.pager": "false", "core.bigFileThreshold":
    "1", "core.attributesFile": "/etc/hostname", "i18n.logOutputEncoding": "UTF-16",
    "pager.log": "true", "alias.log": "version", "submodule.recurse": "true",
}  # fmt: skip


@pytest.fixture
def hostile(repo: Repo) -> Repo:
    for name, value in HOSTILE.items():
        repo.git("config", name, value)
    repo.write(".git/order", "z*\n")
    repo.write(
        ".git/info/attributes", "*.run diff=run\n*.hidden diff=hide\n*.no -diff\n* text=auto"
    )
    return repo


def test_settings_and_attributes_hide_nothing(hostile: Repo) -> None:
    hostile.write(".gitattributes", "*.bin binary\n*.lfs filter=lfs diff=lfs -text\n")
    hostile.write(".git/mailmap", "Bob <bob@example.com> <ada@laptop" + ".lan>\n")
    hostile.git("config", "mailmap.file", ".git/mailmap")
    names = ["plain", "a.run", "a.hidden", "a.no", "a.bin", "a.lfs", "sub/b c.run"]
    for name in names:
        hostile.write(name, "1\n2\n3\n4\n")
    hostile.commit("A root commit")
    more = {"GIT_DIFF_OPTS": "--unified=5", "GIT_EXTERNAL_DIFF": "true", "GIT_PAGER": "false"}
    pushed = hostile.push(**more)
    assert pushed.ok, pushed.told
    for name in names:
        hostile.write(name, f"1\n{GITHUB}\n2\n3\nfour\n")
    hostile.git("config", "user.email", "ada@laptop" + ".lan")
    hostile.commit("Gr\u00fc\u00dfe")
    hostile.git("notes", "add", "-m", "a note")
    (hostile.path / ".git" / "order").unlink()  # now git would not show any difference
    pushed = hostile.push(**more)
    stopped(
        pushed, *((f"{name}:2", "github-token") for name in names), ("author", "internal-domain")
    )
    assert "Gr\u00fc\u00dfe" in pushed.told
    assert "hint:" not in pushed.told
    assert re.search(r"^commit [0-9a-f]{7,12} Gr", pushed.told, re.M)


def test_a_signed_commit(hostile: Repo) -> None:
    hostile.commit(a_txt=GITHUB)
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n no\n -----END PGP SIGNATURE-----\n"
    text = hostile.git("cat-file", "commit", "HEAD").replace("\n\n", f"\n{signature}\n", 1)
    signed = hostile.git("hash-object", "-t", "commit", "-w", "--stdin", given=text.encode())
    hostile.git("reset", "-q", "--soft", signed)
    stopped(hostile.push(), ("a.txt:1", "github-token"))


def test_merges_with_such_settings(hostile: Repo) -> None:
    hostile.commit(a_no="1\n2\n3\n")
    hostile.git("checkout", "-q", "-b", "side")
    hostile.commit(a_no="0\n1\n2\n3\n")
    hostile.git("checkout", "-q", "main")
    hostile.commit(a_no="1\n2\n3\n4\n")
    hostile.run("git", "merge", "-q", "--no-commit", "side")
    hostile.commit("Merge", a_no=f"0\n1\n{GITHUB}\n2\n3\n4\n")
    assert len(hostile.git("rev-parse", "HEAD^@").split()) == 2
    stopped(hostile.push(), ("a.no:3", "github-token"))


def test_replaced_commits_are_read_as_they_are_pushed(repo: Repo) -> None:
    good = repo.commit(a_txt="fine")
    bad = repo.commit(a_txt=GITHUB)
    repo.git("replace", bad, good)
    assert repo.git("log", "-p").count(GITHUB) == 0
    stopped(repo.push(), ("a.txt:1", "github-token"))
    repo.git("replace", "-d", bad)
    repo.commit(a_txt="fine")
    tip = repo.git("rev-parse", "HEAD")
    repo.write(".git/info/grafts", f"{tip} {good}\n")
    assert repo.git("log", "-p").count(GITHUB) == 0
    stopped(repo.push(), ("a.txt:1", "github-token"))


def test_an_object_that_is_lost_stops_the_push(repo: Repo) -> None:
    repo.commit(a_bin=b"\0fine", a_txt="fine")
    for name in ("a.bin", "a.txt"):
        oid = repo.git("rev-parse", f"HEAD:{name}")
        lost = repo.path / ".git" / "objects" / oid[:2] / oid[2:]
        kept = lost.rename(repo.path / "kept")
        pushed = repo.push()
        assert not pushed.ok
        assert "git-hooks: nothing is pushed" in pushed.told
        assert "Traceback" not in pushed.told
        kept.rename(lost)
    assert repo.push().ok


def test_what_git_says_is_not_believed_blindly(repo: Repo) -> None:
    hook = str(repo.path / ".git" / "hooks" / "pre-push")
    done = repo.run(hook, "origin", "url", given=b"nonsense\n")
    assert done.returncode == 1
    assert b"no list of refs" in done.stderr
    missing = "1" * 40
    told = f"refs/heads/x {missing} refs/heads/x {'0' * 40}\n".encode()
    done = repo.run(hook, "origin", "url", given=told)
    assert done.returncode == 1
    assert b"is not here" in done.stderr
    assert repo.run(hook, "origin", "url").returncode == 0, "nothing to push"
    assert repo.run(hook).returncode == 2


# -- what is allowed -------------------------------------------------------------------------------


def test_a_line_that_says_so(repo: Repo) -> None:
    repo.commit(a_py=f'A = "{GITHUB}"  # git-hooks: allow\nB = "{GITHUB}"\n')
    stopped(repo.push(), ("a.py:2", "github-token"))


def test_the_list_of_a_repository(repo: Repo) -> None:
    bad = repo.commit("One", a_txt=GITHUB)
    repo.commit("Two", a_txt="fine")
    files = {
        "b.txt": f"{ADDRESS}\n{DOMAIN}\n10.9" + ".8.7\n",
        "c.txt": JWT,
        **dict.fromkeys(("docs/deep/x.md", "docs/y.txt", "fixtures/z", "sub/docs/y.txt"), GITHUB),
    }
    for name, text in files.items():
        repo.write(name, text)
    repo.commit("Three")
    # Each line of the list, and what it takes out of the report.
    allowed = [
        (f"# harmless\n\ncommit:{bad[:10]}", "a.txt:1"),
        ("path:docs/*", "docs/y.txt:1"),
        ("path: **/*.md", "docs/deep/x.md:1"),
        ("path:fixtures/", "fixtures/z:1"),
        ("path:sub/**/?.txt", "sub/docs/y.txt:1"),
        (r"10\.20\.", "b.txt:1"),
        (r"^wiki\.corp$", "b.txt:2"),
        ("rule:json-web-token", "c.txt:1"),
        ("rule:private-address", "b.txt:3"),
    ]
    for number in range(len(allowed) + 1):
        repo.write(".git-hooks-allow", "\n".join(line for line, _ in allowed[:number]))
        pushed = repo.push()
        left = [where for _, where in allowed[number:]]
        assert sorted(where for where, _ in pushed.found) == sorted(left), pushed.told
        assert pushed.ok == (not left)


def test_the_list_of_a_person(repo: Repo) -> None:
    repo.commit(a_txt=ADDRESS)
    repo.write(repo.home / ".config/familiar/git-hooks/allow", ADDRESS.replace(".", r"\."))
    assert repo.push().ok


def test_patterns_of_ones_own(repo: Repo) -> None:
    repo.write(
        ".git-hooks-patterns", "# names of projects\n\n(?i)project[ -]falcon\n^secret: \\w+$\n"
    )
    repo.write(repo.home / ".config/familiar/git-hooks/patterns", "B[uü]ro [0-9]+\n(?<=Room )(?=7)")
    repo.commit("For Project Falcon", a_txt="x\nsecret: tea\nBüro 12, Room 7\n")
    pushed = repo.push()
    mine = str(repo.home / ".config/familiar/git-hooks/patterns")
    stopped(
        pushed,
        ("message:1", ".git-hooks-patterns:3"),
        ("a.txt:2", ".git-hooks-patterns:4"),
        ("a.txt:3", f"{mine}:1"),
        ("a.txt:3", f"{mine}:2"),
    )
    assert "Falcon" not in pushed.told
    repo.write(".git-hooks-allow", "rule:.git-hooks-patterns:3\nrule:.git-hooks-patterns:4\n"
               f"rule:{mine}:1\nrule:{mine}:2\n")  # fmt: skip
    assert repo.push().ok


WRONG = {
    ".git-hooks-patterns": [
        ("fine\n(", "Line 2 of .git-hooks-patterns is not a regular expression"),
        ("a*", "Line 1 of .git-hooks-patterns matches everything"),
    ],
    ".git-hooks-allow": [
        ("# x\n*.md", "Line 2 of .git-hooks-allow is not a regular expression"),
        ("x|", "Line 1 of .git-hooks-allow matches everything"),
        ("commit:abc", "Line 1 of .git-hooks-allow names no commit"),
        ("rule:tea", "Line 1 of .git-hooks-allow names no rule; they are age-key, "),
    ],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_line_that_is_wrong_stops_every_push(repo: Repo, name: str) -> None:
    repo.commit(a_txt="fine")
    for content, says in WRONG[name]:
        repo.write(name, content)
        pushed = repo.push()
        assert not pushed.ok
        assert says in pushed.told
        assert "nothing is pushed" in pushed.told
        assert "Traceback" not in pushed.told
        assert repo.tip() == ""
    mine = repo.home / ".config/familiar/git-hooks" / name.removeprefix(".git-hooks-")
    (repo.path / name).rename(repo.path / "aside")
    repo.write(mine, "[")
    assert f"Line 1 of {mine} is not a regular expression" in repo.push().told


def test_many_findings_are_told_as_a_number(repo: Repo) -> None:
    repo.commit(a_txt="".join(made("ghp", "_", 36, str(n)) + "\n" for n in range(130)))
    pushed = repo.push()
    assert len(pushed.found) == 100
    assert "130 findings in 1 commit;" in pushed.told
    assert "... and 30 more." in pushed.told


# -- by hand ---------------------------------------------------------------------------------------


def test_scan_looks_at_what_a_push_would_send(repo: Repo) -> None:
    repo.commit(a_txt=GITHUB)
    status, told = repo.familiar("scan")
    assert status == 1
    assert "a.txt:1  github-token" in told
    assert GITHUB not in told
    repo.push("--no-verify", "origin", "main")
    repo.commit(b_txt="fine")
    assert repo.familiar("scan") == (0, "git-hooks: nothing was found\n")
    assert repo.familiar("scan", "HEAD^..HEAD")[0] == 0
    assert repo.familiar("scan", "HEAD")[0] == 1
    (repo.path / "sub").mkdir()
    repo.git("config", "diff.relative", "true")
    assert "a.txt:1  " in repo.familiar("scan", "--", "--all", at=repo.path / "sub")[1]
    status, told = repo.familiar("scan", "nowhere")
    assert status == 1
    assert "bad revision 'nowhere'" in told


# -- installing ------------------------------------------------------------------------------------


@pytest.fixture
def bare_of_hooks(repo: Repo) -> Repo:
    (repo.path / ".git" / "hooks" / "pre-push").unlink()
    return repo


def refuses(repo: Repo, at: Path | None = None) -> bool:
    """Whether a push with a secret is refused by the hook, wherever it was installed."""
    where = at or repo.path
    (where / "leak.txt").write_text(GITHUB)
    repo.git("add", "leak.txt", at=where)
    repo.git("commit", "-q", "-m", f"A leak in {where}", at=where)
    pushed = Pushed(repo.run("git", "push", "origin", "HEAD:refs/heads/leak", at=where))
    repo.git("reset", "-q", "--hard", "HEAD^", at=where)
    return not pushed.ok and ("leak.txt:1", "github-token") in pushed.found


def test_install_status_uninstall(bare_of_hooks: Repo) -> None:
    repo = bare_of_hooks
    repo.commit("First")
    hook = repo.path / ".git" / "hooks" / "pre-push"
    assert repo.familiar("status")[0] == 1
    (repo.path / "sub").mkdir()
    status, told = repo.familiar("install", at=repo.path / "sub")
    assert (status, told) == (0, f"Installed: {hook}\n")
    assert hook.stat().st_mode & 0o777 == 0o755
    assert hook.read_bytes() == HOOK.read_bytes()
    assert refuses(repo)
    assert repo.familiar("status")[0] == 0
    assert repo.familiar("install") == (0, f"Was there: {hook}\n")
    hook.write_bytes(HOOK.read_bytes() + b"# of another version\n")
    assert "another version" in repo.familiar("status")[1]
    assert repo.familiar("install") == (0, f"Renewed: {hook}\n")
    assert repo.familiar("uninstall") == (0, f"Removed: {hook}\n")
    assert not hook.exists()
    assert sorted(path.name for path in hook.parent.iterdir() if path.suffix != ".sample") == []


ANOTHER = """\
{}cat > "$(git rev-parse --git-dir)/heard"
echo "$1" >> "$(git rev-parse --git-dir)/heard"
test ! -e "$(git rev-parse --git-dir)/refuse"
"""


@pytest.mark.parametrize("first_line", ["#!/bin/sh\n", ""])
def test_anothers_hook_is_never_overwritten(bare_of_hooks: Repo, first_line: str) -> None:
    repo = bare_of_hooks
    tip = repo.commit("First")
    hook = repo.path / ".git" / "hooks" / "pre-push"
    text = ANOTHER.format(first_line)
    hook.write_text(text)
    hook.chmod(0o755)
    status, told = repo.familiar("install")
    assert status == 1
    assert "left alone" in told
    assert "--chain" in told
    assert hook.read_text() == text
    assert repo.familiar("uninstall")[0] == 1
    status, told = repo.familiar("install", "--chain")
    assert status == 0
    assert "kept as pre-push.chained" in told
    assert refuses(repo)
    heard = repo.path / ".git" / "heard"
    assert not heard.exists(), "what is stopped is stopped before it"
    refusing = repo.path / ".git" / "refuse"
    refusing.touch()
    assert not repo.push().ok
    refusing.unlink()
    assert repo.push().ok
    assert heard.read_text() == f"refs/heads/main {tip} refs/heads/main {'0' * 40}\norigin\n"
    assert repo.familiar("install")[0] == 0
    assert "runs after it" in repo.familiar("status")[1]
    assert "back" in repo.familiar("uninstall")[1]
    assert hook.read_text() == text


def test_a_link_is_anothers_too(bare_of_hooks: Repo) -> None:
    hook = bare_of_hooks.path / ".git" / "hooks" / "pre-push"
    hook.symlink_to("/nowhere/pre-push")
    assert bare_of_hooks.familiar("install")[0] == 1
    assert os.readlink(hook) == "/nowhere/pre-push"


def test_two_hooks_of_others_are_left_alone(bare_of_hooks: Repo) -> None:
    hooks = bare_of_hooks.path / ".git" / "hooks"
    for name in ("pre-push", "pre-push.chained"):
        (hooks / name).write_text(name)
    status, told = bare_of_hooks.familiar("install", "--chain")
    assert status == 1
    assert "is taken, too" in told
    assert [(hooks / n).read_text() for n in ("pre-push", "pre-push.chained")] == [
        "pre-push",
        "pre-push.chained",
    ]


def test_worktrees_share_the_hook(bare_of_hooks: Repo, tmp_path: Path) -> None:
    repo = bare_of_hooks
    repo.commit("First")
    tree = tmp_path / "tree"
    repo.git("worktree", "add", "-q", "-b", "other", str(tree))
    assert repo.familiar("install", at=tree)[0] == 0
    assert (repo.path / ".git" / "hooks" / "pre-push").exists()
    assert refuses(repo, at=tree)
    assert refuses(repo)
    # Lists are those of the tree that is pushed from.
    (tree / ".git-hooks-allow").write_text("path:leak.txt")
    assert not refuses(repo, at=tree)
    repo.git("push", "-q", "origin", ":refs/heads/leak")
    assert refuses(repo)


@pytest.mark.parametrize("named", ["tools/hooks", "absolute"])
def test_hooks_elsewhere(bare_of_hooks: Repo, tmp_path: Path, named: str) -> None:
    repo = bare_of_hooks
    repo.commit("First")
    folder = tmp_path / "hooks" if named == "absolute" else repo.path / named
    repo.git("config", "core.hooksPath", str(folder) if named == "absolute" else named)
    (repo.path / "sub").mkdir()
    status, told = repo.familiar("install", at=repo.path / "sub")
    assert status == 0
    assert (folder / "pre-push").exists()
    assert "core.hooksPath" in told
    assert ("in the working tree" in told) == (named != "absolute")
    assert refuses(repo)
    assert not (repo.path / ".git" / "hooks" / "pre-push").exists()


def test_a_bare_repository(repo: Repo, tmp_path: Path) -> None:
    bad = repo.commit("Mine", a_txt=GITHUB)
    bare = tmp_path / "bare.git"
    repo.git("clone", "-q", "--bare", str(repo.path), str(bare), at=tmp_path)
    assert repo.familiar("install", at=bare)[0] == 0
    repo.git("remote", "set-url", "origin", str(repo.remote), at=bare)
    pushed = Pushed(repo.run("git", "push", "origin", "main", at=bare))
    stopped(pushed, ("a.txt:1", "github-token"))
    # Its lists are those of its last commit.
    repo.commit("Allow it", **{".git-hooks-allow": f"commit:{bad}\n"})
    repo.git("push", "-q", "--no-verify", str(bare), "main")
    assert Pushed(repo.run("git", "push", "origin", "main", at=bare)).ok


def test_not_in_a_repository(repo: Repo, tmp_path: Path) -> None:
    status, told = repo.familiar("install", at=tmp_path)
    assert status == 1
    assert "There is no git repository here" in told
    assert "There is no git repository here" in repo.familiar("status", at=tmp_path)[1]


@pytest.mark.parametrize("own", [False, True])
def test_a_template_serves_new_repositories(repo: Repo, tmp_path: Path, own: bool) -> None:
    repo.commit("First")
    assert repo.push().ok
    folder = repo.home / ".local" / "share" / "familiar" / "git-template"
    if own:
        folder = repo.home / "my template"
        (folder / "info").mkdir(parents=True)
        (folder / "info" / "exclude").write_text("mine\n")
        repo.git("config", "--global", "init.templateDir", "~/my template")
    old = tmp_path / "old"
    repo.git("init", "-q", str(old), at=tmp_path)
    before = {path.name for path in (old / ".git" / "hooks").glob("*")}
    status, told = repo.familiar("install", "--template", at=tmp_path)
    assert status == 0
    assert "from now on" in told
    assert (folder / "hooks" / "pre-push").stat().st_mode & 0o777 == 0o755
    assert repo.familiar("install", "--template", at=tmp_path)[0] == 0, "twice is once"

    clone = tmp_path / "clone"
    repo.git("clone", "-q", str(repo.remote), str(clone), at=tmp_path)
    assert refuses(repo, at=clone)
    fresh = tmp_path / "fresh"
    repo.git("init", "-q", str(fresh), at=tmp_path)
    repo.git("remote", "add", "origin", str(repo.remote), at=fresh)
    repo.git("commit", "-q", "--allow-empty", "-m", "x", at=fresh)
    assert refuses(repo, at=fresh)
    repo.git("init", "-q", str(old), at=tmp_path)
    assert {path.name for path in (old / ".git" / "hooks").glob("*")} == {*before, "pre-push"}
    exclude = (fresh / ".git" / "info" / "exclude").read_text()
    assert exclude == ("mine\n" if own else (repo.path / ".git/info/exclude").read_text())

    status, told = repo.familiar("uninstall", "--template", at=tmp_path)
    assert status == 0
    assert (folder / "info").exists() == own
    assert (repo.run("git", "config", "init.templateDir").returncode == 0) == own
    assert refuses(repo, at=fresh), "what has it keeps it"


# -- the file itself -------------------------------------------------------------------------------


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_the_file_stands_alone_on_an_old_python() -> None:
    tree = ast.parse(HOOK.read_text(), feature_version=(3, 9))
    assert set(_imported(tree)) <= set(sys.stdlib_module_names)
    assert HOOK.read_text().startswith("#!/usr/bin/env python3\n")
    assert os.access(HOOK, os.X_OK)


def test_the_hook_does_not_stop_itself(repo: Repo) -> None:
    """What this part of the project consists of can be pushed through it."""
    for path in (HOOK, Path(__file__), ROOT / "kernel" / "familiar_kernel" / "git_hooks.py"):
        repo.write(path.name, path.read_bytes())
    repo.commit()
    pushed = repo.push()
    assert pushed.ok, pushed.told
