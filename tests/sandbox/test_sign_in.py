"""Who signs in through Claude's settings file is signed in with a sandbox too; nothing else of that
file acts."""

from __future__ import annotations

import json
from pathlib import Path

from endpoint import running_endpoint
from familiar_kernel.familiar.claude_settings import SIGN_IN, of_the_person, persons_file
from sandbox import attacks
from sandbox.podman import Podman

SCRIPTS = Path(__file__).parents[1] / "scripts"


def test_a_helper_signs_in_and_a_hook_does_not_run(whose: Podman, place: Path) -> None:
    home = attacks.made(whose, place / "home")
    folder = attacks.made(whose, home / ".claude")
    hooked = attacks.made(whose, place / "hooked")
    hook = [{"hooks": [{"type": "command", "command": f"touch {hooked}/ran"}]}]
    with running_endpoint(SCRIPTS / "tools.yaml") as endpoint:
        settings = {
            "apiKeyHelper": "echo key-of-the-helper",
            "env": {"ANTHROPIC_BASE_URL": endpoint.url},
            "hooks": {"SessionStart": hook, "UserPromptSubmit": hook},
            "permissions": {"allow": ["Bash"]},
        }
        file = folder / "settings.json"
        file.write_text(json.dumps(settings))
        attacks.own(whose, file)
        with attacks.sandboxed(whose, place, home=home, arguments=()) as kernel:
            ran = kernel.run("%claude hello")
            assert ran.status == "ok", ran.error
            keys = {h.get("x-api-key") or h.get("authorization", "") for h in endpoint.headers}
            assert all("key-of-the-helper" in key for key in keys), keys
            assert "Bash" not in str(endpoint.last["tools"])
            assert "key-of-the-helper" not in str([p.cmdline() for p in kernel.family()])
    assert not list(hooked.iterdir())


def test_only_a_sign_in_is_taken_of_the_file(tmp_path: Path) -> None:
    everything = {**dict.fromkeys(SIGN_IN, "x"), "hooks": {}, "permissions": {}, "mcpServers": {}}
    assert set(of_the_person(json.dumps(everything))) == set(SIGN_IN)
    for text in ("", "{", "[1]", "null"):
        assert of_the_person(text) == {}
    variables = {"CLAUDE_CONFIG_DIR": str(tmp_path)}
    assert persons_file(variables) is None
    (tmp_path / "settings.json").write_bytes(b"\xff")
    assert persons_file(variables) is None
    (tmp_path / "settings.json").write_text("{}")
    assert persons_file(variables) == "{}"
