"""Who may import what: the floor plan's rules, read from the source, and their point, measured."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import familiar_kernel

PACKAGE = Path(familiar_kernel.__file__).parent
ROOT = "familiar_kernel"
SDK = "claude_agent_sdk"

MAY_IMPORT_SDK = {
    f"{ROOT}.familiar.{name}"
    for name in ("host", "session", "sessions", "options", "turn", "tools", "permissions")
}
KERNEL_NEEDS = {
    "ipykernel", "IPython", "jupyter_client", "jupyter_core", "zmq", "traitlets", "tornado", "comm",
}  # fmt: skip
"""Besides the standard library, all that the kernel's own process may load."""
ONLY_SANDBOXED = {"nh3"}
"""What is loaded where HTML comes out of a sandbox."""
THE_PERSONS_OWN = {"PIL", "cairosvg", "matplotlib"}
"""What is imported to look at the person's data, where they have it, and done without elsewhere."""
NOT_IN_THE_KERNEL = {
    SDK,
    "mcp",
    "pydantic",
    "starlette",
    "uvicorn",
    "yaml",
    "nbclient",
    "nbconvert",
    "nh3",
}


def modules() -> dict[str, Path]:
    """Return all modules of the package: dotted name -> file."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = [ROOT, *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(source: str, name: str, *, package: bool = False, typing: bool = True) -> set[str]:
    """Return the dotted names that a module's source imports, wherever in it, relative ones
    resolved.

    ``from a import b`` gives both ``a`` and ``a.b``, since b may be a module.

    Args:
        source: Python.
        name: the module's own dotted name.
        package: whether it is a package's ``__init__``.
        typing: whether to count what is imported only for type checkers.
    """
    found: set[str] = set()
    for node in _nodes(ast.parse(source), typing=typing):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".")
                up = node.level - 1 if package else node.level
                parents = parents[: len(parents) - up]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def _nodes(tree: ast.AST, *, typing: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not typing and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from (other, *_nodes(other, typing=typing))
            continue
        yield node
        yield from _nodes(node, typing=typing)


def imports_of(name: str, *, typing: bool = True) -> set[str]:
    path = MODULES[name]
    return imports(
        path.read_text(encoding="utf-8"), name, package=path.stem == "__init__", typing=typing
    )


def within(package: str) -> list[str]:
    return sorted(name for name in MODULES if name == package or name.startswith(f"{package}."))


def breaches(importers: list[str], forbidden: set[str]) -> dict[str, set[str]]:
    """Return which of the importers import one of the forbidden packages, and what of it."""
    found = {}
    for importer in importers:
        wrong = {
            name
            for name in imports_of(importer)
            if any(name == root or name.startswith(f"{root}.") for root in forbidden)
        }
        if wrong:
            found[importer] = wrong
    return found


def reachable(*starts: str) -> set[str]:
    """Return our modules that these modules import, directly or through others, and themselves."""
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in MODULES:
            continue
        seen.add(name)
        waiting.extend(imports_of(name, typing=False))
        waiting.append(name.rpartition(".")[0])
    return seen


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import claude_agent_sdk.types as t", False, {"claude_agent_sdk.types"}),
        ("def f():\n    from yaml import load", False, {"yaml", "yaml.load"}),
        ("from . import b", False, {"r.p", "r.p.b"}),
        ("from .b import c", True, {"r.p.m.b", "r.p.m.b.c"}),
        ("from ..q import b", False, {"r.q", "r.q.b"}),
        ("if TYPE_CHECKING:\n    import yaml\nelse:\n    import json", False, {"json"}),
    ],
)
def test_the_reader_of_imports(source: str, package: bool, expected: set[str]) -> None:
    assert imports(source, "r.p.m", package=package, typing=False) == expected


def test_the_familiar_knows_no_ipykernel() -> None:
    importers = within(f"{ROOT}.familiar")
    assert f"{ROOT}.familiar.protocol" in importers
    assert breaches(importers, {"ipykernel", "IPython"}) == {}


def test_answers_know_no_sdk() -> None:
    importers = within(f"{ROOT}.answer")
    assert importers
    assert breaches(importers, {SDK}) == {}


def test_the_grammar_imports_nothing_of_ours() -> None:
    assert breaches([f"{ROOT}.cells"], {ROOT}) == {}


def test_the_rehearsal_knows_neither_familiar_nor_answers() -> None:
    importers = within(f"{ROOT}.rehearsal")
    assert importers
    assert breaches(importers, {f"{ROOT}.familiar", f"{ROOT}.answer"}) == {}


def test_only_the_host_imports_the_sdk() -> None:
    importers = breaches(sorted(MODULES), {SDK})
    assert set(importers) <= MAY_IMPORT_SDK
    assert f"{ROOT}.familiar.session" in importers


def test_the_kernels_process_imports_only_what_a_kernel_needs() -> None:
    kernel = reachable(f"{ROOT}.__main__")
    assert {f"{ROOT}.kernel", f"{ROOT}.shell", f"{ROOT}.familiar.link"} <= kernel
    allowed = KERNEL_NEEDS | ONLY_SANDBOXED | THE_PERSONS_OWN | {ROOT}
    allowed |= set(sys.stdlib_module_names)
    wrong = {
        name: others
        for name in kernel
        if (others := {i.partition(".")[0] for i in imports_of(name, typing=False)} - allowed)
    }
    assert wrong == {}


def test_the_sandbox_knows_no_familiar() -> None:
    importers = within(f"{ROOT}.sandbox")
    assert f"{ROOT}.sandbox.spec" in importers
    kernels = {f"{ROOT}.{name}" for name in ("familiar", "outer", "kernel", "prompts")}
    but_the_doctor = [name for name in importers if not name.endswith(("doctor", "command"))]
    assert breaches(but_the_doctor, kernels) == {}
    assert breaches([f"{ROOT}.sandbox.spec", f"{ROOT}.sandbox.seccomp"], {ROOT, "os", "sys"}) == {}


def test_what_is_sent_into_a_sandbox_needs_nothing_else_there() -> None:
    loaded = loaded_by(
        "from familiar_kernel.inner import sources\n"
        "sent, program = sources.modules(), sources.boot_source()\n"
        "for name in [name for name in sys.modules if name.startswith('familiar_kernel')]:\n"
        "    del sys.modules[name]\n"
        "space = {'__name__': 'boot'}\n"
        "exec(program, space)\n"
        "class OnlySent(space['Sent']):\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.startswith('familiar_kernel') and name not in self.modules:\n"
        "            raise ImportError(name)\n"
        "        return super().find_spec(name, *rest)\n"
        "sys.meta_path.insert(0, OnlySent(sent))\n"
        "for name in sent:\n"
        "    __import__(name)\n"
    )
    assert "ipykernel" in loaded
    assert loaded & (NOT_IN_THE_KERNEL | {"psutil"}) == set()


def loaded_by(statement: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_the_kernel_leaves_the_sdk_unloaded() -> None:
    loaded = loaded_by("import familiar_kernel.app, familiar_kernel.kernel")
    assert "ipykernel" in loaded
    assert loaded & NOT_IN_THE_KERNEL == set()


def test_the_host_leaves_ipykernel_unloaded() -> None:
    loaded = loaded_by("import familiar_kernel.familiar.host")
    assert SDK in loaded
    assert loaded & {"ipykernel", "IPython"} == set()


def test_the_host_compiles_no_grammar() -> None:
    # `rfc3987_syntax` is in every environment with JupyterLab, and takes a second with `lark`.
    assert "lark" in loaded_by("import jsonschema")
    loaded = loaded_by(
        "import runpy\nsys.argv = ['host', '-1']\n"
        "try: runpy.run_module('familiar_kernel.familiar', run_name='__main__')\n"
        "except (OSError, ValueError): pass"
    )
    assert SDK in loaded
    assert "lark" not in loaded


def test_the_command_and_the_package_load_nothing_heavy() -> None:
    loaded = loaded_by(
        "import familiar_kernel.cli\n"
        "from familiar_kernel.familiar.cli_path import find_cli\nfind_cli()\n"
        "try: familiar_kernel.cli.main(['--help'])\nexcept SystemExit: pass"
    )
    assert loaded & (NOT_IN_THE_KERNEL | KERNEL_NEEDS) == set()
