"""The operator's side: a DAG is created, and watched until it has ended."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.workload import Workload
from dev.servers.kubernetes import KubeAPIServer

NAMESPACE = "default"
PATH = f"/apis/bacalhau.org/v1alpha1/namespaces/{NAMESPACE}/bacalhaudags"
FINAL_PHASES = ("Succeeded", "Failed", "Error", "Cancelled")
LONGEST_EVENT = 16 * 1024 * 1024
LONGEST_SILENCE = 120
"""Seconds without any news after which a watch fails, and the benchmark with it."""


class DAGError(Exception):
    """A DAG did not succeed, or could not be created."""


@dataclass(frozen=True)
class Watched:
    """What became of a DAG."""

    seconds: float
    """From the answer to its creation until the watch showed that it had succeeded."""
    bytes: int
    """What the watch has sent; the operator's own watch gets the same."""


class DAGs:
    """Runs workloads as DAGs, as an administrator of the API server."""

    def __init__(self, api: KubeAPIServer) -> None:
        self._http = aiohttp.ClientSession(
            api.url,
            headers={"Authorization": f"Bearer {api.admin_token}"},
            connector=aiohttp.TCPConnector(ssl=api.certificate.trust),
            read_bufsize=LONGEST_EVENT,
        )

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._http.close()

    async def run(self, workload: Workload, *, name: str) -> Watched:
        """Runs a workload, and returns when the operator has let go of the DAG. Raises DAGError."""
        async with await self._watch(name) as events:
            created = asyncio.create_task(self._create(workload, name))
            received, succeeded = 0, 0.0
            async for line in events.content:
                received += len(line)
                body = json.loads(line)["object"]
                succeeded = succeeded or (time.perf_counter() if _has_succeeded(body) else 0.0)
                if succeeded and not body["metadata"].get("finalizers"):
                    break
        return Watched(succeeded - await created, received)

    async def _watch(self, name: str) -> aiohttp.ClientResponse:
        """Opens a watch of one DAG, as soon as the API server is ready to serve a definition that is new to it."""
        params = {"watch": "true", "fieldSelector": f"metadata.name={name}"}
        timeout = aiohttp.ClientTimeout(sock_read=LONGEST_SILENCE)
        while (response := await self._http.get(PATH, params=params, timeout=timeout)).status == 429:
            response.close()
            await asyncio.sleep(0.1)
        response.raise_for_status()
        return response

    async def _create(self, workload: Workload, name: str) -> float:
        """Creates the DAG; returns the time at which the API server had answered."""
        async with self._http.post(PATH, json=workload.dag(name)) as response:
            if response.status != 201:
                raise DAGError(f"The DAG was refused: {await response.text()}")
            return time.perf_counter()


def _has_succeeded(body: dict[str, Any]) -> bool:
    status = body.get("status", {})
    phase = status.get("phase")
    if phase in FINAL_PHASES and phase != "Succeeded":
        raise DAGError(f"The DAG {body['metadata']['name']} is {phase}: {status.get('message')}")
    return bool(phase == "Succeeded")
