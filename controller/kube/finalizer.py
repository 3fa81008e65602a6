"""The operator's own finalizer: a DAG that is deleted keeps existing until its jobs are stopped.

It is held from before the first job until the terminal write, and not a moment longer, so that an operator that
was uninstalled blocks the deletion of nothing that is finished. Its name differs from the finalizer that kopf may
set: kopf takes away its own from objects that need none, and the two would undo each other's work for ever.
"""

from collections.abc import Callable, Mapping
from typing import Any

from controller.kube.errors import Conflict, Gone
from controller.kube.status import OnWritten, StatusWriter
from controller.kube.stored import StoredObject

FINALIZER = "bacalhau.org/stop-jobs"
KOPF_FINALIZER = "bacalhau.org/kopf"

_ATTEMPTS = 8


def is_held(stored: StoredObject) -> bool:
    """Whether the object carries the finalizer, as far as is known."""
    return FINALIZER in stored.metadata.get("finalizers", ())


async def hold(stored: StoredObject) -> None:
    """Add the finalizer, unless it is there or the object is being deleted already.

    Raises a ``KubeError``: ``Gone`` if there is no such object any more.
    """
    await _amend(
        stored, lambda held: held if stored.being_deleted or FINALIZER in held else [*held, FINALIZER]
    )


async def release(stored: StoredObject) -> None:
    """Remove the finalizer; fine if the finalizer, or the object, is gone already.

    Raises a ``KubeError``.
    """
    try:
        await _amend(stored, lambda held: [name for name in held if name != FINALIZER])
    except Gone:
        return


async def finish(
    writer: StatusWriter, delta: Mapping[str, Any], *, on_written: OnWritten | None = None
) -> None:
    """Write an object's last status, and then, only then, remove the finalizer.

    Waits for both. If the writer has fallen silent instead, because the object is gone or in other hands, the
    finalizer is not touched. Raises a ``KubeError``.
    """
    writer.update(delta, urgent=True, on_written=on_written)
    await writer.flush()
    if not writer.lost:
        await release(writer.stored)


async def _amend(stored: StoredObject, change: Callable[[list[str]], list[str]]) -> None:
    """Set the finalizers to what ``change`` makes of them, reading again after a conflict."""
    async with stored.lane:
        for attempt in range(1, _ATTEMPTS + 1):
            held = list(stored.metadata.get("finalizers", ()))
            wanted = change(held)
            if wanted == held:
                return
            try:
                await stored.patch_metadata({"finalizers": wanted})
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
                await _read_again(stored)


async def _read_again(stored: StoredObject) -> None:
    if stored.is_another(await stored.read()):
        raise Gone(f"{stored.ref} was deleted, and another one has its name.")
