"""``%claude_notify``: how the person is told that they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from familiar_kernel import notebook_place

from .showing import show, table, usage_error

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel


def notify(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_notify [test]``."""
    notifications = kernel.notifications
    if rest not in ("", "test"):
        raise usage_error(f"%claude_notify takes test, or nothing, not {rest!r}")
    if not rest:
        plain, markdown = table(notifications.describe(), ("Notifications", ""))
        if url := notebook_place.link():
            plain += f"\n\nA notice leads to {url}"
            markdown += f"\n\n[Where a notice leads](<{url}>)"
        show(kernel, plain, markdown)
        return
    outcomes = notifications.test()
    if not outcomes:
        raise usage_error(
            "no notifier is configured; docs/how-to.md shows how, for example "
            "c.Notifications.urls_file in ipython_kernel_config.py"
        )
    rows = [(o.name, "sent" if o.ok else f"failed: {o.error}") for o in outcomes]
    show(kernel, *table(rows, ("Notifier", "")))
