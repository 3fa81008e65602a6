"""Objects by resource, namespace and name, as plain dictionaries.

A thin layer over the client's API for custom resources, which addresses the objects of every API group in the
same way. It says what kind of patch is sent, asks for no more of an answer than is used, bounds the time of
every request, and turns failures into ``controller.kube.errors``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from kubernetes.aio.client import ApiClient, CustomObjectsApi
from typing_extensions import override

from controller.kube.errors import Sealed, translated

MERGE_PATCH = "application/merge-patch+json"
"""Named on every patch: left to itself, the client may choose a JSON patch for a status."""

METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
"""The answer to a write is only wanted for its resourceVersion; a large DAG would come back as a megabyte."""

REQUEST_TIMEOUT = 30.0

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, as the API server addresses it."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object. ``uid`` tells it from others that had, or will have, the same name."""

    resource: Resource
    namespace: str
    name: str
    uid: str = ""

    @classmethod
    def of(cls, resource: Resource, body: Body) -> "ObjectRef":
        """The reference to the object with this body."""
        metadata = body["metadata"]
        return cls(resource, metadata["namespace"], metadata["name"], metadata["uid"])

    @override
    def __str__(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}"


class Objects:
    """Reads and writes objects.

    Every method raises a ``KubeError``. After ``seal``, whatever would write raises ``Sealed`` without asking the
    API server: a process that has lost its Lease stops here, at the one place that all writes pass.
    """

    def __init__(self, client: ApiClient, *, timeout: float = REQUEST_TIMEOUT) -> None:
        self._api = CustomObjectsApi(client)
        self._timeout = timeout
        self._sealed = False

    def seal(self) -> None:
        """Let no further write through."""
        self._sealed = True

    async def get(self, ref: ObjectRef) -> dict[str, Any]:
        """The whole object."""
        with translated():
            body = await self._api.get_namespaced_custom_object(
                **_address(ref), _request_timeout=self._timeout
            )
        return cast(dict[str, Any], body)

    async def create(self, resource: Resource, namespace: str, body: Body) -> dict[str, Any]:
        """Create an object, and return it as it was stored; ``Conflict`` if the name is taken."""
        self._check_seal()
        with translated():
            created = await self._api.create_namespaced_custom_object(
                group=resource.group,
                version=resource.version,
                namespace=namespace,
                plural=resource.plural,
                body=dict(body),
                _request_timeout=self._timeout,
            )
        return cast(dict[str, Any], created)

    async def patch(self, ref: ObjectRef, patch: Body) -> dict[str, Any]:
        """Merge a patch into everything but the status; returns the new metadata only."""
        self._check_seal()
        with translated():
            answer = await self._api.patch_namespaced_custom_object(
                **_address(ref),
                body=dict(patch),
                _content_type=MERGE_PATCH,
                _headers={"Accept": METADATA_ONLY},
                _request_timeout=self._timeout,
            )
        return _metadata(answer)

    async def patch_status(self, ref: ObjectRef, patch: Body) -> dict[str, Any]:
        """Merge a patch into the status; returns the new metadata only."""
        self._check_seal()
        with translated():
            answer = await self._api.patch_namespaced_custom_object_status(
                **_address(ref),
                body=dict(patch),
                _content_type=MERGE_PATCH,
                _headers={"Accept": METADATA_ONLY},
                _request_timeout=self._timeout,
            )
        return _metadata(answer)

    def _check_seal(self) -> None:
        if self._sealed:
            raise Sealed("This process does not hold the Lease any more, and must not write.")


def _address(ref: ObjectRef) -> dict[str, Any]:
    return {
        "group": ref.resource.group,
        "version": ref.resource.version,
        "namespace": ref.namespace,
        "plural": ref.resource.plural,
        "name": ref.name,
    }


def _metadata(answer: object) -> dict[str, Any]:
    return cast(dict[str, Any], cast(dict[str, Any], answer)["metadata"])
