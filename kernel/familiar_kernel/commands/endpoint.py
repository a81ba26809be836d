"""``%claude_endpoint``: another server that speaks the Messages API answers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .showing import STATUS_TIMEOUT, show, table, usage_error

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel

KEY_OPTION = "--key-env"


def endpoint(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_endpoint [URL [--key-env NAME]|default]``."""
    familiar = kernel.familiar
    if rest and familiar.rehearsal:
        raise usage_error("this kernel runs a rehearsal; start it without --rehearsal for another")
    if rest == "default":
        familiar.configure(endpoint="", endpoint_key_env="")
    elif rest:
        url, key_env = _read(rest.split())
        familiar.configure(endpoint=url, endpoint_key_env=key_env)
    show(kernel, *table(_rows(kernel), ("Endpoint", "")))


def _read(words: list[str]) -> tuple[str, str]:
    """Return the URL and the name of the key's variable.

    Raises:
        UsageError: one of them is wrong.
    """
    url, key_env = words[0].rstrip("/"), ""
    if len(words) == 3 and words[1] == KEY_OPTION:
        key_env = words[2]
    elif len(words) > 1:
        raise usage_error(f"%claude_endpoint takes a URL and {KEY_OPTION} NAME, not {words[1]}")
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise usage_error("that is no address; write it as http://localhost:11434")
    if parts.username or parts.query or parts.fragment:
        raise usage_error(f"a key in the address would stay in the notebook; use {KEY_OPTION} NAME")
    if url.endswith("/v1"):
        raise usage_error(f"leave /v1 away: the CLI adds it; write {url.removesuffix('/v1')}")
    if key_env and not os.environ.get(key_env):
        raise usage_error(f"the variable {key_env} is not set in the kernel's environment")
    return url, key_env


def _usual(kernel: FamiliarKernel) -> str:
    told = kernel.familiar.question("status", STATUS_TIMEOUT)
    return str(told.get("endpoint") or "not known: the host does not answer")


def _rows(kernel: FamiliarKernel) -> list[tuple[str, str]]:
    """Return what is known of the endpoint, and what it is not known to have."""
    familiar = kernel.familiar
    own = familiar.endpoint
    answers = [f for f in familiar.finished if f.endpoint == own and f.outcome == "complete"]
    rows = [
        ("Address", own or ("the rehearsal" if familiar.rehearsal else _usual(kernel))),
        ("Model", familiar.model or (answers[-1].model if answers else "") or "the default"),
    ]
    if not own:
        return rows
    key = familiar.endpoint_key_env
    rows.append(("Key", f"from {key}" if key else "none; your sign-in is not sent there"))
    if not familiar.model:
        rows.append(("To do", "choose one of the server's models with %claude_model NAME"))
    if answers:
        thought = any(f.thought for f in answers)
        rows += [
            ("Thinking", "shown" if thought else "none came, though it was asked for"),
            ("Cost", "not known for this model" if answers[-1].cost_usd is None else "known"),
        ]
    else:
        rows.append(("Thinking, cost", "not known before the first answer"))
    return rows
