"""IPFS inputs on real servers: many consumers of one CID do not hurt each other."""

import asyncio
import os
from uuid import uuid4

import pytest

from controller.api.bacalhau import Job, JobState
from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.http import Channel, Endpoint
from controller.bacalhau.submission import ensure_job
from dev.plane import ControlPlane
from tests.support.bacalhau_jobs import a_job

pytestmark = pytest.mark.e2e

CONSUMERS = 12


async def test_many_consumers_of_one_cid_at_once(plane: ControlPlane) -> None:
    cid = plane.ipfs.add(os.urandom(30_000_000))
    namespace = f"fan-out-{uuid4().hex[:8]}"
    async with BacalhauClient(Channel(Endpoint(url=plane.bacalhau.url))) as client:
        for i in range(CONSUMERS):
            await ensure_job(client, a_consumer(f"consumer-{i}", namespace, cid), doubtful=False)
        jobs = await all_ended(client, namespace)
        executions = [await client.get(job.id, namespace=namespace, executions=True) for job in jobs]
    assert [job.state for job in jobs] == [JobState.COMPLETED] * CONSUMERS
    assert [len(job.executions or ()) for job in executions if job] == [1] * CONSUMERS


def a_consumer(name: str, namespace: str, cid: str) -> dict[str, object]:
    """A job that mounts the CID."""
    job = a_job(name, namespace=namespace)
    source = {"Type": "ipfs", "Params": {"CID": cid}}
    job["Tasks"][0]["InputSources"].append({"Source": source, "Target": "/inputs/big"})
    return job


async def all_ended(client: BacalhauClient, namespace: str) -> list[Job]:
    """Wait until all jobs of the namespace have ended."""
    async with asyncio.timeout(120):
        while True:
            jobs = await client.list_all(namespace)
            if all(job.state.is_terminal for job in jobs):
                return list(jobs)
            await asyncio.sleep(0.2)
