"""``familiar git-hooks``: puts the hook that keeps secrets from being pushed where git finds it.

The hook is one file without any need of this package (``deploy/git-hooks/pre-push``), so that it
runs wherever the repository is used. Another's hook is never overwritten: it stays, or is kept
beside ours and run after it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .resources import resource
from .subcommands import subcommand

HOOK = "pre-push"
KEPT = f"{HOOK}.chained"
"""Another's hook, beside ours, which runs it."""
_KNOWN_BY = b"# familiar-kernel: git-hooks pre-push"
_TEMPLATE = "init.templateDir"

_OVERVIEW = """\
A pre-push hook for git: it looks through every commit of a push (messages,
paths and added lines) for keys and tokens, private addresses, internal domains
and vault paths, and stops the push if it finds one. What you know to be
harmless goes into .git-hooks-allow, patterns of your own into
.git-hooks-patterns.
"""

_INSTALL = """\
Install the hook for the repository you are in, or with --template for those
that you make or clone from now on. A hook that is there already is left alone;
with --chain it is kept and runs after this one.
"""

_UNINSTALL = "Take the hook out again. A hook that was kept beside it is put back."

_STATUS = """\
Say whether the repository you are in has the hook, and whether new ones get it.
Ends with status 1 if a push from here is not looked through.
"""

_SCAN = """\
Look through commits now, as the hook does with a push: by default those that no
remote has yet. Ends with status 1 if something is found.
"""

_SCAN_EXAMPLES = """\
examples:
  familiar git-hooks scan                   what a push would send
  familiar git-hooks scan HEAD              all that led to where you are
  familiar git-hooks scan v1.0..main
"""


