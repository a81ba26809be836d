"""The ``familiar`` command: everything around the kernel that is done in a terminal.

Each subcommand imports what it needs when it runs, so that ``familiar --help`` answers at once.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ._version import __version__
from .subcommands import subcommand

# Help is shown as it stands here, so these lines fit a terminal of 80 columns.
_OVERVIEW = """\
familiar-kernel: a Jupyter kernel in which Claude lives beside your Python.

first steps:
  familiar demo       see it at work, without an account (with the extra [demo])
  familiar login      sign in to Claude
  jupyter lab         then choose "Python + Claude" in the launcher

with your code in a container that has no network:
  familiar sandbox build
                      make its image, once, with the packages you name;
                      then choose "Python + Claude (sandboxed)"

when something does not work:
  familiar doctor     one line per check, each with what to do about it
  familiar sandbox doctor
                      the same for the sandbox
"""

_INSTALL = """\
Make "Python + Claude" selectable in Jupyter, running on this Python:
  %(python)s

`pip install familiar-kernel` has done this already for a JupyterLab in the
same environment. Use this command when JupyterLab lives in another one, or for
a kernel with settings of its own.
"""

_INSTALL_EXAMPLES = """\
examples:
  for you, in every JupyterLab (the same as --user)
      familiar install
  for this environment only, behind a proxy
      familiar install --sys-prefix --env HTTPS_PROXY=http://proxy:3128
  a second kernel, with a model on this machine
      familiar install --name claude-local --display-name "Python + local" \\
          --env ANTHROPIC_BASE_URL=http://127.0.0.1:11434
  a second kernel, which needs no account and is not Claude
      familiar install --rehearsal
  undo
      jupyter kernelspec remove python-claude
