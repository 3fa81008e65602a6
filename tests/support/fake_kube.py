"""A small API server in memory, in the place of the client's HTTP transport.

For faults and for fake time, which a real server does not offer. It keeps what the operator relies on: versions
that grow, generations that count changes of the spec only, ``/status`` apart from the rest, merge patches, fences
by resourceVersion and UID, finalizers. The contract tests hold it to what a real API server does.
"""

import asyncio
import copy
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject

from controller.kube.merge import apply

Body = dict[str, Any]
HOST = "http://fake"


@dataclass(frozen=True)
class Request:
    """A request as it came in."""

    method: str
    path: str
    body: Any
    headers: Mapping[str, str]
    time: float


@dataclass
class Response:
    """An answer, in the shape that the client expects of its transport."""

    status: int
    data: bytes
    reason: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    async def read(self) -> bytes:
        return self.data


class Failure(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})

    def response(self) -> Response:
        body = {"kind": "Status", "status": "Failure", "message": self.message, "code": self.status}
        headers = {"content-type": "application/json", **self.headers}
        return Response(self.status, json.dumps(body).encode(), headers=headers)


class FakeKube:
    """The API server. ``client()`` gives a client that talks to it.

    Faults: ``latency`` in seconds, ``down``, ``size_limit`` in bytes for one object, ``failures`` to come next, and
    ``lost_answers``, the number of requests to be carried out and then not answered. ``before`` is called with
    each request before it is carried out.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Body] = {}
        self.requests: list[Request] = []
        self.failures: list[Failure] = []
        self.before: Callable[[Request], None] | None = None
        self.latency = 0.0
        self.down = False
        self.lost_answers = 0
        self.size_limit = 1_500_000
        self.in_flight = 0
        self.most_in_flight = 0
        self._version = 1000

    def client(self) -> ApiClient:
        client = copy.copy(_client())
        client.rest_client = cast(RESTClientObject, self)
        return client

    def requested(self, method: str, ending: str = "") -> list[Request]:
        """The requests so far with this method, whose path ends so."""
        return [
            request for request in self.requests if request.method == method and request.path.endswith(ending)
        ]

    # What others do to objects, past the client under test.

    def put(self, path: str, body: Mapping[str, Any]) -> Body:
        """Create an object at a path such as /apis/<group>/<version>/namespaces/<ns>/<plural>/<name>."""
        namespace, _, name = path.split("/")[-3:]
        self.objects[path] = self._created({**body}, namespace=namespace, name=name)
        return copy.deepcopy(self.objects[path])

    def edit(self, path: str, patch: Mapping[str, Any]) -> Body:
        """Merge a patch into an object, status and all, as somebody else."""
        changed = apply(self.objects[path], patch)
        changed["metadata"]["resourceVersion"] = self._next_version()
        self.objects[path] = changed
        return copy.deepcopy(changed)

    # The transport.

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        post_params: object = None,
        _request_timeout: float | None = None,
    ) -> Response:
        path = url.removeprefix(HOST).partition("?")[0]
        now = asyncio.get_running_loop().time()
        request = Request(method, path, copy.deepcopy(body), dict(headers or {}), now)
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async with asyncio.timeout(_request_timeout):
                await asyncio.sleep(self.latency)
                return self._answer(request)
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        """Nothing to close."""

    def _answer(self, request: Request) -> Response:
        if self.down:
            raise ConnectionRefusedError("the API server is down")
        try:
            if self.failures:
                raise self.failures.pop(0)
            if self.before:
                self.before(request)
            result = self._dispatch(request)
        except Failure as failure:
            return failure.response()
        if self.lost_answers:
            self.lost_answers -= 1
            raise TimeoutError
        if "as=PartialObjectMetadata" in request.headers.get("Accept", ""):
            result = {"kind": "PartialObjectMetadata", "metadata": result["metadata"]}
        return Response(201 if request.method == "POST" else 200, json.dumps(result).encode())

    def _dispatch(self, request: Request) -> Body:
        match request.method:
            case "GET":
                return self._existing(request.path)
            case "POST":
                return self._create(request)
            case "PATCH" if request.headers.get("Content-Type") != "application/merge-patch+json":
                raise Failure(415, "the body of the request was in an unknown format")
            case "PATCH" if request.path.endswith("/status"):
                return self._patch_status(request.path.removesuffix("/status"), request.body)
            case "PATCH":
                return self._patch(request.path, request.body)
            case "DELETE":
                return self._delete(request.path)
            case _:
                raise Failure(405, "the server does not allow this method on the requested resource")

    def _existing(self, path: str) -> Body:
        if path not in self.objects:
            name = path.split("/")[-1]
            raise Failure(404, f'"{name}" not found')
        return self.objects[path]

    def _create(self, request: Request) -> Body:
        name = request.body["metadata"]["name"]
        path = f"{request.path}/{name}"
        if path in self.objects:
            raise Failure(409, f'"{name}" already exists')
        namespace = request.path.split("/")[-2]
        created = self._created(request.body, namespace=namespace, name=name)
        self._check_size(created)
        self.objects[path] = created
        return created

    def _created(self, body: Body, *, namespace: str, name: str) -> Body:
        metadata = {
            **body.get("metadata", {}),
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "generation": 1,
            "resourceVersion": self._next_version(),
        }
        return copy.deepcopy({**body, "metadata": metadata})

    def _patch(self, path: str, patch: Body) -> Body:
        old = self._existing(path)
        self._check_fence(old, patch)
        new = {**apply(old, _without(patch, "status")), **_only(old, "status")}
        new["metadata"] = {**new["metadata"], "resourceVersion": old["metadata"]["resourceVersion"]}
        if _added_finalizers(old, new) and "deletionTimestamp" in old["metadata"]:
            raise Failure(
                422,
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted",
            )
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] += 1
        return self._store(path, old, new)

    def _patch_status(self, path: str, patch: Body) -> Body:
        old = self._existing(path)
        self._check_fence(old, patch)
        status = apply({"status": old.get("status", {})}, _only(patch, "status"))
        return self._store(path, old, {**old, "metadata": dict(old["metadata"]), **status})

    def _delete(self, path: str) -> Body:
        old = self._existing(path)
        if not old["metadata"].get("finalizers"):
            return self.objects.pop(path)
        now = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = {"deletionTimestamp": now} | old["metadata"]
        return self._store(path, old, {**old, "metadata": metadata})

    def _store(self, path: str, old: Body, new: Body) -> Body:
        self._check_size(new)
        if new == old:
            return old
        new["metadata"]["resourceVersion"] = self._next_version()
        self.objects[path] = copy.deepcopy(new)
        if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
            del self.objects[path]
        return new

    def _check_fence(self, old: Body, patch: Body) -> None:
        fence = patch.get("metadata", {})
        for key in ("resourceVersion", "uid"):
            if key in fence and fence[key] != old["metadata"][key]:
                raise Failure(
                    409, "the object has been modified; please apply your changes to the latest version"
                )

    def _check_size(self, body: Body) -> None:
        if len(json.dumps(body)) > self.size_limit:
            raise Failure(500, "etcdserver: request is too large")

    def _next_version(self) -> str:
        self._version += 1
        return str(self._version)


@cache
def _client() -> ApiClient:
    """Made once: each client reads all the certificates of the system."""
    return ApiClient(Configuration(host=HOST))


def _only(body: Mapping[str, Any], key: str) -> Body:
    return {key: body[key]} if key in body else {}


def _without(body: Mapping[str, Any], key: str) -> Body:
    return {name: value for name, value in body.items() if name != key}


def _added_finalizers(old: Body, new: Body) -> set[str]:
    return set(new["metadata"].get("finalizers", [])) - set(old["metadata"].get("finalizers", []))
