"""The application that runs one kernel: flags, configuration files, and the kernel class.

It is ipykernel's, with our kernel class and one rule more: a wrong value in a configuration file
costs that setting and not the kernel. What was dropped is logged, and the banner and
``%claude_status`` name it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from ipykernel.kernelapp import IPKernelApp, kernel_flags
from traitlets import Dict, HasTraits, TraitError, default
from traitlets.config import Config
from traitlets.config.loader import DeferredConfig

from .familiar.familiar import Familiar
from .kernel import FamiliarKernel
from .shell import FamiliarShell

flags = {
    **kernel_flags,
    "rehearsal": (
        {"Familiar": {"rehearsal": True}},
        "Talk to the embedded rehearsal, a scripted stand-in, not to Claude. Every answer says so.",
    ),
}


class FamiliarKernelApp(IPKernelApp):
    """Runs a :class:`FamiliarKernel`. Reads ``ipython_kernel_config.py``, as ipykernel does."""

    flags = Dict(flags)
    classes = [*IPKernelApp.classes, FamiliarKernel, FamiliarShell, Familiar]  # noqa: RUF012

    @default("kernel_class")
    def _default_kernel_class(self) -> type[FamiliarKernel]:
        return FamiliarKernel

    def init_kernel(self) -> None:
        """Make the kernel, from the settings that are right."""
        dropped = drop_wrong_values(self.config, list(self.classes))
        for fault in dropped:
            self.log.error(fault)
        super().init_kernel()
        self.kernel.configuration_faults = dropped


def drop_wrong_values(config: Config, classes: Sequence[Any]) -> list[str]:
    """Remove from a configuration what no trait would take, and return a sentence about each fault.

    Names that a class of ours does not know are faults as well.

    Args:
        config: changed in place.
        classes: whose sections to check, by class name.
    """
    faults: list[str] = []
    for cls in classes:
        section = config.get(cls.__name__)
        if not section:
            continue
        traits = cls.class_traits(config=True)
        # Some validators look at their object; this one exists without having been started.
        blank: HasTraits = cls.__new__(cls)
        for name, value in list(section.items()):
            trait = traits.get(name)
            if trait is None:
                # Of others' classes a section may hold what only a subclass knows.
                if cls.__module__.startswith("familiar_kernel"):
                    faults.append(_unknown(cls.__name__, name, traits))
                continue
            try:
                checked: Any = (
                    value.get_value(trait) if isinstance(value, DeferredConfig) else value
                )
                trait._validate(blank, checked)
            except (TraitError, ValueError, TypeError) as err:
                setting = f"{cls.__name__}.{name}"
                faults.append(f"The setting {setting} is not used, since its value is wrong: {err}")
                del section[name]
    return faults


def _unknown(section: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    hint = f"; did you mean {section}.{near[0]}?" if near else "."
    return f"The setting {section}.{name} is not known{hint}"
