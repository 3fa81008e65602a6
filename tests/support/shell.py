"""The operator without kopf, between an API server and Bacalhau clusters in memory, on a fake clock.

A ``World`` outlives the processes in it: it holds the objects, the jobs and the time. A ``Process`` is an operator with its queues,
reconcilers and Events, wired as ``controller.operator`` does; it hears of objects through a watch that may lag, and can be killed at any
of its requests, before or after the request was carried out.

Time is Unix time that follows the event loop's, so tests that ask for a world are marked ``looptime``.
"""

import asyncio
import base64
import copy
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlsplit

import httpx
import pytest
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.rest import RESTClientObject
from typing_extensions import override

from controller.bacalhau import http
from controller.bacalhau.http import Basic, Bearer
from controller.engine.identity import ATTEMPT_LABEL, UID_LABEL, node_of
from controller.kube.backoff import Backoff
from controller.kube.budget import WriteBudget
from controller.kube.config_maps import read_config_map
from controller.kube.events import EventRecorder
from controller.kube.objects import Objects
from controller.kube.queue import WorkQueue
from controller.kube.secrets import read_secret_key
from controller.reconciler.connection import Key
from controller.reconciler.connections import ConnectionReconciler
from controller.reconciler.dags import DAGReconciler
from controller.reconciler.pool import ConnectionPool
from tests.support.fake_bacalhau import ConnectionLost, FakeBacalhau, Fate
from tests.support.fake_kube import Body, FakeKube, Request, Response

START = 4_000_000_000.0
NAMESPACE = "lab"
URL = "http://bacalhau.test:1234"
WITHIN = 600.0
"""Seconds of fake time in which anything that is waited for must happen."""

_GROUP = f"/apis/bacalhau.org/v1alpha1/namespaces/{NAMESPACE}"
_WATCHED = ("bacalhaudags", "bacalhauconnections")

_WIRE: ContextVar["Wire"] = ContextVar("_WIRE")
"""The wire of the process that a task belongs to; tests themselves have the world's."""

Watcher = Callable[[str, Body, bool], None]
T = TypeVar("T")


def dag_path(name: str) -> str:
    """Where the API server keeps a DAG."""
    return f"{_GROUP}/bacalhaudags/{name}"


def connection_path(name: str = "default") -> str:
    """Where the API server keeps a connection."""
    return f"{_GROUP}/bacalhauconnections/{name}"


