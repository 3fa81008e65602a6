"""A namespace of a plane as a user works in it: apply a DAG, wait for what becomes of it, look at its jobs and Events.

Waiting follows Kubernetes' watches and is bounded. What a test reads of Bacalhau comes from Bacalhau itself, not from the operator.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import httpx

from controller.api import GROUP, VERSION
from controller.api.bacalhau import Job
from controller.api.dag import BacalhauDAG
from controller.api.status import DAGStatus, NodePhase, RunPhase
from controller.engine.identity import ATTEMPT_LABEL, node_of
from dev.plane import ControlPlane
from dev.servers.bacalhau import BacalhauServer
from dev.servers.process import loopback_client

Seen = TypeVar("Seen")
Json = dict[str, Any]

PATIENCE = 120.0
"""Seconds to wait for what is expected within a few, on a machine that does other things, too."""


class Workspace:
    """One namespace, with what its tests need to know of the plane around it."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 60) -> str:
        """What kubectl prints, called as the administrator in this namespace."""
        return self.plane.kubectl("-n", self.namespace, *arguments, stdin=stdin, timeout=timeout)

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Apply objects in this namespace. JSON, since YAML would read some names as something else."""
        objects = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(objects))

    def connect(self, name: str = "default", **spec: Any) -> None:
        """Apply a BacalhauConnection to the plane's Bacalhau and IPFS node; `spec` replaces parts of it."""
        self.apply(
            {
                "apiVersion": "bacalhau.org/v1alpha1",
                "kind": "BacalhauConnection",
                "metadata": {"name": name},
                "spec": {"endpoint": self.plane.bacalhau.url, "ipfs": {"apiURL": self.plane.ipfs.api_url}}
                | spec,
            }
        )

    async def patch(self, name: str, **spec: Any) -> None:
        """Merge fields into a DAG's spec."""
        async with self._api_server() as api:
            answer = await api.patch(
                f"{self._path('bacalhaudags')}/{name}",
                content=json.dumps({"spec": spec}),
                headers={"Content-Type": "application/merge-patch+json"},
            )
        answer.raise_for_status()

    # What the API server says

    async def until(
        self, name: str, holds: Callable[[BacalhauDAG], bool], *, within: float = PATIENCE
    ) -> BacalhauDAG:
        """The DAG as it is when something first holds for it."""
        return await _first(self._sightings(name), holds, within=within, shown=_shown)

    async def ended(self, name: str, *, within: float = PATIENCE) -> BacalhauDAG:
        """The DAG once it has ended, in whatever way."""
        return await self.until(name, has_ended, within=within)

    async def succeeded(self, name: str, *, within: float = PATIENCE) -> BacalhauDAG:
        """The DAG once it has succeeded; any other end fails at once."""
        dag = await self.ended(name, within=within)
        assert status(dag).phase is RunPhase.SUCCEEDED, _shown(dag)
        return dag

    async def hindered(self, name: str, reason: str) -> str:
        """The message of a DAG that cannot go on, or has not begun, for this reason."""

        def is_hindered(dag: BacalhauDAG) -> bool:
            return any(condition.reason == reason for condition in status(dag).conditions)

        return str(status(await self.until(name, is_hindered)).message)

    async def connection(self, name: str, *, reason: str) -> str:
        """The message of a connection's condition Ready once it has this reason."""

        def has_reason(connection: Json) -> bool:
            return _ready(connection).get("reason") == reason

        seen = self._watched(self._path("bacalhauconnections"), f"metadata.name={name}")
        return str(_ready(await _first(seen, has_reason, within=PATIENCE, shown=str))["message"])

    async def event(self, reason: str, *, about: str) -> str:
        """The message of the first Event with this reason about an object of this name."""
        selector = f"involvedObject.name={about},reason={reason}"
        events = self._watched(f"/api/v1/namespaces/{self.namespace}/events", selector)
        try:
            return str((await _first(events, lambda _: True, within=PATIENCE, shown=str))["message"])
        except AssertionError as error:
            raise AssertionError(f"{error} The Events are:\n{self.kubectl('get', 'events')}") from None

    async def _sightings(self, name: str) -> AsyncGenerator[BacalhauDAG, None]:
        async with aclosing(self._watched(self._path("bacalhaudags"), f"metadata.name={name}")) as bodies:
            async for body in bodies:
                yield BacalhauDAG.model_validate(body)

    async def _watched(self, path: str, selector: str) -> AsyncGenerator[Json, None]:
        """An object as it is, then after each change, until it is deleted."""
        await self._until_served()
        parameters = {"watch": "true", "fieldSelector": selector}
        async with (
            self._api_server() as api,
            api.stream("GET", path, params=parameters, timeout=httpx.Timeout(30, read=None)) as answer,
        ):
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                event = json.loads(line)
                if event["type"] == "DELETED":
                    return
                yield event["object"]

    async def _until_served(self) -> None:
        """Wait while an API server that has just started puts requests for custom resources off, for as long as it says."""
        async with self._api_server() as api, asyncio.timeout(30):
            while True:
                answer = await api.get(self._path("bacalhaudags"), params={"limit": 1})
                if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    return
                await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))

    def _path(self, plural: str) -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{plural}"

    def _api_server(self) -> httpx.AsyncClient:
        server = self.plane.kubernetes
        headers = {"Authorization": f"Bearer {server.admin_token}"}
        trust = server.certificate.trust
        return httpx.AsyncClient(
            base_url=server.url, headers=headers, verify=trust, trust_env=False, timeout=30
        )

    # What Bacalhau says

    def jobs(self, dag: BacalhauDAG, *, server: BacalhauServer | None = None) -> list[Job]:
        """All jobs of a run's Bacalhau namespace."""
        namespace = status(dag).bacalhau_namespace
        assert namespace
        return jobs_in(namespace, server or self.plane.bacalhau)

    def stop(self, dag: BacalhauDAG, node: str, *, reason: str) -> None:
        """Stop a node's job behind the operator's back."""
        job = status(dag).nodes[node].job_id
        loopback_client(self.plane.bacalhau.url).request(
            "DELETE",
            f"/api/v1/orchestrator/jobs/{job}",
            params={"namespace": str(status(dag).bacalhau_namespace)},
            json={"reason": reason},
        ).raise_for_status()


