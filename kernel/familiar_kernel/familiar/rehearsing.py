"""The rehearsal inside the host: serves it, and leads the CLI to it and nowhere else."""

from __future__ import annotations

import shutil
import tempfile

from . import errors
from .errors import TroubleError
from .options import LEAD_ELSEWHERE


class Rehearsing:
    """A rehearsal served by this process.

    Args:
        script: the script's path; empty for the built-in one.
        state_dir: the CLI's configuration directory, apart from the person's, so that a rehearsal
            neither uses a real sign-in nor leaves anything in it. The kernel names it where there
            is one: the session on disk must be found again by the next host.
    """

    def __init__(self, script: str, state_dir: str | None) -> None:
        self._script = script
        self._state_dir = state_dir
        self._own: str | None = None

    async def start(self) -> dict[str, str]:
        """Serve the rehearsal and return the environment that leads the CLI to it.

        Raises:
            TroubleError: the script is wrong, or it could not be served.
        """
        from familiar_kernel.rehearsal.script import built_in, load
        from familiar_kernel.rehearsal.server import Rehearsal
        from familiar_kernel.rehearsal.validation import ScriptError

        try:
            rehearsal = Rehearsal(load(self._script) if self._script else built_in())
            await rehearsal.start()
        except (ScriptError, OSError) as err:
            raise TroubleError(errors.NO_REHEARSAL.with_details(str(err))) from err
        self._rehearsal = rehearsal
        if not self._state_dir:
            self._state_dir = self._own = tempfile.mkdtemp(prefix="familiar-rehearsal-")
        return {
            **dict.fromkeys(LEAD_ELSEWHERE, ""),
            **rehearsal.environment,
            "CLAUDE_CONFIG_DIR": self._state_dir,
            "DISABLE_AUTOUPDATER": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def close(self) -> None:
        """Remove what was made for this rehearsal only."""
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)
