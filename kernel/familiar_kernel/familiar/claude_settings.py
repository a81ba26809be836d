"""Claude's own settings files, and what goes over them or is taken of them when its CLI starts.

Usually nothing is. Where another server answers, or the rehearsal does, the files must not lead
elsewhere. With a sandbox the CLI reads no such file at all, as they name hooks, servers and
instructions that act on the host: of the person's own one it gets what their sign-in needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .options import LEAD_ELSEWHERE, MODELS, Settings

SIGN_IN = (
    "apiKeyHelper",
    "awsAuthRefresh",
    "awsCredentialExport",
    "gcpAuthRefresh",
    "forceLoginMethod",
    "forceLoginOrgUUID",
    "env",
    "model",
    # Without it the CLI would clear away conversations that the person means to keep.
    "cleanupPeriodDays",
)
"""What a CLI in front of a sandbox gets of the person's settings: their sign-in, provider and
proxies. None of it acts for Claude."""
_LEADING = (
    *LEAD_ELSEWHERE,
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
)


def over_settings(wanted: Settings, rehearsal: bool, text: str | None = None) -> str | None:
    """Return settings that the CLI is to start with, over those of its files, as JSON, or None.

    Variables of the files go over the CLI's environment: they may name an endpoint, a key or a
    program that prints one, which must not lead to, or go to, another server.

    Args:
        wanted: what the kernel asks of its session.
        rehearsal: whether the rehearsal answers.
        text: what the person's own settings file holds, where there is one.
    """
    if wanted.endpoint or rehearsal:
        env = wanted.cli_env()
        ours = {name: env[name] for name in (*_LEADING, *MODELS) if name in env}
        chosen = {**dict.fromkeys(LEAD_ELSEWHERE, ""), **ours}
        return json.dumps({"apiKeyHelper": "", "env": chosen})
    kept = of_the_person(text) if wanted.sandboxed and text else {}
    return json.dumps(kept) if kept else None


def of_the_person(text: str) -> dict[str, Any]:
    """Return what a CLI in front of a sandbox gets of a settings file, given its text. What is no
    JSON object gives nothing: the CLI leaves such a file out, too."""
    try:
        settings = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(settings, dict):
        return {}
    return {name: settings[name] for name in SIGN_IN if name in settings}


def persons_file(variables: Mapping[str, str] = os.environ) -> str | None:
    """Return the text of the person's own settings file, or None where there is none to read."""
    folder = Path(variables.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")
    try:
        return (folder / "settings.json").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