def has_ended(dag: BacalhauDAG) -> bool:
    """Whether nothing more will happen to a run."""
    phase = status(dag).phase
    return phase is not None and phase.is_terminal


def status(dag: BacalhauDAG) -> DAGStatus:
    """The status, which may be empty still."""
    return dag.status or DAGStatus()


def phases(dag: BacalhauDAG) -> dict[str, NodePhase]:
    """The phase of each node."""
    return {name: node.phase for name, node in status(dag).nodes.items()}


def in_phase(dag: BacalhauDAG, phase: NodePhase) -> list[str]:
    """The nodes in a phase."""
    return [name for name, found in phases(dag).items() if found is phase]


def cid(dag: BacalhauDAG, output: str = "result") -> str:
    """The CID of an output."""
    found = status(dag).outputs[output].cid
    assert found
    return found


def jobs_in(namespace: str, server: BacalhauServer) -> list[Job]:
    """All jobs of a Bacalhau namespace."""
    response = loopback_client(server.url).get(
        "/api/v1/orchestrator/jobs", params={"namespace": namespace, "limit": 0}
    )
    return [Job.model_validate(item) for item in response.raise_for_status().json()["Items"] or ()]


def attempts(jobs: Iterable[Job]) -> list[tuple[str, int]]:
    """Node and attempt of each job, sorted; two of the same mean that an attempt was submitted twice."""
    return sorted((node_of(job.meta) or "", int(job.meta[ATTEMPT_LABEL])) for job in jobs)


async def _first(
    seen: AsyncGenerator[Seen, None],
    holds: Callable[[Seen], bool],
    *,
    within: float,
    shown: Callable[[Seen], str],
) -> Seen:
    """The first thing that is seen for which something holds. A failure shows the last one."""
    last = "It was never seen."
    try:
        async with asyncio.timeout(within), aclosing(seen):
            async for thing in seen:
                if holds(thing):
                    return thing
                last = shown(thing)
    except TimeoutError:
        raise AssertionError(f"Waited {within:g} s in vain. {last}") from None
    raise AssertionError(f"It was deleted. {last}")


def _ready(connection: Json) -> Json:
    conditions: list[Json] = connection.get("status", {}).get("conditions", [])
    return next((item for item in conditions if item["type"] == "Ready"), {})


def _shown(dag: BacalhauDAG) -> str:
    return f"Its status: {status(dag).model_dump_json(exclude_none=True, indent=1)}"
