"""``%claude_auth``: signing in from the notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from familiar_kernel.familiar.auth import SignIn, SignInError
from familiar_kernel.familiar.cli_path import find_cli

from .showing import STATUS_TIMEOUT, show, usage_error
from .status import sign_in_text

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel


def auth(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_auth [login] [--console]``."""
    words = rest.split()
    if set(words) - {"login", "--console"}:
        raise usage_error(
            "%claude_auth takes login (sign in anew) and --console (an Anthropic Console account)"
        )
    familiar = kernel.familiar
    if familiar.rehearsal:
        show(kernel, *["This kernel runs a rehearsal, which needs no sign-in."] * 2)
        return
    state = familiar.question("auth", STATUS_TIMEOUT)
    if state.get("signed_in") and not words:
        text = f"Signed in: {sign_in_text(state, False)}. To sign in anew: %claude_auth login"
        show(kernel, text, text)
        return
    if not kernel._allow_stdin:
        raise usage_error(
            "this front end cannot ask for the code; run `familiar login` in a terminal "
            "on the kernel's machine"
        )
    cli = find_cli(familiar.cli_path)
    if not cli:
        raise usage_error("the Claude Code CLI was not found; run `familiar doctor` in a terminal")
    sign_in = SignIn(str(cli), console="--console" in words, env=dict(familiar.env))
    try:
        link = sign_in.link()
        show(
            kernel,
            f"Open this address, sign in, and copy the code that it shows:\n{link}",
            f"[Open this page, sign in]({link}), and copy the code that it shows.",
        )
        # Not echoed: until it is used, the code is as good as the sign-in itself.
        sign_in.submit(kernel.getpass("Code (empty if the page said that you are signed in): "))
    except SignInError as err:
        raise usage_error(str(err)) from None
    finally:
        sign_in.close()
    familiar.reconnect()
    show(kernel, "Signed in.", "**Signed in.**")
