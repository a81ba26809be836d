"""What a sandbox may not write in a workspace that it may write: names, wherever they stand. Pure.

These are the files that programs on the host run, or obey, without being asked to run the project:
when somebody enters the folder, opens it in an editor, starts a kernel in it or types ``git
status``. Whatever is below such a name is protected, too. They can be read.

A name counts also with something before or after it: programs that replace a file at one stroke
write ``.mcp.json.tmp.4711`` first, and what is in that becomes the file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

HIDDEN = b"familiar-workspace-"
"""How the names of the folders begin that shares are mounted below; see :mod:`.workspace`."""

_WHOLE = {
    # Version control: hooks, and settings that name programs. A folder with a HEAD in it is a
    # repository for git without being called .git.
    *(".git", ".hg", ".svn", ".jj", "head", ".gitmodules", ".gitconfig", ".githooks", ".husky"),
    # Claude, where it runs on the host: settings, hooks, servers.
    *(".claude", ".cursor", ".gemini", ".codex"),
    # Editors that obey the folder which they open.
    *(".vscode", ".idea", ".devcontainer", ".vim", ".nvim"),
    # What JupyterLab puts back where somebody reverts a notebook, and settings.
    *(".ipynb_checkpoints", ".jupyter", ".ipython", ".virtual_documents"),
    # What nb knows of kernels.
    ".nb",
    # For a folder that is somebody's home after all.
    *(".ssh", ".config", ".local", ".direnv"),
    # Python environments: what is run when somebody types python, or starts JupyterLab from there.
    *(".venv", "venv", ".conda", ".pixi", "__pypackages__"),
    # Packages that `python -m` takes from the current folder first, to start a kernel.
    *("familiar_kernel", "ipykernel_launcher", "ipykernel"),
}
"""Names of folders for most; as a whole, in small letters."""

_FILES = (
    # Claude and its kin: servers to start, and instructions, which a later session believes.
    *(".mcp.json", ".claude.json", "claude.md", "claude.local.md", "agents.md"),
    # Shells.
    *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile"),
    *(".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".cshrc", ".tcshrc"),
    *(".login", ".logout", ".inputrc", ".envrc", ".env", ".mise.toml", "mise.toml"),
    # Programs that read a file of the current folder when they start.
    *(".rprofile", ".renviron", ".pdbrc", ".gdbinit", ".lldbinit", ".vimrc", ".exrc", ".nvimrc"),
    *(".nvim.lua", ".dir-locals.el", ".octaverc", ".screenrc", ".tmux.conf"),
    *(".pre-commit-config.yaml", "lefthook.yml", "lefthook.yaml", ".lefthook.yml"),
    *("familiar_kernel.py", "ipykernel_launcher.py"),
    # What JupyterLab keeps of notebooks that several people edit at once.
    ".jupyter_ystore.db",
)

_PATTERN = re.compile(
    # Also ".~lock.NAME#", "#NAME#", ".NAME.swp", "NAME~", "NAME.tmp.4711".
    r"(?:[.#~_]|\.[~#])?(?:"
    + "|".join(re.escape(name) for name in _FILES)
    + r")(?:$|[^a-z0-9_].*)"
    # Jupyter's and IPython's settings.
    + r"|[.#~]*(?:jupyter|ipython)\w*_config\.(?:py|json).*"
    # Notebooks: which of them are open nobody knows.
    + r"|.*\.ipynb.*|.*\.code-workspace.*"
    # What Windows file systems call .git beside its name.
    + r"|git~\d+",
    re.DOTALL,
)


def is_protected(path: bytes) -> bool:
    """Whether a sandbox may not write this path, make it or remove it.

    Args:
        path: relative to the workspace, as the file system has it; empty for the workspace itself.
    """
    return any(name_is_protected(name) for name in path.split(b"/"))


def is_below(path: bytes, places: Iterable[bytes]) -> bool:
    """Whether a path is one of these places, or below one."""
    return any(path == place or path.startswith(place + b"/") for place in places)


def is_above(path: bytes, places: Iterable[bytes]) -> bool:
    """Whether one of these places is below a path, and would go with it."""
    return any(place.startswith(path + b"/") for place in places)


def name_is_protected(name: bytes) -> bool:
    """Whether one name of a path makes what it stands for protected."""
    plain = _plain(name)
    return plain in _WHOLE or _PATTERN.fullmatch(plain) is not None


def leads_out(target: bytes) -> bool:
    """Whether a link to ``target`` may lead out of its folder, wherever that is moved, or to
    something protected."""
    return target.startswith(b"/") or b".." in target.split(b"/") or is_protected(target)


def _plain(name: bytes) -> str:
    """Return what all names are alike that some file system takes for the same: letters of either
    case, with marks that nobody sees, with dots or blanks at the end."""
    text = name.decode("utf-8", "surrogateescape")
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).casefold()
        text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn"))
    return text.lower().rstrip(" .") or text
