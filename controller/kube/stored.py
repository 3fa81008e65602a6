"""One object as the API server is known to hold it, and fenced writes to it.

What is known comes from three sides: copies brought by the watch, answers to own writes, and reads after a
conflict. They arrive in any order, so each carries its resourceVersion, and an older one never replaces a newer.
(The numbers of one resource can be compared; Kubernetes promises it since 1.35, and etcd always kept it.)

A write names the resourceVersion and UID that it was decided on. The API server refuses it if the object has
changed since, and so fences off a former leader and a namesake of a deleted object alike.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from controller.kube import merge
from controller.kube.objects import Body, ObjectRef, Objects

_KEPT = ("uid", "resourceVersion", "finalizers", "deletionTimestamp")
"""What is kept of the metadata: annotations and managed fields can weigh as much as the spec."""


class StoredObject:
    """The newest known metadata and status of one object.

    ``lane`` keeps writes to the object one after another: two at once would only refuse each other.
    """

    def __init__(self, objects: Objects, ref: ObjectRef, body: Body) -> None:
        self.ref = ref
        self.lane = asyncio.Lock()
        self.metadata: Body = _kept(body["metadata"])
        self.status: Mapping[str, Any] = body.get("status") or {}
        self._objects = objects

    @property
    def version(self) -> int:
        """The newest known resourceVersion."""
        return _version(self.metadata)

    @property
    def being_deleted(self) -> bool:
        return "deletionTimestamp" in self.metadata

    def is_stale(self, body: Body) -> bool:
        """Whether a copy of the object is older than what is known."""
        return _version(body["metadata"]) < self.version

    def is_another(self, body: Body) -> bool:
        """Whether a body belongs to another object of the same name."""
        return bool(body["metadata"]["uid"] != self.ref.uid)

    def observe(self, body: Body) -> None:
        """Take note of a whole copy, unless it is stale."""
        if not self.is_stale(body):
            self.metadata = _kept(body["metadata"])
            self.status = body.get("status") or {}

    async def read(self) -> Body:
        """Read the object anew, and take note of it if it is still the same one."""
        body = await self._objects.get(self.ref)
        if not self.is_another(body):
            self.observe(body)
        return body

    async def patch_status(self, changes: Body) -> None:
        """Write a plain merge patch of the status, fenced."""
        metadata = await self._objects.patch_status(self.ref, {"metadata": self._fence(), "status": changes})
        if _version(metadata) >= self.version:
            self.status = merge.apply(self.status, changes)
        self._note(metadata)

    async def patch_metadata(self, changes: Body) -> None:
        """Write a plain merge patch of the metadata, fenced."""
        self._note(await self._objects.patch(self.ref, {"metadata": {**changes, **self._fence()}}))

    def _note(self, metadata: Body) -> None:
        """Take note of an answer; the watch may have been faster, with this write or a later one."""
        if _version(metadata) > self.version:
            self.metadata = _kept(metadata)

    def _fence(self) -> dict[str, str]:
        return {"resourceVersion": self.metadata["resourceVersion"], "uid": self.ref.uid}


def is_outdated(body: Body, known: Body | None) -> bool:
    """Whether a copy is older than one that is known. Objects of one resource can be compared, also those that share a name."""
    return known is not None and _version(body["metadata"]) < _version(known["metadata"])


def _kept(metadata: Body) -> Body:
    return {key: metadata[key] for key in _KEPT if key in metadata}


def _version(metadata: Body) -> int:
    return int(metadata["resourceVersion"])
