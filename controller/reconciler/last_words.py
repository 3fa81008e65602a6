"""What a program that failed had to say last.

Bacalhau reports the beginning of what a program printed, often only its first line, and the reason of a failure stands at the end. The
whole of it is in the published result, which the operator can read where the connection names an IPFS node. If it cannot, or not
soon, the beginning has to do.
"""

import asyncio

from controller.api.bacalhau import Execution, Job, JobSighting
from controller.bacalhau.errors import BacalhauError
from controller.bacalhau.ipfs import IpfsApi

PATIENCE = 5.0
"""Seconds that a failure may be kept back for its explanation."""

TAIL_BYTES = 2048


def has_last_words(job: Job) -> bool:
    """Tell whether a job's program failed and left a result on IPFS."""
    return any(_result(execution) for execution in job.executions or ())


async def with_last_words(sighting: JobSighting, ipfs: IpfsApi | None) -> JobSighting:
    """Give the same sighting with the end of what a failed program printed on standard error, where that can be read."""
    job = sighting.job
    if ipfs is None or not has_last_words(job):
        return sighting
    executions = tuple([await _completed(execution, ipfs) for execution in job.executions or ()])
    explained = job.model_copy(update={"executions": executions})
    return JobSighting(job=explained, orchestrator_epoch=sighting.orchestrator_epoch)


async def _completed(execution: Execution, ipfs: IpfsApi) -> Execution:
    cid, output = _result(execution), execution.run_output
    if cid is None or output is None:
        return execution
    try:
        async with asyncio.timeout(PATIENCE):
            stderr = await ipfs.tail(cid, "stderr", size=TAIL_BYTES)
    except (BacalhauError, TimeoutError):
        return execution
    return execution.model_copy(update={"run_output": output.model_copy(update={"stderr": stderr})})


def _result(execution: Execution) -> str | None:
    """Give the CID of what a failed program published."""
    output, published = execution.run_output, execution.published_result
    if output is None or output.exit_code <= 0 or published is None or published.type != "ipfs":
        return None
    cid = published.params.get("CID")
    return str(cid) if cid else None
