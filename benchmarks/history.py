"""A Bacalhau with a past: old jobs, which it keeps for ever.

Jobs of Count 0 end at once without an execution, so that thousands take seconds. They are spread over namespaces as
the operator's own runs would be. Neither side's namespace holds any: both use a new one for each run, and what they
ask of Bacalhau (a PUT, a GET by ID, the list of their own namespace) is what may or may not suffer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp

from benchmarks.floor import JOBS, FloorError
from benchmarks.workload import Body, job

JOBS_PER_NAMESPACE = 200
SUBMISSIONS = 16


async def fill(endpoint: str, count: int) -> None:
    """Submits jobs that end at once. Raises FloorError.

    Bacalhau takes them faster than it deals with them: the first real job afterwards waits for half a minute or so.
    """
    jobs = _old_jobs(count)
    async with aiohttp.ClientSession(endpoint) as http:
        await asyncio.gather(*(_submit_all(http, jobs) for _ in range(SUBMISSIONS)))


async def _submit_all(http: aiohttp.ClientSession, jobs: Iterator[Body]) -> None:
    """Submits what is left of the jobs, which the callers share."""
    for body in jobs:
        async with http.put(JOBS, json={"Job": body}) as response:
            if response.status != 200:
                raise FloorError(f"An old job was refused with {response.status}: {await response.text()}")


def _old_jobs(count: int) -> Iterator[Body]:
    body = {**job(), "Count": 0}
    for number in range(count):
        namespace = f"old-{number // JOBS_PER_NAMESPACE}"
        yield {**body, "Name": f"old-{number}", "Namespace": namespace}
