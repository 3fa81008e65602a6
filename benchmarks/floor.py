"""The floor: the same jobs from a bare script, with no Kubernetes and nothing that survives a crash.

It submits a level as soon as the level before it has ended, all of it at once, and waits for its jobs in the order in
which they were submitted, which takes no more than one request at a time however wide the level is. The pauses between
looks are those that made it fastest on two cores: without any, a chain takes twice as long, because answering is work
for the same Bacalhau that should be running the job. Only one thing is not left out, since Bacalhau loses jobs without
it: each job mounts a CID under a spelling of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from benchmarks.workload import Body, Workload, job
from controller.bacalhau.cids import spell

CONNECTIONS = 32
PAUSE_SECONDS = 0.005
PAUSE_SECONDS_WIDE = 0.02
"""Between looks at a job that is alone, and at one of many."""

JOBS = "/api/v1/orchestrator/jobs"
JSON_CONTENT = {"Content-Type": "application/json"}


class FloorError(Exception):
    """A job did not end as it should."""


class Floor:
    """Runs workloads straight on Bacalhau, and counts requests and the bytes of bodies."""

    def __init__(self, endpoint: str) -> None:
        self.requests = 0
        self.bytes = 0
        self._http = aiohttp.ClientSession(endpoint, connector=aiohttp.TCPConnector(limit=CONNECTIONS))

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._http.close()

    async def run(self, workload: Workload, *, namespace: str) -> None:
        """Runs a workload in a Bacalhau namespace of its own. Raises FloorError."""
        results: list[str] = []
        for level in workload.named_levels():
            ids = await asyncio.gather(*(self._submit(name, namespace, results) for name in level))
            pause = PAUSE_SECONDS if len(ids) == 1 else PAUSE_SECONDS_WIDE
            results = [await self._result(job_id, namespace, pause) for job_id in ids]

    async def _submit(self, name: str, namespace: str, mounted: list[str]) -> str:
        answer = await self._request("PUT", JOBS, body={"Job": _job(name, namespace, mounted)})
        return str(answer["JobID"])

    async def _result(self, job_id: str, namespace: str, pause: float) -> str:
        """The CID that a job has published, as soon as it has."""
        query = {"namespace": namespace, "include": "executions"}
        while True:
            answer = await self._request("GET", f"{JOBS}/{job_id}", query=query)
            state = answer["Job"]["State"]
            if state["StateType"] == "Completed":
                return str(answer["Executions"]["Items"][0]["PublishedResult"]["Params"]["CID"])
            if state["StateType"] in ("Failed", "Stopped"):
                raise FloorError(f"Job {job_id} is {state['StateType']}: {state.get('Message')}")
            await asyncio.sleep(pause)

    async def _request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Body | None = None
    ) -> Any:
        content = json.dumps(body).encode() if body else b""
        async with self._http.request(
            method, path, params=query, data=content, headers=JSON_CONTENT
        ) as response:
            answer = await response.read()
        self.requests += 1
        self.bytes += len(content) + len(answer)
        if response.status != 200:
            raise FloorError(f"{method} {path} was answered with {response.status}: {answer.decode()}")
        return json.loads(answer)


def _job(name: str, namespace: str, mounted: list[str]) -> Body:
    body = job()
    body["Tasks"][0]["InputSources"] += [
        {
            "Source": {"Type": "ipfs", "Params": {"CID": spell(cid, f"{namespace}/{name}/{number}")}},
            "Target": f"/inputs/{number}",
        }
        for number, cid in enumerate(mounted)
    ]
    return {**body, "Name": name, "Namespace": namespace}
