"""The operator's own finalizer: a DAG that is deleted keeps existing until its jobs are stopped.

It is held from before the first job until the terminal write, and not a moment longer, so that an operator that
was uninstalled blocks the deletion of nothing that is finished. Its name differs from the finalizer that kopf may
set: kopf takes away its own from objects that need none, and the two would undo each other's work for ever.
"""

from controller.kube.errors import Conflict, Gone
from controller.kube.stored import StoredObject

FINALIZER = "bacalhau.org/stop-jobs"
KOPF_FINALIZER = "bacalhau.org/kopf"

_ATTEMPTS = 8


def is_held(stored: StoredObject) -> bool:
    """Whether the object carries the finalizer, as far as is known."""
    return FINALIZER in stored.metadata.get("finalizers", ())


async def hold(stored: StoredObject) -> None:
    """Add the finalizer to the object as it is known; if it is there already, make sure that the object is known as it is.

    Whoever holds an object is about to act upon it, and must not do so on the strength of a copy that is out of date, as a watch may
    bring it: the object may have ended since, or be on its way out.

    Raises a ``KubeError``: ``Conflict`` if the object has changed since, ``Gone`` if it does not exist any more.
    """
    async with stored.lane:
        held = list(stored.metadata.get("finalizers", ()))
        if FINALIZER in held:
            await _confirm(stored)
        else:
            await stored.patch_metadata({"finalizers": [*held, FINALIZER]})


async def _confirm(stored: StoredObject) -> None:
    known = stored.version
    await _read_again(stored)
    if stored.version != known:
        raise Conflict(f"{stored.ref} has changed since it was looked at.")


async def release(stored: StoredObject) -> None:
    """Remove the finalizer, reading again after a conflict; fine if the finalizer, or the object, is gone already.

    Raises a ``KubeError``.
    """
    try:
        async with stored.lane:
            await _remove(stored)
    except Gone:
        return


async def _remove(stored: StoredObject) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        if not is_held(stored):
            return
        remaining = [name for name in stored.metadata["finalizers"] if name != FINALIZER]
        try:
            await stored.patch_metadata({"finalizers": remaining})
        except Conflict:
            if attempt == _ATTEMPTS:
                raise
            await _read_again(stored)


async def _read_again(stored: StoredObject) -> None:
    if stored.is_another(await stored.read()):
        raise Gone(f"{stored.ref} was deleted, and another one has its name.")
