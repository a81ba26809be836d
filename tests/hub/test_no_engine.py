"""Without an Engine no lab starts, and who wants one is told so in a sentence."""

from __future__ import annotations

from pathlib import Path

from hub.core_hub import running_hub


def test_an_engine_that_does_not_answer(tmp_path: Path) -> None:
    more = (
        "import os\n"
        f"os.environ['DOCKER_HOST'] = 'unix://{tmp_path}/nowhere'\n"
        "c.JupyterHub.spawner_class = 'familiar_hub.spawner.LabSpawner'\n"
    )
    with running_hub(tmp_path, more=more) as hub:
        ada = hub.person("ada")
        answer = ada.get("spawn")
        assert answer.status == 503
        assert "The Docker Engine does not answer; try again soon" in answer.text
        # Nothing of it is left that would be in the way later.
        assert ada.get("home").status == 200
