"""Asks Kubernetes for what :mod:`.kubernetes` decided. Thin: what a Pod is like is decided there.

As with Docker, the protected groups are made sure of and rights are read anew before each start.
The claims of a person are made here and not by KubeSpawner, which knows one for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner
from traitlets import default

from . import claims, kubernetes, profiles, volumes
from .lab_spawner import PersonsLab, RefusedError


class KubeLab(PersonsLab, KubeSpawner):
    """One person's lab in a Pod."""

    _planned: Mapping[str, Any] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._base = {name: deepcopy(getattr(self, name)) for name in kubernetes.BASE}

    @default("pod_name_template")
    def _pod_name_template_default(self) -> str:
        # No template in truth: it is the name itself.
        return kubernetes.slug(self.settings, self.user.name, self.name)

    def volume_names(self) -> dict[str, str]:
        """Return the names of the claims that may be reset one by one; none if all are in one."""
        if self.settings.cluster.claims.together:
            return {}
        return kubernetes.claim_names(self.settings, self.settings.cluster, self.user.name)

    async def load_user_options(self) -> None:
        """Make the Pod what the person may have now; KubeSpawner calls it before each start.

        Raises:
            tornado.web.HTTPError: 403: they chose a kind of lab that they may not have. 409: a
                claim is an earlier account's.
        """
        self.make_sure_of_groups()
        try:
            plan = kubernetes.plan(
                self.settings,
                self.settings.cluster,
                self.user.name,
                self.group_names(),
                self.user_options or {},
                self._base,
            )
        except profiles.ProfileError as error:
            raise RefusedError(403, str(error)) from error
        for remark in plan.remarks:
            self.log.warning("%s.", remark)
        for name, value in plan.traits.items():
            setattr(self, name, value)
        self._planned = plan.environment
        person, account = self.user.name, self.account
        for manifest in kubernetes.claim_manifests(
            self.settings, self.settings.cluster, person, account
        ):
            try:
                await claims.ensure(self.api, self.namespace, manifest, account)
            except claims.ClaimError as error:
                raise RefusedError(409, str(error)) from error

    def get_env(self) -> dict[str, Any]:
        """Return the lab's environment. What the hub itself sets goes before a profile's."""
        known = super().get_env()
        return {
            **known,
            **{
                name: value
                for name, value in self._planned.items()
                if name not in known or name in self.environment
            },
        }

    async def renew_volume(self, name: str) -> None:
        """Delete a claim, so that the next start makes it new and empty.

        Args:
            name: one of :meth:`volume_names`.

        Raises:
            familiar_hub.volumes.VolumeError: it was not deleted.
        """
        try:
            await claims.remove(self.api, self.namespace, name, self.account)
        except claims.ClaimError as error:
            raise volumes.VolumeInUseError(str(error)) from error
        except ApiException as error:
            self.log.error("Kubernetes did not delete %s: %s", name, error.reason)
            raise volumes.VolumeError(
                f"The claim {name} was not deleted. Kubernetes refused ({error.status}); the hub's"
                " log says why."
            ) from error

    async def delete_forever(self) -> None:
        """Delete the claims of somebody who is deleted, unless ``delete_pvc`` is off.

        The hub calls it for each of their labs; claims are the person's, not a lab's.
        """
        if self.name or not self.delete_pvc:
            return
        names = kubernetes.claim_names(self.settings, self.settings.cluster, self.user.name)
        for name in names.values():
            try:
                await claims.remove(self.api, self.namespace, name, self.account)
            except claims.ClaimError as error:
                # The person goes all the same, and no later account of the name gets it.
                self.log.warning("%s", error)
