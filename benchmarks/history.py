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
    """Submits jobs that end at once, and waits until the last of them has. Raises FloorError."""
    jobs = _old_jobs(count)
    async with aiohttp.ClientSession(endpoint) as http:
        await asyncio.gather(*(_submit_all(http, jobs) for _ in range(SUBMISSIONS)))
        await _until_over(http, count - 1)


async def _submit_all(http: aiohttp.ClientSession, jobs: Iterator[Body]) -> None:
    """Submits what is left of the jobs, which the callers share."""
    for body in jobs:
        async with http.put(JOBS, json={"Job": body}) as response:
            if response.status != 200:
                raise FloorError(f"An old job was refused with {response.status}: {await response.text()}")


async def _until_over(http: aiohttp.ClientSession, number: int) -> None:
    """Returns when Bacalhau, which takes jobs faster than it ends them, has come to this one."""
    name, namespace = _place(number)
    while True:
        async with http.get(f"{JOBS}/{name}", params={"namespace": namespace}) as response:
            response.raise_for_status()
            answer = await response.json()
        if answer["Job"]["State"]["StateType"] == "Completed":
            return
        await asyncio.sleep(0.1)


def _old_jobs(count: int) -> Iterator[Body]:
    body = {**job(), "Count": 0}
    for number in range(count):
        name, namespace = _place(number)
        yield {**body, "Name": name, "Namespace": namespace}


def _place(number: int) -> tuple[str, str]:
    """The name and the namespace of an old job."""
    return f"old-{number}", f"old-{number // JOBS_PER_NAMESPACE}"
