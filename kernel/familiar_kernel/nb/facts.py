"""What ``nb`` says for JSON: the same for scripts and for other agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .actions import Result
    from .document import Cell
    from .kernels import Look
    from .running import Ran


def look_facts(look: Look) -> dict[str, Any]:
    """Return what is known of a kernel, for JSON."""
    return {
        "path": str(look.path),
        "kernel": look.kernel,
        "state": look.life,
        "pid": look.pid,
        "since": look.since,
        "memory": look.memory,
        "sandboxed": look.sandboxed,
        "container": look.container or None,
        "container_state": look.container_state or None,
    }


def cell_facts(cell: Cell) -> dict[str, Any]:
    """Return what ``nb cells`` says of a cell, for JSON."""
    return {
        "index": cell.index,
        "id": cell.id or None,
        "type": cell.kind,
        "execution_count": cell.count,
        "state": state_of(cell),
        "source": cell.source,
    }


def result_facts(result: Result) -> dict[str, Any]:
    """Return what came of a cell, for JSON."""
    cell = {"index": result.cell.index, "id": result.cell.id or None}
    return {**cell, **ran_facts(result.ran), "outputs": result.outputs}


def ran_facts(ran: Ran) -> dict[str, Any]:
    """Return what came of a request, for JSON."""
    facts: dict[str, Any] = {
        "state": ran.state,
        "execution_count": ran.count,
        "seconds": round(ran.seconds, 3),
    }
    if ran.error:
        facts["error"] = ran.error
    if ran.unreadable:
        facts["unreadable_messages"] = ran.unreadable
    return facts


def state_of(cell: Cell) -> str:
    """Return what a cell's outputs come to."""
    if cell.kind != "code":
        return ""
    kinds = [output.get("output_type") for output in cell.outputs if isinstance(output, dict)]
    if "error" in kinds:
        return "error"
    if kinds:
        return f"{len(kinds)} output" + ("s" if len(kinds) > 1 else "")
    return "ran" if cell.count is not None else "not run"
