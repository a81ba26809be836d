"""A person's claims in the cluster: made when a lab starts, and deleted to be made new.

A claim that is being deleted stays for as long as a Pod has it, and no Pod with it starts then. So
both sides wait: who deletes one until it is gone, and who needs one until an old one is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from kubernetes_asyncio.client import ApiException

from .kubernetes import ACCOUNT

PATIENCE = 60.0
"""Seconds until a claim that is being deleted must be gone."""
_LOOK = 0.5
"""Seconds between two looks."""


class ClaimError(Exception):
    """A claim cannot be had, or not be deleted; the message says why and what to do."""


async def ensure(api: Any, namespace: str, manifest: Mapping[str, Any], account: str) -> None:
    """Make a claim, or see that the one of its name is this account's.

    Args:
        api: kubernetes_asyncio's ``CoreV1Api``.
        account: what the claim must have been made for.

    Raises:
        ClaimError: it is an earlier account's, or is being deleted and does not go.
        kubernetes_asyncio.client.ApiException: Kubernetes refused, because of a quota for example.
    """
    name = manifest["metadata"]["name"]
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        found = await _find(api, namespace, name)
        if found is None:
            try:
                await api.create_namespaced_persistent_volume_claim(namespace, dict(manifest))
            except ApiException as error:
                if error.status != 409:
                    raise
            else:
                return
        elif found.metadata.deletion_timestamp is None:
            _refuse_unless_of(found, account)
            return
        elif asyncio.get_running_loop().time() > deadline:
            raise ClaimError(
                f"The claim {name} is being deleted, and something in the cluster still has it;"
                f" an administrator must look: kubectl describe pvc {name}"
            )
        await asyncio.sleep(_LOOK)


async def remove(api: Any, namespace: str, name: str, account: str) -> None:
    """Delete a claim and what is in it, and wait until it is gone.

    What becomes of the volume behind it is for the reclaim policy of its class to say.

    Raises:
        ClaimError: it is an earlier account's, or something still has it.
        kubernetes_asyncio.client.ApiException: Kubernetes refused.
    """
    found = await _find(api, namespace, name)
    if found is None:
        return  # no lab has ever had it
    _refuse_unless_of(found, account)
    if holders := await _holders(api, namespace, name):
        raise ClaimError(
            f"The claim {name} is in use by the Pod {holders[0]}; wait until it has ended, or ask"
            " an administrator."
        )
    uid = found.metadata.uid
    try:
        await api.delete_namespaced_persistent_volume_claim(name, namespace)
    except ApiException as error:
        if error.status != 404:
            raise
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while (left := await _find(api, namespace, name)) and left.metadata.uid == uid:
        if asyncio.get_running_loop().time() > deadline:
            raise ClaimError(
                f"The claim {name} is deleted as soon as nothing in the cluster has it any more;"
                f" an administrator can look what does: kubectl describe pvc {name}"
            )
        await asyncio.sleep(_LOOK)


async def _find(api: Any, namespace: str, name: str) -> Any:
    try:
        return await api.read_namespaced_persistent_volume_claim(name, namespace)
    except ApiException as error:
        if error.status == 404:
            return None
        raise


async def _holders(api: Any, namespace: str, name: str) -> list[str]:
    """Return the names of the labs' Pods that have a claim and have not ended."""
    found = await api.list_namespaced_pod(namespace, label_selector="component=singleuser-server")
    return [
        pod.metadata.name
        for pod in found.items
        if pod.status.phase not in ("Succeeded", "Failed")
        and any(
            volume.persistent_volume_claim and volume.persistent_volume_claim.claim_name == name
            for volume in pod.spec.volumes or ()
        )
    ]


def _refuse_unless_of(claim: Any, account: str) -> None:
    """Keep an account from the files of an earlier one of the same name.

    Raises:
        ClaimError: it was made for another one.
    """
    name = claim.metadata.name
    if (claim.metadata.annotations or {}).get(ACCOUNT, "") != account:
        raise ClaimError(
            f"The claim {name} was made for an earlier account of this name, and is kept. An"
            f" administrator deletes it (kubectl delete pvc {name}), or hands it over:"
            f" kubectl annotate --overwrite pvc {name} {ACCOUNT}={account}"
        )
