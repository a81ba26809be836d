"""``nb`` with the notebook's code in a container."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from endpoint import Endpoint
from familiar_kernel.nb.actions import container_name
from nb.conftest import Nb, written
from nb.test_cli import until
from sandbox.podman import Podman

pytestmark = pytest.mark.kernel


@pytest.fixture
def boxed(nb: Nb, podman: Podman, sandbox_image: str) -> Nb:
    nb.variables |= {**podman.variables, "FAMILIAR_SANDBOX_IMAGE": sandbox_image}
    return nb


def test_a_sandboxed_session(boxed: Nb, podman: Podman) -> None:
    boxed.folder.chmod(0o755)
    (boxed.folder / "data.csv").write_text("a,b\n1,2\n")
    (boxed.folder / "data.csv").chmod(0o644)
    code = (
        "print(open('data.csv').read())",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "open('new', 'w')",
    )
    path = written(boxed.folder / "a.ipynb", *code)
    opened = boxed.json("open", "a.ipynb", "--sandboxed")
    assert opened["sandboxed"]
    assert opened["container"].startswith(container_name("work") + "-")
    assert opened["container_state"] == "running"
    state = json.loads((boxed.folder / ".nb/a.ipynb/state.json").read_text())
    assert state["sandboxed"]
    assert state["container_name"] == opened["container"]
    assert Path(state["ipc_dir"]).is_dir()
    assert [c["state"] for c in boxed.json("exec", "--all")] == ["ok", "error", "error"]
    outputs = [cell.outputs[0] for cell in nbformat.read(path, 4).cells]
    assert outputs[0].text == "a,b\n1,2\n\n"
    assert "Read-only" in outputs[2].evalue
    row = boxed.ok("status").splitlines()[1]
    assert f"{opened['container']} (running)" in row
    # The container goes: the kernel has another one, and says what became of the cell.
    podman.run("rm", "--force", "--time=0", opened["container"], check=False)
    assert boxed.ok("run", "1 + 1") == "2\n"
    fresh = boxed.json("status")[0]["container"]
    assert fresh not in ("", opened["container"])
    boxed.ok("shutdown")
    assert until(lambda: not podman.exists("container", fresh))


@pytest.mark.cli
def test_the_familiar_of_a_sandbox_is_asked(boxed: Nb, endpoint: Endpoint) -> None:
    boxed.variables |= endpoint.environment
    boxed.folder.chmod(0o755)
    written(boxed.folder / "a.ipynb", "shelf = ['Dune']")
    boxed.ok("open", "a.ipynb", "--sandboxed")
    boxed.ok("exec", "0")
    told = boxed.ok("ask", "list", "shelf")
    assert "Dune" in told
    boxed.ok("run", "%claude_permissions bypass")
    told = boxed.ok("ask", "run", "shelf.append(1)")
    assert "failed" not in told, told
    assert boxed.ok("run", "len(shelf)") == "2\n"


def test_workspace_mode_is_for_a_sandbox(boxed: Nb) -> None:
    boxed.folder.chmod(0o777)
    written(boxed.folder / "a.ipynb", "open('new', 'w').write('kept')")
    done = boxed("open", "a.ipynb", "--kernel", "python3", "--workspace-mode", "rw")
    assert (done.returncode, "add --sandboxed" in done.stderr) == (2, True)
    boxed.ok("open", "a.ipynb", "--sandboxed", "--workspace-mode", "rw")
    boxed.ok("exec", "0")
    assert (boxed.folder / "new").read_text() == "kept"


@pytest.mark.parametrize(
    ("folder", "name"),
    [("work", "nb-work"), ("Über uns (2)", "nb-ber-uns--2"), ("…", "nb-notebook"),
     ("x" * 99, "nb-" + "x" * 40)],
)  # fmt: skip
def test_containers_have_valid_names(folder: str, name: str) -> None:
    assert container_name(folder) == name
