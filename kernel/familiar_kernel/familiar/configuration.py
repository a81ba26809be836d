"""What a person or an admin may choose about a familiar, in ``ipython_kernel_config.py``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir
from traitlets import Bool, Dict, Enum, Float, Integer, Unicode, default
from traitlets.config import Configurable

from familiar_kernel.ways import EFFORTS


class Chosen(Configurable):
    """The traits of a :class:`~.familiar.Familiar`, and what its host is told of them."""

    model = Unicode(
        "", help="Claude's model, by name or alias; empty means the CLI's own default."
    ).tag(config=True)
    effort = Enum(
        ("", *EFFORTS),
        "",
        help="How much effort Claude puts into answers; empty means its default.",
    ).tag(config=True)
    thinking = Bool(True, help="Whether Claude thinks before it answers, and shows it.").tag(
        config=True
    )
    context = Enum(
        ("full", "errors", "off"),
        "full",
        help="What a prompt carries by itself of what happened in the notebook since the last one:"
        " cells, outputs and changed variables; errors only; nothing.",
    ).tag(config=True)
    context_tokens = Integer(
        4000, min=0, help="About how many tokens of that a prompt carries at most."
    ).tag(config=True)
    max_budget_usd = Float(
        0.0,
        min=0.0,
        help="US dollars that this kernel's familiar may spend in all, as %claude_budget sets it;"
        " 0: no limit.",
    ).tag(config=True)
    endpoint = Unicode(
        "",
        help="Another server that speaks the Messages API, such as http://localhost:11434, as"
        " %claude_endpoint sets it; empty: Anthropic's, or what ANTHROPIC_BASE_URL names.",
    ).tag(config=True)
    endpoint_key_env = Unicode(
        "",
        help="The environment variable that holds the key for that server; empty: it needs none,"
        " and gets none. Your sign-in to Claude is never sent there.",
    ).tag(config=True)
    max_prompt_bytes = Integer(
        600_000,
        min=1,
        help="Bytes (UTF-8) of the longest prompt that is sent; a longer one is refused.",
    ).tag(config=True)
    start_timeout = Float(
        90.0, min=1.0, help="Seconds that the CLI has to start before a turn fails."
    ).tag(config=True)
    hibernate_after = Float(
        1800.0,
        min=0.0,
        help="Seconds without a prompt after which the host is let go, to free memory; 0: never.",
    ).tag(config=True)
    start_at_boot = Bool(
        True,
        help="Start the session when the kernel boots, not with the first prompt.",
    ).tag(config=True)
    cli_path = Unicode(
        "", help="The Claude Code CLI; empty means the one that claude-agent-sdk brings."
    ).tag(config=True)
    host_python = Unicode(
        "",
        help="Interpreter that runs the host, if it lives in another environment than the kernel.",
    ).tag(config=True)
    env = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="Environment variables for the CLI, over the kernel's own.",
    ).tag(config=True)
    rehearsal = Bool(
        help="Talk to the embedded rehearsal, a script, and not to Claude; every answer says so."
    ).tag(config=True)
    rehearsal_script = Unicode(
        help="The rehearsal's script (YAML); empty means the built-in one."
    ).tag(config=True)

    @default("rehearsal")
    def _rehearsal_from_environment(self) -> bool:
        return os.environ.get("FAMILIAR_REHEARSAL", "").lower() in ("1", "true", "yes", "on")

    @default("rehearsal_script")
    def _script_from_environment(self) -> str:
        return os.environ.get("FAMILIAR_REHEARSAL_SCRIPT", "")

    sandboxed = False
    """Whether the code runs in a sandbox: then Claude has no tools outside it."""
    permission_mode = "default"
    """What the CLI may do without asking, in its own terms."""

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "model",
                "effort",
                "thinking",
                "permission_mode",
                "sandboxed",
                "endpoint",
                "start_timeout",
                "cli_path",
                "env",
            )
        }
        settings["endpoint_key"] = os.environ.get(self.endpoint_key_env, "")
        if self.rehearsal:
            state = Path(jupyter_data_dir()) / "familiar-rehearsal"
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            settings |= {
                "rehearsal": True,
                "rehearsal_script": self.rehearsal_script,
                "state_dir": str(state),
            }
        return settings
