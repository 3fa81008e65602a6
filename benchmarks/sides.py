"""Both sides on the same servers, in turns, with what each run has cost."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import Any

from benchmarks import meters
from benchmarks.dags import DAGs
from benchmarks.floor import Floor
from benchmarks.workload import Workload
from dev.plane import ControlPlane
from dev.servers.controller import Controller
from dev.servers.process import loopback_client

SETTLE_SECONDS = 0.5
"""Pause after a DAG, in which Events and late writes are still counted to it."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run on one side: wall time, and requests, bytes and CPU seconds of the whole run."""

    seconds: float
    bacalhau_requests: float
    bacalhau_bytes: float
    kubernetes_requests: float = 0.0
    kubernetes_bytes: float = 0.0
    client_cpu: float
    """Of the script, or of the operator."""
    bacalhau_cpu: float
    ipfs_cpu: float
    api_server_cpu: float
    etcd_cpu: float

    @property
    def all_cpu(self) -> float:
        """What the run took of the machine: it decides the wall time where all cores are busy."""
        return self.client_cpu + self.bacalhau_cpu + self.ipfs_cpu + self.api_server_cpu + self.etcd_cpu


@dataclass(frozen=True)
class Pair:
    """The same workload once on each side, one right after the other."""

    floor: Sample
    operator: Sample

    @property
    def ratio(self) -> float:
        """The operator's wall time as a multiple of the floor's."""
        return self.operator.seconds / self.floor.seconds


@dataclass(frozen=True)
class Result:
    """All pairs of one workload."""

    workload: Workload
    old_jobs: int
    pairs: list[Pair]

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return statistics.median(pair.ratio for pair in self.pairs)


class Sides:
    """The operator and the script, each ready to run workloads."""

    def __init__(self, plane: ControlPlane, controller: Controller) -> None:
        self._controller = controller
        self._servers = [controller, plane.bacalhau, plane.ipfs, plane.kubernetes, plane.etcd]
        self._floor = Floor(plane.bacalhau.url)
        self._dags = DAGs(plane.kubernetes)
        self._controller_http = loopback_client(controller.url)
        self._kubernetes_http = loopback_client(
            plane.kubernetes.url,
            trust=plane.kubernetes.certificate.trust,
            headers={"Authorization": f"Bearer {plane.kubernetes.admin_token}"},
        )
        self._runs = 0

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._floor.aclose()
        await self._dags.aclose()

    async def compare(self, workload: Workload, *, floor_first: bool) -> Pair:
        """Runs a workload once on each side."""
        if floor_first:
            floor = await self._run_script(workload)
            return Pair(floor, await self._run_dag(workload))
        operator = await self._run_dag(workload)
        return Pair(await self._run_script(workload), operator)

    async def _run_script(self, workload: Workload) -> Sample:
        before = self._script_counters()
        started = time.perf_counter()
        await self._floor.run(workload, namespace=self._next_name("script"))
        seconds = time.perf_counter() - started
        return Sample(seconds=seconds, **meters.difference(self._script_counters(), before))

    async def _run_dag(self, workload: Workload) -> Sample:
        before = self._dag_counters()
        watched = await self._dags.run(workload, name=self._next_name("dag"))
        await asyncio.sleep(SETTLE_SECONDS)
        used = meters.difference(self._dag_counters(), before)
        used["kubernetes_bytes"] += watched.bytes
        return Sample(seconds=watched.seconds, **used)

    def _script_counters(self) -> meters.Counters:
        counted: dict[str, Any] = {
            "bacalhau_requests": self._floor.requests,
            "bacalhau_bytes": self._floor.bytes,
        }
        return {**counted, **self._cpu(), "client_cpu": time.process_time()}

    def _dag_counters(self) -> meters.Counters:
        return {
            **meters.bacalhau_counters(self._controller_http),
            **meters.kubernetes_counters(self._kubernetes_http),
            **self._cpu(),
        }

    def _cpu(self) -> meters.Counters:
        controller, bacalhau, ipfs, api_server, etcd = map(meters.cpu_seconds, self._servers)
        return {
            "client_cpu": controller,
            "bacalhau_cpu": bacalhau,
            "ipfs_cpu": ipfs,
            "api_server_cpu": api_server,
            "etcd_cpu": etcd,
        }

    def _next_name(self, side: str) -> str:
        self._runs += 1
        return f"{side}-{self._runs}"