class WatchedKube(FakeKube):
    """An API server that tells watchers of every change, in order, ``lag`` seconds late."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: list[Watcher] = []
        self.stir: Callable[[], None] = lambda: None
        self.lag = 0.005
        self._told: dict[str, Body] = {}

    @override
    def put(self, path: str, body: Mapping[str, Any]) -> Body:
        created = super().put(path, body)
        self.publish()
        return created

    @override
    def edit(self, path: str, patch: Mapping[str, Any]) -> Body:
        edited = super().edit(path, patch)
        self.publish()
        return edited

    def change(self, path: str, **spec: Any) -> Body:
        """Merge fields into an object's spec, as its owner."""
        generation = self.objects[path]["metadata"]["generation"] + 1
        return self.edit(path, {"metadata": {"generation": generation}, "spec": spec})

    def delete(self, path: str) -> None:
        """Ask for an object's deletion, as kubectl does; it goes once no finalizer holds it."""
        self._delete(path)
        self.publish()

    def destroy(self, path: str) -> None:
        """Have an object vanish, whatever holds it; nothing happens if it has already."""
        self.objects.pop(path, None)
        self.publish()

    @override
    def _answer(self, request: Request) -> Response:
        try:
            return super()._answer(request)
        finally:
            self.publish()

    def publish(self) -> None:
        """Tell watchers what has changed since they were told last."""
        self.stir()
        known, self._told = self._told, self._watched()
        for path in known.keys() - self._told.keys():
            last = copy.deepcopy(known[path])
            last["metadata"]["resourceVersion"] = self._next_version()
            self._tell(path, last, deleted=True)
        for path, body in self._told.items():
            before = known.get(path)
            if before is not None and before["metadata"]["uid"] != body["metadata"]["uid"]:
                self._tell(path, before, deleted=True)
            if before is None or before["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
                self._tell(path, copy.deepcopy(body), deleted=False)

    def _watched(self) -> dict[str, Body]:
        return {path: body for path, body in self.objects.items() if path.split("/")[-2] in _WATCHED}

    def _tell(self, path: str, body: Body, *, deleted: bool) -> None:
        for watcher in self.watchers:
            asyncio.get_running_loop().call_later(self.lag, watcher, path, body, deleted)


Moment = tuple[int, Literal["before", "after"]]
"""Right before or after a request of a process is carried out; its first request is number 1."""


def moments(requests: int) -> list[Moment]:
    """All moments around the first so many requests."""
    sides: tuple[Literal["before", "after"], ...] = ("before", "after")
    return [(number, side) for number in range(1, requests + 1) for side in sides]


class Wire:
    """A process's connection to the rest of the world.

    Args:
        at: when ``then`` happens.
        then: what others do at that moment; by default the process dies.
    """

    def __init__(self, *, at: Moment | None = None, then: Callable[[], object] | None = None) -> None:
        self.requests = 0
        self.dead = asyncio.Event()
        self.stir: Callable[[], None] = lambda: None
        self._at = at
        self._then = then or self.cut

    @property
    def has_come(self) -> bool:
        """Whether the moment is over."""
        return self._at is None

    def plan(self, at: Moment, then: Callable[[], object]) -> None:
        """Have something happen at a moment to come."""
        self._at, self._then = at, then

    def cut(self) -> None:
        """Let nothing through any more, in either direction."""
        self.dead.set()
        self.stir()

    async def carry(self, send: Callable[[], Awaitable[T]]) -> T:
        """Send a request and bring the answer back."""
        self.requests += 1
        number = self.requests
        await self._pass((number, "before"))
        answer = await send()
        await self._pass((number, "after"))
        return answer

    async def _pass(self, moment: Moment) -> None:
        if moment == self._at:
            self._at = None
            self._then()
        if self.dead.is_set():
            await asyncio.Event().wait()


class _KubeLink:
    """The API server as one process reaches it: the transport of a Kubernetes client."""

    def __init__(self, world: "World", wire: Wire) -> None:
        self._world, self._wire = world, wire

    async def request(self, *args: Any, **options: Any) -> Response:
        return await self._wire.carry(lambda: self._world.kube.request(*args, **options))

    async def close(self) -> None:
        """Nothing to close."""


class _BacalhauLink(httpx.AsyncBaseTransport):
    """The Bacalhau clusters as one process reaches them."""

    def __init__(self, world: "World", wire: Wire) -> None:
        self._world, self._wire = world, wire

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._wire.carry(partial(self._send, request))

    async def _send(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        parts = urlsplit(url)
        server = self._world.clusters.get(f"{parts.scheme}://{parts.netloc}")
        try:
            if server is None:
                raise httpx.ConnectError("nobody listens there")
            reply = await server.handle(request.method, url, headers=request.headers, body=request.content)
        except ConnectionLost as error:
            raise httpx.ReadError("connection reset by peer") from error
        finally:
            self._world.stirred.set()
        return httpx.Response(reply.status, content=reply.body())


class World:
    """What there is around operators: objects, clusters, time."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = lambda: START + loop.time()
        self.kube = WatchedKube()
        self.script: Callable[[dict[str, Any]], Fate | None] = lambda job: Fate()
        self.clusters: dict[str, FakeBacalhau] = {}
        self.bacalhau = self.cluster(URL)
        self.connection = connection_path()
        self.wire = Wire()
        self.stirred = asyncio.Event()
        self.kube.stir = self.stirred.set

    def cluster(self, url: str, *, auth: Bearer | Basic | None = None) -> FakeBacalhau:
        """Have a Bacalhau server at a URL; its jobs have the fates of ``script``."""
        self.clusters[url] = FakeBacalhau(clock=self.now, script=lambda job: self.script(job), auth=auth)
        return self.clusters[url]

    # What users do

    def connect(self, name: str = "default", *, endpoint: str = URL, **spec: Any) -> str:
        """Create a BacalhauConnection; returns its path."""
        path = self.connection = connection_path(name)
        body = {"apiVersion": "bacalhau.org/v1alpha1", "kind": "BacalhauConnection"}
        self.kube.put(path, body | {"spec": {"endpoint": endpoint} | spec})
        return path

    def secret(self, name: str, **data: str) -> None:
        """Create a Secret, or replace it."""
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.kube.put(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}", {"data": encoded})

    def config_map(self, name: str, **data: str) -> None:
        """Create a ConfigMap, or replace it."""
        self.kube.put(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}", {"data": data})

    def apply(self, *nodes: Mapping[str, Any], name: str = "count", **spec: Any) -> str:
        """Create a DAG of these nodes; returns its path."""
        path = dag_path(name)
        body = {"apiVersion": "bacalhau.org/v1alpha1", "kind": "BacalhauDAG"}
        self.kube.put(path, body | {"spec": {"nodes": list(nodes)} | spec})
        return path

    # What is to be seen

    def status(self, path: str) -> dict[str, Any]:
        """An object's status; empty if there is none, or no object."""
        return cast(dict[str, Any], self.kube.objects.get(path, {}).get("status") or {})

    def phase(self, path: str) -> str | None:
        """A DAG's phase."""
        return self.status(path).get("phase")

    def has_ended(self, path: str) -> bool:
        """Whether a DAG has ended and is not held any more."""
        return self.phase(path) in ("Succeeded", "Failed", "Error", "Cancelled") and not self.finalizers(path)

    def condition(self, path: str, kind: str = "Ready") -> dict[str, Any]:
        """A condition of an object; empty if it is not there."""
        conditions: dict[str, dict[str, Any]] = {
            item["type"]: item for item in self.status(path).get("conditions", ())
        }
        return conditions.get(kind, {})

    def finalizers(self, path: str) -> list[str]:
        """The finalizers of an object."""
        return cast(list[str], self.kube.objects[path]["metadata"].get("finalizers", []))

    def events(self, *reasons: str) -> list[tuple[str, str, int]]:
        """Reason, message and count of the Events so far; with ``reasons``, of these only."""
        events = [body for path, body in self.kube.objects.items() if path.split("/")[-2] == "events"]
        found = [(event["reason"], event["message"], event["count"]) for event in events]
        return [event for event in found if not reasons or event[0] in reasons]

    def jobs(self) -> dict[str, str]:
        """The state of each job of the main cluster by its name."""
        return {job.spec["Name"]: str(job.state) for job in self.bacalhau.jobs.values()}

    def attempts(self, path: str = "") -> list[tuple[str, int]]:
        """Node and number of every attempt that became a job, of one DAG or of all. None may have been submitted twice."""
        uid = self.kube.objects[path]["metadata"]["uid"] if path else ""
        specs = [job.spec for server in self.clusters.values() for job in server.jobs.values()]
        ours = [spec for spec in specs if uid in ("", spec["Meta"][UID_LABEL])]
        assert all(spec["Version"] == 1 for spec in ours), "a job was updated, and ran twice"
        return sorted((node_of(spec["Meta"]) or "", int(spec["Meta"][ATTEMPT_LABEL])) for spec in ours)

    def writes(self, path: str) -> list[Any]:
        """The statuses that were sent for an object, each as a patch."""
        requests = self.kube.requested("PATCH", f"{path}/status")
        return [request.body["status"] for request in requests]

    async def until(self, holds: Callable[[], object], *, within: float = WITHIN) -> None:
        """Wait until something holds; looked at after every request of anybody."""
        async with asyncio.timeout(within):
            while not holds():
                self.stirred.clear()
                await self.stirred.wait()

    async def until_ended(self, path: str, phase: str = "Succeeded") -> dict[str, Any]:
        """Wait until a DAG has ended in a phase and is not held any more; returns its status."""
        await self.until(lambda: self.has_ended(path))
        assert self.phase(path) == phase, self.status(path)
        return self.status(path)

    # Processes

    @asynccontextmanager
    async def operator(self, **options: Any) -> AsyncIterator["Process"]:
        """An operator process for as long as the context lasts; the arguments are those of ``Process``."""
        process = Process(self, **options)
        process.start()
        try:
            yield process
        finally:
            await process.stop()

    def watch(self, process: "Process") -> None:
        """Tell a process of all objects, and of their changes from now on."""
        for path, body in self.kube.objects.items():
            if path.split("/")[-2] in _WATCHED:
                process.notice(path, copy.deepcopy(body), False)
        self.kube.watchers.append(process.notice)


class Process:
    """One operator process.

    Args:
        wire: how it reaches the world; the default never breaks.
        deletion_grace: as of ``DAGReconciler``.
    """

    def __init__(self, world: World, *, wire: Wire | None = None, deletion_grace: float = 60.0) -> None:
        self.world = world
        self.wire = wire or Wire()
        self.wire.stir = world.stirred.set
        client = _linked(world, self.wire)
        objects = Objects(client)
        budget = WriteBudget()
        self.events = EventRecorder(client, instance="operator-1")
        self.dag_queue: WorkQueue[Key] = WorkQueue("dags", backoff=Backoff(base=0.2, cap=15))
        self.connection_queue: WorkQueue[Key] = WorkQueue("connections", backoff=Backoff(base=0.2, cap=15))
        self.pool = ConnectionPool(
            objects,
            partial(read_secret_key, client),
            wake=self.dag_queue.add,
            recheck=self.connection_queue.add,
        )
        self.dags = DAGReconciler(
            objects=objects,
            pool=self.pool,
            events=self.events,
            queue=self.dag_queue,
            budget=budget,
            read_secret=partial(read_secret_key, client),
            read_config_map=partial(read_config_map, client),
            deletion_grace=deletion_grace,
        )
        self.connections = ConnectionReconciler(
            objects=objects, pool=self.pool, events=self.events, queue=self.connection_queue, budget=budget
        )
        self._not_ours: set[asyncio.Task[Any]] = set()
        self._posting: asyncio.Task[None] | None = None
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work, and to watch."""
        self._not_ours = asyncio.all_tasks()
        token = _WIRE.set(self.wire)
        self._posting = asyncio.create_task(self.events.run())
        self._workers = [
            asyncio.create_task(self.dag_queue.run(self.dags.reconcile, workers=4)),
            asyncio.create_task(self.connection_queue.run(self.connections.reconcile, workers=2)),
        ]
        _WIRE.reset(token)
        self.world.watch(self)

    def notice(self, path: str, body: Body, deleted: bool) -> None:
        """Hear of an object, as from kopf."""
        if self.wire.dead.is_set():
            return
        observe = self.dags.observe if "/bacalhaudags/" in path else self.connections.observe
        observe(body, deleted=deleted)

    async def stop(self) -> None:
        """End in order, as ``controller.operator`` does; nothing may be left over."""
        self._leave()
        if self.wire.dead.is_set():
            await self._cancel(asyncio.all_tasks() - self._not_ours)
            return
        self.dag_queue.close()
        self.connection_queue.close()
        await self._cancel(self._workers)
        await self.dags.aclose()
        await self.connections.aclose()
        await self.pool.aclose()
        await self._cancel([self._posting] if self._posting else [])
        left = asyncio.all_tasks() - self._not_ours - {_this_task()}
        assert not left, f"left behind: {left}"

    async def kill(self) -> None:
        """Die on the spot: nothing is written, closed or said any more."""
        self.wire.dead.set()
        self._leave()
        while left := asyncio.all_tasks() - self._not_ours - {_this_task()}:
            await self._cancel(left)

    def _leave(self) -> None:
        if self.notice in self.world.kube.watchers:
            self.world.kube.watchers.remove(self.notice)

    async def _cancel(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        others = set(tasks) - {_this_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)


def _this_task() -> asyncio.Task[Any]:
    return cast(asyncio.Task[Any], asyncio.current_task())


def _linked(world: World, wire: Wire) -> ApiClient:
    client = world.kube.client()
    client.rest_client = cast(RESTClientObject, _KubeLink(world, wire))
    return client


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> AsyncIterator[World]:
    """A world with a fake clock. No process in it may log an exception, unless the test takes it out of ``caplog``."""
    world = World()
    monkeypatch.setattr(time, "time", world.now)
    monkeypatch.setattr(http, "_transport", lambda endpoint: _BacalhauLink(world, _WIRE.get(world.wire)))
    yield world
    assert not [record.getMessage() for record in caplog.get_records("call") if record.exc_info]
