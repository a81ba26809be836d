"""The application that runs one kernel: flags, configuration files, and the kernel class.

It is ipykernel's, with our kernel class and one rule more: a wrong value in a configuration file
costs that setting and not the kernel. What was dropped is logged, and the banner and
``%claude_status`` name it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ipykernel.kernelapp import IPKernelApp, kernel_flags
from traitlets import Bool, Dict, HasTraits, TraitError, default
from traitlets.config import Config
from traitlets.config.loader import DeferredConfig

from .familiar.familiar import Familiar
from .kernel import FamiliarKernel
from .notifications import Notifications
from .permissions import Permissions
from .shell import FamiliarShell

flags = {
    **kernel_flags,
    "sandboxed": (
        {"FamiliarKernelApp": {"sandboxed": True}},
        "Run the code in a container without a network; see `familiar sandbox --help`.",
    ),
    "rehearsal": (
        {"Familiar": {"rehearsal": True}},
        "Talk to the embedded rehearsal, a scripted stand-in, not to Claude. Every answer says so.",
    ),
}


class FamiliarKernelApp(IPKernelApp):
    """Runs a :class:`FamiliarKernel`. Reads ``ipython_kernel_config.py``, as ipykernel does."""

    flags = Dict(flags)
    sandboxed = Bool(
        False, help="Run the code in a container without a network, and the familiar outside."
    ).tag(config=True)
    classes = [  # noqa: RUF012
        *IPKernelApp.classes,
        FamiliarKernel,
        FamiliarShell,
        Familiar,
        Permissions,
        Notifications,
    ]

    @default("kernel_class")
    def _default_kernel_class(self) -> type[FamiliarKernel]:
        return FamiliarKernel

    def init_kernel(self) -> None:
        """Make the kernel, from the settings that are right."""
        if self.sandboxed:
            from .outer.kernel import SandboxedKernel

            self.kernel_class = SandboxedKernel
            self.classes = [*self.classes, *SandboxedKernel.configured]
        dropped = drop_wrong_values(self.config, list(self.classes))
        for fault in dropped:
            self.log.error(fault)
        super().init_kernel()
        self.kernel.configuration_faults = dropped

    # Nothing of a person's code runs in a kernel whose code runs in a sandbox.

    def init_gui_pylab(self) -> None:
        """Make ready for plots."""
        if not self.sandboxed:
            super().init_gui_pylab()

    def init_extensions(self) -> None:
        """Load IPython's extensions."""
        if not self.sandboxed:
            super().init_extensions()

    def init_code(self) -> None:
        """Run the start-up files and lines."""
        if not self.sandboxed:
            super().init_code()


def drop_wrong_values(config: Config, classes: Sequence[Any]) -> list[str]:
    """Remove from a configuration what no trait would take, and return a sentence about each fault.

    Names that a class of ours does not know are faults as well.

    Args:
        config: changed in place.
        classes: whose sections to check, by class name.
    """
    faults: list[str] = []
    for cls in classes:
        # A class reads its parents' sections too, such as InteractiveShell's.
        sections = {name: config[name] for name in cls.section_names() if config.get(name)}
        if not sections:
            continue
        traits = cls.class_traits(config=True)
        # Some validators look at their object; this one exists without having been started.
        blank: HasTraits = cls.__new__(cls)
        for named, section in sections.items():
            for name, value in list(section.items()):
                trait = traits.get(name)
                fault = _wrong(trait, blank, value) if trait is not None else ""
                if fault:
                    faults.append(f"The setting {named}.{name} is not used: {fault}")
                    del section[name]
                elif trait is None and named == cls.__name__ and _ours(cls):
                    # Of others' classes a section may hold what only a subclass knows.
                    faults.append(_unknown(named, name, traits))
    return faults


def _ours(cls: type) -> bool:
    return cls.__module__.startswith("familiar_kernel")


def _wrong(trait: Any, blank: HasTraits, value: Any) -> str:
    """Return why a trait would not take a value, or nothing."""
    try:
        trait._validate(
            blank, value.get_value(trait) if isinstance(value, DeferredConfig) else value
        )
    except (TraitError, ValueError, TypeError) as err:
        # A value that may be a secret is not shown, as traitlets does.
        kind = type(trait).__name__.lower()
        return f"its value is no {kind}" if trait.metadata.get("secret") else str(err)
    return ""


def _unknown(section: str, name: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(known), 1)
    hint = f"; did you mean {section}.{near[0]}?" if near else "."
    return f"The setting {section}.{name} is not known{hint}"