"""

_DEMO = """\
Run a small notebook on the real kernel with the real Claude Code CLI, against
the rehearsal: a scripted stand-in for Claude, which needs no account and no
network. The conversation appears here; the executed notebook and an HTML page
of it are written.
"""

_DOCTOR = """\
Look at everything that the kernel needs and say what to do about what is
missing. Changes nothing, and shows no credentials. Ends with status 1 if
prompts cannot work as things are.
"""

_LOGIN = """\
Sign in to Claude with the Claude Code CLI that the kernel uses. Every kernel
that starts after it uses this sign-in. (In a notebook: %claude_auth.)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``familiar`` command and return its exit status.

    Args:
        argv: the arguments after the command's name, by default those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["rehearse"]:
        # Its options, --help included, are its own.
        from .rehearsal.command import main as rehearse

        return rehearse(arguments[1:])
    if arguments[:1] == ["sandbox"]:
        from .sandbox.command import main as sandbox

        return sandbox(arguments[1:])
    if arguments[:1] == ["proxy"]:
        from .proxy_cli import main as proxy

        return proxy(arguments[1:])
    if arguments[:1] == ["git-hooks"]:
        from .git_hooks import main as git_hooks

        return git_hooks(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        print("familiar: stopped", file=sys.stderr)
        return 130
    return status


class _Overview(argparse.RawDescriptionHelpFormatter):
    """Leaves the longest command on one line with its help; argparse forgets their indentation."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = len("    git-hooks")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="familiar", description=_OVERVIEW, formatter_class=_Overview
    )
    parser.add_argument("--version", action="version", version=f"familiar-kernel {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = functools.partial(subcommand, commands)
    demo = command("demo", "see it at work, without an account", _DEMO)
    demo.add_argument(
        "--output-dir",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="where the notebook and the page go (default: ./demo-output)",
    )
    demo.set_defaults(run=_demo)

    login = command("login", "sign in to Claude", _LOGIN)
    login.add_argument(
        "--console",
        action="store_true",
        help="with an Anthropic Console account (billed by use) instead of a Claude subscription",
    )
    login.set_defaults(run=_login)

    logout = command("logout", "sign out", "Sign out of Claude: the CLI forgets its credentials.")
    logout.set_defaults(run=_logout)

    doctor = command("doctor", "check the installation, and say what to do", _DOCTOR)
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    doctor.add_argument(
        "--deep",
        action="store_true",
        help="also start a kernel and ask it something, on the rehearsal (some seconds)",
    )
    doctor.set_defaults(run=_doctor)

    install = command(
        "install",
        "make the kernel selectable in other environments",
        _INSTALL % {"python": sys.executable},
        _INSTALL_EXAMPLES,
    )
    place = install.add_mutually_exclusive_group()
    place.add_argument(
        "--user", action="store_true", help="for you, in every environment (the default)"
    )
    place.add_argument(
        "--sys-prefix",
        action="store_const",
        dest="prefix",
        const=sys.prefix,
        default="",
        help="for this environment",
    )
    place.add_argument("--prefix", metavar="DIR", help="for the environment under DIR")
    install.add_argument("--name", default="", help="the kernel's name (default: python-claude)")
    install.add_argument(
        "--display-name",
        default="",
        metavar="TEXT",
        help='what the launcher shows (default: "Python + Claude")',
    )
    install.add_argument(
        "--env",
        action="append",
        default=[],
        type=_assignment,
        metavar="KEY=VALUE",
        help="a variable for the kernel's environment; may be given several times. The value is "
        "stored in the kernelspec, so this is no place for secrets",
    )
    install.add_argument(
        "--rehearsal",
        action="store_true",
        help="a kernel that talks to the rehearsal and not to Claude "
        "(default name: python-claude-rehearsal)",
    )
    install.add_argument(
        "--sandboxed",
        action="store_true",
        help="a kernel whose code runs in a container without a network; see familiar sandbox "
        "(default name: python-claude-sandboxed)",
    )
    install.set_defaults(run=_install)

    # Never parsed here: see main.
    commands.add_parser(
        "rehearse", help="run the rehearsal, a scripted stand-in for Claude", add_help=False
    )
    commands.add_parser(
        "sandbox", help="run notebooks in a container without network", add_help=False
    )
    commands.add_parser(
        "proxy", help="choose the proxy that a shell's traffic goes through", add_help=False
    )
    commands.add_parser("git-hooks", help="keep secrets from being pushed with git", add_help=False)
    return parser


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or "\0" in text:
        # The text itself is not repeated: it may be a secret that was pasted in the wrong form.
        raise argparse.ArgumentTypeError(
            "expected KEY=VALUE, for example HTTPS_PROXY=http://proxy:3128"
        )
    return name, value


def _install(options: argparse.Namespace) -> int:
    from . import kernelspec

    env = dict(options.env)
    name = kernelspec.SANDBOXED_NAME if options.sandboxed else kernelspec.NAME
    name = options.name or f"{name}{'-rehearsal' if options.rehearsal else ''}"
    spec = kernelspec.specification(
        display_name=options.display_name,
        env=env,
        rehearsal=options.rehearsal,
        sandboxed=options.sandboxed,
    )
    if options.name and not options.display_name:
        spec["display_name"] += f": {options.name}"  # or the launcher would show two alike
    try:
        where = kernelspec.install(name, spec, user=not options.prefix, prefix=options.prefix)
    except (ValueError, OSError) as err:
        return _refuse(str(err))
    print(f'Installed the kernel "{spec["display_name"]}" in {where}')
    print(f"It runs on {sys.executable}")
    if env:
        print(f"with these variables set: {', '.join(sorted(env))}")
    secret = sorted(key for key, value in env.items() if kernelspec.looks_secret(key, value))
    if secret:
        print(
            f"familiar: warning: {', '.join(secret)} may be a secret, and is now in plain text in "
            f"{where / 'kernel.json'}, where others may be able to read it.\n"
            "For a sign-in to Claude use `familiar login` instead, or set the variable where "
            "JupyterLab is started.",
            file=sys.stderr,
        )
    return 0


def _demo(options: argparse.Namespace) -> int:
    try:
        from .demo import run
    except ModuleNotFoundError as err:
        return _refuse(
            f"the demo needs {err.name}. Install it: pip install 'familiar-kernel[demo]'"
        )
    return run(options.output_dir)


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import run

    return run(as_json=options.json, deep=options.deep)


def _login(options: argparse.Namespace) -> int:
    return _become_claude("auth", "login", *(["--console"] if options.console else []))


def _logout(options: argparse.Namespace) -> int:
    return _become_claude("auth", "logout")


def _become_claude(*arguments: str) -> int:
    """Run the CLI in this process's place, so that it has the terminal to itself."""
    from .familiar.cli_path import locate_cli

    cli = locate_cli()
    if cli is None:
        return _refuse("the Claude Code CLI was not found. `familiar doctor` says what to do")
    if not cli.runs:
        return _refuse(f"{cli.path}, named by {cli.origin}, is not a program that can be run")
    return os.execv(cli.path, [str(cli.path), *arguments])


def _refuse(why: str) -> int:
    print(f"familiar: {why}", file=sys.stderr)
    return 1
