"""The kernelspec: what it says, that Jupyter finds it, and that the wheel alone is enough."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import sysconfig
import tempfile
import venv
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpecManager

from familiar_kernel import kernelspec
from familiar_kernel.resources import resource

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "kernelspecs" / "python-claude"


def listed(*arguments: str, **variables: str) -> dict[str, Path]:
    """Return the kernels that `jupyter kernelspec list` shows, with their folders."""
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_client.kernelspecapp", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    if "--json" not in arguments:
        return {}
    specs = json.loads(done.stdout)["kernelspecs"]
    return {name: Path(entry["resource_dir"]) for name, entry in specs.items()}


def test_kernel_json() -> None:
    spec = json.loads((SOURCE / "kernel.json").read_text())
    assert spec["argv"] == ["python", "-P", "-m", "familiar_kernel", "-f", "{connection_file}"]
    assert spec["display_name"] == "Python + Claude"
    assert spec["language"] == "python"
    assert spec["interrupt_mode"] == "message"


def test_what_ipykernel_declares_we_declare() -> None:
    ours, theirs = json.loads((SOURCE / "kernel.json").read_text()), get_kernel_dict()
    assert ours["metadata"] == theirs["metadata"]
    assert ours["kernel_protocol_version"] == theirs["kernel_protocol_version"]


@pytest.mark.parametrize("size", [32, 64])
def test_logo_has_its_size_and_is_transparent(size: int) -> None:
    header = (SOURCE / f"logo-{size}x{size}.png").read_bytes()[:26]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, _depth, colour = struct.unpack(">IIBB", header[16:26])
    assert (width, height) == (size, size)
    assert colour == 6, "RGB with an alpha channel"


def test_svg_logo_is_well_formed_and_self_contained() -> None:
    root = ET.parse(SOURCE / "logo-svg.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not any(name.endswith("href") for name in attributes)


def test_a_specification_names_this_interpreter() -> None:
    spec = kernelspec.specification()
    assert spec["argv"] == [
        sys.executable,
        "-P",
        "-m",
        "familiar_kernel",
        "-f",
        "{connection_file}",
    ]
    assert "env" not in spec


def test_a_specification_of_the_rehearsal_says_so() -> None:
    spec = kernelspec.specification(rehearsal=True, env={"A": "1"})
    assert spec["display_name"] == "Python + Claude (rehearsal)"
    assert spec["env"] == {"A": "1", "FAMILIAR_REHEARSAL": "1"}


def test_installing_twice_leaves_the_second(tmp_path: Path) -> None:
    for text in ("First", "Second"):
        where = kernelspec.install(
            "Mine", kernelspec.specification(display_name=text), prefix=str(tmp_path)
        )
    assert where == tmp_path / "share/jupyter/kernels/mine"
    found = KernelSpecManager(kernel_dirs=[str(where.parent)]).get_kernel_spec("mine")
    assert found.display_name == "Second"
    assert {path.name for path in where.iterdir()} == {path.name for path in SOURCE.iterdir()}


def test_a_name_that_jupyter_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Invalid kernel name"):
        kernelspec.install("two words", kernelspec.specification(), prefix=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_kernel_is_the_only_one_and_goes() -> None:
    with kernelspec.temporary(kernelspec.specification()) as kernels:
        (directory,) = kernels.find_kernel_specs().values()
        assert list(kernels.find_kernel_specs()) == [kernelspec.NAME]
    assert not Path(directory).exists()


def test_a_resource_that_is_missing_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="lacks no/such/file"):
        resource("no/such/file")


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("ANTHROPIC_API_KEY", "x", True),
        ("github_token", "x", True),
        ("HTTPS_PROXY", "http://me:pw@proxy:3128", True),
        ("HTTPS_PROXY", "http://proxy:3128", False),
        ("FAMILIAR_REHEARSAL", "1", False),
    ],
)
def test_what_looks_like_a_secret(name: str, value: str, secret: bool) -> None:
    assert kernelspec.looks_secret(name, value) is secret


def test_jupyter_installs_it_from_the_repository(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    listed("install", str(SOURCE), "--user", JUPYTER_DATA_DIR=data)
    found = listed("list", "--json", JUPYTER_DATA_DIR=data, JUPYTER_PREFER_ENV_PATH="0")
    assert found["python-claude"] == Path(data, "kernels", "python-claude")


@pytest.fixture(scope="module")
def fresh_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds our wheel, and borrows its dependencies from this one."""
    wheels = tmp_path_factory.mktemp("wheels")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels))
    (wheel,) = wheels.glob("*.whl")
    where = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(where, with_pip=False, symlinks=True)
    (site_packages,) = where.glob("lib/python*/site-packages")
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    python = str(where / "bin" / "python")
    install = ("install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel))
    _run(sys.executable, "-m", "pip", "--python", python, *install)
    return where


def _run(*command: str, **variables: str) -> str:
    """Run a command apart from what this process's environment says about Python and Jupyter."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JUPYTER"))}
    with tempfile.TemporaryDirectory() as data:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**env, "JUPYTER_DATA_DIR": data, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_alone_makes_it_selectable(fresh_environment: Path) -> None:
    python = str(fresh_environment / "bin" / "python")
    told = _run(python, "-m", "jupyter_client.kernelspecapp", "list", "--json")
    entry = json.loads(told)["kernelspecs"]["python-claude"]
    assert Path(entry["resource_dir"]) == fresh_environment / "share/jupyter/kernels/python-claude"
    assert entry["spec"]["display_name"] == "Python + Claude"


@pytest.mark.slow
def test_the_wheel_brings_the_command_and_its_files(
    fresh_environment: Path, tmp_path: Path
) -> None:
    familiar = str(fresh_environment / "bin" / "familiar")
    assert "install" in _run(familiar, "--help")
    told = _run(familiar, "install", "--prefix", str(tmp_path), "--name", "mine")
    assert str(fresh_environment / "bin" / "python") in told
    assert (tmp_path / "share/jupyter/kernels/mine/logo-svg.svg").exists()
    shared = next(fresh_environment.glob("lib/python*/site-packages/familiar_kernel/shared"))
    assert (shared / "examples" / "first_conversation.ipynb").exists()


@pytest.mark.slow
@pytest.mark.kernel
def test_the_kernel_of_the_wheel_runs_code(fresh_environment: Path) -> None:
    code = (
        "from jupyter_client.manager import run_kernel\n"
        "with run_kernel(kernel_name='python-claude') as client:\n"
        "    client.execute_interactive('import familiar_kernel as f; print(f.__file__)')\n"
    )
    python = str(fresh_environment / "bin" / "python")
    told = _run(python, "-c", code, FAMILIAR_REHEARSAL="1")
    assert told.strip().startswith(str(fresh_environment))
