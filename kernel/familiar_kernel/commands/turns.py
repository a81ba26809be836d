"""``%claude_turns`` and its kin: turns in the background, and what they need of the person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from familiar_kernel.namespace.execution import CodeStopped
from familiar_kernel.outputs import CellOutputs
from familiar_kernel.permissions import Decision, Request

from .showing import markdown_table, plain_table, show, show_text, usage_error

if TYPE_CHECKING:
    from familiar_kernel.background import BackgroundTurn, BackgroundTurns, Waiting
    from familiar_kernel.kernel import FamiliarKernel

_WORDS = 50
"""Characters of a prompt that the list shows."""


def turns(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_turns [N]``."""
    background = _background(kernel)
    if rest:
        _show_turn(kernel, _turn(background, rest))
        return
    tasks = background.all()
    if not tasks:
        text = "No turn has run in the background; begin one with %claude --bg text"
        show(kernel, text, text.replace("%claude --bg text", "`%claude --bg text`"))
        return
    heading: tuple[str, ...] = ("Turn", "State", "Prompt")
    rows = [_row(background, task) for task in tasks]
    if any(task.cost_usd for task in tasks):
        heading = (*heading, "Cost")
        costs = [f"${task.cost_usd:.4f}" if task.cost_usd else "" for task in tasks]
        rows = [(*row, cost) for row, cost in zip(rows, costs, strict=True)]
    show(kernel, plain_table(heading, rows), markdown_table(heading, rows))


def _row(background: BackgroundTurns, task: BackgroundTurn) -> tuple[str, ...]:
    needs = [str(w.number) for w in background.waiting() if w.task is task]
    state = f"needs you: %claude_allow {' '.join(needs)}" if needs else task.state
    words = " ".join(task.prompt.split())
    words = words if len(words) <= _WORDS else words[: _WORDS - 1] + "…"
    return str(task.number), state, words


def _show_turn(kernel: FamiliarKernel, task: BackgroundTurn) -> None:
    answer = task.answer
    if answer is None:
        text = f"Turn {task.number} is {task.state}; its answer grows in the cell that asked."
        show(kernel, text, text)
        return
    data, metadata = answer._repr_mimebundle_()
    kernel.display(data, metadata)
    if task.error:
        show_text(kernel, task.error)


def stop(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_stop [N]``."""
    under_way = kernel.familiar.turns()
    if rest:
        wanted = [turn for turn in under_way if str(turn.prompt.number) == rest]
        if not wanted:
            _turn(_background(kernel), rest)  # a number that no turn has is another error
            raise usage_error(f"turn {rest} has ended already")
    else:
        wanted = under_way[:1]
    for turn in wanted:
        kernel.familiar.stop(turn)
    text = f"Turn {wanted[0].prompt.number} is stopped." if wanted else "No turn is under way."
    show(kernel, text, text)


def allow(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_allow [N [always]]``."""
    background = _background(kernel)
    number, _, always = rest.partition(" ")
    if not number:
        _show_waiting(kernel, background.waiting())
        return
    if always.strip() not in ("", "always"):
        raise usage_error(f"%claude_allow takes a number and always, not {always.strip()!r}")
    waiting = _request(background, number)
    if isinstance(waiting.what, Request):
        background.decide(waiting, Decision(True, "always" if always else "once"))
        text = f"{waiting.what.name} is allowed; turn {waiting.task.number} goes on."
    else:
        if not kernel._allow_stdin:
            raise usage_error("this front end cannot ask you; answer in JupyterLab")
        try:
            background.answer(waiting, CellOutputs(kernel))
        except CodeStopped:
            raise KeyboardInterrupt from None
        text = f"Turn {waiting.task.number} goes on."
    show(kernel, text, text)


def deny(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_deny N [WHY]``."""
    background = _background(kernel)
    number, _, why = rest.partition(" ")
    if not number:
        raise usage_error("%claude_deny takes the number of a request; %claude_allow lists them")
    waiting = _request(background, number)
    if isinstance(waiting.what, Request):
        background.decide(waiting, Decision(False, "no", why.strip()))
    else:
        background.decline(waiting, why.strip())
    text = f"Claude is told no; turn {waiting.task.number} goes on."
    show(kernel, text, text)


def _show_waiting(kernel: FamiliarKernel, waiting: list[Waiting]) -> None:
    if not waiting:
        text = "Nothing waits for you."
        show(kernel, text, text)
    for one in waiting:
        bundle = one.what.bundle()
        place = f"Request {one.number}, of turn {one.task.number}"
        show(
            kernel,
            f"{place}:\n\n{bundle['text/plain']}",
            f"**{place}**\n\n{bundle['text/markdown']}",
        )


def _background(kernel: FamiliarKernel) -> BackgroundTurns:
    return kernel.shell.familiar.background


def _turn(background: BackgroundTurns, number: str) -> BackgroundTurn:
    for task in reversed(background.all()):
        if str(task.number) == number:
            return task
    raise usage_error(f"there is no turn {number} in the background; %claude_turns lists them")


def _request(background: BackgroundTurns, number: str) -> Waiting:
    for waiting in background.waiting():
        if str(waiting.number) == number:
            return waiting
    raise usage_error(f"there is no request {number} that waits; %claude_allow lists them")


# -- completion --


def numbers(kernel: FamiliarKernel) -> list[str]:
    """Return the numbers of the background turns."""
    return [str(task.number) for task in _background(kernel).all()]


def running(kernel: FamiliarKernel) -> list[str]:
    """Return the numbers of the turns under way."""
    return [str(turn.prompt.number) for turn in kernel.familiar.turns()]


def requests(kernel: FamiliarKernel) -> list[str]:
    """Return the numbers of the requests that wait."""
    return [str(waiting.number) for waiting in _background(kernel).waiting()]
