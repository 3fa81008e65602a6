"""Finding out what became of a run while no controller was looking.

The truth about jobs is in Bacalhau: one list of the run's namespace names every attempt that was ever submitted, so a status may be old or
lost. It also settles whether a submission is in doubt: an attempt that the list does not hold was never accepted.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

from controller.api.bacalhau import Job, JobSighting
from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.concurrency import together
from controller.bacalhau.ipfs import IpfsApi
from controller.engine import JobSeen, Run
from controller.engine.identity import ATTEMPT_LABEL, UID_LABEL, node_of
from controller.reconciler.last_words import with_last_words

MAX_LOOKUPS = 16
"""Jobs asked for at once."""

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was found: the attempts of each node that the status does not tell of yet, oldest first."""

    sightings: list[JobSeen]

    @property
    def unfinished(self) -> list[JobSeen]:
        """The attempts whose jobs go on."""
        return [seen for seen in self.sightings if not seen.sighting.job.state.is_terminal]


async def recover(run: Run, client: BacalhauClient, *, ipfs: IpfsApi | None = None) -> Recovered:
    """Look up the jobs of a run that this process has not seen before.

    Raises:
        BacalhauError: Bacalhau could not be asked.
    """
    jobs = await client.list_all(run.context.bacalhau_namespace)
    found = [
        (node, attempt, job)
        for node, attempt, job in sorted(_attempts(jobs, run.context.uid), key=itemgetter(0, 1))
        if run.roster.is_news(node, attempt)
    ]
    by_id = {job.id: job for job in jobs}
    found += [
        (node, run.node(node).attempt, by_id[job_id])
        for node, job_id in run.reader.missing_stdout()
        if job_id in by_id
    ]
    here, elsewhere = await _look_up(found, client, ipfs), await _taken_over(run, client)
    return Recovered(sightings=[*here, *elsewhere])


async def _taken_over(run: Run, client: BacalhauClient) -> list[JobSeen]:
    """Look up the jobs of earlier runs whose results were taken over, and whose output is still to be read."""
    places = asyncio.Semaphore(MAX_LOOKUPS)

    async def look_up(node: str, job_id: str, namespace: str) -> JobSeen | None:
        async with places:
            job = await client.get(job_id, namespace=namespace, executions=True)
        attempt = run.node(node).attempt
        return JobSeen(node=node, attempt=attempt, sighting=JobSighting(job=job)) if job else None

    needed = [(node, job_id, run.node(node).job_namespace) for node, job_id in run.reader.missing_stdout()]
    own = run.context.bacalhau_namespace
    seen = await together(
        look_up(node, job_id, place) for node, job_id, place in needed if place and place != own
    )
    return [found for found in seen if found]


async def stop_all(client: BacalhauClient, *, namespace: str, uid: str, reason: str) -> int:
    """Stop all jobs of a DAG, whatever graph they belong to; gives the number of those that had not ended.

    Raises:
        BacalhauError: Bacalhau could not be asked.
    """
    jobs = [job for job in await client.list_all(namespace) if job.meta.get(UID_LABEL) == uid]
    left = [job.id for job in jobs if not job.state.is_terminal]
    places = asyncio.Semaphore(MAX_LOOKUPS)

    async def stop(job_id: str) -> None:
        async with places:
            await client.stop(job_id, namespace=namespace, reason=reason)

    await together(stop(job_id) for job_id in left)
    return len(left)


def _attempts(jobs: Iterable[Job], uid: str) -> Iterator[tuple[str, int, Job]]:
    """Give each job's node and attempt. Labels that are not ours, or are garbage, are somebody else's jobs."""
    for job in jobs:
        node, attempt = node_of(job.meta), _attempt(job)
        if job.meta.get(UID_LABEL) == uid and node is not None and attempt is not None:
            yield node, attempt, job


def _attempt(job: Job) -> int | None:
    label = job.meta.get(ATTEMPT_LABEL, "")
    return int(label) if _NUMBER.fullmatch(label) else None


async def _look_up(
    found: Iterable[tuple[str, int, Job]], client: BacalhauClient, ipfs: IpfsApi | None
) -> list[JobSeen]:
    """Add the executions to jobs that have ended; a list comes without them."""
    places = asyncio.Semaphore(MAX_LOOKUPS)

    async def complete(node: str, attempt: int, job: Job) -> JobSeen:
        if job.state.is_terminal:
            async with places:
                job = await client.get(job.id, namespace=job.namespace, executions=True) or job
        sighting = await with_last_words(JobSighting(job=job), ipfs)
        return JobSeen(node=node, attempt=attempt, sighting=sighting)

    return await together(complete(*item) for item in found)
