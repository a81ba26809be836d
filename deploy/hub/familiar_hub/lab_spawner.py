"""What a person's lab is whatever starts it: whose it is, and which kinds they may choose from.

:mod:`.spawner` asks Docker for it, :mod:`.kube_spawner` Kubernetes.
"""

from __future__ import annotations

from typing import Any

from tornado import web
from traitlets import HasTraits, Instance, default

from . import groups, profiles, spawning
from .settings import Settings


class RefusedError(web.HTTPError):
    """A lab does not start; the person sees the sentence on the hub's page.

    Args:
        status: of the hub's answer.
        sentence: why, and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, "%s", sentence)
        self.jupyterhub_message = sentence


def account_of(person: Any) -> str:
    """Return what tells a person of the hub's database from those who had the name before."""
    return spawning.account(person.id, person.created)


class PersonsLab(HasTraits):
    """One person's lab: what a spawner of JupyterHub's is mixed with."""

    user: Any
    log: Any
    settings = Instance(Settings, help="The hub's settings.").tag(config=True)

    @default("options_form")
    def _default_options_form(self) -> Any:
        # A function, so that each page shows what the person's groups allow now.
        return lambda spawner: profiles.form(
            profiles.allowed(spawner.settings.profiles, spawner.group_names())
        )

    @default("options_from_form")
    def _default_options_from_form(self) -> Any:
        return profiles.from_form

    def group_names(self) -> frozenset[str]:
        """Return the groups that the person is in now. Those that cannot be lost are made sure of
        by :meth:`make_sure_of_groups`."""
        return frozenset(group.name for group in self.user.orm_user.groups)

    def make_sure_of_groups(self) -> None:
        """Make the protected groups that somebody has deleted."""
        for name in groups.ensure(self.user.db):
            self.log.warning("The protected group %s was gone; it is there again, empty.", name)

    @property
    def account(self) -> str:
        """What tells this person from those who had the name before."""
        return account_of(self.user.orm_user)