class HookFault(Exception):
    """Why a hook cannot be installed or removed: a sentence that says what to do."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="familiar git-hooks",
        description=_OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = functools.partial(subcommand, commands)
    install = command("install", "install the hook", _INSTALL)
    install.add_argument(
        "--template",
        action="store_true",
        help="for repositories made or cloned afterwards (git's init.templateDir)",
    )
    install.add_argument(
        "--chain", action="store_true", help="keep a hook that is there, and run it after this one"
    )
    install.set_defaults(run=_install)

    uninstall = command("uninstall", "take the hook out again", _UNINSTALL)
    uninstall.add_argument(
        "--template", action="store_true", help="from what new repositories are made of"
    )
    uninstall.set_defaults(run=_uninstall)

    command("status", "say where the hook is", _STATUS).set_defaults(run=_status)

    scan = command("scan", "look through commits now", _SCAN, _SCAN_EXAMPLES)
    scan.add_argument(
        "revisions", nargs="*", metavar="RANGE", help="commits, as git log takes them"
    )
    scan.set_defaults(run=_scan)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments after ``familiar git-hooks``; those of the process if None.

    Returns:
        the exit status: 0, or 1 where something is in the way or was found.
    """
    options = parser().parse_args(argv)
    try:
        status: int = options.run(options)
    except (HookFault, OSError) as fault:
        print(f"familiar: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("familiar: stopped", file=sys.stderr)
        return 130
    return status


# -- where hooks are -------------------------------------------------------------------------------


def _git(*arguments: str, at: Path | None = None) -> str:
    """Return what git prints; nothing where a setting that is asked for is not set.

    Raises:
        HookFault: git is not there, or fails.
    """
    command = ["git", *(("-C", str(at)) if at else ()), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as err:
        raise HookFault("git was not found; install it, for example: apt install git") from err
    if done.returncode and not (arguments[0] == "config" and done.returncode == 1):
        raise HookFault(os.fsdecode(done.stderr).strip() or f"git ended with {done.returncode}")
    return os.fsdecode(done.stdout).removesuffix("\n")


def hooks_folder() -> Path:
    """Return the folder in which git looks for the hooks of the repository we are in.

    Raises:
        HookFault: we are in none.
    """
    try:
        bare = _git("rev-parse", "--is-bare-repository") == "true"
        inside = _git("rev-parse", "--is-inside-work-tree") == "true"
    except HookFault as fault:
        if "not a git repository" not in str(fault):
            raise
        raise HookFault(
            "There is no git repository here; change into one, or use --template for those that "
            "you will make."
        ) from fault
    if not bare and not inside:
        raise HookFault("This is git's own folder; change into the working tree beside it.")
    # Hooks run at the top, and a relative core.hooksPath is relative to that.
    top = Path(_git("rev-parse", "--absolute-git-dir" if bare else "--show-toplevel"))
    return top / _git("rev-parse", "--git-path", "hooks", at=top)


def template_folder() -> Path | None:
    """Return the folder that git copies into new repositories, if one is set."""
    named = _git("config", "--type=path", "--get", _TEMPLATE)
    return Path(named) if named else None


def _own_template() -> Path:
    base = os.environ.get("XDG_DATA_HOME", "")
    data = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "share"
    return data / "familiar" / "git-template"


def _make_template(folder: Path) -> None:
    """Make a folder for new repositories, with what git's own has, whose place only git knows."""
    with tempfile.TemporaryDirectory(prefix="familiar-") as scratch:
        _git("-c", f"{_TEMPLATE}=", "init", "--quiet", "--bare", f"{scratch}/empty.git")
        bare = {path.name for path in Path(scratch, "empty.git").iterdir()}
        usual = Path(scratch, "usual.git")
        _git("init", "--quiet", "--bare", str(usual))
        folder.mkdir(parents=True, exist_ok=True)
        for path in usual.iterdir():
            if path.is_dir() and path.name not in bare:
                shutil.copytree(path, folder / path.name, dirs_exist_ok=True)
            elif path.is_file() and path.name not in bare:
                shutil.copy2(path, folder / path.name)


# -- a hook ----------------------------------------------------------------------------------------


def state(hook: Path) -> str:
    """Return what stands where a hook belongs: ``ours``, ``outdated``, ``another`` or ``none``."""
    if not os.path.lexists(hook):
        return "none"
    try:
        found = hook.read_bytes()
    except OSError:
        return "another"  # a link to nowhere, a folder, one that may not be read
    if _KNOWN_BY not in found:
        return "another"
    same = found == resource(f"deploy/git-hooks/{HOOK}").read_bytes()
    return "ours" if same and os.access(hook, os.X_OK) else "outdated"


def put(folder: Path, *, chain: bool) -> str:
    """Install the hook into a folder and return what was done.

    Args:
        folder: of hooks; made if it is not there.
        chain: keep another's hook and run it after ours.

    Raises:
        HookFault: another's hook is there.
    """
    hook, kept = folder / HOOK, folder / KEPT
    before = state(hook)
    if before == "another":
        if not chain:
            raise HookFault(
                f"{hook} is there already and not ours, so it was left alone. To keep it and run "
                "it after this one, add --chain. Or move it away and try again."
            )
        if os.path.lexists(kept):
            raise HookFault(
                f"{hook} is not ours, and {kept} is taken, too; make one of them out of both, or "
                "move one away, and try again."
            )
    folder.mkdir(parents=True, exist_ok=True)
    if before == "another":
        hook.rename(kept)
    # Whole or not at all: git may be pushing just now.
    descriptor, name = tempfile.mkstemp(prefix=f".{HOOK}-", dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(resource(f"deploy/git-hooks/{HOOK}").read_bytes())
            os.fchmod(file.fileno(), 0o755)
        os.replace(name, hook)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if before == "another":
            kept.rename(hook)
        raise
    told = {"none": "Installed", "another": "Installed", "ours": "Was there", "outdated": "Renewed"}
    more = f"; the hook that was there is kept as {KEPT} and runs after it"
    return f"{told[before]}: {hook}{more if before == 'another' else ''}"


def take(folder: Path) -> str:
    """Remove the hook from a folder and return what was done.

    Raises:
        HookFault: what is there is another's.
    """
    hook, kept = folder / HOOK, folder / KEPT
    found = state(hook)
    if found == "another":
        raise HookFault(f"{hook} is not ours, so it was left alone.")
    if found == "none":
        return f"There was none: {hook}"
    if os.path.lexists(kept):
        os.replace(kept, hook)
        return f"Removed; the hook that was there before is back: {hook}"
    hook.unlink()
    return f"Removed: {hook}"


# -- the commands ----------------------------------------------------------------------------------


def _install(options: argparse.Namespace) -> int:
    if options.template:
        return _install_template(chain=options.chain)
    folder = hooks_folder()
    print(put(folder, chain=options.chain))
    _tell_if_shared(folder)
    if not shutil.which("python3"):
        print(
            "familiar: warning: the hook needs python3 (3.9 or later) on the PATH, and there is "
            "none here; without it git refuses to push.",
            file=sys.stderr,
        )
    return 0


def _tell_if_shared(folder: Path) -> None:
    told = _git("config", "--show-origin", "--get", "core.hooksPath")
    if not told:
        return
    print(f"core.hooksPath, set in {told.split(chr(9))[0].removeprefix('file:')}, leads there.")
    with contextlib.suppress(HookFault, ValueError):
        inside = folder.resolve().relative_to(Path(_git("rev-parse", "--show-toplevel")).resolve())
        print(f"That is {inside} in the working tree: commit it, or ignore it.")


def _install_template(*, chain: bool) -> int:
    folder = template_folder()
    if folder is None:
        folder = _own_template()
        _make_template(folder)
        print(put(folder / "hooks", chain=chain))
        _git("config", "--global", _TEMPLATE, str(folder))
        print(f"Set {_TEMPLATE} to {folder} in git's global configuration.")
    else:
        print(put(folder / "hooks", chain=chain))
        print(f"{_TEMPLATE} was {folder} already.")
    print(
        "Repositories that you make or clone from now on have the hook. One that exists gets it by "
        "`git init` in it, if it has no pre-push hook, or by `familiar git-hooks install`."
    )
    shared = _git("config", "--global", "--get", "core.hooksPath")
    if shared:
        print(
            f"familiar: warning: core.hooksPath is {shared}, so git looks for hooks there and not "
            "in the repositories; install the hook with `familiar git-hooks install` in one.",
            file=sys.stderr,
        )
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    if not options.template:
        print(take(hooks_folder()))
        return 0
    folder = template_folder()
    if folder is None:
        print(f"{_TEMPLATE} is not set, so there is none.")
        return 0
    print(take(folder / "hooks"))
    if folder == _own_template():
        _git("config", "--global", "--unset", _TEMPLATE)
        shutil.rmtree(folder)
        print(f"Unset {_TEMPLATE}, and removed {folder}.")
    print("Repositories that have the hook keep it.")
    return 0


def _status(_options: argparse.Namespace) -> int:
    folder = hooks_folder()
    told = {
        "ours": "a push from here is looked through",
        "outdated": "another version of the hook; `familiar git-hooks install` renews it",
        "another": "another hook; `familiar git-hooks install --chain` keeps it and adds this one",
        "none": "no hook; `familiar git-hooks install` installs it",
    }
    here = state(folder / HOOK)
    print(f"{folder / HOOK}: {told[here]}")
    if here in ("ours", "outdated") and os.path.lexists(folder / KEPT):
        print(f"{folder / KEPT}: runs after it")
    template = template_folder()
    if template is not None and state(template / "hooks" / HOOK) in ("ours", "outdated"):
        print(f"{template}: new repositories get the hook")
    else:
        print("New repositories do not get it; `familiar git-hooks install --template` sees to it")
    return 0 if here in ("ours", "outdated") else 1


def _scan(options: argparse.Namespace) -> int:
    hook = resource(f"deploy/git-hooks/{HOOK}")
    command = [sys.executable, str(hook), "--scan", *options.revisions]
    return subprocess.run(command, check=False).returncode
